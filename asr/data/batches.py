"""Duration-bucketed batches: which utterances go together, in which order, on which rank."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

from asr.errors import TrainingError

JITTER = 0.1
"""How far a duration may be misjudged while sorting, so that groups change from epoch to epoch."""


def make_batches(
    seconds: Sequence[float], batch_seconds: float, *, shuffle: random.Random | None = None
) -> list[list[int]]:
    """Group utterances of similar length so that no batch, padding included, exceeds `batch_seconds`.

    Args:
        seconds: duration of each utterance.
        batch_seconds: bound on longest x count; a single utterance longer than it is a batch alone.
        shuffle: generator that mixes the groups anew each epoch and shuffles their order; None: by length.

    Returns:
        Lists of indices into `seconds`, together every index once.
    """
    keys = [s * (1 + JITTER * (shuffle.random() * 2 - 1)) if shuffle else s for s in seconds]
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


@dataclass(frozen=True, slots=True)
class Stage:
    """Consecutive batches of one rank, and the shards they read."""

    shards: list[int]
    batches: list[list[int]]


class BatchSampler:
    """Batches of `(epoch, index)`; the epoch travels along because augmentation is a function of it.

    The order depends on seed and epoch alone, so training can continue from any batch of any epoch, with any number of
    worker processes. Every rank of a distributed run gets the same number of batches: those of one process with `ranks`
    times the seconds, each dealt out among the ranks, which so take the very steps of that process together. A rank's
    share may be empty, and may exceed the bound by one utterance. With shards, each rank makes batches of its own.

    Args:
        seconds: duration of each utterance.
        batch_seconds: bound on longest x count of a batch of one rank.
        seed: of the order.
        rank: of this process.
        ranks: how many processes share the epoch.
        shortest_first: the first epoch goes from short to long; with shards, each stage of it does.
        shards: the utterances of each shard. Each rank then reads shards of its own, in an order shuffled every epoch,
            and mixes the utterances of `buffer_shards` of them at a time: a shuffle that needs no random access.
        buffer_shards: how many that is.

    Raises:
        TrainingError: there are fewer shards than ranks.
    """

    def __init__(
        self,
        seconds: Sequence[float],
        batch_seconds: float,
        *,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
        shortest_first: bool = False,
        shards: Sequence[range] | None = None,
        buffer_shards: int = 4,
    ):
        self.seconds = seconds
        self.batch_seconds = batch_seconds
        self.seed = seed
        self.rank, self.ranks = rank, ranks
        self.shortest_first = shortest_first
        self.shards = shards
        self.buffer_shards = buffer_shards
        self.epoch = 0
        self.first = 0
        self._planned: tuple[int, list[Stage]] | None = None
        # A shard may have nothing that can be trained on.
        self._used = [number for number, shard in enumerate(shards or ()) if len(shard)]
        if shards is not None and len(self._used) < ranks:
            raise TrainingError(
                f"{len(self._used)} shards for {ranks} processes, and each needs one of its own; write smaller ones "
                "with `asr data shard --size`"
            )

    def start(self, epoch: int, first: int = 0) -> None:
        """Make the next iteration that of `epoch`, leaving out its first `first` batches."""
        self.epoch, self.first = epoch, first

    def stages(self, epoch: int) -> list[Stage]:
        """This rank's batches in `epoch`, in stages; one stage where there are no shards."""
        if self._planned is None or self._planned[0] != epoch:
            plan = self._whole(epoch) if self.shards is None else self._sharded(epoch, self.shards)
            self._planned = (epoch, plan)
        return self._planned[1]

    def batches(self, epoch: int) -> list[list[int]]:
        """The batches of this rank in `epoch`."""
        return [batch for stage in self.stages(epoch) for batch in stage.batches]

    def _whole(self, epoch: int) -> list[Stage]:
        batches = make_batches(self.seconds, self.ranks * self.batch_seconds, shuffle=self._shuffle(epoch))
        return [Stage([], [batch[self.rank :: self.ranks] for batch in batches])]

    def _sharded(self, epoch: int, shards: Sequence[range]) -> list[Stage]:
        order = list(self._used)
        random.Random(f"{self.seed}/{epoch}/shards").shuffle(order)
        plans = [self._rank_stages(order[rank :: self.ranks], epoch, shards) for rank in range(self.ranks)]
        counts = [sum(len(stage.batches) for stage in plan) for plan in plans]
        mine, missing = plans[self.rank], max(counts) - counts[self.rank]
        for stage in cycle(tuple(mine)):  # this rank's own first stages again, as far as needed
            if missing <= 0:
                return mine
            mine.append(Stage(stage.shards, stage.batches[:missing]))
            missing -= len(mine[-1].batches)
        return mine

    def _rank_stages(self, order: Sequence[int], epoch: int, shards: Sequence[range]) -> list[Stage]:
        stages = []
        for first in range(0, len(order), self.buffer_shards):
            group = list(order[first : first + self.buffer_shards])
            members = [index for number in group for index in shards[number]]
            seconds = [self.seconds[index] for index in members]
            batches = make_batches(seconds, self.batch_seconds, shuffle=self._shuffle(epoch, f"/{group[0]}"))
            stages.append(Stage(group, [[members[i] for i in batch] for batch in batches]))
        return stages

    def _shuffle(self, epoch: int, part: str = "") -> random.Random | None:
        return None if self.shortest_first and epoch == 0 else random.Random(f"{self.seed}/{epoch}{part}")

    def __len__(self) -> int:
        return len(self.batches(self.epoch)) - self.first

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for batch in self.batches(self.epoch)[self.first :]:
            yield [(self.epoch, index) for index in batch]
