"""`probe`: the largest batch that fits into memory, found with real training steps on made-up audio."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from rich.console import Console

from asr.config import Config
from asr.data.loading import Batch
from asr.errors import Interrupted, TrainingError
from asr.model.acoustic import AcousticModel
from asr.training import memory
from asr.training.initial import adopted, freeze
from asr.training.probe_batches import Shape, WorstBatches
from asr.training.run import make_accelerator
from asr.training.step import Step

GB = 1e9
RESOLUTION = 0.05
"""How near the largest batch that fits is known, as a share of it."""
MARGIN = 0.1
"""What is taken off it: batches of ever changing shapes leave gaps in a GPU's memory."""
CPU_SHARE = 0.8
"""A CPU's free memory is not filled beyond this: the kernel ends a process that runs out, a GPU raises an error."""
NO_FASTER = 0.05
"""A larger batch has to train faster by this share to be worth it."""
SLOWER = 2
"""On a CPU so many sizes, one after the other, slower than one before are enough: even larger ones take minutes."""
WARM_UP_SECONDS = 1.0
"""A first, small batch: the optimiser takes its memory, and libraries theirs."""
GPU_STEPS, CPU_STEPS, CPU_ENOUGH = 3, 5, 1.0
"""Timed steps of a shape: on a GPU so many after one that is not timed; on a CPU at most, and for so many seconds."""


@dataclass(frozen=True)
class Trial:
    """Training steps with one `data.batch_seconds`."""

    batch_seconds: float
    shapes: tuple[Shape, ...]
    """The longest utterances, and the batch of the training set that has the most."""
    fits: bool
    peak_bytes: int | None = None
    """Of the GPU, or of this process on a CPU."""
    free_bytes: int | None = None
    """What was left of it then."""
    audio_seconds_per_second: float | None = None
    """Seconds of audio trained on per second."""


@dataclass(frozen=True)
class ProbeResult:
    """What was found. All seconds are in terms of `data.batch_seconds`."""

    device: str
    trials: tuple[Trial, ...]
    """In the order in which they were made."""
    stopped: str
    """Why nothing larger was tried."""
    largest: float
    """The largest that fits."""
    safe: float
    """`MARGIN` less."""
    fastest: float
    """The smallest that trains as fast as any, within `NO_FASTER`; at most `safe`."""
    batch_seconds: float
    """Recommended: `safe` on a GPU, `fastest` on a CPU."""
    max_seconds: float | None
    """Recommended for `data.max_seconds` where the longest utterance alone is too much."""
    left_out: int
    """How many utterances that leaves out of training."""

    @property
    def summary(self) -> str:
        """A line or two for people."""
        text = (
            f"Largest that was tried and fits {self.device}: {_shown(self.largest)} s ({self.stopped}). "
            f"With {MARGIN:.0%} to spare: {self.safe:g} s. As fast as any: {self.fastest:g} s."
        )
        if self.max_seconds is not None:
            text += (
                f"\nLonger utterances do not fit with {MARGIN:.0%} to spare: max_seconds leaves out {self.left_out}."
            )
        return text

    @property
    def paste(self) -> str:
        """The lines for the configuration."""
        longest = "" if self.max_seconds is None else f"\n  max_seconds: {self.max_seconds:g}"
        return f"data:\n  batch_seconds: {self.batch_seconds:g}{longest}"


def probe(config: Config, *, device: str = "auto", console: Console | None = None) -> ProbeResult:
    """Find the largest `data.batch_seconds` with which `config` can train, and the fastest.

    Each size is tried in two shapes: utterances as long as the longest that is trained on, and the most short ones that
    make a batch; each as long as augmentation can make it, with as many labels a second as the densest transcript has.
    The size doubles until memory runs out, and is then narrowed down to `RESOLUTION`. No audio is read.

    Args:
        config: `data.train` must be set; `data.batch_seconds` does not matter.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        console: where each size is printed; None prints nothing.

    Raises:
        TrainingError: there is nothing to train on, not even a second fits, or this is one of several processes.
        Interrupted: Ctrl-C; the message says what is known so far.
        ManifestError, ConfigError: as their names say.
    """
    config, _ = adopted(config)
    corpus = WorstBatches(config)
    trials = _Trials(config, corpus, device, console)
    try:
        stopped = trials.run()
    except KeyboardInterrupt:
        known = trials.largest
        found = f"data.batch_seconds = {_shown(known)} fits" if known else "nothing was found out"
        raise Interrupted(f"interrupted; so far: {found}") from None
    return _result(trials, corpus, stopped)


