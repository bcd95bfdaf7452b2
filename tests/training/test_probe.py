"""`asr train --probe`: the worst batches, and the search for the largest that fits."""

from __future__ import annotations

import io
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from asr.config import Config
from asr.data.augment import Augmenter
from asr.data.batches import make_batches
from asr.data.loading import Batch
from asr.data.manifest import Utterance, write_manifest
from asr.errors import Interrupted, TrainingError
from asr.frames import output_frames
from asr.training import memory
from asr.training.loss import ctc_loss
from asr.training.probe import ProbeResult, probe
from asr.training.probe_batches import Shape, WorstBatches, augmented
from asr.training.step import Step

RATE = 8000
Sized = Callable[..., Config]
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def sized(small_config: Callable[..., Config], tmp_path: Path) -> Sized:
    """`sized([2.0, 3.5])`: a configuration that trains on utterances so long, whose recordings do not exist."""

    def make(seconds: list[float], text: str = "bad cafe", **changes: Any) -> Config:
        utterances = [
            Utterance(f"u{number}", tmp_path / f"{number}.wav", length, RATE, text)
            for number, length in enumerate(seconds)
        ]
        write_manifest(tmp_path / "train.jsonl", utterances)
        changes["data"] = {"train": str(tmp_path / "train.jsonl")} | changes.get("data", {})
        return small_config(**{"model": {"hidden": 8}} | changes)

    return make


def test_what_is_not_trained_on_makes_no_batch(sized: Sized, tmp_path: Path) -> None:
    config = sized([2.0, 1.0, 40.0, 4.0, 0.2])  # 40 s are over data.max_seconds, 0.2 s too short for the letters
    batches = WorstBatches(config)
    assert batches.seconds.tolist() == [1.0, 2.0, 4.0]
    assert batches.longest == 4.0
    assert batches.everything == 12.0
    assert batches.density == len("bad cafe") / 1.0
    assert batches.tokens == 2 + len(set("badcfe"))


@pytest.mark.parametrize("batch_seconds", [3.0, 7.0, 12.0, 30.0, 61.0])
def test_the_batches_are_the_longest_and_those_of_the_most_utterances(sized: Sized, batch_seconds: float) -> None:
    seconds = [*np.random.default_rng(1).uniform(0.8, 7, size=60).tolist(), 7.0]
    long, *many = WorstBatches(sized(seconds)).shapes(batch_seconds)
    assert long.utterances * long.seconds == pytest.approx(batch_seconds)
    assert 7.0 / 2 < long.seconds <= 7.0 or long.utterances == 1
    real = make_batches(seconds, batch_seconds)
    most = max(real, key=len)
    if len(most) > long.utterances:
        assert many == [Shape(len(most), max(seconds[index] for index in most))]
    else:
        assert not many


def test_made_up_batches_can_be_learnt(sized: Sized) -> None:
    config = sized([1.2, 3.0, 6.0], text="cafe beach cab")
    worst = WorstBatches(config)
    for shape in worst.shapes(18.0):
        batch = worst.batch(shape)
        assert len(batch.lengths) == shape.utterances
        assert batch.waveforms.shape[1] == batch.lengths.max() == round(RATE * shape.seconds / 0.95)
        assert batch.lengths.min() < batch.lengths.max()
        assert not batch.waveforms[-1, int(batch.lengths[-1]) :].any()
        frames = torch.tensor([output_frames(samples, config) for samples in batch.lengths.tolist()])
        log_probs = torch.zeros(shape.utterances, int(frames.max()), worst.tokens).log_softmax(-1)
        assert torch.isfinite(ctc_loss(log_probs, frames, batch.tokens, batch.token_lengths)).all()
        assert batch.token_lengths.tolist() == [batch.tokens.shape[1]] * shape.utterances
        assert batch.tokens.shape[1] / shape.seconds >= min(worst.density, int(frames.min()) / shape.seconds) - 1e-9


@pytest.mark.parametrize(
    "augmentation",
    [
        {"speed": {"range": (0.8, 1.2)}, "silence": {"range": (0.0, 0.5)}},
        {"speed": {"range": (1.0, 1.2)}},
        {"speed": None, "no_speech": {"probability": 0.0, "beside": 1.0, "seconds": (0.1, 0.6)}},
        {"speed": {"range": (0.9, 1.1)}, "no_speech": {"probability": 0.1, "beside": 0.9, "seconds": (0.1, 0.4)}},
    ],
)
def test_augmentation_makes_nothing_longer_than_foretold(
    small_config: Callable[..., Config], augmentation: dict[str, Any]
) -> None:
    config = small_config(augmentation=augmentation)
    augmenter, waveform = Augmenter(config.augmentation, RATE), np.random.default_rng(0).normal(size=RATE) * 0.1
    lengths = [len(augmenter(waveform.astype(np.float32), epoch=epoch, id="u")) / RATE for epoch in range(200)]
    foretold = augmented(1.0, config.augmentation)
    assert max(lengths) <= foretold + 0.01
    assert foretold < 1.15 * max(lengths)


@linux
def test_on_a_cpu_the_whole_training_set_may_be_one_batch(
    sized: Sized, printed: tuple[Console, Callable[[], str]]
) -> None:
    console, text = printed
    result = probe(sized([2.0, 2.5, 3.0]), device="cpu", console=console)
    assert result.largest <= 9.0
    assert result.safe == pytest.approx(0.9 * result.largest, abs=0.1)
    assert result.batch_seconds == result.fastest <= result.safe
    assert result.max_seconds is None
    assert result.paste == f"data:\n  batch_seconds: {result.batch_seconds:g}"
    assert all(trial.fits and (trial.peak_bytes or 0) > 0 for trial in result.trials)
    rows = text().splitlines()
    assert rows[1].split() == ["batch_seconds", "peak", "free", "audio", "s/s", "utterances"]
    assert len(rows) == 2 + len(result.trials)
    assert rows[2].split()[0] == "3"
    assert rows[2].endswith("1 x 3.0 s")


