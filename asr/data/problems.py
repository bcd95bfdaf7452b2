"""What is wrong with an utterance, and what to do about it: one form for importing, checking and training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One utterance (or line of a transcript file) and what is wrong with it."""

    id: str
    kind: str
    """A few words, the same for every utterance with this problem, such as `outside the alphabet`."""
    message: str
    """What was found, and the remedy."""


def summarise(problems: Sequence[Problem], name: str, shown: int = 3, *, what: str = "utterances") -> list[str]:
    """Lines for the terminal: how many of each kind were left out, and the first few by name."""
    lines = []
    for kind, count in Counter(problem.kind for problem in problems).most_common():
        lines.append(f"{name}: {count} {what} left out, {kind}:")
        lines += [f"  {p.id}: {p.message}" for p in [p for p in problems if p.kind == kind][:shown]]
        if count > shown:
            lines.append(f"  and {count - shown} more")
    return lines
