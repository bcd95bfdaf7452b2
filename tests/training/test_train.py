from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
import torch

from asr.config import Config, parse_config, save_config
from asr.data.manifest import Utterance, read_manifest, write_manifest
from asr.errors import CheckpointError, ConfigError, ManifestError, TrainingError
from asr.model.checkpoint import load_folder, load_tensors
from asr.training import train, trainer
from asr.training.log import read_log

if TYPE_CHECKING:
    from tests.conftest import Speech, Trained

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, speech: Speech) -> list[Utterance]:
    """A dozen utterances that can be trained on."""
    folder = speech.corpus(tmp_path_factory.mktemp("good"), speech.sentences(12, seed=5), "good")
    return list(read_manifest(folder))


@pytest.fixture
def brief(small_config: Callable[..., Config], tmp_path: Path) -> Callable[..., Config]:
    """`brief(utterances)`: one epoch over these utterances, a few of them a batch."""

    def make(utterances: Sequence[Utterance], **training: Any) -> Config:
        write_manifest(tmp_path / "train.jsonl", utterances)
        data = {"train": str(tmp_path / "train.jsonl"), "batch_seconds": 5.0}
        plain = {"speed": None}
        return small_config(data=data, augmentation=plain, model={"hidden": 8}, training={"epochs": 1} | training)

    return make


def test_the_model_of_the_best_epoch_is_kept(trained: Trained) -> None:
    history = trained.result.history
    best = min(history, key=lambda row: (row["dev_wer"], row["dev_cer"], -row["epoch"]))
    assert (trained.result.best_epoch, trained.result.best_wer) == (best["epoch"], best["dev_wer"])


def test_the_loss_falls_and_is_logged_every_ten_steps(trained: Trained) -> None:
    rows = [row for row in read_log(trained.folder) if row["kind"] == "train"]
    assert {row["step"] for row in rows} >= set(range(10, rows[-1]["step"], 10))
    assert rows[-1]["loss"] < 0.2 * rows[0]["loss"]
    assert rows[0]["learning_rate"] > 0
    assert rows[-1]["learning_rate"] < 1e-3


def test_each_epoch_is_printed_with_its_error_rates(trained: Trained) -> None:
    lines = [line for line in trained.printed.splitlines() if line.startswith("epoch")]
    assert len(lines) == len(trained.result.history)
    for line, row in zip(lines, trained.result.history, strict=True):
        assert f"dev WER {row['dev_wer']:6.2%}" in line
    assert "100 utterances" in trained.printed


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    brief: Callable[..., Config], good: list[Utterance], tmp_path: Path
) -> None:
    weights = {}
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        train(brief(good, seed=seed), tmp_path / name, device="cpu")
        weights[name], _ = load_tensors(tmp_path / name / "model.safetensors")
    assert all(torch.equal(weights["one"][key], weights["again"][key]) for key in weights["one"])
    assert not all(torch.equal(weights["one"][key], weights["other"][key]) for key in weights["one"])


def test_without_a_dev_set_the_last_epoch_is_kept(
    brief: Callable[..., Config], good: list[Utterance], tmp_path: Path
) -> None:
    result = train(brief(good, epochs=2), tmp_path / "model", device="cpu")
    assert (result.best_epoch, result.best_wer) == (2, None)
    model, last = (
        load_tensors(tmp_path / "model/model.safetensors")[0],
        load_tensors(result.folder / "last.safetensors")[0],
    )
    assert all(torch.equal(tensor, last[f"model.{name}"]) for name, tensor in model.items())
    assert "no dev set" in (tmp_path / "model/README.md").read_text()


@pytest.mark.parametrize("normalisation", ["global", "none"])
def test_other_normalisations_train_and_load(
    brief: Callable[..., Config], good: list[Utterance], tmp_path: Path, normalisation: str
) -> None:
    config = brief(good)
    config.features.normalisation = normalisation  # type: ignore[assignment]
    train(config, tmp_path / "model", device="cpu")
    model, _ = load_folder(tmp_path / "model")
    measured = bool(model.features.mean.abs().sum() > 0)
    assert measured == (normalisation == "global")


def test_unusable_utterances_are_named_and_the_rest_trains(
    brief: Callable[..., Config],
    good: list[Utterance],
    tmp_path: Path,
    printed: tuple[Any, Callable[[], str]],
) -> None:
    (tmp_path / "noise.wav").write_bytes(b"no audio in here")
    longer = tmp_path / "long.wav"
    soundfile.write(longer, np.zeros(8000 * 31, np.float32), 8000)
    bad = {
        "hurried": replace(good[0], id="hurried", text="abcdefgh" * 40),
        "endless": Utterance("endless", longer, 31.0, 8000, "ab"),
        "noise": replace(good[1], id="noise", audio=tmp_path / "noise.wav"),
        "gone": replace(good[2], id="gone", audio=tmp_path / "gone.wav"),
        "shortened": replace(good[3], id="shortened", duration=good[3].duration + 1),
        "speechless": replace(good[4], id="speechless", text="  "),
        "untold": replace(good[5], id="untold", text=None),
    }
    console, text = printed
    config = brief([*good, *bad.values()])
    result = train(config, tmp_path / "model", device="cpu", console=console)
    assert result.history[0]["loss"] > 0
    lines = text().splitlines()
    reasons = {key: next(line for line in lines if line.strip().startswith(f"{key}:")) for key in bad}
    assert "needs 320" in reasons["hurried"]
    assert "31.0 s, longer than data.max_seconds = 30" in reasons["endless"]
    assert "noise.wav" in reasons["noise"]
    assert "not audio" in reasons["noise"]
    assert "no such file" in reasons["gone"]
    assert "prepare the data again" in reasons["shortened"]
    assert "the transcript is empty" in reasons["speechless"]
    assert "the transcript is empty" in reasons["untold"]
    assert "12 utterances" in text()


