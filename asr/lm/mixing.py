"""Several n-gram models mixed to one: a little text of one's own domain beside much of another.

P(word | history) is the weighted mean of what the models say (Jelinek and Mercer 1980). The mixture is an n-gram model
again, with every n-gram that one of them has; there it says exactly that mean, and elsewhere it backs off, with weights
that make all probabilities add up to one. SRILM's `ngram -mix-lm` (Stolcke 2002) does the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import reduce

import numpy as np
from numba import njit

from asr.errors import LanguageModelError
from asr.lm.automaton import Automaton, advance
from asr.lm.compact import levels
from asr.lm.ngram import Level, NgramModel

ROUNDS = 200
"""Most rounds of expectation and maximisation; the likelihood has one maximum."""
CLOSE = 1e-5
"""Change of every weight at which they stop."""
LEAST_LEFT = 1e-9
"""Probability that stays for the words that do not follow a history, should rounding leave none."""


def mix(models: Sequence[NgramModel], weights: Sequence[float]) -> NgramModel:
    """The mixture; it has the words of all models, and one that a model does not have is impossible there.

    Args:
        models: of the same units.
        weights: of each, above 0; they are scaled to a sum of 1.

    Raises:
        LanguageModelError: the units differ, or the weights are not one above 0 for each model.
    """
    _check(models)
    if len(weights) != len(models) or not all(weight > 0 and math.isfinite(weight) for weight in weights):
        raise LanguageModelError(f"weights {list(weights)}: give {len(models)} numbers above 0, one for each model")
    shares = np.log(np.array(weights, float) / sum(weights))
    words = list(dict.fromkeys(word for model in models for word in model.words))
    labels = {word: label for label, word in enumerate(words)}
    theirs = [np.array([model.labels.get(word, -1) for word in words]) for model in models]
    parts = [levels(model) for model in models]
    # Of each n-gram of each model: its place among those of its order in the mixture.
    places = [np.array([labels[word] for word in model.words]) for model in models]
    mixed_labels = list(places)

    def log_prob(grams: np.ndarray) -> np.ndarray:
        """Natural logarithm of P(last word | first words), `[n-grams]`, of `[n-grams, words]`."""
        return reduce(
            np.logaddexp,
            (
                share + _last(model.automaton, known, grams)
                for share, model, known in zip(shares, models, theirs, strict=True)
            ),
        )

    grams = np.arange(len(words))[:, None]
    found = [Level(grams[:, 0], log_prob(grams), np.zeros(len(words)))]
    for order in range(2, max(map(len, parts)) + 1):
        keys = []
        for model, part, place, own in zip(models, parts, places, mixed_labels, strict=True):
            history, label = np.divmod(
                part[order - 1].keys if order <= len(part) else np.zeros(0, np.int64), len(model.words)
            )
            keys.append(place[history] * len(words) + own[label])
        union = np.unique(np.concatenate(keys))
        places = [np.searchsorted(union, own) for own in keys]
        history, label = np.divmod(union, len(words))
        shorter = NgramModel.from_levels(words, found, models[0].units).automaton
        grams = np.column_stack([grams[history], label])
        level = Level(union, log_prob(grams), np.zeros(len(union)))
        of_shorter = _last(shorter, np.arange(len(words)), grams[:, 1:])
        found[-1] = found[-1]._replace(back_off=_back_off(history, level.log_prob, of_shorter, len(found[-1].keys)))
        found.append(level)
    return NgramModel.from_levels(words, found, models[0].units)


def fitted_weights(models: Sequence[NgramModel], sentences: Iterable[Sequence[str]]) -> list[float]:
    """The weights with which the mixture says `sentences`, split into units, with the highest probability.

    They are found by expectation and maximisation on the mean of what the models say (Dempster et al. 1977).

    Raises:
        LanguageModelError: the units differ, or there are no sentences.
    """
    _check(models)
    known: set[str] = set().union(*(model.words for model in models))
    rows: list[np.ndarray] = []
    for sentence in sentences:
        scores = np.stack([model.scores(sentence) for model in models])
        for row, model in zip(scores, models, strict=True):
            row[:-1][[word in known and word not in model.labels for word in sentence]] = -np.inf
        rows.append(scores)
    if not rows:
        raise LanguageModelError("no sentence is left to fit the weights of the models to")
    scores = np.concatenate(rows, axis=1)
    scores = np.exp(scores - scores.max(axis=0))
    weights = np.full(len(models), 1 / len(models))
    for _ in range(ROUNDS):
        of_each = weights[:, None] * scores
        before, weights = weights, (of_each / of_each.sum(axis=0)).mean(axis=1)
        if np.abs(weights - before).max() < CLOSE:
            break
    return weights.tolist()


def _check(models: Sequence[NgramModel]) -> None:
    if len(models) < 2 or len({model.units for model in models}) > 1:
        units = ", ".join(model.units for model in models)
        raise LanguageModelError(f"models of {units or 'nothing'}: a mixture is made of two or more of the same units")


def _back_off(history: np.ndarray, log_prob: np.ndarray, of_shorter: np.ndarray, histories: int) -> np.ndarray:
    """Natural logarithm of each history's back-off weight: what its n-grams leave, over what shorter ones leave."""
    left = 1 - np.bincount(history, np.exp(log_prob), histories)
    left_of_shorter = 1 - np.bincount(history, np.exp(of_shorter), histories)
    weights = np.maximum(left, LEAST_LEFT) / np.maximum(left_of_shorter, LEAST_LEFT)
    return np.where(np.bincount(history, minlength=histories) > 0, np.log(weights), 0.0)


@njit(cache=True, nogil=True)
def _last(automaton: Automaton, labels: np.ndarray, grams: np.ndarray) -> np.ndarray:
    """Weight of the last word behind the others, `[n-grams]`, of `[n-grams, words]`.

    `labels` has that of each word in the automaton, -1 for a word that it does not have: as the last one it is
    impossible, before it stands for `<unk>`.
    """
    weights = np.empty(len(grams))
    for place in range(len(grams)):
        state = np.int64(0)
        for word in grams[place, :-1]:
            state = np.int64(advance(automaton, state, max(labels[word], 0))[1])
        last = labels[grams[place, -1]]
        weights[place] = -np.inf if last < 0 else advance(automaton, state, last)[0]
    return weights
