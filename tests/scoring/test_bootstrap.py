"""The bootstrap interval against scipy, and against the truth it should cover."""

from __future__ import annotations

import numpy as np
import pytest

from asr.scoring import score
from asr.scoring.bootstrap import rate_interval

stats = pytest.importorskip("scipy.stats")


def draw_test_set(generator: np.random.Generator, utterances: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Errors and words of utterances whose errors cluster: each has its own difficulty, with mean `rate`."""
    words = generator.integers(3, 20, size=utterances)
    difficulty = generator.beta(4 * rate, 4 * (1 - rate), size=utterances)
    return generator.binomial(words, difficulty), words


def test_interval_equals_the_one_of_scipy() -> None:
    errors, words = draw_test_set(np.random.default_rng(1), utterances=80, rate=0.2)
    expected = stats.bootstrap(
        (errors, words),
        lambda e, w, axis: e.sum(axis) / w.sum(axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(2),
    ).confidence_interval
    low, high = rate_interval(errors.tolist(), words.tolist())
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.05 * (expected.high - expected.low))


def test_interval_covers_the_true_rate_about_95_times_in_100() -> None:
    generator, rate = np.random.default_rng(3), 0.15
    covered = 0
    for trial in range(400):
        errors, words = draw_test_set(generator, utterances=100, rate=rate)
        low, high = rate_interval(errors.tolist(), words.tolist(), resamples=500, seed=trial)
        covered += low <= rate <= high
    assert 0.91 <= covered / 400 <= 0.98


def test_interval_narrows_with_the_root_of_the_number_of_utterances() -> None:
    errors, words = draw_test_set(np.random.default_rng(4), utterances=100, rate=0.2)
    low, high = rate_interval(errors.tolist(), words.tolist())
    low_of_4, high_of_4 = rate_interval(errors.tolist() * 4, words.tolist() * 4)
    assert (high - low) / (high_of_4 - low_of_4) == pytest.approx(2, rel=0.1)
    assert low < errors.sum() / words.sum() < high


def test_resamples_are_drawn_in_pieces_when_the_set_is_large() -> None:
    errors, words = [0, 1] * 100_000, [5, 5] * 100_000
    low, high = rate_interval(errors, words, resamples=40)
    assert 0.098 < low < 0.1 < high < 0.102


def test_same_seed_same_interval_other_seed_nearly_the_same() -> None:
    errors, words = (values.tolist() for values in draw_test_set(np.random.default_rng(5), 120, 0.1))
    low, high = rate_interval(errors, words)
    assert rate_interval(errors, words) == (low, high)
    other = rate_interval(errors, words, seed=1)
    assert other != (low, high)
    assert other == pytest.approx((low, high), abs=0.05 * (high - low))


def test_draws_without_reference_words_do_not_break_the_interval() -> None:
    result = score(["", "", "", "one two three four"], ["", "", "", "one two three five"])
    assert result.wer_interval == (0.25, 0.25)
    assert score("one two", "one too").wer_interval == (0.5, 0.5)


def test_score_uses_the_interval_of_its_utterances_and_seed() -> None:
    generator = np.random.default_rng(6)
    references = [" ".join(generator.choice(["a", "bb", "c"], size=8)) for _ in range(50)]
    hypotheses = [" ".join(generator.choice(["a", "bb", "c"], size=8)) for _ in range(50)]
    result = score(references, hypotheses, seed=7)
    utterances = result.utterances
    assert result.wer_interval == rate_interval([u.errors for u in utterances], [8] * 50, seed=7)
    assert result.cer_interval == rate_interval(
        [u.character_errors for u in utterances], [len(r) for r in references], seed=7
    )
    assert result.wer_interval[0] < result.wer < result.wer_interval[1]
    assert result.cer_interval[0] < result.cer < result.cer_interval[1]
