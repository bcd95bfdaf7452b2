from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from asr.data.batches import BatchSampler, make_batches, padding_share
from asr.errors import TrainingError

SECONDS = st.lists(st.floats(0.01, 40.0), max_size=80)


def durations(count: int = 500) -> list[float]:
    source = random.Random(1)
    return [source.uniform(0.5, 16.0) for _ in range(count)]


@given(SECONDS, st.floats(1.0, 60.0), st.none() | st.integers(0, 100))
def test_every_index_once_and_no_batch_beyond_the_bound(
    seconds: list[float], batch_seconds: float, seed: int | None
) -> None:
    batches = make_batches(seconds, batch_seconds, shuffle=None if seed is None else random.Random(seed))
    assert sorted(index for batch in batches for index in batch) == list(range(len(seconds)))
    for batch in batches:
        assert len(batch) == 1 or max(seconds[index] for index in batch) * len(batch) <= batch_seconds


@pytest.mark.parametrize("seed", range(10))
def test_bound_holds_where_jitter_puts_a_longer_utterance_before_a_shorter_one(seed: int) -> None:
    source = random.Random(seed)
    seconds = [source.uniform(9.0, 11.0) for _ in range(200)]
    for batch in make_batches(seconds, 41.0, shuffle=random.Random(seed + 100)):
        assert max(seconds[index] for index in batch) * len(batch) <= 41.0


def test_utterance_longer_than_the_bound_is_alone() -> None:
    assert [3] in make_batches([1.0, 2.0, 3.0, 99.0], 10.0)


def test_without_shuffling_batches_go_from_short_to_long() -> None:
    seconds = durations()
    order = [seconds[index] for batch in make_batches(seconds, 60.0) for index in batch]
    assert order == sorted(order)


def test_same_generator_same_batches_and_another_generator_others() -> None:
    seconds = durations()
    first = make_batches(seconds, 60.0, shuffle=random.Random(7))
    assert make_batches(seconds, 60.0, shuffle=random.Random(7)) == first
    other = make_batches(seconds, 60.0, shuffle=random.Random(8))
    assert {frozenset(batch) for batch in other} != {frozenset(batch) for batch in first}


def test_shuffling_mixes_the_order_of_batches() -> None:
    seconds = durations()
    longest = [max(seconds[i] for i in batch) for batch in make_batches(seconds, 60.0, shuffle=random.Random(0))]
    assert longest != sorted(longest)


def test_padding_share_counts_padding() -> None:
    # [1, 3] pads 2 of 6 seconds, [4] none of 4.
    assert padding_share([1.0, 3.0, 4.0], [[0, 1], [2]]) == pytest.approx(2 / 10)
    assert padding_share([2.0, 2.0], [[0, 1]]) == 0
    assert padding_share([], []) == 0


def test_bucketing_pads_far_less_than_random_batches() -> None:
    seconds = durations()
    bucketed = make_batches(seconds, 60.0, shuffle=random.Random(0))
    order = list(range(len(seconds)))
    random.Random(0).shuffle(order)
    at_random = [order[i : i + 4] for i in range(0, len(order), 4)]
    assert padding_share(seconds, bucketed) < 0.12
    assert padding_share(seconds, at_random) > 0.25


def test_sampler_gives_epoch_and_index() -> None:
    sampler = BatchSampler(durations(50), 60.0, seed=3)
    sampler.start(4)
    items = [item for batch in sampler for item in batch]
    assert {epoch for epoch, _ in items} == {4}
    assert sorted(index for _, index in items) == list(range(50))


def test_order_depends_on_seed_and_epoch_alone() -> None:
    seconds = durations()
    one, two, other_seed = (BatchSampler(seconds, 60.0, seed=seed) for seed in (3, 3, 4))
    list(one)  # what was iterated before plays no part
    one.start(5)
    two.start(5)
    other_seed.start(5)
    assert list(one) == list(two) != list(other_seed)
    assert one.batches(5) != one.batches(6)


@pytest.mark.parametrize("first", [0, 1, 17])
def test_first_leaves_out_exactly_that_many_batches(first: int) -> None:
    sampler = BatchSampler(durations(), 60.0, seed=0)
    sampler.start(2)
    whole = list(sampler)
    sampler.start(2, first)
    assert len(sampler) == len(whole) - first
    assert list(sampler) == whole[first:]
    sampler.start(2, len(whole))
    assert len(sampler) == 0
    assert list(sampler) == []


@pytest.mark.parametrize("count", [1, 2, 3, 50, 500])
@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_ranks_get_equally_many_batches_and_together_everything(count: int, ranks: int) -> None:
    seconds = durations(count)
    samplers = [BatchSampler(seconds, 60.0, seed=0, rank=rank, ranks=ranks) for rank in range(ranks)]
    shares = [list(sampler) for sampler in samplers]
    whole = list(BatchSampler(seconds, ranks * 60.0, seed=0))
    assert {len(share) for share in shares} | {len(sampler) for sampler in samplers} == {len(whole)}
    for batch, *parts in zip(whole, *shares, strict=True):
        assert sorted(batch) == sorted(item for part in parts for item in part)
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1
        longest = max(seconds[index] for _, index in batch)
        assert (max(sizes) - 1) * longest <= 60.0  # one utterance beyond the bound at most


def test_shortest_first_is_for_the_first_epoch_alone() -> None:
    seconds = durations(100)
    sampler, usual = BatchSampler(seconds, 60.0, seed=0, shortest_first=True), BatchSampler(seconds, 60.0, seed=0)
    order = [seconds[index] for batch in sampler.batches(0) for index in batch]
    assert order == sorted(order)
    assert sampler.batches(1) == usual.batches(1)


