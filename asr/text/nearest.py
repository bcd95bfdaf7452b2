"""The word whose pronunciation is nearest to what was heard: fewest phones changed, missing or too many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MOST = 0.5
"""Edits to each phone that was heard, at most, but one always; what differs by more is no word that was misheard."""


class Nearest:
    """Pronunciations as a table, so that the edit distance to all of them is a few operations on arrays.

    Args:
        pronunciations: phone ids of each; of those equally near, the first is taken.
    """

    def __init__(self, pronunciations: Sequence[Sequence[int]]):
        self._lengths = np.array([len(one) for one in pronunciations], np.int64)
        self._phones = np.full((len(pronunciations), int(self._lengths.max(initial=0))), -1, np.int32)
        for row, one in zip(self._phones, pronunciations, strict=True):
            row[: len(one)] = one

    def find(self, heard: Sequence[int]) -> int | None:
        """Place of the nearest pronunciation; None where all are further away than `MOST`."""
        most = max(1, int(MOST * len(heard)))
        near = np.flatnonzero(np.abs(self._lengths - len(heard)) <= most)  # the others differ by more in length alone
        if not near.size:
            return None
        lengths = self._lengths[near]
        phones = self._phones[near, : lengths.max()]
        places = np.arange(phones.shape[1] + 1)
        # Levenshtein's rows, for all words at once. A phone too few costs one more than the place before it: a running
        # minimum once that slope is taken away.
        row = np.broadcast_to(places, (len(near), len(places)))
        for number, phone in enumerate(heard, start=1):
            straight = np.minimum(row[:, 1:] + 1, row[:, :-1] + (phones != phone))
            first = np.full((len(near), 1), number)
            row = np.minimum.accumulate(np.concatenate([first, straight], 1) - places, axis=1) + places
        distances = row[np.arange(len(near)), lengths]
        best = int(distances.argmin())
        return int(near[best]) if distances[best] <= most else None