@linux
def test_a_cpu_is_not_filled_beyond_four_fifths(sized: Sized, monkeypatch: pytest.MonkeyPatch) -> None:
    room = 300e6
    before = memory.resident()
    monkeypatch.setattr(memory, "available", lambda: max(0, round(room - (memory.resident() - before))))
    monkeypatch.setattr("asr.training.probe.SLOWER", 100)  # goes on although larger batches are not faster
    config = sized([20.0] * 200, text="cafe " * 30, model={"hidden": 64})
    result = probe(config, device="cpu")
    assert result.stopped == "more would take over 80% of the free memory"
    assert all(trial.fits for trial in result.trials)
    taken = max(trial.peak_bytes or 0 for trial in result.trials) - before
    assert 0.6 * room < taken < room


@pytest.fixture
def full_beyond(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """`full_beyond(50.0)`: batches of more seconds ask torch for more memory than any machine has.

    A limit on the process would be nearer to life, but close to it native code crashes now and then.
    """
    make = WorstBatches.batch

    def limit(seconds: float) -> None:
        def batch(self: WorstBatches, shape: Shape) -> Batch:
            if shape.utterances * shape.seconds > seconds:
                torch.empty(2**58)
            return make(self, shape)

        monkeypatch.setattr(WorstBatches, "batch", batch)
        monkeypatch.setattr("asr.training.probe.SLOWER", 100)

    return limit


@linux
def test_where_memory_runs_out_the_search_goes_on_below(
    sized: Sized, full_beyond: Callable[[float], None], printed: tuple[Console, Callable[[], str]]
) -> None:
    full_beyond(27.0)
    console, text = printed
    result = probe(sized([3.0] * 60), device="cpu", console=console)
    assert [trial.batch_seconds for trial in result.trials][:3] == [3.0, 6.0, 12.0]
    failed = [trial.batch_seconds for trial in result.trials if not trial.fits]
    assert max(failed) == 48.0
    assert 27 / 1.05 < result.largest <= 27 < min(failed) < 27 * 1.05
    assert result.stopped == f"{min(failed):g} s do not fit"
    assert result.safe == 24.0 if result.largest >= 26.7 else result.safe == 23.0
    assert [line.split()[0] for line in text().splitlines() if "does not fit" in line] == [f"{s:g}" for s in failed]


@linux
def test_where_the_longest_utterance_is_too_much_max_seconds_is_recommended(
    sized: Sized, full_beyond: Callable[[float], None]
) -> None:
    full_beyond(10.0)
    result = probe(sized([2.0] * 10 + [20.0] * 3), device="cpu")
    assert 9.5 < result.largest <= 10
    assert result.max_seconds == result.safe < 9.1
    assert result.left_out == 3
    assert result.paste.endswith(f"\n  max_seconds: {result.safe:g}")
    assert "max_seconds leaves out 3" in result.summary


@linux
@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_no_room_at_all_is_an_error_with_a_remedy(
    sized: Sized, full_beyond: Callable[[float], None], seconds: float
) -> None:
    full_beyond(seconds)
    with pytest.raises(TrainingError, match=r"not even 1\.\d s of audio fit into the memory .* lower model\.hidden"):
        probe(sized([20.0]), device="cpu")


@linux
def test_a_cpu_that_gets_no_faster_is_not_tried_for_long(sized: Sized, monkeypatch: pytest.MonkeyPatch) -> None:
    class Tiring(Step):
        """A step that takes longer and longer, as where a batch no longer fits into a CPU's caches."""

        def __call__(self, batch: Batch, number: int, rate: float, *, asked: bool = False) -> None:
            super().__call__(batch, number, rate, asked=asked)
            time.sleep(0.002 * len(batch.ids) ** 2)

    monkeypatch.setattr("asr.training.probe.Step", Tiring)
    result = probe(sized([3.0] * 500), device="cpu")
    assert result.stopped.startswith("more is not faster here; about ")
    assert result.batch_seconds == result.fastest < result.largest < 100


@linux
def test_ctrl_c_ends_it_and_says_what_is_known(sized: Sized) -> None:
    class Impatient(io.StringIO):
        """Somebody who presses Ctrl-C when the second size has been tried."""

        def write(self, text: str) -> int:
            if "2 x " in text:
                signal.raise_signal(signal.SIGINT)
            return super().write(text)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
    try:
        with pytest.raises(Interrupted, match=r"interrupted; so far: data.batch_seconds = 6 fits"):
            probe(sized([3.0] * 50), device="cpu", console=Console(file=Impatient(), width=200))
    finally:
        signal.signal(signal.SIGINT, before)


def test_without_a_training_set_it_says_what_to_set(sized: Sized) -> None:
    with pytest.raises(TrainingError, match=r"--set data\.train="):
        probe(sized([1.0], data={"train": None}), device="cpu")
    with pytest.raises(TrainingError, match="no utterance can be trained on"):
        probe(sized([50.0]), device="cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_largest_batch_fits_and_a_larger_one_does_not(sized: Sized) -> None:
    torch.cuda.set_per_process_memory_fraction(0.02)
    try:
        result: ProbeResult = probe(sized([20.0] * 5000, text="cafe " * 30, model={"hidden": 64}), device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    failed = [trial.batch_seconds for trial in result.trials if not trial.fits]
    assert result.largest < min(failed) <= 1.06 * result.largest
    assert result.batch_seconds == result.safe < result.largest
