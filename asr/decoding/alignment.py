"""Forced alignment: the likeliest CTC path that spells given tokens, exactly and in bounded memory (Viterbi, numba)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from asr.errors import AlignmentError
from asr.text import ctc_frames

BLOCK = 1024
"""Frames between two saved columns of the lattice. Back-pointers are kept for one block at a time, over the BLOCK + 2
tokens that a path can cross in it: 2 MB, however long the recording. An hour (90,000 frames, 50,000 tokens) saves 88
columns, 70 MB."""
NORMALISED = 1e-3
"""Log-probs above this are no log-probs; rounding takes them a little above 0."""


@dataclass(frozen=True)
class Alignment:
    """Where each token of an utterance is emitted on its likeliest path.

    Attributes:
        tokens: token ids `[n]`, as asked for.
        starts: first frame of each token `[n]`.
        ends: the frame after its last `[n]`; frames between one token's end and the next one's start are blank.
        score: natural-log probability of the path.
        frames: frames in all.
    """

    tokens: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    score: float
    frames: int

    def path(self) -> np.ndarray:
        """The token of each frame `[frames]`, 0 where it is blank."""
        path = np.zeros(self.frames, np.int32)
        for token, start, end in zip(self.tokens, self.starts, self.ends, strict=True):
            path[start:end] = token
        return path


def align(log_probs: np.ndarray, tokens: Sequence[int], block: int = BLOCK) -> Alignment:
    """The likeliest path through `log_probs` `[frames, tokens]` that emits `tokens` (Graves et al. 2006, section 4).

    Exact: no beam, no band. The lattice is walked once, saving every `block`-th column; then each block, from the last
    to the first, is walked again with back-pointers for the few tokens that the path can reach in it (checkpointing).
    Sums are in float64.

    Args:
        log_probs: natural logs, token 0 the blank; any float type.
        tokens: ids without blanks; none gives the path of blanks.
        block: frames between saved columns; it changes memory, never the result.

    Raises:
        AlignmentError: too few frames for the tokens, NaN, values above 0, ids outside the table, or no path with a
            probability above 0.
    """
    log_probs = np.ascontiguousarray(log_probs, np.float32)
    if log_probs.ndim != 2:
        raise AlignmentError(f"log-probs must be [frames, tokens], not {list(log_probs.shape)}")
    frames, size = log_probs.shape
    ids = np.asarray(tokens, np.int32)
    outside = ids[(ids < 1) | (ids >= size)]
    if len(outside):
        raise AlignmentError(
            f"token {outside[0]} cannot be aligned: the table has tokens 1 to {size - 1}, and 0 is blank"
        )
    fewest = ctc_frames(tokens)
    if frames < fewest:
        raise AlignmentError(
            f"{len(ids)} tokens with {fewest - len(ids)} repeats need at least {fewest} frames, "
            f"and the audio has {frames}: the text is longer than the audio"
        )
    if not frames:
        return Alignment(ids, ids.copy(), ids.copy(), 0.0, 0)
    highest = float(log_probs.max())  # NaN when there is one
    if not highest <= NORMALISED:
        raise AlignmentError(
            "the log-probs hold NaN: the model or the audio is broken"
            if np.isnan(highest)
            else f"the log-probs reach {highest:.3g}: natural logs of probabilities are at most 0; apply log_softmax"
        )
    starts, ends = np.zeros(len(ids), np.int32), np.zeros(len(ids), np.int32)
    skip = np.full(len(ids), -np.inf)
    skip[1:][ids[1:] != ids[:-1]] = 0.0
    score = float(_viterbi(log_probs, ids, skip, max(1, block), starts, ends))
    if score == -np.inf:
        raise AlignmentError("the text has probability 0: every path crosses a log-prob of minus infinity")
    return Alignment(ids, starts, ends, score, frames)


@njit(cache=True, nogil=True)
def _step(row, tokens, skip, blanks, labels, new_blanks, new_labels, low, high):
    """One frame. `blanks[j]` is the blank before token j; `labels[j + 1]` is token j, `labels[0]` minus infinity."""
    blank = np.float64(row[0])
    for j in range(low, high):
        waiting, before, own = blanks[j], labels[j], labels[j + 1]
        new_blanks[j] = (waiting if waiting >= before else before) + blank
        jump = before + skip[j]
        best = own if own >= waiting else waiting
        new_labels[j + 1] = (best if best >= jump else jump) + row[tokens[j]]
    waiting, before = blanks[high], labels[high]
    new_blanks[high] = (waiting if waiting >= before else before) + blank


@njit(cache=True, nogil=True)
def _viterbi(log_probs, tokens, skip, block, starts, ends):
    """Fill `starts` and `ends`; returns the score of the path."""
    frames, count = len(log_probs), len(tokens)
    blocks = (frames + block - 1) // block
    saved = np.empty((blocks, 2, count + 1))
    blanks, labels = np.full(count + 1, -np.inf), np.full(count + 1, -np.inf)
    new_blanks, new_labels = blanks.copy(), labels.copy()
    blanks[0] = 0.0
    for t in range((blocks - 1) * block + 1):
        if t % block == 0:
            saved[t // block, 0], saved[t // block, 1] = blanks, labels
        # Tokens that t + 1 frames can reach and from which the end can be reached.
        low, high = max(0, count - frames + t), min(count, t + 1)
        _step(log_probs[t], tokens, skip, blanks, labels, new_blanks, new_labels, low, high)
        blanks, new_blanks = new_blanks, blanks
        labels, new_labels = new_labels, labels

    width = min(count, block + 1)
    pointers = np.empty((min(block, frames), width + 1, 2), np.uint8)
    score = -np.inf
    state, on_label = count, False
    for index in range(blocks - 1, -1, -1):
        first, last = index * block, min(frames, (index + 1) * block)
        top = state + 1 if on_label else state
        base = max(0, top - width)  # no path from below reaches `state` within the block
        blanks, labels = saved[index, 0, base : top + 1], saved[index, 1, base : top + 1]
        new_blanks, new_labels = np.full(len(blanks), -np.inf), np.full(len(blanks), -np.inf)
        if base:
            labels[0] = -np.inf
        for t in range(first, last):
            row = log_probs[t]
            blank = np.float64(row[0])
            for j in range(len(blanks)):
                waiting, before = blanks[j], labels[j]
                pointers[t - first, j, 0] = before > waiting
                new_blanks[j] = max(waiting, before) + blank
                if j + 1 < len(blanks):
                    own, jump = labels[j + 1], before + skip[base + j]
                    best = own
                    pointer = 0
                    if waiting > best:
                        best, pointer = waiting, 1
                    if jump > best:
                        best, pointer = jump, 2
                    pointers[t - first, j, 1] = pointer
                    new_labels[j + 1] = best + row[tokens[base + j]]
            blanks, new_blanks = new_blanks, blanks
            labels, new_labels = new_labels, labels
        if index == blocks - 1:
            on_label = labels[count - base] > blanks[count - base]
            score = max(labels[count - base], blanks[count - base])
            if on_label:
                state = count - 1
                ends[state] = frames
        for t in range(last - 1, first - 1, -1):
            j = state - base
            if not on_label:
                if pointers[t - first, j, 0]:
                    state, on_label = state - 1, True
                    ends[state] = t
            elif pointers[t - first, j, 1]:
                starts[state] = t
                if pointers[t - first, j, 1] == 2:
                    state -= 1
                    ends[state] = t
                else:
                    on_label = False
    return score
