"""The numerical parts of beam search: probabilities of frames, the tokens worth a try, the scores that stay."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from numba import njit

compiled = partial(njit, cache=True, nogil=True, error_model="numpy", _nrt=False)
"""For functions that allocate nothing: without counting references to the arrays that they are given, which would take
most of the time. Those that are called in one place are written into their caller with `inline="always"`, as each
function that is handed so many arrays takes seconds to compile; but for the innermost loops (`forceinline`), which come
out a fifth slower that way."""

MAGIC = 6755399441055744.0  # 1.5 * 2^52: added to a number, leaves the nearest integer in the lowest bits
MAGIC_BITS = np.float64(MAGIC).view(np.int64).item()


BLOCK = 4096
"""Probabilities worked out at a time, so that they stay in the fastest cache."""


class Room(NamedTuple):
    """Room for a frame's work.

    Attributes:
        probability: float64 `[frames * tokens]`, of a block of frames.
        power: float64, as long.
        bits: `power` as int64.
        chosen: uint32 `[tokens]`, the tokens that may open prefixes, likeliest first.
        rank: uint32 `[tokens]`, 1 for the first of `chosen` and so on, 0 for a token that is not among them.
        ends: int64 `[2]`, see `cut`.
        limits: `ends` as float64.
    """

    probability: np.ndarray
    power: np.ndarray
    bits: np.ndarray
    chosen: np.ndarray
    rank: np.ndarray
    ends: np.ndarray
    limits: np.ndarray


def new_room(tokens: int) -> Room:
    """Room for frames of so many tokens."""
    block = max(1, BLOCK // tokens) * tokens
    power, ends = np.empty(block), np.empty(2)
    return Room(
        np.empty(block),
        power,
        power.view(np.int64),
        np.empty(tokens, np.uint32),
        np.zeros(tokens, np.uint32),
        ends.view(np.int64),
        ends,
    )


@compiled()
def exponentiate(log_probs: np.ndarray, out: np.ndarray, power: np.ndarray, bits: np.ndarray) -> None:
    """e^`log_probs` into `out`, as far as either goes; 0 below e^-700, relative error 1e-9.

    Written so that the compiler vectorises it: e^x = 2^k e^r with |r| <= ln(2) / 2, and e^r by its Taylor series.

    Args:
        power: room, as long as `out`.
        bits: the same, viewed as int64.
    """
    count = min(len(out), len(log_probs))
    for index in range(count):
        given = np.float64(log_probs[index])
        value = -700.0 if given < -700.0 else given  # NaN stays
        shifted = value * 1.4426950408889634 + MAGIC
        power[index] = shifted
        r = value - (shifted - MAGIC) * 0.6931471805599453
        series = 1.0 + r * (1 / 5 + r * (1 / 30 + r * (1 / 210 + r * (1 / 1680))))
        out[index] = 1.0 + r * (1.0 + r * (0.5 + r * (1 / 6 + r * (1 / 24) * series)))
    for index in range(count):
        bits[index] = (bits[index] - MAGIC_BITS + 1023) << 52
    for index in range(count):
        out[index] = 0.0 if log_probs[index] < -700.0 else out[index] * power[index]


@compiled(fastmath={"reassoc"})
def total(values: np.ndarray) -> float:
    """The sum, in any order of adding."""
    result = 0.0
    for index in range(len(values)):
        result += values[index]
    return result


@compiled()
def choose_tokens(row: np.ndarray, least: float, most: int, chosen: np.ndarray) -> int:
    """Write the tokens that may open prefixes in a frame, likeliest first, to `chosen`; returns how many."""
    count = 0
    limit = np.float32(least)
    for token in range(1, len(row)):
        chosen[count] = token
        count += row[token] >= limit
    gap = 1
    while gap < count // 3:
        gap = 3 * gap + 1
    while gap > 0:  # Shell's sort: mostly there are few
        for index in range(gap, count):
            token = chosen[index]
            value = row[token]
            place = index
            while place >= gap:
                other = chosen[place - gap]
                if row[other] > value or (row[other] == value and other < token):
                    break
                chosen[place] = other
                place -= gap
            chosen[place] = token
        gap //= 3
    return min(count, most)


@compiled()
def cut(bits: np.ndarray, count: int, beam: int, ends: np.ndarray) -> int:
    """The highest limit, or one as good, with at most `beam` of `count` scores above it.

    Positive floating-point numbers are ordered as their bits are, so this bisects over the bits. Counting compiles to a
    few vector instructions, and any limit with `beam` scores above will do, so that this beats partial sorting. Of
    scores that are equal and do not all fit in, the first are raised by the least there is.

    Args:
        bits: the scores, none negative, viewed as int64, with room for 7 more.
        ends: int64 `[2]`, the limit to begin with and the highest score.
    """
    below, above = ends[0], ends[1]
    more, fewer = 0, 0
    for index in range(count, count + 7):
        bits[index] = -1
    rounded = (count + 7) >> 3 << 3  # whole vectors
    for index in range(rounded):
        more += bits[index] > below
    if more <= beam:
        return below
    while above - below > 1:
        middle = (below + above) >> 1
        more = 0
        for index in range(rounded):
            more += bits[index] > middle
        if more == beam:
            return middle
        if more > beam:
            below = middle
        else:
            above, fewer = middle, more
    for index in range(count):
        if fewer < beam and bits[index] == above:
            bits[index] += 1
            fewer += 1
    return above
