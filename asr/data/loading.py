"""From utterances to padded batches of waveforms and tokens, with augmentation on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from asr.data.augment import Augmenter
from asr.data.examples import Example
from asr.data.reading import load_utterance
from asr.errors import AsrError, AudioError

BABBLE_UTTERANCES = 40
"""Waveforms that each reading process keeps to mix babble from: some minutes, about 20 MB."""


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
    """Reads `(epoch, index)`: audio at `sample_rate`, perturbed by `augmenter` where there is one.

    What is done to an utterance depends on seed, epoch and utterance id, so it is the same whatever the number of
    worker processes.
    """

    def __init__(self, examples: Sequence[Example], sample_rate: int, augmenter: Augmenter | None = None):
        self.examples = examples
        self.sample_rate = sample_rate
        self.augmenter = augmenter

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, key: tuple[int, int]) -> Loaded:
        epoch, index = key
        example = self.examples[index]
        utterance = example.utterance
        try:
            waveform = load_utterance(utterance, self.sample_rate)
            if self.augmenter is not None:
                sound = self.augmenter.no_speech(waveform, epoch=epoch, id=utterance.id)
                if sound is not None:
                    return Loaded(utterance.id, sound, [])
                waveform = self.augmenter(waveform, epoch=epoch, id=utterance.id, fastest=example.fastest)
        except AsrError as error:
            return Loaded(utterance.id, None, example.tokens, str(error))
        return Loaded(utterance.id, waveform, example.tokens)


def babble_pool(examples: Sequence[Example], sample_rate: int, seed: int) -> list[np.ndarray]:
    """Waveforms of a few utterances to mix babble from, drawn by `seed`; those that cannot be read are left out."""
    chosen = np.random.default_rng(seed).choice(
        len(examples), size=min(BABBLE_UTTERANCES, len(examples)), replace=False
    )
    pool = []
    for number in chosen.tolist():
        with suppress(AudioError):  # training reports them when it comes to them
            pool.append(load_utterance(examples[number].utterance, sample_rate))
    return pool


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
