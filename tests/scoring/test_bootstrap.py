"""The bootstrap intervals against scipy, and against the truth they should cover."""

from __future__ import annotations

import resource

import numpy as np
import pytest

from asr.scoring import score
from asr.scoring.bootstrap import rate_intervals, sums_by

stats = pytest.importorskip("scipy.stats")

RATE = 0.12


def draw_test_set(generator: np.random.Generator, utterances: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Errors and words of utterances whose errors cluster: each has its own difficulty, with mean `rate`."""
    words = generator.integers(3, 20, size=utterances)
    difficulty = generator.beta(4 * rate, 4 * (1 - rate), size=utterances)
    return generator.binomial(words, difficulty), words


def rate_interval(
    errors: np.ndarray | list[int], words: np.ndarray | list[int], **options: float
) -> tuple[float, float]:
    (interval,) = rate_intervals(np.array(errors)[:, None], np.array(words)[:, None], **options)  # type: ignore[arg-type]
    return interval


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
    low, high = rate_interval(errors, words)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.05 * (expected.high - expected.low))


@pytest.mark.parametrize("utterances", [1, 7, 130, 3000])
def test_every_rate_is_that_of_the_same_draws_gathered_one_by_one(utterances: int) -> None:
    generator = np.random.default_rng(utterances)
    errors, totals = generator.integers(0, 9, (utterances, 3)), generator.integers(1, 40, (utterances, 3))
    found = rate_intervals(errors, totals, seed=5, resamples=1000)
    drawn = np.random.default_rng(5).integers(utterances, size=(1000, utterances), dtype=np.int32)
    for rate, interval in enumerate(found):
        rates = errors[:, rate][drawn].sum(axis=1) / totals[:, rate][drawn].sum(axis=1)
        assert interval == pytest.approx(np.quantile(rates, [0.025, 0.975]), rel=1e-14)
        if rate == 0:
            assert interval == rate_interval(errors[:, 0], totals[:, 0], seed=5, resamples=1000)


def test_the_interval_over_speakers_is_that_of_scipy_with_whole_speakers() -> None:
    errors, words, speakers = draw_speakers(np.random.default_rng(8), speakers=25, spread=0.5, each=12)
    sums = sums_by([str(speaker) for speaker in speakers], np.stack([errors, words], axis=1))
    assert sums.tolist() == [[errors[speakers == s].sum(), words[speakers == s].sum()] for s in range(25)]
    expected = stats.bootstrap(
        (sums[:, 0], sums[:, 1]),
        lambda e, w, axis: e.sum(axis) / w.sum(axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(2),
    ).confidence_interval
    low, high = rate_interval(sums[:, 0], sums[:, 1])
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.05 * (expected.high - expected.low))


def test_interval_covers_the_true_rate_about_95_times_in_100() -> None:
    generator, rate = np.random.default_rng(3), 0.15
    covered = 0
    for trial in range(400):
        errors, words = draw_test_set(generator, utterances=100, rate=rate)
        low, high = rate_interval(errors, words, resamples=500, seed=trial)
        covered += low <= rate <= high
    assert 0.91 <= covered / 400 <= 0.98


def draw_speakers(
    generator: np.random.Generator, speakers: int, spread: float, each: int = 20
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors, words and speakers; the rates of speakers have mean 12 % and deviate by `spread` of it."""
    weight = (1 - RATE) / (RATE * spread**2) - 1
    rates = generator.beta(weight * RATE, weight * (1 - RATE), size=speakers).clip(1e-6, 1 - 1e-6).repeat(each)
    words = generator.integers(3, 20, size=speakers * each)
    difficulty = generator.beta(8 * rates, 8 * (1 - rates))
    return generator.binomial(words, difficulty), words, np.arange(speakers).repeat(each)


def coverage(speakers: int, spread: float, trials: int) -> tuple[float, float]:
    """Share of the test sets whose intervals over utterances, and over speakers, hold the true rate."""
    generator = np.random.default_rng(speakers)
    held = np.zeros(2)
    for trial in range(trials):
        errors, words, names = draw_speakers(generator, speakers, spread)
        sums = sums_by(names.tolist(), np.stack([errors, words], axis=1))
        for unit, rows in enumerate(((errors, words), (sums[:, 0], sums[:, 1]))):
            low, high = rate_interval(*rows, resamples=400, seed=trial)
            held[unit] += low <= RATE <= high
    return held[0] / trials, held[1] / trials


def test_with_40_speakers_who_differ_only_the_interval_over_speakers_covers() -> None:
    over_utterances, over_speakers = coverage(speakers=40, spread=0.5, trials=200)
    assert over_utterances < 0.8
    assert 0.89 <= over_speakers <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize(
    ("speakers", "spread", "over_utterances", "over_speakers"),
    [
        (5, 0.3, (0.77, 0.85), (0.79, 0.87)),  # a handful of speakers: too narrow
        (10, 0.3, (0.78, 0.87), (0.86, 0.92)),
        (30, 0.3, (0.78, 0.87), (0.90, 0.95)),
        (30, 0.6, (0.58, 0.67), (0.90, 0.95)),
        (40, 0.01, (0.93, 0.97), (0.92, 0.97)),  # speakers alike: both hold
        (100, 0.3, (0.78, 0.87), (0.92, 0.97)),
        (100, 0.6, (0.58, 0.67), (0.91, 0.97)),
    ],
)
def test_intervals_over_speakers_cover_from_about_30_speakers_on(
    speakers: int, spread: float, over_utterances: tuple[float, float], over_speakers: tuple[float, float]
) -> None:
    found = coverage(speakers, spread, trials=1000)
    for share, (low, high) in zip(found, (over_utterances, over_speakers), strict=True):
        assert low <= share <= high


def test_interval_narrows_with_the_root_of_the_number_of_utterances() -> None:
    errors, words = draw_test_set(np.random.default_rng(4), utterances=100, rate=0.2)
    low, high = rate_interval(errors, words)
    low_of_4, high_of_4 = rate_interval(errors.tolist() * 4, words.tolist() * 4)
    assert (high - low) / (high_of_4 - low_of_4) == pytest.approx(2, rel=0.1)
    assert low < errors.sum() / words.sum() < high


def test_resamples_are_drawn_in_pieces_when_the_set_is_large() -> None:
    errors, words = [0, 1] * 250_000, [5, 5] * 250_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    low, high = rate_interval(errors, words, resamples=40)
    assert 0.0985 < low < 0.1 < high < 0.1015
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # KiB; all at once take 600 MiB


def test_same_seed_same_interval_other_seed_nearly_the_same() -> None:
    errors, words = draw_test_set(np.random.default_rng(5), 120, 0.1)
    low, high = rate_interval(errors, words)
    assert rate_interval(errors, words) == (low, high)
    other = rate_interval(errors, words, seed=1)
    assert other != (low, high)
    assert other == pytest.approx((low, high), abs=0.05 * (high - low))


def test_draws_without_reference_words_do_not_break_the_interval() -> None:
    result = score(["", "", "", "one two three four"], ["", "", "", "one two three five"])
    assert result.wer_interval == (0.25, 0.25)
    assert score("one two", "one too").wer_interval == (0.5, 0.5)


def test_a_score_has_intervals_of_each_rate_over_utterances_and_speakers() -> None:
    generator = np.random.default_rng(6)
    vocabulary = ["a", "bb", "c"]
    references = {str(n): " ".join(generator.choice(vocabulary, size=generator.integers(1, 9))) for n in range(50)}
    hypotheses = {
        key: text if generator.random() < 0.3 else " ".join(generator.choice(vocabulary, size=generator.integers(0, 9)))
        for key, text in references.items()
    }
    speakers = {key: f"s{int(key) % 7}" for key in references}
    result = score(references, hypotheses, seed=7, speakers=speakers)
    columns = {
        "wer": [(u.errors, u.words) for u in result.utterances],
        "cer": [(u.character_errors, len(u.reference)) for u in result.utterances],
        "ser": [(int(u.reference != u.hypothesis), 1) for u in result.utterances],
        "substitutions": [(u.substitutions, u.words) for u in result.utterances],
        "deletions": [(u.deletions, u.words) for u in result.utterances],
        "insertions": [(u.insertions, u.words) for u in result.utterances],
    }
    assert list(result.rates) == list(columns)
    for name, rows in columns.items():
        rate, counts = result.rates[name], np.array(rows)
        assert rate.value == counts[:, 0].sum() / counts[:, 1].sum()
        assert rate.interval == rate_interval(counts[:, 0], counts[:, 1], seed=7)
        sums = sums_by(list(speakers.values()), counts)
        assert rate.speaker_interval == rate_interval(sums[:, 0], sums[:, 1], seed=7)
        assert rate.interval[0] < rate.value < rate.interval[1]
    assert (result.wer_interval, result.cer_interval) == (result.rates["wer"].interval, result.rates["cer"].interval)


def test_no_interval_over_speakers_without_two_of_them() -> None:
    texts = {"a": "one", "b": "two"}
    assert score(texts, texts).rates["wer"].speaker_interval is None
    assert score(texts, texts, speakers={"a": "x", "b": "x"}).rates["wer"].speaker_interval is None
    assert score(texts, texts, speakers={"a": "x", "b": "y"}).rates["wer"].speaker_interval == (0, 0)
