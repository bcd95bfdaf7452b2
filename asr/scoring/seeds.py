"""Error bars of a recipe, rather than of one model: over the seeds it was trained with and the utterances at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from asr.scoring.bootstrap import RESAMPLES


@dataclass(frozen=True)
class MeanRate:
    """The error rate of a recipe: the mean over its seeds, as a fraction."""

    value: float
    interval: tuple[float, float]
    """95 %, over seeds and utterances."""
    rates: tuple[float, ...]
    """Of each seed."""


def mean_rate(errors: np.ndarray, words: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> MeanRate:
    """The mean error rate over seeds, with an interval for other seeds and other utterances.

    Seeds and utterances are drawn anew with replacement, independently of each other (the pigeonhole bootstrap: Owen,
    "The pigeonhole bootstrap", Annals of Applied Statistics 2007). Utterances that are hard are hard for every seed, so
    that neither drawing alone would show what varies. `tests/scoring/test_seeds.py` has how often such intervals hold.

    Args:
        errors: of each utterance under each seed, `[seeds, utterances]`, whole numbers.
        words: reference words, `[utterances]`.
        resamples: how often both are drawn.
        seed: of the draws.
    """
    generator = np.random.default_rng(seed)
    drawn = _rates(errors, words, _times(generator, resamples, len(words)), generator)
    rates = errors.sum(1) / words.sum()
    return MeanRate(float(rates.mean()), _ends(drawn), tuple(rates.tolist()))


def mean_difference(
    errors: np.ndarray, others: np.ndarray, words: np.ndarray, *, resamples: int = RESAMPLES
) -> MeanRate:
    """How much higher the mean error rate of `errors` is than that of `others`, `[seeds, utterances]` both.

    The utterances drawn are the same on both sides, the seeds are not: equal seeds of different recipes have nothing in
    common. `rates` is empty.
    """
    generator = np.random.default_rng(0)
    times = _times(generator, resamples, len(words))
    ours, theirs = (_rates(side, words, times, generator) for side in (errors, others))
    value = (errors.sum(1).mean() - others.sum(1).mean()) / words.sum()
    return MeanRate(float(value), _ends(ours - theirs), ())


def _times(generator: np.random.Generator, resamples: int, units: int) -> np.ndarray:
    """How often each of `units` is drawn, `[resamples, units]`."""
    return generator.multinomial(units, np.full(units, 1 / units), size=resamples)


def _rates(errors: np.ndarray, words: np.ndarray, times: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Mean rates `[resamples]` where utterances were drawn so many `times` and seeds are drawn here."""
    count = len(errors)
    seeds = _times(generator, len(times), count)
    # Of n that are drawn from n the mean varies by (n - 1) / n of what it should: a third too little with three.
    weights = 1 + (seeds - 1) * math.sqrt(count / max(1, count - 1))
    sums = ((times @ errors.T) * weights).sum(1) / count
    return sums / np.maximum(times @ words, 1)


def _ends(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
