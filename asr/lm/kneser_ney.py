"""Interpolated modified Kneser-Ney smoothing (Chen and Goodman 1999), with pruning by count as KenLM does it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from asr.errors import LanguageModelError
from asr.lm.counting import NgramCounts
from asr.lm.ngram import Level
from asr.lm.units import BOS, SPECIAL

FALLBACK = (0.5, 1.0, 1.5)
"""Discounts, as in KenLM, of an order whose counts of counts give none: of tiny or artificial text, and of single
characters, which all occur often."""
NEVER = -99 * math.log(10)
"""Natural logarithm of the probability of `<s>`, which nothing predicts, and of what cannot happen, as in SRILM."""


class Discounts(NamedTuple):
    """What is taken from n-grams of one order that are counted once, twice, and more often."""

    values: tuple[float, float, float]
    fallback: bool
    """Whether they are `FALLBACK`, for the counts of counts allow no estimate."""


def discounts(counts: np.ndarray) -> Discounts:
    """Discounts from counts of counts, Chen and Goodman (1999), equation 26; `FALLBACK` where that fails.

    It fails when no n-gram is counted once, twice or three times, or a discount comes out below 0.
    """
    n = np.bincount(np.minimum(counts, 5), minlength=6).astype(float)
    if not n[1:4].all():
        return Discounts(FALLBACK, True)
    y = n[1] / (n[1] + 2 * n[2])
    once, twice, more = (float(j - (j + 1) * y * n[j + 1] / n[j]) for j in (1, 2, 3))
    if min(once, twice, more) < 0:
        return Discounts(FALLBACK, True)
    return Discounts((once, twice, more), False)


def check_pruning(prune: Sequence[int], order: int) -> list[int]:
    """A threshold for each order; the last of `prune` goes for the higher orders too.

    Raises:
        LanguageModelError: there are more than orders, the first is not 0, one is negative, or they fall.
    """
    thresholds = list(prune) or [0]
    shown = " ".join(map(str, thresholds))
    if len(thresholds) > order:
        raise LanguageModelError(f"pruning {shown}: {len(thresholds)} thresholds for a model of order {order}")
    if thresholds[0] != 0:
        raise LanguageModelError(f"pruning {shown}: the first must be 0; to leave out rare words limit the vocabulary")
    if thresholds != sorted(thresholds):
        raise LanguageModelError(f"pruning {shown}: thresholds must not fall, for an n-gram needs its shorter ones")
    return thresholds + [thresholds[-1]] * (order - len(thresholds))


def estimate(counts: Sequence[NgramCounts], prune: Sequence[int] = (0,)) -> tuple[list[Level], list[Discounts]]:
    """Probabilities and back-off weights of the n-grams of each order, and the discounts used.

    An n-gram below the highest order counts as often as different words go before it, or, since none goes before
    `<s>`, as often as it occurs when that is its first word. Of the mass that discounts leave, every order gives its
    part to the order below, and single words to all words alike, `<unk>` among them and `<s>` not.

    Args:
        counts: what `count_ngrams` returns.
        prune: n-grams of each order that occur so often or more rarely are left out; their mass goes to the order
            below. Discounts and the counts of shorter n-grams are those of the whole text.

    Raises:
        LanguageModelError: the thresholds of pruning are impossible.
    """
    thresholds = check_pruning(prune, len(counts))
    words = len(counts[0].keys)
    bos = SPECIAL.index(BOS)
    levels: list[Level] = []
    used: list[Discounts] = []
    below = np.full(1, 1 / (words - 1))  # the order of no words: each but <s> is as likely
    kept_below = np.ones(1, bool)
    places = np.zeros(1, np.int64)  # in the level below, of what is left after pruning
    for index, (level, threshold) in enumerate(zip(counts, thresholds, strict=True)):
        adjusted = level.counts
        if index + 1 < len(counts):
            different = np.bincount(counts[index + 1].suffix, minlength=len(level.keys))
            adjusted = np.where(level.begins, level.counts, different)
        if index == 0:
            adjusted = np.where(level.keys == bos, 0, adjusted)
        used.append(discounts(adjusted))
        kept = (level.counts > threshold) | (index == 0)
        history = level.keys // words
        discount = np.array([0, *used[-1].values])[np.minimum(adjusted, 3)]
        total = np.bincount(history, adjusted, len(below))
        free = np.bincount(history, np.where(kept, discount, adjusted), len(below))
        gamma = free / np.maximum(total, 1)
        below = (adjusted - discount) / total[history] + gamma[history] * below[level.suffix]
        if levels:
            levels[-1] = levels[-1]._replace(back_off=_back_offs(gamma, history[kept])[kept_below])
        keys = (places[history] * words + level.keys % words)[kept]
        log_prob = _log(below[kept])
        levels.append(Level(keys, log_prob, np.zeros(len(keys))))
        places, kept_below = np.cumsum(kept) - 1, kept
    levels[0].log_prob[bos] = NEVER
    return levels, used


def _back_offs(gamma: np.ndarray, histories: np.ndarray) -> np.ndarray:
    """Logarithm of the mass left by the n-grams that go on from each; 0 for what none of `histories` is."""
    goes_on = np.zeros(len(gamma), bool)
    goes_on[histories] = True
    return np.where(goes_on, _log(gamma), 0)


def _log(probability: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probability, math.exp(NEVER)))
