from __future__ import annotations

import numpy as np
import pytest

from asr.scoring.bootstrap import rate_intervals
from asr.scoring.seeds import mean_difference, mean_rate


def test_the_mean_is_that_of_the_seeds() -> None:
    errors, words = np.array([[1, 0, 2], [0, 0, 1]]), np.array([4, 2, 4])
    found = mean_rate(errors, words)
    assert found.rates == pytest.approx((0.3, 0.1))
    assert found.value == pytest.approx(0.2)
    assert found.interval[0] < 0.2 < found.interval[1]


def test_one_seed_gives_the_interval_over_utterances() -> None:
    generator = np.random.default_rng(0)
    words = generator.integers(1, 12, 200)
    errors = generator.binomial(words, 0.2)
    found = mean_rate(errors[None], words)
    (expected,) = rate_intervals(errors[:, None], words[:, None])
    assert found.interval == pytest.approx(expected, abs=0.002)


def test_seeds_that_differ_widen_the_interval() -> None:
    words = np.full(100, 5)
    alike = np.tile(np.arange(100) % 2, (4, 1))
    apart = alike * np.array([[0], [0], [2], [2]])
    assert np.ptp(mean_rate(apart, words).interval) > 2 * np.ptp(mean_rate(alike, words).interval)


def test_the_difference_of_a_recipe_to_itself_is_none_and_its_sign_is_that_of_the_first() -> None:
    words = np.full(50, 4)
    good, bad = np.tile(np.arange(50) % 2, (3, 1)), np.tile(np.arange(50) % 2 + 1, (3, 1))
    assert mean_difference(good, good, words).value == 0
    found = mean_difference(bad, good, words)
    assert found.value == pytest.approx(0.25)
    assert found.interval == pytest.approx((0.25, 0.25))  # one error more in each utterance, whichever is drawn
    assert mean_difference(good, bad, words).value == pytest.approx(-0.25)


def test_the_same_seed_of_the_draws_gives_the_same_interval() -> None:
    errors = np.random.default_rng(0).binomial(5, 0.2, (3, 40))
    words = np.full(40, 5)
    assert mean_rate(errors, words, seed=1) == mean_rate(errors, words, seed=1)
    assert mean_rate(errors, words, seed=1) != mean_rate(errors, words, seed=2)


@pytest.mark.parametrize(("seeds", "spread"), [(3, 0.02), (5, 0.01), (3, 0.0)])
def test_intervals_hold_as_often_as_they_say_or_more(seeds: int, spread: float) -> None:
    """Two equal recipes: rates of utterances differ, those of seeds too; 95 % intervals over 120 simulated sets."""
    generator = np.random.default_rng(7)
    held = held_difference = 0
    for _ in range(120):
        words = generator.integers(2, 10, 100)
        hard = generator.gamma(0.5, 2, 100)  # mean 1

        rates = hard * (0.08 + generator.normal(0, spread, (2, seeds, 1)))
        ours, theirs = generator.binomial(words, np.clip(rates, 0, 1))
        low, high = mean_rate(ours, words, resamples=500).interval
        held += low <= 0.08 <= high
        low, high = mean_difference(ours, theirs, words, resamples=500).interval
        held_difference += low <= 0 <= high
    assert held >= 0.88 * 120  # 2.5 standard errors below 95 %
    assert held_difference >= 0.88 * 120
