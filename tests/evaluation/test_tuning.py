from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import jiwer
import pytest

from asr.config import load_config
from asr.data.manifest import read_manifest, write_manifest
from asr.decoding.confidence import FEATURES, Calibration
from asr.decoding.recogniser import Recogniser
from asr.errors import CheckpointError, ManifestError
from asr.evaluation import evaluate
from asr.evaluation.tuning import LM_FILE, Trial, Tuned, present_decoder, tune, write_tuned
from asr.lm.ngram import NgramModel
from asr.lm.training import train_ngram
from asr.transcription import load_model

if TYPE_CHECKING:
    from tests.conftest import Trained


@pytest.fixture(scope="module")
def lm(trained: Trained) -> NgramModel:
    return train_ngram([trained.train], 2).model


@pytest.fixture(scope="module")
def tuned(trained: Trained, lm: NgramModel) -> Tuned:
    return tune(Recogniser.load(trained.folder, "cpu"), trained.dev, lm, beam=8, threads=1)


def test_the_best_trial_is_the_one_with_the_lowest_error_rates(tuned: Tuned) -> None:
    assert tuned.best in tuned.trials
    assert (tuned.best.wer, tuned.best.cer) == min((trial.wer, trial.cer) for trial in tuned.trials)
    settings = [trial[:3] for trial in tuned.trials]
    assert {trial.beam for trial in tuned.trials} == {8}
    assert len(set(settings)) == len(settings) >= 30
    assert min(min(weight, prior) for weight, _, prior in settings) >= 0
    assert {0, 0.25, 0.5, 0.75} <= {prior for _, _, prior in settings}
    assert len(tuned.priors) == len(set(tuned.priors)) > 3
    assert sum(tuned.priors) == pytest.approx(1)


def test_error_rates_are_those_of_evaluation(tuned: Tuned, trained: Trained, lm: NgramModel, tmp_path: Path) -> None:
    plain = evaluate(Recogniser.load(trained.folder, "cpu"), trained.dev)
    assert tuned.greedy == pytest.approx((plain.wer, plain.score.cer))
    folder = tmp_path / "model"
    shutil.copytree(trained.folder, folder)
    write_tuned(folder, Recogniser.load(folder, "cpu"), lm, tuned, closed=False)
    model = load_model(folder, device="cpu")
    assert (model.decoding.method, model.decoding.lm) == ("beam", LM_FILE)
    assert (model.decoding.lm_weight, model.decoding.word_bonus) == (tuned.best.lm_weight, tuned.best.word_bonus)
    assert (
        model.decoding.window_seconds == load_config(trained.folder / "config.yaml").decoding.window_seconds is not None
    )
    found = evaluate(model, trained.dev)
    assert (found.wer, found.score.cer) == pytest.approx((tuned.best.wer, tuned.best.cer))
    texts = {row.id: row.text or "" for row in read_manifest(trained.dev)}
    references = [texts[key] for key in found.hypotheses]
    hypotheses = [hypothesis.text for hypothesis in found.hypotheses.values()]
    assert jiwer.wer(references, hypotheses) == pytest.approx(tuned.best.wer)
    before = load_config(trained.folder / "config.yaml")
    assert load_config(folder / "config.yaml").model_copy(update={"decoding": before.decoding}) == before


def test_priors_are_written_and_used(trained: Trained, lm: NgramModel, tuned: Tuned, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(trained.folder, folder)
    trial = next(trial for trial in tuned.trials if trial.prior_weight == 0.75)
    write_tuned(folder, Recogniser.load(folder, "cpu"), lm, replace(tuned, best=trial), closed=False)
    found = evaluate(load_model(folder, device="cpu"), trained.dev)
    assert (found.wer, found.score.cer) == pytest.approx((trial.wer, trial.cer))
    (folder / "priors.json").unlink()
    with pytest.raises(CheckpointError, match=r"priors\.json: not there, and decoding\.prior_weight needs it"):
        load_model(folder, device="cpu")
    assert load_model(folder, device="cpu", decoding={"prior_weight": 0.0}).decoding.prior_weight == 0


def test_a_language_model_that_does_not_help_is_not_worthwhile() -> None:
    trial = Trial(0.5, 0.0, 0.0, 8, 0.1, 0.05)
    assert not Tuned(trial, [trial], (0.1, 0.04), (0.1, 0.04)).worthwhile
    assert Tuned(trial, [trial], (0.11, 0.04), (0.1, 0.04)).worthwhile
    assert not Tuned(trial, [trial], (0.11, 0.04), (0.1, 0.04), present=(0.1, 0.05)).worthwhile
    assert Tuned(trial, [trial], (0.11, 0.04), (0.1, 0.04), present=(0.2, 0.05)).worthwhile


def test_the_present_decoding_is_measured_and_its_calibration_goes(
    tuned: Tuned, trained: Trained, lm: NgramModel, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(trained.folder, folder)
    assert tuned.present is None
    assert present_decoder(Recogniser.load(folder, "cpu")) is None
    Calibration(FEATURES, (0.0, 0.0, 0.0), 1.0, 100).save(folder)
    write_tuned(folder, Recogniser.load(folder, "cpu"), lm, tuned, closed=False)
    assert Calibration.load(folder) is None
    greedy = Recogniser.load(folder, "cpu", {"method": "greedy", "lm": None})
    again = tune(greedy, trained.dev, lm, beam=8, threads=1, present=present_decoder(greedy, 1))
    assert again.present == pytest.approx((tuned.best.wer, tuned.best.cer))
    assert not again.worthwhile


def test_recordings_that_cannot_be_read_are_told(trained: Trained, lm: NgramModel, tmp_path: Path) -> None:
    rows = list(read_manifest(trained.dev))
    gone = replace(rows[0], id="gone", audio=tmp_path / "gone.wav")
    write_manifest(tmp_path / "dev.jsonl", [gone, *rows[1:3]])
    found = tune(Recogniser.load(trained.folder, "cpu"), tmp_path / "dev.jsonl", lm, beam=4, threads=1)
    ((identifier, reason),) = found.failures
    assert identifier == "gone"
    assert "gone.wav" in reason
    write_manifest(tmp_path / "dev.jsonl", [gone])
    with pytest.raises(ManifestError, match=r"nothing to tune on; first failure: .*gone\.wav"):
        tune(Recogniser.load(trained.folder, "cpu"), tmp_path / "dev.jsonl", lm, beam=4, threads=1)


def test_the_beam_is_found_too_and_the_narrowest_of_equals_wins(trained: Trained, lm: NgramModel) -> None:
    found = tune(Recogniser.load(trained.folder, "cpu"), trained.dev, lm, threads=1)
    assert {trial.beam for trial in found.trials} == {16, 64, 256}
    equals = [t.beam for t in found.trials if (t.wer, t.cer) == (found.best.wer, found.best.cer)]
    assert found.best.beam == min(equals)


def test_a_dev_set_without_transcripts_is_an_error(trained: Trained, lm: NgramModel, tmp_path: Path) -> None:
    write_manifest(tmp_path / "dev.jsonl", (replace(row, text=None) for row in read_manifest(trained.dev)))
    with pytest.raises(ManifestError, match="nothing to tune on"):
        tune(Recogniser.load(trained.folder, "cpu"), tmp_path / "dev.jsonl", lm, beam=4, threads=1)