class _Trials:
    """Sizes tried one after the other."""

    def __init__(self, config: Config, corpus: WorstBatches, device: str, console: Console | None):
        self.config, self.corpus, self.console = config, corpus, console
        self.accelerator = make_accelerator(config.training, device, console)
        if self.accelerator.num_processes > 1:
            raise TrainingError(
                "--probe measures what one process can hold, and data.batch_seconds is for each; run it without "
                "torchrun or accelerate launch"
            )
        self.device = self.accelerator.device
        self.on_gpu = self.device.type == "cuda"
        self.trials: list[Trial] = []
        self.step: Step | None = None
        self.base, self.slope = 0, 0.0  # bytes before any batch, and for each of its seconds

    @property
    def largest(self) -> float | None:
        """The largest size that fits, so far."""
        return max((trial.batch_seconds for trial in self.trials if trial.fits), default=None)

    def run(self) -> str:
        """Try sizes until the largest is known; why nothing larger was tried."""
        self._start()
        if not self.on_gpu:
            self.base = memory.resident()
            self._measure((Shape(1, self.corpus.longest / 4),))  # to foretell from what the next size will take
        self._say(f"{self.name}, {self._room()} free; batches of up to {self.corpus.longest:.1f} s an utterance")
        self._say(f"{'batch_seconds':>13}  {'peak':>8}  {'free':>8}  {'audio s/s':>9}  utterances")
        size, smallest_too_large = min(self.corpus.longest, self._ceiling()), math.inf
        if size < min(self.corpus.longest, WARM_UP_SECONDS):
            raise TrainingError(self._too_small(WARM_UP_SECONDS))
        while True:
            try:
                if not self._try(size):
                    smallest_too_large = size
            except RuntimeError as error:  # kernels have limits of their own
                if self.largest is None:
                    raise
                return f"with {_shown(size)} s training fails for another reason: {str(error).splitlines()[0]}"
            low = self.largest or 0.0
            ceiling, everything = self._ceiling(), self.corpus.everything
            if smallest_too_large == math.inf and self._slowing():
                return f"more is not faster here; about {_shown(min(ceiling, everything))} s would fit"
            size = 2 * low if smallest_too_large == math.inf else (low + smallest_too_large) / 2
            size = _three_digits(min(size, ceiling, everything))
            if size <= low * (1 + RESOLUTION / 2) or size < WARM_UP_SECONDS:
                break
        if low == 0:
            raise TrainingError(self._too_small(smallest_too_large))
        if smallest_too_large < math.inf:
            return f"{_shown(smallest_too_large)} s do not fit"
        if low * (1 + RESOLUTION / 2) >= everything:
            return "that is the whole training set in one batch"
        return f"more would take over {CPU_SHARE:.0%} of the free memory"

    def _slowing(self) -> bool:
        """Whether the last sizes were slower than one before, on a CPU."""
        speeds = [trial.audio_seconds_per_second or 0.0 for trial in self.trials if trial.fits]
        return not self.on_gpu and len(speeds) > SLOWER and max(speeds[-SLOWER:]) < max(speeds[:-SLOWER])

    @property
    def name(self) -> str:
        """The device, for people."""
        if self.on_gpu:
            return f"{torch.cuda.get_device_name(self.device)} ({self.device})"
        threads = torch.get_num_threads()
        return f"this CPU ({threads} thread{'s' * (threads > 1)})"

    def _start(self) -> None:
        """Make model and optimiser anew, and let them take the memory that they always need."""
        self.step = None
        self.accelerator.free_memory()
        if self._measure((Shape(1, WARM_UP_SECONDS),), warm_up=True) is None:
            raise TrainingError(self._too_small(WARM_UP_SECONDS))

    def _too_small(self, seconds: float) -> str:
        return (
            f"not even {seconds:.1f} s of audio fit into the memory of {self.name}; lower model.hidden, model.layers "
            "or model.subsampling.channels, or free some memory"
        )

    def _try(self, size: float) -> bool:
        """Whether `size` fits; noted, and printed."""
        shapes = self.corpus.shapes(size)
        measured = self._measure(shapes)
        if measured is None:
            trial = Trial(size, shapes, fits=False)
            self._start()
        else:
            peak, free, speed = measured
            trial = Trial(size, shapes, True, peak, free, speed)
        self.trials.append(trial)
        numbers = f"{'does not fit':>29}" if measured is None else f"{_gb(peak):>8}  {_gb(free):>8}  {speed:>9.0f}"
        self._say(f"{_shown(size):>13}  {numbers}  {', '.join(map(str, shapes))}")
        return trial.fits

    def _measure(self, shapes: tuple[Shape, ...], *, warm_up: bool = False) -> tuple[int, int, float] | None:
        """Train on `shapes`: peak and free bytes, seconds of audio a second; None when memory runs out."""
        try:
            if warm_up:
                model = AcousticModel(self.config, self.corpus.tokens)
                if self.config.training.frozen is not None:
                    freeze(model, self.config.training.frozen)
                self.step = Step(self.config, self.accelerator, model)
                self.step.model.train()
            self._forget_peak()
            audio, spent = 0.0, 0.0
            for shape in shapes:
                seconds, took = self._train(self.corpus.batch(shape))
                audio, spent = audio + seconds, spent + took
            peak, free = self._peak_and_free()
        except (RuntimeError, MemoryError) as error:
            if not memory.is_out_of_memory(error):
                raise
            return None  # which also lets go of what the error's traceback held
        if not warm_up:
            self.slope = max(0, peak - self.base) / (shapes[0].utterances * shapes[0].seconds)
        return peak, free, audio / spent

    def _train(self, batch: Batch) -> tuple[float, float]:
        """Steps on one batch: seconds of audio, and seconds that they took."""
        assert self.step is not None
        if self.on_gpu:
            self.step(batch, 0, rate=0.0)  # the weights stay: noise teaches nothing
            self.step.read()  # waits for the GPU
        steps, started, took = 0, time.monotonic(), 0.0
        while steps < GPU_STEPS if self.on_gpu else steps < CPU_STEPS and took < CPU_ENOUGH:
            self.step(batch, steps, rate=0.0)
            steps += 1
            took = time.monotonic() - started
        self.step.read()
        took = time.monotonic() - started
        return steps * float(batch.lengths.sum()) / self.config.features.sample_rate, took

    def _forget_peak(self) -> None:
        if self.on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            memory.forget_peak()

    def _peak_and_free(self) -> tuple[int, int]:
        if self.on_gpu:
            return torch.cuda.max_memory_reserved(self.device), torch.cuda.mem_get_info(self.device)[0]
        peak = memory.resident(peak=True)
        return peak, max(0, memory.available() + memory.resident() - peak)

    def _ceiling(self) -> float:
        """The largest size that may be tried without harm."""
        if self.on_gpu or not self.slope:
            return math.inf
        return CPU_SHARE * (memory.resident() - self.base + memory.available()) / self.slope

    def _room(self) -> str:
        return _gb(torch.cuda.mem_get_info(self.device)[0] if self.on_gpu else memory.available())

    def _say(self, line: str) -> None:
        if self.console:
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)