def test_characters_outside_a_given_alphabet_are_named(
    brief: Callable[..., Config],
    good: list[Utterance],
    tmp_path: Path,
    printed: tuple[Any, Callable[[], str]],
) -> None:
    console, text = printed
    config = brief([*good, replace(good[0], id="foreign", text="bäd")])
    config.text.alphabet = "abcdefgh"
    train(config, tmp_path / "model", device="cpu", console=console)
    assert "foreign: 'bäd' has 'ä' (U+00E4) outside the alphabet" in text()


def test_nothing_to_train_on_is_an_error(brief: Callable[..., Config], good: list[Utterance], tmp_path: Path) -> None:
    hurried = [replace(utterance, text="abcdefgh" * 40) for utterance in good]
    with pytest.raises(TrainingError, match=r"train\.jsonl: no utterance can be trained on"):
        train(brief(hurried), tmp_path / "model", device="cpu")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("utterances", [0, 3])
def test_no_transcripts_is_an_error(
    brief: Callable[..., Config], good: list[Utterance], tmp_path: Path, utterances: int
) -> None:
    silent = [replace(utterance, text=None) for utterance in good[:utterances]]
    with pytest.raises(TrainingError, match="no training transcript has a character in it"):
        train(brief(silent), tmp_path / "model", device="cpu")


def test_no_training_set_is_an_error(small_config: Callable[..., Config], tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"data\.train is not set"):
        train(small_config(), tmp_path / "model", device="cpu")


def test_a_dev_utterance_that_is_also_in_train_is_an_error(
    brief: Callable[..., Config], good: list[Utterance], tmp_path: Path
) -> None:
    config = brief(good)
    write_manifest(tmp_path / "dev.jsonl", good[3:5])
    config.data.dev = str(tmp_path / "dev.jsonl")
    with pytest.raises(
        TrainingError, match=r"2 utterances of .*dev\.jsonl are in .*train\.jsonl too \(first 'good-003'"
    ):
        train(config, tmp_path / "model", device="cpu")


