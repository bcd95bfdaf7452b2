"""How often each n-gram occurs, by sorting."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from asr.lm.units import BOS, SPECIAL


class NgramCounts(NamedTuple):
    """The different n-grams of one order in the order of their labels.

    Attributes:
        keys: int64 `[n-grams]`, rising: `place of the first n - 1 words in the order below * words + last label`;
            for single words the label, and there is one for each word. So an n-gram of any length is one number.
        counts: how often each occurs, int64 `[n-grams]`.
        suffix: place of the last n - 1 words in the order below, int32 `[n-grams]`; 0 for single words.
        begins: whether `<s>` is the first word, bool `[n-grams]`.
    """

    keys: np.ndarray
    counts: np.ndarray
    suffix: np.ndarray
    begins: np.ndarray


def count_ngrams(labels: np.ndarray, words: int, order: int) -> list[NgramCounts]:
    """Count the n-grams of 1 to `order` words within sentences.

    Args:
        labels: int32 `[labels]`, each sentence from `<s>` to `</s>`.
        words: size of the vocabulary.
        order: length of the longest n-grams.
    """
    bos = SPECIAL.index(BOS)
    all_words = np.arange(words, dtype=np.int64)
    counts = np.bincount(labels, minlength=words)
    levels = [NgramCounts(all_words, counts, np.zeros(words, np.int32), all_words == bos)]
    ranks = labels  # of the n-gram that begins at each place; -1 where the sentence is too short for one
    for length in range(2, order + 1):
        begins = len(labels) - length + 1
        places = np.flatnonzero((ranks[: max(begins, 0)] >= 0) & (labels[length - 1 :] != bos))
        keys = ranks[places].astype(np.int64) * words + labels[places + length - 1]
        by_key = np.argsort(keys)
        keys, places = keys[by_key], places[by_key]
        new = np.ones(len(keys), bool)
        np.not_equal(keys[1:], keys[:-1], out=new[1:])
        firsts = np.flatnonzero(new)
        keys = keys[firsts]
        levels.append(
            NgramCounts(
                keys=keys,
                counts=np.diff(firsts, append=len(places)),
                suffix=ranks[places[firsts] + 1].astype(np.int32),
                begins=levels[-1].begins[keys // words],
            )
        )
        if length < order:
            ranks = np.full(len(labels), -1, np.int32)
            ranks[places] = np.cumsum(new) - 1
    return levels
