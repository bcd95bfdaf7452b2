"""Alignment of hypothesis words to reference words, and what it says about frequent confusions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

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

    output = jiwer.process_words(list(references), list(hypotheses))
    alignments = []
    for reference, hypothesis, chunks in zip(output.references, output.hypotheses, output.alignments, strict=True):
        pairs: list[tuple[str | None, str | None]] = []
        for chunk in chunks:
            reference_words = reference[chunk.ref_start_idx : chunk.ref_end_idx]
            hypothesis_words = hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]
            if chunk.type == "delete":
                pairs += [(word, None) for word in reference_words]
            elif chunk.type == "insert":
                pairs += [(None, word) for word in hypothesis_words]
            else:
                pairs += zip(reference_words, hypothesis_words, strict=True)
        alignments.append(tuple(pairs))
    return alignments


def character_errors(references: Sequence[str], hypotheses: Sequence[str]) -> list[int]:
    """Character edit distance of each pair of sentences, the space between words counted as a character."""
    import jiwer

    output = jiwer.process_characters(list(references), list(hypotheses))
    return [
        sum(
            max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
            for chunk in chunks
            if chunk.type != "equal"
        )
        for chunks in output.alignments
    ]


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