@pytest.mark.parametrize("kind", ["empty", "without transcripts"])
def test_a_dev_set_that_cannot_be_scored_is_an_error_before_training(
    brief: Callable[..., Config],
    good: list[Utterance],
    tmp_path: Path,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = brief(good[:8])
    write_manifest(
        tmp_path / "dev.jsonl", [] if kind == "empty" else [replace(utterance, text=None) for utterance in good[8:]]
    )
    config.data.dev = str(tmp_path / "dev.jsonl")
    steps = count_steps(monkeypatch)
    with pytest.raises((ManifestError, TrainingError), match=r"dev\.jsonl"):
        train(config, tmp_path / "model", device="cpu")
    assert steps == []


def count_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    steps: list[int] = []
    real_step = trainer.Trainer._step

    def step(self: trainer.Trainer, batch: Any) -> Any:
        steps.append(self.progress.step)
        return real_step(self, batch)

    monkeypatch.setattr(trainer.Trainer, "_step", step)
    return steps


def spoil(path: Path, source: Path) -> Path:
    """A copy of a recording whose header is whole but which holds a sample that is no number."""
    samples, rate = soundfile.read(source, dtype="float32")
    samples[100] = np.nan
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return path


def test_a_recording_damaged_after_preparation_is_reported_and_left_out(
    brief: Callable[..., Config],
    good: list[Utterance],
    tmp_path: Path,
    printed: tuple[Any, Callable[[], str]],
) -> None:
    damaged = replace(good[0], id="damaged", audio=spoil(tmp_path / "damaged.wav", good[0].audio))
    console, text = printed
    result = train(brief([*good, damaged]), tmp_path / "model", device="cpu", console=console)
    assert "left out: damaged: " in text()
    assert "damaged.wav: 1 of" in text()
    assert [row["id"] for row in read_log(tmp_path / "model") if row["kind"] == "failure"] == ["damaged"]
    assert np.isfinite(result.history[0]["loss"])


@pytest.mark.parametrize("normalisation", ["utterance", "global"])
def test_a_training_in_which_no_recording_can_be_read_is_an_error(
    brief: Callable[..., Config], good: list[Utterance], tmp_path: Path, normalisation: str
) -> None:
    damaged = [replace(row, audio=spoil(tmp_path / row.audio.name, row.audio)) for row in good[:4]]
    tree = brief(damaged).model_dump()
    tree["features"]["normalisation"] = normalisation
    config = parse_config(tree)
    with pytest.raises(TrainingError, match="read"):
        train(config, tmp_path / "model", device="cpu")
    assert not (tmp_path / "model/model.safetensors").exists()


def infinite_in(monkeypatch: pytest.MonkeyPatch, calls: range) -> None:
    """Make the loss infinite in these calls."""
    real_loss, count = trainer.ctc_loss, iter(range(10**6))

    def loss(*arguments: torch.Tensor) -> torch.Tensor:
        losses = real_loss(*arguments)
        return losses * float("inf") if next(count) in calls else losses

    monkeypatch.setattr(trainer, "ctc_loss", loss)


def test_a_step_that_is_not_finite_is_skipped_and_named(
    brief: Callable[..., Config],
    good: list[Utterance],
    tmp_path: Path,
    printed: tuple[Any, Callable[[], str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    infinite_in(monkeypatch, range(1, 3))
    console, text = printed
    result = train(brief(good), tmp_path / "model", device="cpu", console=console)
    skipped = [row for row in read_log(tmp_path / "model") if row["kind"] == "skip"]
    assert [row["step"] for row in skipped] == [2, 3]
    assert f"step 2: loss or gradient not finite, skipped: {skipped[0]['skipped'][0]}" in text()
    assert np.isfinite(result.history[0]["loss"])
    assert result.history[0]["skipped_steps"] == 2
    load_folder(tmp_path / "model")  # refuses weights that are not finite


@pytest.mark.parametrize("epochs", [1, 20])
def test_ten_steps_in_a_row_that_are_not_finite_end_the_training(
    brief: Callable[..., Config],
    good: list[Utterance],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    epochs: int,
) -> None:
    infinite_in(monkeypatch, range(10**6))
    config = brief(good, epochs=epochs)
    config.data.batch_seconds = 60.0 if epochs > 1 else 0.1  # one step an epoch, or one utterance a step
    with pytest.raises(TrainingError, match="not finite 10 times in a row at step 10; lower"):
        train(config, tmp_path / "model", device="cpu")


def test_half_precision_on_the_cpu_trains_in_float32_and_says_so(
    brief: Callable[..., Config],
    good: list[Utterance],
    tmp_path: Path,
    printed: tuple[Any, Callable[[], str]],
) -> None:
    console, text = printed
    train(brief(good, precision="bfloat16"), tmp_path / "half", device="cpu", console=console)
    assert "training.precision = bfloat16 needs a GPU; this CPU trains in float32" in text()
    train(brief(good, precision="float32"), tmp_path / "full", device="cpu")
    half, full = (load_tensors(tmp_path / name / "model.safetensors")[0] for name in ("half", "full"))
    assert all(torch.equal(half[key], full[key]) for key in full)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16", "float16"])
def test_every_precision_trains_on_a_gpu(
    brief: Callable[..., Config], good: list[Utterance], tmp_path: Path, precision: str
) -> None:
    result = train(brief(good, epochs=3, precision=precision), tmp_path / "model", device="cuda")
    assert result.history[-1]["loss"] < result.history[0]["loss"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA devices")
def test_a_device_that_is_not_there_is_an_error(
    brief: Callable[..., Config], good: list[Utterance], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="--device cuda: this machine has 0 CUDA devices"):
        train(brief(good), tmp_path / "model", device="cuda")


def test_an_output_that_is_a_file_is_an_error(
    brief: Callable[..., Config], good: list[Utterance], tmp_path: Path
) -> None:
    (tmp_path / "model").write_text("taken")
    with pytest.raises(CheckpointError, match="model: cannot be written"):
        train(brief(good), tmp_path / "model", device="cpu")


@pytest.mark.slow
def test_two_ranks_train_one_model(brief: Callable[..., Config], good: list[Utterance], tmp_path: Path) -> None:
    """With an odd number of batches, one of which holds nothing readable, and checkpoints after some steps alone."""
    damaged = replace(good[4], audio=spoil(tmp_path / "damaged.wav", good[4].audio))
    config = brief([*good[:4], damaged, *good[5:9]], epochs=20, checkpoint_minutes=0.0005)
    config.data.batch_seconds = 0.1  # nine batches, each of one utterance
    save_config(config, tmp_path / "config.yaml")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "-m", "asr", "train", tmp_path / "config.yaml", "--output", tmp_path / "model"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*map(str, command), "--device", "cpu"], cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            _, err = process.communicate(timeout=100)
        except subprocess.TimeoutExpired:
            process.terminate()  # and the launcher ends its ranks
            raise
    assert process.returncode == 0, err
    rows = [row for row in read_log(tmp_path / "model") if row["kind"] == "epoch"]
    assert [row["step"] for row in rows] == [5 * epoch for epoch in range(1, 21)]  # each rank takes five an epoch
    assert "left out: good-004" in err
    load_folder(tmp_path / "model")
