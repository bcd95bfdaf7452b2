"""From utterances to padded batches of waveforms and tokens, with speed perturbation on the way."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from asr.audio import load_audio
from asr.data.manifest import Utterance
from asr.errors import AsrError


@dataclass(frozen=True, slots=True)
class Example:
    """An utterance with its token ids."""

    utterance: Utterance
    tokens: list[int]
    fastest: float = float("inf")
    """Speed factor at which its frames only just suffice for CTC; it is never perturbed beyond."""


@dataclass(slots=True)
class Loaded:
    """One utterance read: a waveform `[samples]`, or the reason why there is none."""

    id: str
    waveform: np.ndarray | None
    tokens: list[int]
    problem: str = ""


@dataclass(slots=True)
class Batch:
    """Padded utterances.

    Attributes:
        ids: utterance ids, in batch order.
        waveforms: float32 `[batch, samples]`, padded with 0.
        lengths: samples of each, `[batch]`.
        tokens: token ids `[batch, labels]`, padded with 0.
        token_lengths: labels of each, `[batch]`.
        failures: (id, reason) of utterances that could not be read; they are not in the batch.
    """

    ids: list[str]
    waveforms: Tensor
    lengths: Tensor
    tokens: Tensor
    token_lengths: Tensor
    failures: list[tuple[str, str]] = field(default_factory=list)

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, for copies that do not hold up the GPU."""
        return self._map(Tensor.pin_memory)

    def _map(self, move: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(
            self.ids,
            move(self.waveforms),
            move(self.lengths),
            move(self.tokens),
            move(self.token_lengths),
            self.failures,
        )


class SpeechDataset(Dataset[Loaded]):
    """Reads `(epoch, index)`: audio at `sample_rate`, with random speed and gain when `speed`, `gain_db` are ranges.

    Both are drawn from seed, epoch and utterance id, so they are the same whatever the number of workers.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        sample_rate: int,
        *,
        speed: tuple[float, float] = (1.0, 1.0),
        gain_db: tuple[float, float] = (0.0, 0.0),
        seed: int = 0,
    ):
        self.examples = examples
        self.sample_rate = sample_rate
        self.speed = speed
        self.gain_db = gain_db
        self.seed = seed

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, key: tuple[int, int]) -> Loaded:
        epoch, index = key
        example = self.examples[index]
        utterance = example.utterance
        try:
            waveform = load_utterance(utterance, self.sample_rate)
        except AsrError as error:
            return Loaded(utterance.id, None, example.tokens, str(error))
        random = np.random.default_rng([self.seed, epoch, zlib.crc32(utterance.id.encode())])
        if self.speed != (1.0, 1.0):
            waveform = change_speed(waveform, min(random.uniform(*self.speed), example.fastest))
        if self.gain_db != (0.0, 0.0):
            waveform = waveform * np.float32(10 ** (random.uniform(*self.gain_db) / 20))
        return Loaded(utterance.id, waveform, example.tokens)


def load_utterance(utterance: Utterance, sample_rate: int) -> np.ndarray:
    """The utterance's audio, float32 mono `[samples]`; `AudioError` when it cannot be read."""
    return load_audio(
        utterance.audio,
        sample_rate,
        start=utterance.start,
        duration=None if utterance.whole else utterance.duration,
        channel=utterance.channel,
    )


def change_speed(waveform: np.ndarray, factor: float) -> np.ndarray:
    """Play `factor` times faster, tempo and pitch together (Ko et al. 2015): `[samples]` to `[samples / factor]`."""
    import soxr

    # 16-bit quality: what it leaves of aliasing lies below the noise of any recording, and it is twice as fast.
    return soxr.resample(waveform, factor, 1.0, quality="LQ")


def silence(samples: int) -> Batch:
    """A stand-in for a batch that could not be read: one silent utterance `[1, samples]` without labels or id."""
    none = torch.zeros(1, 0, dtype=torch.long)
    return Batch([], torch.zeros(1, samples), torch.tensor([samples]), none, torch.tensor([0]))


def collate(loaded: Sequence[Loaded]) -> Batch:
    """Pad what could be read into one batch; the rest is listed in `failures`."""
    good = [(item, item.waveform) for item in loaded if item.waveform is not None]
    lengths = torch.tensor([len(waveform) for _, waveform in good], dtype=torch.long)
    token_lengths = torch.tensor([len(item.tokens) for item, _ in good], dtype=torch.long)
    waveforms = torch.zeros(len(good), int(lengths.max()) if good else 0)
    tokens = torch.zeros(len(good), int(token_lengths.max()) if good else 0, dtype=torch.long)
    for row, (item, waveform) in enumerate(good):
        waveforms[row, : len(waveform)] = torch.from_numpy(waveform)
        tokens[row, : len(item.tokens)] = torch.tensor(item.tokens, dtype=torch.long)
    failures = [(item.id, item.problem) for item in loaded if item.waveform is None]
    return Batch([item.id for item, _ in good], waveforms, lengths, tokens, token_lengths, failures)
