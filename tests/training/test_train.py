from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from asr.config import Config
from asr.data.manifest import Utterance
from asr.errors import CheckpointError, ConfigError, TrainingError
from asr.model.checkpoint import load_folder, load_tensors
from asr.training import objective, train
from asr.training.log import read_log
from tests.trainings import last_checkpoint

if TYPE_CHECKING:
    from tests.conftest import Trained

REPOSITORY = Path(__file__).resolve().parents[2]


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
        load_tensors(last_checkpoint(result.folder))[0],
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


def infinite_in(monkeypatch: pytest.MonkeyPatch, calls: range) -> None:
    """Make the loss infinite in these calls."""
    real_loss, count = objective.ctc_loss, iter(range(10**6))

    def loss(*arguments: torch.Tensor) -> torch.Tensor:
        losses = real_loss(*arguments)
        return losses * float("inf") if next(count) in calls else losses

    monkeypatch.setattr(objective, "ctc_loss", loss)


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
