"""Duration-bucketed batches: which utterances go together, in which order, on which rank."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from torch.utils.data import Sampler


def make_batches(
    seconds: Sequence[float], batch_seconds: float, *, shuffle: random.Random | None = None, jitter: float = 0.1
) -> list[list[int]]:
    """Group utterances of similar length so that no batch, padding included, exceeds `batch_seconds`.

    Args:
        seconds: duration of each utterance.
        batch_seconds: bound on longest x count; a single utterance longer than it is a batch alone.
        shuffle: generator that mixes the groups anew each epoch and shuffles their order; None: by length.
        jitter: how far a duration may be misjudged while sorting, so that groups change from epoch to epoch.

    Returns:
        Lists of indices into `seconds`, together every index once.
    """
    keys = [s * (1 + jitter * (shuffle.random() * 2 - 1)) if shuffle else s for s in seconds]
    order = sorted(range(len(seconds)), key=lambda i: (keys[i], i))
    batches: list[list[int]] = []
    longest = 0.0
    for index in order:
        longest = max(longest, seconds[index])
        if batches and longest * (len(batches[-1]) + 1) <= batch_seconds:
            batches[-1].append(index)
        else:
            batches.append([index])
            longest = seconds[index]
    if shuffle:
        shuffle.shuffle(batches)
    return batches


def padding_share(seconds: Sequence[float], batches: Sequence[Sequence[int]]) -> float:
    """Share of all batched seconds that is padding, 0 to 1."""
    padded = sum(max(seconds[i] for i in batch) * len(batch) for batch in batches)
    return 1 - sum(seconds[i] for batch in batches for i in batch) / padded if padded else 0.0


class BatchSampler(Sampler[list[tuple[int, int]]]):
    """Batches of `(epoch, index)`; the epoch travels along because augmentation is a function of it.

    The order depends on seed and epoch alone, so training can continue from any batch of any epoch. Every rank of a
    distributed run gets the same number of batches: the last round is filled up from the first.
    """

    def __init__(self, seconds: Sequence[float], batch_seconds: float, *, seed: int, rank: int = 0, ranks: int = 1):
        self.seconds = list(seconds)
        self.batch_seconds = batch_seconds
        self.seed = seed
        self.rank, self.ranks = rank, ranks
        self.epoch = 0
        self.first = 0

    def start(self, epoch: int, first: int = 0) -> None:
        """Make the next iteration that of `epoch`, leaving out its first `first` batches."""
        self.epoch, self.first = epoch, first

    def batches(self, epoch: int) -> list[list[int]]:
        """The batches of this rank in `epoch`."""
        shuffle = random.Random(f"{self.seed}/{epoch}")
        batches = make_batches(self.seconds, self.batch_seconds, shuffle=shuffle)
        missing = -len(batches) % self.ranks
        batches += (batches * missing)[:missing]
        return batches[self.rank :: self.ranks]

    def __len__(self) -> int:
        return len(self.batches(self.epoch)) - self.first

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for batch in self.batches(self.epoch)[self.first :]:
            yield [(self.epoch, index) for index in batch]
