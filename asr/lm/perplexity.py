"""How well a language model predicts text: perplexity, with and without the words it does not have."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from asr.errors import LanguageModelError
from asr.lm.ngram import NgramModel, label_scores

BLOCK = 100_000


@dataclass(frozen=True)
class Perplexity:
    """Sums over a text; perplexities count the end of each sentence as a word.

    Attributes:
        sentences: number of sentences.
        words: number of words (or characters, or tokens), ends of sentences not counted.
        unknown: how many of these the model does not have.
        log_prob: natural logarithm of the probability of the text.
        log_prob_unknown: the part of `log_prob` that unknown words have.
    """

    sentences: int
    words: int
    unknown: int
    log_prob: float
    log_prob_unknown: float

    @property
    def perplexity(self) -> float:
        """Unknown words count with the probability of `<unk>`."""
        return _exp(-self.log_prob / (self.words + self.sentences))

    @property
    def perplexity_known(self) -> float:
        """Unknown words are left out, though they are history for the words after them."""
        return _exp(-(self.log_prob - self.log_prob_unknown) / (self.words - self.unknown + self.sentences))

    @property
    def unknown_rate(self) -> float:
        """Share of the words that are unknown, 0 to 1."""
        return self.unknown / self.words if self.words else 0.0

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "perplexity": self.perplexity,
            "perplexity_known": self.perplexity_known,
            "unknown_rate": self.unknown_rate,
            "unknown": self.unknown,
            "words": self.words,
            "sentences": self.sentences,
            "log_prob": self.log_prob,
            "log_prob_unknown": self.log_prob_unknown,
        }


def perplexity(model: NgramModel, sentences: Iterable[Sequence[str]]) -> Perplexity:
    """Perplexity of sentences that are split into the model's units; they are read one after the other.

    Raises:
        LanguageModelError: there are none.
    """
    labels, start = model.labels, int(model.automaton.start[0])
    row = array("i")
    count = words = unknown = 0
    log_prob = log_prob_unknown = 0.0

    def add() -> None:
        nonlocal row, unknown, log_prob, log_prob_unknown
        block, row = np.frombuffer(row, np.int32), array("i")
        scores = label_scores(model.automaton, block, start)
        log_prob += float(scores.sum())
        log_prob_unknown += float(scores[block == 0].sum())
        unknown += int((block == 0).sum())

    for sentence in sentences:
        row.extend([labels.get(word, 0) for word in sentence])
        row.append(2)
        count += 1
        words += len(sentence)
        if len(row) > BLOCK:
            add()
    if row:
        add()
    if not count:
        raise LanguageModelError("no sentence is left to judge the model by")
    return Perplexity(count, words, unknown, log_prob, log_prob_unknown)


def _exp(exponent: float) -> float:
    return math.exp(exponent) if exponent < 700 else math.inf
