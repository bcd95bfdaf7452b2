from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from asr.data.manifest import Utterance, read_manifest
from asr.decoding.confidence import FEATURES, Calibration, confidences
from asr.errors import ManifestError, OutputError
from asr.evaluation.calibration import (
    fit,
    fit_calibration,
    reliability,
    reliability_diagram,
    word_evidence,
)

if TYPE_CHECKING:
    from asr.transcription import Transcriber
    from tests.conftest import Trained

SURE = [0.95, 0.95, 0.95, 0.85, 0.55, 0.0]
RIGHT = [True, True, False, True, False, False]


def test_ece_and_nce_are_what_the_formulas_say() -> None:
    found = reliability(SURE, RIGHT)
    assert (found.counts[0], found.counts[5], found.counts[8], found.counts[9]) == (1, 1, 1, 3)
    assert found.words == 6
    assert found.accuracy[9] == pytest.approx(2 / 3)
    assert found.ece == pytest.approx((3 * abs(0.95 - 2 / 3) + abs(0.85 - 1) + 0.55 + 0) / 6)
    cross = -(2 * np.log(0.95) + np.log(0.05) + np.log(0.85) + np.log(0.45)) / 6  # a sure and right zero costs nothing
    assert found.nce == pytest.approx(1 - cross / np.log(2), abs=1e-5)


def test_perfect_and_useless_confidences() -> None:
    perfect = reliability([1.0, 1.0, 0.0], [True, True, False])
    assert (perfect.ece, perfect.nce) == (0.0, pytest.approx(1.0, abs=1e-4))
    useless = reliability([0.5] * 4, [True, False, True, False])
    assert (useless.ece, useless.nce) == (0.0, pytest.approx(0.0))
    assert np.isnan(reliability([0.9], [True]).nce)


@pytest.mark.parametrize("sure", [[], [1.5], [-0.1], [float("nan")]])
def test_what_is_no_confidence_is_refused(sure: list[float]) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        reliability(sure, [True] * len(sure))


def logistic_words(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = rng.normal([-3, -4, -2], [1, 2, 0.5], (count, 3))
    chances = 1 / (1 + np.exp(-(-1.0 - 0.8 * features[:, 0] - 0.5 * features[:, 1])))
    return features, rng.random(count) < chances


def test_fit_is_calibrated_on_words_it_has_not_seen() -> None:
    calibration = fit(*logistic_words(2000, seed=0))
    assert calibration.words == 2000
    assert calibration.features == FEATURES
    features, correct = logistic_words(5000, seed=1)
    found = reliability(calibration.apply(features), correct)
    truth = 1 / (1 + np.exp(-(-1.0 - 0.8 * features[:, 0] - 0.5 * features[:, 1])))
    assert found.ece < 0.03
    assert found.nce > reliability(truth, correct).nce - 0.02


def test_fit_of_features_that_never_vary_gives_the_share_of_right_words() -> None:
    calibration = fit(np.ones((100, 3)), np.arange(100) < 70)
    assert calibration.apply(np.ones((1, 3)))[0] == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize("correct", [[True] * 100, [False] * 100, [True, False] * 10])
def test_nothing_to_learn_from_is_an_error(correct: list[bool]) -> None:
    with pytest.raises(ManifestError, match=r"at least 50 words.*larger dev set"):
        fit(np.zeros((len(correct), 3)), np.array(correct))


@pytest.fixture(scope="module")
def mistaken(trained: Trained) -> list[Utterance]:
    """Utterances in which every third has its first word written wrongly, so that the recogniser errs there."""
    rows = list(read_manifest(trained.test)) + list(read_manifest(trained.dev))
    return [
        replace(row, text=" ".join(["zzz", *(row.text or "").split()[1:]])) if index % 3 == 0 else row
        for index, row in enumerate(rows)
    ]


def test_words_of_a_manifest_are_right_where_they_are_in_the_transcript(
    model: Transcriber, mistaken: list[Utterance]
) -> None:
    evidence = word_evidence(model, mistaken)
    assert evidence.features.shape == (len(evidence.correct), 3)
    wrong = int((~evidence.correct).sum())
    marked = sum(row.text is not None and row.text.startswith("zzz") for row in mistaken)
    assert marked <= wrong <= marked + 3
    assert not evidence.failures


def test_fitted_on_dev_it_is_stored_and_measured(model: Transcriber, mistaken: list[Utterance], tmp_path: Path) -> None:
    calibration = fit_calibration(model, mistaken)
    calibration.save(tmp_path)
    evidence = word_evidence(model, mistaken)
    measured = reliability(confidences(evidence.features, Calibration.load(tmp_path)), evidence.correct)
    assert measured.ece < 0.05  # here the errors are in the transcripts: the share of right words is all there is
    assert measured.ece < reliability(confidences(evidence.features, None), evidence.correct).ece
    reliability_diagram(measured, tmp_path / "new" / "reliability.png", "made speech")
    assert (tmp_path / "new" / "reliability.png").read_bytes().startswith(b"\x89PNG")


def test_an_nbest_search_adds_its_feature(model: Transcriber, trained: Trained, mistaken: list[Utterance]) -> None:
    beam = type(model).load(trained.folder, "cpu", {"beam": 8, "nbest": 4})
    evidence = word_evidence(beam, mistaken)
    assert evidence.features.shape[1] == 4
    assert word_evidence(model, mistaken).features.shape[1] == 3
    doubts = np.exp(evidence.features[:, 3]) - 1e-3
    assert ((doubts >= -1e-9) & (doubts < 1)).all()
    assert doubts.max() > 0
    calibration = fit_calibration(beam, mistaken)
    assert calibration.features == (*FEATURES, "nbest")
    assert confidences(evidence.features, calibration).shape == evidence.correct.shape


def test_manifests_without_transcripts_words_or_audio_are_errors(
    model: Transcriber, mistaken: list[Utterance], tmp_path: Path
) -> None:
    with pytest.raises(ManifestError, match="has no transcript"):
        fit_calibration(model, [replace(mistaken[0], text=None)])
    with pytest.raises(ManifestError, match="no words were recognised in 0 utterances"):
        fit_calibration(model, [])
    gone = replace(mistaken[0], audio=tmp_path / "gone.wav")
    with pytest.raises(ManifestError, match=r"first failure: .*gone\.wav"):
        fit_calibration(model, [gone])
    evidence = word_evidence(model, [gone, *mistaken[1:3]])
    assert [identifier for identifier, _ in evidence.failures] == [gone.id]


def test_a_full_disk_leaves_no_half_diagram(
    tmp_path: Path, disk_full_after: Callable[[int], AbstractContextManager[None]]
) -> None:
    with disk_full_after(100), pytest.raises(OutputError, match=r"r\.png: cannot be written"):
        reliability_diagram(reliability(SURE, RIGHT), tmp_path / "r.png")
    assert list(tmp_path.iterdir()) == []
