"""A score taken apart: by speaker or another label, by length or another measure, and the words never recognised."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from asr.scoring.error_rates import Score, UtteranceScore

UNKNOWN = "unknown"
"""The group of utterances without label or value."""


@dataclass(frozen=True)
class Group:
    """Some utterances of a score. Intervals are computed when first asked for."""

    name: str
    score: Score


def by_label(score: Score, labels: Mapping[str, str]) -> list[Group]:
    """The score of each label (speaker, corpus, ...), the highest word error rate first.

    Utterances without label are the group `unknown`.  Groups without a single reference word have no error rate and
    are left out.

    Args:
        score: of the whole set.
        labels: utterance id -> label.
    """
    groups = _groups(score, lambda utterance: labels.get(utterance.id, UNKNOWN))
    return sorted(groups, key=lambda group: -group.score.wer)


def by_value(score: Score, values: Mapping[str, float], unit: str, bins: int = 5) -> list[Group]:
    """The score by duration, loudness, signal-to-noise ratio or the like, in ascending order.

    Bins hold about equally many utterances; equal values are never parted, so that there may be fewer.  Utterances
    without value, or with NaN, are the group `unknown` at the end.  Bins without a single reference word have no error
    rate and are left out.

    Args:
        score: of the whole set.
        values: utterance id -> value.
        unit: of the values, for names such as `2.1-3.4 s`: from the first value, up to below the second.
        bins: at most how many.
    """
    known = {u.id: values[u.id] for u in score.utterances if u.id in values and not math.isnan(values[u.id])}
    if not known:
        return _groups(score, lambda utterance: UNKNOWN)
    ordered = sorted(known.values())
    inner = sorted({ordered[place * len(ordered) // bins] for place in range(1, bins)} - {ordered[0]})
    names = _names([ordered[0], *inner, ordered[-1]], unit)

    def name(utterance: UtteranceScore) -> str:
        value = known.get(utterance.id)
        return UNKNOWN if value is None else names[bisect_right(inner, value)]

    order = [*names, UNKNOWN]
    return sorted(_groups(score, name), key=lambda group: order.index(group.name))


def never_recognised(score: Score) -> list[tuple[str, int]]:
    """Reference words that were never right and how often they were said, most often first."""
    said: Counter[str] = Counter()
    right: set[str] = set()
    for utterance in score.utterances:
        for reference, hypothesis in utterance.alignment:
            if reference is not None:
                said[reference] += 1
                if reference == hypothesis:
                    right.add(reference)
    return [(word, count) for word, count in said.most_common() if word not in right]


def _groups(score: Score, name: Callable[[UtteranceScore], str]) -> list[Group]:
    members: dict[str, list[UtteranceScore]] = {}
    for utterance in score.utterances:
        members.setdefault(name(utterance), []).append(utterance)
    return [
        Group(label, replace(score, utterances=utterances, speakers=_speakers(score, utterances)))
        for label, utterances in members.items()
        if any(utterance.reference for utterance in utterances)
    ]


def _speakers(score: Score, utterances: list[UtteranceScore]) -> dict[str, str] | None:
    return None if score.speakers is None else {u.id: score.speakers[u.id] for u in utterances}


def _names(edges: list[float], unit: str) -> list[str]:
    """Names of the bins between edges, with as many decimals as tell neighbouring edges apart, one at least."""
    decimals = next((d for d in range(1, 17) if len({f"{edge:.{d}f}" for edge in edges}) == len(set(edges))), 17)
    between = " to " if edges[0] < 0 else "-"
    shown = [f"{edge:.{decimals}f}" for edge in edges]
    return [f"{low}{between}{high} {unit}" if low != high else f"{low} {unit}" for low, high in pairwise(shown)]