def in_shards(sizes: list[int]) -> list[range]:
    """Ranges of these sizes, one behind the other."""
    ends = list(accumulate(sizes))
    return [range(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def sharded(sizes: list[int], *, rank: int = 0, ranks: int = 1, **options: Any) -> BatchSampler:
    return BatchSampler(
        durations(sum(sizes)), 60.0, **{"seed": 0, "rank": rank, "ranks": ranks, "shards": in_shards(sizes), **options}
    )


UNEVEN = [1, 300, 2, 40, 0, 3, 7, 1, 90, 5, 5, 120, 0, 1]


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=20),
    st.integers(1, 6),
    st.integers(1, 5),
    st.integers(0, 3),
    st.booleans(),
)
def test_ranks_get_equally_many_batches_of_their_own_shards_and_together_everything(
    sizes: list[int], ranks: int, buffer_shards: int, epoch: int, shortest_first: bool
) -> None:
    assume(sum(size > 0 for size in sizes) >= ranks)
    shards = in_shards(sizes)
    options: dict[str, Any] = {"buffer_shards": buffer_shards, "shortest_first": shortest_first}
    plans = [sharded(sizes, rank=rank, ranks=ranks, **options).stages(epoch) for rank in range(ranks)]
    assert len({sum(len(stage.batches) for stage in plan) for plan in plans}) == 1
    owned = [{number for stage in plan for number in stage.shards} for plan in plans]
    assert sorted(number for numbers in owned for number in numbers) == [n for n, size in enumerate(sizes) if size]
    unrepeated = 0
    for plan, numbers in zip(plans, owned, strict=True):
        counts = Counter(index for stage in plan for batch in stage.batches for index in batch)
        assert sorted(counts) == sorted(index for number in numbers for index in shards[number])
        unrepeated += max(counts.values()) == 1
        for stage in plan:
            assert 1 <= len(stage.shards) <= buffer_shards
            inside = {index for number in stage.shards for index in shards[number]}
            assert all(index in inside for batch in stage.batches for index in batch)
    assert unrepeated >= 1  # the rank with the most batches repeats none


def test_a_rank_short_of_batches_begins_its_own_again() -> None:
    few, many = (sharded([8, 400], rank=rank, ranks=2, buffer_shards=1) for rank in range(2))
    if len(few.stages(0)) == 1:
        few, many = many, few
    stages = few.stages(0)
    own = stages[0]
    assert len(few.batches(0)) == len(many.batches(0)) == len(many.stages(0)[0].batches)
    assert {tuple(stage.shards) for stage in stages} == {tuple(own.shards)}
    repeated = [batch for stage in stages for batch in stage.batches]
    assert repeated == (own.batches * len(stages))[: len(repeated)]


def test_order_of_shards_depends_on_seed_and_epoch_alone() -> None:
    one, two, other_seed = (sharded(UNEVEN, rank=1, ranks=3, seed=seed) for seed in (3, 3, 4))
    one.batches(9)  # what was asked before plays no part
    assert one.stages(5) == two.stages(5)
    assert one.stages(5) != other_seed.stages(5)
    assert one.stages(5) != one.stages(6)


def test_the_order_is_the_same_in_another_process() -> None:
    """Not of the process's own hashes of texts, which differ: ranks and resumed trainings must agree."""
    code = "from asr.data.batches import BatchSampler as B; s = [1 + i % 7 for i in range(60)];" + (
        "print(B(s, 20.0, seed=1, shards=[range(i, i + 6) for i in range(0, 60, 6)]).batches(2))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    seconds = [1 + i % 7 for i in range(60)]
    here = BatchSampler(seconds, 20.0, seed=1, shards=in_shards([6] * 10)).batches(2)
    assert run.stdout == f"{here}\n"


@pytest.mark.parametrize("first", [0, 1, 17, 60])
def test_continuing_in_shards_leaves_out_exactly_that_many_batches(first: int) -> None:
    sampler = sharded(UNEVEN, rank=1, ranks=2)
    sampler.start(2)
    whole = list(sampler)
    sampler.start(2, first)
    assert list(sampler) == whole[first:]
    assert len(sampler) == len(whole) - first > 0


def test_utterances_of_a_buffer_are_mixed() -> None:
    sampler = sharded([50] * 6, buffer_shards=3)
    for stage in sampler.stages(0):
        sources = [{index // 50 for index in batch} for batch in stage.batches]
        assert sum(len(source) > 1 for source in sources) > len(sources) / 2
        lengths = [max(sampler.seconds[index] for index in batch) for batch in stage.batches]
        assert lengths != sorted(lengths)
    groups = {frozenset(stage.shards) for epoch in range(10) for stage in sampler.stages(epoch)}
    assert len(groups) > 10  # other shards meet in every epoch


def test_shortest_first_in_shards_is_for_each_stage_of_the_first_epoch() -> None:
    sampler, usual = (sharded([50] * 4, buffer_shards=2, shortest_first=shortest) for shortest in (True, False))
    for stage in sampler.stages(0):
        order = [sampler.seconds[index] for batch in stage.batches for index in batch]
        assert order == sorted(order)
    assert sampler.stages(1) == usual.stages(1)


@pytest.mark.parametrize("sizes", [[9], [9, 0, 0]])
def test_too_few_shards_for_the_processes_are_an_error_on_every_rank(sizes: list[int]) -> None:
    for rank in range(2):
        with pytest.raises(TrainingError, match=r"1 shards for 2 processes.*asr data shard --size"):
            sharded(sizes, rank=rank, ranks=2)
