"""Token spans to word times: CTC says about where a word is, the loudness where it begins and ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from asr.text import SPACE, Tokenizer

if TYPE_CHECKING:
    from asr.decoding.alignment import Alignment  # and with it numba, which greedy decoding does without

HOP_SECONDS = 0.01
WINDOW_SECONDS = 0.025
"""Loudness is measured as the features are: 25 ms every 10 ms, after the same pre-emphasis, which keeps fricatives."""
PREEMPHASIS = 0.97
QUIET, LOUD = 10, 95
"""Percentiles of the loudness that stand for the pauses and for the speech of a recording."""
LARGEST_RANGE = 60.0
"""dB between the two: below lies digital silence, which says nothing about the noise elsewhere."""
PAUSE_LEVEL = 0.15
"""A pause is quieter than this share of the way from pauses to speech: above the noise of real rooms, which is uneven.
With 0.06, one AN4 recording in four would begin without a pause; with this, one in twenty."""
LIMIT = 10.0
"""dB: how much one frame can speak for or against a pause, so that a loud vowel weighs no more than quiet speech."""
TAIL_SECONDS = 0.03
"""Words fade out: their ends are this much after they have fallen to `PAUSE_LEVEL`. Fitted on digit strings joined from
the training takes of FSDD (benchmarks/word_times.py), whose boundaries are known."""


@dataclass(frozen=True)
class Timeline:
    """The clock of an utterance, or of a recording that was cut into windows.

    Attributes:
        frames: seconds at the middle of each frame of log-probs `[frames]`.
        quiet_times: seconds at the middle of each 10 ms of audio `[n]`; empty where only log-probs are known.
        quiet: dB by which these 10 ms are quieter than the border between pauses and speech `[n]`.
        step: seconds from one frame of log-probs to the next.
        end: seconds at the end of the audio.
    """

    frames: np.ndarray
    quiet_times: np.ndarray
    quiet: np.ndarray
    step: float
    end: float

    @classmethod
    def of(
        cls,
        frames: int,
        step: float,
        waveform: np.ndarray | None = None,
        sample_rate: int = 0,
        start: float = 0.0,
    ) -> Timeline:
        """The clock of one window that begins at second `start`: `waveform` `[samples]` where it is at hand."""
        times = start + step * np.arange(frames)
        if waveform is None:
            return cls(times, np.zeros(0), np.zeros(0), step, start + step * frames)
        quiet = quietness(waveform, sample_rate)
        ticks = start + HOP_SECONDS * np.arange(len(quiet))
        return cls(times, ticks, quiet, step, start + len(waveform) / sample_rate)

    @classmethod
    def joined(cls, parts: Sequence[Timeline]) -> Timeline:
        """One clock for consecutive windows."""
        return cls(
            np.concatenate([part.frames for part in parts]),
            np.concatenate([part.quiet_times for part in parts]),
            np.concatenate([part.quiet for part in parts]),
            parts[-1].step,
            parts[-1].end,
        )


def quietness(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """dB by which each 10 ms of `waveform` `[samples]` is quieter than the border between pauses and speech, `[n]`."""
    samples = np.asarray(waveform, np.float64)
    if not len(samples):
        return np.zeros(0)
    emphasised = samples - PREEMPHASIS * np.concatenate([samples[:1], samples[:-1]])
    energy = np.concatenate([[0.0], np.cumsum(np.square(emphasised))])
    middles = np.arange(int(len(samples) / sample_rate / HOP_SECONDS) + 1) * HOP_SECONDS * sample_rate
    half = WINDOW_SECONDS * sample_rate / 2
    first = np.clip(np.round(middles - half), 0, len(samples)).astype(int)
    last = np.clip(np.round(middles + half), 0, len(samples)).astype(int)
    loudness = 10 * np.log10((energy[last] - energy[first]).clip(0) / np.maximum(1, last - first) + 1e-12)
    loud = float(np.percentile(loudness, LOUD))
    quiet = max(float(np.percentile(loudness, QUIET)), loud - LARGEST_RANGE)
    return quiet + PAUSE_LEVEL * (loud - quiet) - loudness


def word_tokens(tokens: Sequence[int], tokenizer: Tokenizer) -> list[list[int]]:
    """Positions in `tokens` of the tokens of each word, the space between words left out."""
    words: list[list[int]] = []
    begins = True
    for position, token in enumerate(tokens):
        piece = tokenizer.tokens[token]
        begins = begins or piece.startswith(SPACE)
        if piece == SPACE:
            continue
        if begins:
            words.append([])
        words[-1].append(position)
        begins = False
    return words


def word_times(alignment: Alignment, words: Sequence[Sequence[int]], timeline: Timeline) -> list[tuple[float, float]]:
    """Start and end of each word in seconds.

    CTC emits a token somewhere inside the sound it stands for, often in a single frame. Between the last emission of a
    word and the first one of the next lies the stretch of 10 ms frames that speaks most for a pause (the largest sum
    of `Timeline.quiet`, each frame limited to +-10 dB): the one word ends where it begins, the next word begins where
    it ends. Where no frame is quiet enough, both meet in the quietest one. Before the first word and after the last the
    pause reaches to the edge of the audio. Without loudness words meet halfway between their emissions.

    Args:
        alignment: of all tokens.
        words: the positions of each word's tokens, as `word_tokens` gives them.
        timeline: the clock of the same frames.
    """
    if not words:
        return []
    first = [float(timeline.frames[alignment.starts[word[0]]]) for word in words]
    last = [float(timeline.frames[alignment.ends[word[-1]] - 1]) for word in words]
    half = timeline.step / 2
    starts, ends = [max(0.0, first[0] - half)], []
    votes = timeline.quiet.clip(-LIMIT, LIMIT)
    positions = np.searchsorted(timeline.quiet_times, [first, last])
    for index in range(len(words) - 1):
        low, high = int(positions[1, index]), int(positions[0, index + 1])
        low = min(low + round(timeline.step / HOP_SECONDS), high)  # the emission itself is speech
        if low == high:
            middle = (last[index] + first[index + 1]) / 2
            pause = (middle, middle)
        else:
            pause = _pause(timeline.quiet_times[low:high], timeline.quiet[low:high], votes[low:high])
        ends.append(min(pause[0] + TAIL_SECONDS, pause[1]))
        starts.append(pause[1])
    ends.append(min(timeline.end, last[-1] + half))
    if len(votes):
        before = np.concatenate([[0.0], np.cumsum(votes[: positions[0, 0]])])
        starts[0] = _edge(timeline, int(before.argmax()))
        after = np.concatenate([[0.0], np.cumsum(votes[positions[1, -1] :][::-1])])
        ends[-1] = min(timeline.end, _edge(timeline, len(votes) - int(after.argmax())) + TAIL_SECONDS)
    return [(start, max(start, end)) for start, end in zip(starts, ends, strict=True)]


def _pause(times: np.ndarray, quiet: np.ndarray, votes: np.ndarray) -> tuple[float, float]:
    """Where the stretch with the largest sum of votes begins and ends; a point where none is above 0."""
    sums = np.concatenate([[0.0], np.cumsum(votes)])
    lowest = np.minimum.accumulate(sums)
    end = int((sums - lowest).argmax())
    if not end:
        middle = float(times[int(quiet.argmax())])
        return middle, middle
    begin = int(sums[:end].argmin())
    return float(times[begin]) - HOP_SECONDS / 2, float(times[end - 1]) + HOP_SECONDS / 2


def _edge(timeline: Timeline, index: int) -> float:
    """The border before the 10 ms of this index, within the audio."""
    if index == len(timeline.quiet_times):
        return timeline.end
    return max(0.0, float(timeline.quiet_times[index]) - HOP_SECONDS / 2)
