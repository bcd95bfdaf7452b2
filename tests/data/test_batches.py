from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.data.batches import BatchSampler, make_batches, padding_share

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
    whole = list(BatchSampler(seconds, 60.0, seed=0))
    assert len({len(share) for share in shares} | {len(sampler) for sampler in samplers}) == 1
    assert len(shares[0]) == -(-len(whole) // ranks)
    seen = sorted(index for share in shares for batch in share for _, index in batch)
    assert sorted(set(seen)) == list(range(count))
    together = sorted(map(sorted, (batch for share in shares for batch in share)))
    repeated = len(together) - len(whole)
    assert 0 <= repeated < ranks
    for batch in whole:
        together.remove(sorted(batch))
    assert len(together) == repeated
