"""Words that sound alike: which of them a found sequence of tokens is, by the words on both sides.

The search itself holds one prefix for all of them, and takes at each word's end the one that the language model finds
likeliest after the words before: `too` and `to` are one prefix until the next word tells them apart. Here the whole
sentence is known, and the best choice of words is found by dynamic programming over the states of the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from asr.decoding.vocabulary import Vocabulary, words_at
from asr.lm.automaton import Automaton, advance


def choose_words(
    lm: Automaton, weight: float, vocabulary: Vocabulary, groups: Sequence[Sequence[int]]
) -> tuple[list[int], float]:
    """The likeliest words for the tokens of each word, and what their score gains on the search's own choice.

    Args:
        lm: language model of words.
        weight: of its log-probabilities.
        vocabulary: its words, among them one or more for each of `groups`.
        groups: the tokens of each word.

    Returns:
        a label for each group; natural log, not below 0 unless words are favoured.
    """
    alike = [words_at(vocabulary, group) for group in groups]
    if all(len(places) == 1 for places in alike):
        return [int(vocabulary.word[places[0]]) for places in alike], 0.0
    # By state: the best way there, by its rank, which counts what is favoured, then its log-probability, its words.
    ways: dict[int, tuple[float, float, list[int]]] = {int(lm.start[0]): (0.0, 0.0, [])}
    for places in alike:
        longer: dict[int, tuple[float, float, list[int]]] = {}
        for state, (rank, log_prob, words) in ways.items():
            for label, cost, favour, after in _steps(lm, weight, vocabulary, places, state):
                if after not in longer or rank + cost + favour > longer[after][0]:
                    longer[after] = (rank + cost + favour, log_prob + cost, [*words, label])
        ways = longer
    ends = [
        (rank + (end := weight * float(lm.final_weight[state])), log_prob + end, words)
        for state, (rank, log_prob, words) in ways.items()
    ]
    _, log_prob, words = max(ends, key=lambda way: way[0])  # of equals the first, which is the most frequent
    return words, log_prob - _searched(lm, weight, vocabulary, alike)


def _searched(lm: Automaton, weight: float, vocabulary: Vocabulary, alike: Sequence[range]) -> float:
    """Log-probability of the words that the search has taken, one after the other."""
    state, total = int(lm.start[0]), 0.0
    for places in alike:
        _, cost, _, state = max(_steps(lm, weight, vocabulary, places, state), key=lambda step: step[1] + step[2])
        total += cost
    return total + weight * float(lm.final_weight[state])


def _steps(
    lm: Automaton, weight: float, vocabulary: Vocabulary, places: range, state: int
) -> Iterator[tuple[int, float, float, int]]:
    """For each word: its label, its weighted log-probability, the log of its favour, and the state after it."""
    for place in places:
        label = int(vocabulary.word[place])
        cost, after = advance(lm, np.int64(state), np.int64(label))
        yield label, weight * cost if after >= 0 else -math.inf, math.log(vocabulary.favour[place]), after
