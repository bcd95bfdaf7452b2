"""A recording of any length as windows that the model can take: cut at pauses, overlapping where there is none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from asr.transcription.speech import FLOOR, levels, pause_level, powers

WINDOW_SECONDS = 30.0
"""Longest window where the model does not say what it is used to (`decoding.window_seconds`)."""
WHOLE_SHARE = 1.5
"""Of the longest window: a recording no longer than this is one utterance, and is cut at its ends only."""
SHORTEST_SHARE = 0.2
"""Of the longest window: where no long pause divides the speech, the cut is looked for behind this."""
PAUSE_SECONDS = 0.5
"""A pause as long as this always ends a window: what lies beyond is another sentence, or another speaker."""
MARGIN_SECONDS = 0.4
"""Of a pause, kept beside the speech on each side: words fade out. What is left between is not decoded at all."""
SURE_SECONDS = 0.3
"""A shorter quiet stretch may be the closure of a stop consonant, inside a word: the windows overlap there."""
OVERLAP_SECONDS = 1.0
"""On each side of such a cut."""
CONTEXT_SECONDS = 30.0
"""Over which speech is told from pauses: the level of a recording changes with time and speaker."""
HOP_SECONDS = 0.01
VOTE_LIMIT = 10.0
"""dB: of two pauses the longer counts, not the deeper."""


@dataclass(frozen=True, slots=True)
class Window:
    """A piece of a recording.

    Attributes:
        start: its first sample, counted from the beginning of the recording.
        waveform: float32 `[samples]`.
        overlaps: it begins inside the window before it.
    """

    start: int
    waveform: np.ndarray
    overlaps: bool

    @property
    def end(self) -> int:
        """The sample behind its last."""
        return self.start + len(self.waveform)


def windows(
    blocks: Iterable[np.ndarray],
    sample_rate: int,
    longest: float = WINDOW_SECONDS,
    *,
    overlap: bool = True,
    skip: bool = True,
) -> Iterator[Window]:
    """Cut consecutive blocks of waveform into windows of at most `longest` seconds, overlaps added to that.

    A window ends at the first pause of `PAUSE_SECONDS`; where the speech goes on for longer than `longest`, at its
    longest pause; where there is none either, at its quietest moment, and the next window begins before this one ends.
    Quiet is told from speech by the level alone, relative to that of the last and next seconds. A network that detects
    speech (Silero) cut no better and took twice the time of the whole transcription: benchmarks/README.md.

    Memory: the context and one block, however long the recording is.

    Args:
        blocks: float32 `[samples]`, of any lengths.
        sample_rate: Hz.
        longest: seconds; as long as what the model was trained on is best.
        overlap: false: windows never overlap.
        skip: false: pauses are not left out; the windows joined are the recording.
    """
    cutter = _Cutter(sample_rate, longest, overlap, skip)
    for block in blocks:
        yield from cutter.take(block)
    yield from cutter.finish()


class _Cutter:
    """What is held of a recording while its windows are cut; positions in hops of 10 ms from the buffer's begin."""

    def __init__(self, sample_rate: int, longest: float, overlap: bool, skip: bool):
        self.hop = round(HOP_SECONDS * sample_rate)
        self.longest = max(1, round(longest / HOP_SECONDS))
        self.shortest = round(SHORTEST_SHARE * longest / HOP_SECONDS)
        self.pause = round(PAUSE_SECONDS / HOP_SECONDS)
        self.margin = round(MARGIN_SECONDS / HOP_SECONDS)
        self.context = max(self.longest, round(CONTEXT_SECONDS / HOP_SECONDS))
        self.extra = round(min(OVERLAP_SECONDS, longest / 6) / HOP_SECONDS) if overlap else 0
        self.skip = skip
        self.samples = np.zeros(0, np.float32)
        self.powers = np.zeros(0, np.float32)  # of the whole hops of `samples`
        self.last = 0.0  # the sample before those without powers yet
        self.start = 0  # of the buffer, in samples of the recording
        self.again = 0  # hops before the buffer's begin that the next window takes along
        self.tail = np.zeros(0, np.float32)  # what lies before the buffer, for that

    def take(self, block: np.ndarray) -> Iterator[Window]:
        """Add a block; yields the windows that are certain by now."""
        self._add(block)
        while len(self.powers) >= self.context + self.longest:
            yield from self._cut()

    def finish(self) -> Iterator[Window]:
        """The rest."""
        if self.start == 0 and len(self.powers) <= WHOLE_SHARE * self.longest:
            yield from self._whole()
            return
        while len(self.powers) > self.longest or (len(self.powers) > self.margin and self.skip):
            before = len(self.powers)
            yield from self._cut()
            if len(self.powers) == before:
                break
        if len(self.samples):
            yield self._window(len(self.samples))

    def _whole(self) -> Iterator[Window]:
        """A short recording in one window, without long pauses at its ends."""
        end = len(self.samples)
        power = levels(self.powers)
        speech = np.flatnonzero(power >= pause_level(power)) if self.skip and len(power) else np.zeros(0, int)
        if len(speech):
            first, last = int(speech[0]), int(speech[-1]) + 1
            if len(power) - last > self.pause:
                end = (last + self.margin) * self.hop
            if first > self.pause:
                self._drop(first - self.margin)
                end -= (first - self.margin) * self.hop
        if end:
            yield self._window(end)

    def _add(self, block: np.ndarray) -> None:
        self.samples = np.concatenate([self.samples, block])
        fresh = self.samples[len(self.powers) * self.hop :]
        self.powers = np.concatenate([self.powers, powers(fresh, self.hop, self.last)])
        whole = len(fresh) // self.hop * self.hop
        self.last = float(fresh[whole - 1]) if whole else self.last

    def _cut(self) -> Iterator[Window]:
        context = levels(self.powers[: self.context])
        quiet = pause_level(context) - context
        if quiet[0] > 0 and self.skip and not self.again:
            speech = np.flatnonzero(quiet <= 0)
            silent = int(speech[0]) if len(speech) else len(quiet)
            if silent > self.margin:
                self._drop(silent - self.margin)
                return
        pause = self._first_long_pause(quiet)
        if pause is None and len(self.powers) <= self.longest:
            return
        if pause is None:
            pause = _longest_pause(quiet, max(self.shortest, self.again + self.extra), self.longest)
        if pause is None or (pause[1] - pause[0]) * HOP_SECONDS < SURE_SECONDS:
            cut = _quietest(context[: self.longest], self.longest // 2) if pause is None else sum(pause) // 2
            yield self._window((cut + self.extra) * self.hop, keep=cut * self.hop)
            self.again = self.extra
            return
        begin, end = pause
        kept = min((end - begin) // 2, self.margin) if self.skip else (end - begin) // 2
        yield self._window((begin + kept) * self.hop)
        if self.skip:
            self._drop(end - begin - 2 * kept)

    def _first_long_pause(self, quiet: np.ndarray) -> tuple[int, int] | None:
        for begin, end in _runs(quiet > 0):
            if begin > self.longest + self.extra:
                return None
            if begin > self.again and end - begin >= self.pause:
                return begin, end
        return None

    def _window(self, samples: int, keep: int | None = None) -> Window:
        """The first `samples` of the buffer, which loses `keep` of them (all of them when not given)."""
        taken = self.again * self.hop
        waveform = np.concatenate([self.tail[len(self.tail) - taken :], self.samples[:samples]])
        window = Window(self.start - taken, waveform, self.again > 0)
        self.again = 0
        self._advance(samples if keep is None else keep)
        return window

    def _drop(self, hops: int) -> None:
        self.again = 0
        self._advance(hops * self.hop)

    def _advance(self, samples: int) -> None:
        before = np.concatenate([self.tail, self.samples[:samples]])
        self.tail = before[max(0, len(before) - self.extra * self.hop) :].copy()
        self.samples = self.samples[samples:]
        self.powers = self.powers[-(-samples // self.hop) :]
        self.start += samples


def _runs(quiet: np.ndarray) -> Iterator[tuple[int, int]]:
    """Begin and end of each stretch that is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]])))
    return zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _longest_pause(quiet: np.ndarray, low: int, high: int) -> tuple[int, int] | None:
    """Of the quiet stretches that begin from `low` to `high`, the one with most quiet in all; None: there is none."""
    runs = [(begin, end) for begin, end in _runs(quiet > 0) if low <= begin < high]
    return max(runs, key=lambda run: float(quiet[run[0] : run[1]].clip(max=VOTE_LIMIT).sum()), default=None)


def _quietest(context: np.ndarray, low: int) -> int:
    """The hop in the middle of the quietest 0.2 s behind `low`."""
    span = min(round(0.2 / HOP_SECONDS), len(context) - low)
    energy = np.convolve(10 ** (np.maximum(context[low:], FLOOR) / 10), np.ones(span), mode="valid")
    return low + int(energy.argmin()) + span // 2
