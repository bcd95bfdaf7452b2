"""A recording of any length as windows that the model can take, cut where it is quietest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

WINDOW_SECONDS = 30.0
"""Longest window: training utterances are at most about as long."""
SEARCH_SECONDS = 10.0
"""The cut falls into the quietest moment of this stretch at the end of a window."""
PAUSE_SECONDS = 0.2
"""Length over which quiet is measured: longer than the closure of a stop consonant, shorter than a pause."""


def windows(blocks: Iterable[np.ndarray], sample_rate: int) -> Iterator[np.ndarray]:
    """Cut consecutive blocks of waveform into windows `[samples]` of at most `WINDOW_SECONDS`.

    Together the windows are the whole recording, nothing lost and nothing doubled. At most one block and one window
    are held in memory.
    """
    longest = round(WINDOW_SECONDS * sample_rate)
    rest = np.zeros(0, dtype=np.float32)
    for block in blocks:
        rest = np.concatenate([rest, block])
        while len(rest) > longest:
            cut = _quietest(rest[:longest], sample_rate)
            yield rest[:cut]
            rest = rest[cut:]
    if len(rest):
        yield rest


def _quietest(window: np.ndarray, sample_rate: int) -> int:
    """The sample in the middle of the quietest pause in the last `SEARCH_SECONDS` of the window."""
    hop = round(0.01 * sample_rate)
    first = len(window) - round(SEARCH_SECONDS * sample_rate)
    tail = window[first:]
    energy = np.square(tail[: len(tail) // hop * hop], dtype=np.float64).reshape(-1, hop).sum(1)
    span = round(PAUSE_SECONDS * sample_rate / hop)
    smooth = np.convolve(energy, np.ones(span), mode="valid")
    return first + (int(smooth.argmin()) + span // 2) * hop
