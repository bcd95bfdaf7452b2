"""Alignment of hypothesis words to reference words, and what it says about frequent confusions."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

_BLOCK = 2000  # sentences that jiwer is given at once
Alignment = tuple[tuple[str | None, str | None], ...]
"""Pairs (reference word, hypothesis word) in spoken order; None on one side is an insertion or a deletion."""


def operation(reference: str | None, hypothesis: str | None) -> str:
    """Name one aligned pair: "S" substitution, "D" deletion, "I" insertion, "" for a hit."""
    if reference is None:
        return "I"
    if hypothesis is None:
        return "D"
    return "" if reference == hypothesis else "S"


def align_words(references: Sequence[str], hypotheses: Sequence[str]) -> list[Alignment]:
    """Align each hypothesis to its reference with the fewest errors (jiwer's Levenshtein alignment).

    Sentences are words separated by single spaces; either side may be empty.
    """
    import jiwer

    alignments = []
    for pair in _blocks(references, hypotheses):
        output = jiwer.process_words(*pair)
        for reference, hypothesis, chunks in zip(output.references, output.hypotheses, output.alignments, strict=True):
            said, heard = ([*map(sys.intern, words)] for words in (reference, hypothesis))
            pairs: list[tuple[str | None, str | None]] = []
            for chunk in chunks:
                said_words = said[chunk.ref_start_idx : chunk.ref_end_idx]
                heard_words = heard[chunk.hyp_start_idx : chunk.hyp_end_idx]
                if chunk.type == "delete":
                    pairs += [(word, None) for word in said_words]
                elif chunk.type == "insert":
                    pairs += [(None, word) for word in heard_words]
                else:
                    pairs += zip(said_words, heard_words, strict=True)
            alignments.append(tuple(pairs))
    return alignments


def character_errors(references: Sequence[str], hypotheses: Sequence[str]) -> list[int]:
    """Character edit distance of each pair of sentences, the space between words counted as a character."""
    import jiwer

    return [
        sum(
            max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
            for chunk in chunks
            if chunk.type != "equal"
        )
        for pair in _blocks(references, hypotheses)
        for chunks in jiwer.process_characters(*pair).alignments
    ]


def _blocks(references: Sequence[str], hypotheses: Sequence[str]) -> Iterator[tuple[list[str], list[str]]]:
    """Some sentences at a time: what jiwer hands back takes many times the memory of the text."""
    for start in range(0, len(references), _BLOCK):
        yield list(references[start : start + _BLOCK]), list(hypotheses[start : start + _BLOCK])


@dataclass(frozen=True)
class Confusions:
    """How often each word was taken for another, left out or made up; `most_common(n)` gives the top ones."""

    substitutions: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Keys are (reference word, hypothesis word)."""
    deletions: Counter[str] = field(default_factory=Counter)
    insertions: Counter[str] = field(default_factory=Counter)

    @classmethod
    def count(cls, alignments: Iterable[Alignment]) -> Confusions:
        """Count the errors of all alignments."""
        confusions = cls()
        for alignment in alignments:
            for reference, hypothesis in alignment:
                if reference is None:
                    assert hypothesis is not None
                    confusions.insertions[hypothesis] += 1
                elif hypothesis is None:
                    confusions.deletions[reference] += 1
                elif reference != hypothesis:
                    confusions.substitutions[reference, hypothesis] += 1
        return confusions