def _result(trials: _Trials, corpus: WorstBatches, stopped: str) -> ProbeResult:
    fitting = sorted((trial for trial in trials.trials if trial.fits), key=lambda trial: trial.batch_seconds)
    largest = fitting[-1].batch_seconds
    safe = _two_digits_down(largest * (1 - MARGIN))
    speeds = {trial.batch_seconds: trial.audio_seconds_per_second or 0.0 for trial in fitting}
    fastest = min(size for size, speed in speeds.items() if speed >= (1 - NO_FASTER) * max(speeds.values()))
    too_long = safe < corpus.longest and largest < corpus.everything
    return ProbeResult(
        device=trials.name,
        trials=tuple(trials.trials),
        stopped=stopped,
        largest=largest,
        safe=safe,
        fastest=min(_three_digits(fastest), safe),
        batch_seconds=safe if trials.on_gpu else min(_three_digits(fastest), safe),
        max_seconds=safe if too_long else None,
        left_out=int((corpus.seconds > safe).sum()) if too_long else 0,
    )


def _three_digits(value: float) -> float:
    return float(f"{value:.3g}")


def _two_digits_down(value: float) -> float:
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return round(math.floor(value / unit + 1e-9) * unit, 6)


def _shown(seconds: float) -> str:
    return f"{_three_digits(seconds):g}"


def _gb(size: float) -> str:
    return f"{size / GB:.2f} GB"
