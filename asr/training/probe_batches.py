"""The batches of a training set that take the most memory, made of noise: what `asr train --probe` trains on."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass

import numpy as np
import torch

from asr.config import AugmentationConfig, Config
from asr.data.doctor import frames_problem, length_problem, text_problem
from asr.data.index import ManifestIndex
from asr.data.loading import Batch
from asr.data.shard_cache import ShardCache
from asr.data.shards import is_remote
from asr.errors import TrainingError
from asr.frames import output_frames
from asr.text import normalise
from asr.training.preparation import build_tokenizer

RAGGED = 0.9
"""Length of the shortest utterance of a batch as a share of the longest: batches are of similar lengths."""


@dataclass(frozen=True)
class Shape:
    """So many utterances of at most so many seconds, as `data.batch_seconds` counts them."""

    utterances: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.utterances} x {self.seconds:.1f} s"


class WorstBatches:
    """What batches can be made of the training set of `config`. Audio is not read.

    Attributes:
        tokens: size of the token table, blank included.
        seconds: durations of the utterances that can be trained on, the shortest first.
        density: most labels a second of any of them.

    Raises:
        TrainingError: there are none.
        ManifestError: as its name says.
    """

    def __init__(self, config: Config):
        self.config = config
        if config.data.train is None:
            raise TrainingError("data.train is not set: name a manifest, e.g. --set data.train=data/an4/train")
        cache = ShardCache(config.data.train) if is_remote(config.data.train) else None
        utterances = ManifestIndex(cache.parts) if cache else ManifestIndex.open(config.data.train)
        if not len(utterances):
            raise TrainingError(f"{config.data.train}: no utterances to train on; is it the right manifest?")
        tokenizer = build_tokenizer(utterances, config)
        self.tokens, self.density, seconds = len(tokenizer), 0.0, array("d")
        for utterance in utterances:
            if text_problem(utterance, tokenizer, config) or length_problem(utterance, config):
                continue
            labels = tokenizer.encode(normalise(utterance.text or "", config.text.case, config.text.remove))
            if frames_problem(utterance, labels, utterance.duration, config) is None:
                seconds.append(utterance.duration)
                self.density = max(self.density, len(labels) / utterance.duration)
        if not seconds:
            raise TrainingError(f"{config.data.train}: no utterance can be trained on; `asr data doctor` says why")
        self.seconds = np.sort(np.array(seconds))

    @property
    def longest(self) -> float:
        """Seconds of the longest utterance."""
        return float(self.seconds[-1])

    @property
    def everything(self) -> float:
        """The `data.batch_seconds` that makes one batch of the whole training set."""
        return len(self.seconds) * self.longest

    def shapes(self, batch_seconds: float) -> tuple[Shape, ...]:
        """Batches of `batch_seconds`: of the longest utterances (or a part of one), and of the most that fill one."""
        count = math.ceil(batch_seconds / self.longest - 1e-9)
        few = Shape(count, batch_seconds / count)
        padded = self.seconds * np.arange(1, len(self.seconds) + 1)
        most = int(np.searchsorted(padded, batch_seconds, side="right"))
        if most <= count:
            return (few,)
        return few, Shape(most, float(self.seconds[most - 1]))

    def batch(self, shape: Shape) -> Batch:
        """Noise of this shape, as long as augmentation can make it, with as many labels as a transcript may have."""
        rate, count = self.config.features.sample_rate, shape.utterances
        samples = round(rate * augmented(shape.seconds, self.config.augmentation))
        lengths = torch.linspace(samples, RAGGED * samples, count).round().long()
        waveforms = torch.randn(count, samples, generator=torch.Generator().manual_seed(0)) * 0.1
        for row, length in enumerate(lengths.tolist()):
            waveforms[row, length:] = 0
        frames = output_frames(int(lengths[-1]), self.config)
        labels = max(1, min(math.ceil(self.density * shape.seconds), frames))
        tokens = 1 + torch.arange(labels).expand(count, labels) % (self.tokens - 1)  # no neighbours are equal
        return Batch([""] * count, waveforms, lengths, tokens.contiguous(), torch.full((count,), labels))


def augmented(seconds: float, augmentation: AugmentationConfig) -> float:
    """The longest that augmentation can make an utterance of `seconds`."""
    if augmentation.no_speech and augmentation.no_speech.beside:
        seconds += 2 * augmentation.no_speech.seconds[1]
    for change in (augmentation.speed, augmentation.tempo):
        if change:
            seconds /= min(1.0, change.range[0])
    if augmentation.silence:
        seconds += 2 * augmentation.silence.range[1]
    return seconds
