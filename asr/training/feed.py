"""What training is fed with: the batches of an epoch, from files or from shards that come and go, augmented."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader

from asr.config import Config
from asr.data.augment import Augmenter
from asr.data.batches import BatchSampler, padding_share
from asr.data.examples import Examples
from asr.data.loading import Batch, SpeechDataset, babble_pool, collate
from asr.data.shard_cache import ShardCache
from asr.training.interrupt import ignore_interrupts

STATISTICS_SECONDS = 60.0
"""Batches in which the training set is read to measure its features."""


class Feed:
    """The batches of one rank.

    Args:
        config: `data`, `augmentation`, `features.sample_rate` and `training.seed` matter here.
        examples: the training set.
        cache: where its shards are fetched, when it lies behind a URL.
        rank: of this process.
        ranks: how many processes share an epoch.
        pin_memory: for copies to a GPU.
    """

    def __init__(
        self, config: Config, examples: Examples, cache: ShardCache | None, rank: int, ranks: int, pin_memory: bool
    ):
        self.data, self.examples, self.cache, self.pin_memory = config.data, examples, cache, pin_memory
        self.sample_rate, seed = config.features.sample_rate, config.training.seed
        self.sampler = self._sampler(
            config.data.batch_seconds, seed=seed, rank=rank, ranks=ranks, shortest_first=config.data.shortest_first
        )
        pool = partial(babble_pool, examples, self.sample_rate, seed)
        self.augmenter = Augmenter(config.augmentation, self.sample_rate, seed=seed, babble=None if cache else pool)

    @property
    def seconds(self) -> float:
        """Seconds of audio in an epoch of all ranks."""
        return sum(self.examples.seconds)

    @property
    def padding(self) -> float:
        """Share of the batches that is padding, 0 to 1."""
        return padding_share(self.examples.seconds, self.sampler.batches(0))

    def count(self, epoch: int) -> int:
        """Batches of this rank in `epoch`, the same on every rank."""
        return len(self.sampler.batches(epoch))

    def batches(self, epoch: int, first: int) -> AbstractContextManager[Iterable[Batch]]:
        """The batches of `epoch` from number `first` on; leaving the context stops what fetches and reads them."""
        self.sampler.start(epoch, first)
        if self.cache is None:
            return nullcontext(self._loader())
        return closing(self.cache.batches(self.sampler.stages(epoch), first, self._loader))

    def everything(self) -> AbstractContextManager[Iterable[Batch]]:
        """The whole training set as it is, on every rank, so that all measure the same."""
        dataset = SpeechDataset(self.examples, self.sample_rate)
        sampler = self._sampler(STATISTICS_SECONDS, seed=0)

        def load() -> Generator[Batch, None, None]:
            return (collate([dataset[key] for key in keys]) for keys in sampler)

        return closing(self.cache.batches(sampler.stages(0), 0, load) if self.cache else load())

    def _sampler(self, batch_seconds: float, **options: Any) -> BatchSampler:
        return BatchSampler(
            self.examples.seconds,
            batch_seconds,
            shards=self.examples.shards,
            buffer_shards=self.data.buffer_shards,
            **options,
        )

    def _loader(self) -> DataLoader[Any]:
        return DataLoader(
            SpeechDataset(self.examples, self.sample_rate, self.augmenter),
            batch_sampler=self.sampler,
            num_workers=self.data.workers,
            collate_fn=collate,
            pin_memory=self.pin_memory,
            worker_init_fn=ignore_interrupts,
            generator=torch.Generator(),  # else each start of a loader takes a number from dropout's generator
            prefetch_factor=4 if self.data.workers else None,
        )
