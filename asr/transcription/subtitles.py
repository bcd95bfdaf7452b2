"""Subtitles: the words of a transcript in pieces that can be read off a screen."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from asr.transcription.transcript import Segment, Transcript

LINE_CHARACTERS = 42
"""Longest line. The limits are those of Netflix's Timed Text Style Guide, which is near other broadcasters'."""
CUE_LINES = 2
"""Most lines on the screen at once."""
CUE_SECONDS = 7.0
"""Longest that a subtitle stays."""
CUE_PAUSE = 1.0
"""Seconds of silence after which a new subtitle begins."""
GOOD_PAUSE = 0.5
"""Seconds of silence between words that make as good a place to cut as any longer one."""
SHORTEST_SECONDS = 5 / 6
"""What flashes by faster cannot be read; a subtitle stays this long where the next one leaves room."""
READING_SPEED = 17.0
"""Characters a second that are read in comfort: subtitles of faster speech linger ..."""
LINGER_SECONDS = 0.5
"""... at most this long after it."""

Span = tuple[float, float, str]
"""Start and end in seconds, and a text."""

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufeff]")


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of a recording and its text. Times in milliseconds from the start of the recording."""

    start: int
    end: int
    text: str


def one_line(text: str) -> str:
    """The text with single spaces for any white space, and U+FFFD for control characters and what UTF-8 cannot hold."""
    return _UNPRINTABLE.sub("\ufffd", " ".join(text.split()))


def segments_of(transcript: Transcript) -> list[Segment]:
    """Its segments; of a transcript made without any, the whole as one."""
    return transcript.segments or [Segment(0.0, transcript.duration, transcript.text, 0.0)]


def in_order(spans: Sequence[Span]) -> Iterator[Interval]:
    """Spans as intervals of at least a millisecond, none of which begins before the last one has ended.

    A start that does not come after the last start moves to a millisecond after it; an end after the next start moves
    there.
    """
    starts: list[int] = []
    for start, _, _ in spans:
        starts.append(max(round(1000 * start), starts[-1] + 1 if starts else 0))
    for (_, end, text), begin, following in zip_longest(spans, starts, starts[1:]):
        finish = max(begin + 1, round(1000 * end))
        yield Interval(begin, finish if following is None else min(finish, following), text)


def cues(transcript: Transcript) -> Iterator[Interval]:
    """Pieces of speech that fit a subtitle, each a single line of text: segments, cut where they are too long or pause.

    A segment without times of its words stays whole.
    """
    yield from in_order([piece for segment in segments_of(transcript) for piece in _pieces(segment)])


def subtitles(transcript: Transcript) -> Iterator[Interval]:
    """`cues` for a screen: broken into lines, and staying long enough to be read where the next one leaves room."""
    found = list(cues(transcript))
    for cue, following in zip_longest(found, found[1:]):
        reading = min(len(cue.text) / READING_SPEED, (cue.end - cue.start) / 1000 + LINGER_SECONDS)
        wanted = cue.start + round(1000 * max(SHORTEST_SECONDS, reading))
        room = round(1000 * transcript.duration) if following is None else following.start
        yield Interval(cue.start, max(cue.end, min(wanted, room)), "\n".join(lines(cue.text)))


def lines(text: str) -> list[str]:
    """As few lines of at most `LINE_CHARACTERS` as the words allow, as even as these allow."""
    fewest = len(_wrapped(text, LINE_CHARACTERS))
    width = math.ceil(len(text) / fewest) if fewest else LINE_CHARACTERS
    while width < LINE_CHARACTERS and len(_wrapped(text, width)) > fewest:
        width += 1
    return _wrapped(text, width)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def _pieces(segment: Segment) -> Iterator[Span]:
    words = [word for word in segment.words if one_line(word.text)]
    timed = [(w.start, w.end, one_line(w.text)) for w in words if w.start is not None and w.end is not None]
    if not words or len(timed) < len(words):
        if text := one_line(segment.text):
            yield segment.start, segment.end, text
        return
    for first, behind in _cuts(timed):
        piece = timed[first:behind]
        yield piece[0][0], piece[-1][1], " ".join(text for _, _, text in piece)


def _cuts(words: Sequence[Span]) -> list[tuple[int, int]]:
    """Where each subtitle of a segment begins and ends: the cut of least cost, found as a shortest path.

    A subtitle costs 1, its emptiness squared (so that none is left with a word or two), and up to 1 for the cut behind
    it: nothing after a pause of `GOOD_PAUSE`, half as much after punctuation.
    """
    costs = [0.0, *[math.inf] * len(words)]
    begins = [0] * (len(words) + 1)
    for first, (start, _, _) in enumerate(words):
        used_lines, column, characters = 0, LINE_CHARACTERS, -1
        for last in range(first, len(words)):
            begin, end, text = words[last]
            characters += 1 + len(text)
            column += 1 + len(text)
            if column > LINE_CHARACTERS:
                used_lines, column = used_lines + 1, len(text)
            paused = last > first and begin - words[last - 1][1] > CUE_PAUSE
            if last > first and (used_lines > CUE_LINES or end - start > CUE_SECONDS or paused):
                break
            cut = 0.0
            if last + 1 < len(words):
                cut = 1 - min(1.0, max(0.0, words[last + 1][0] - end) / GOOD_PAUSE)
                cut *= 0.5 if text[-1] in ".,;:!?…" else 1.0
            emptiness = max(0.0, 1 - characters / (CUE_LINES * LINE_CHARACTERS))
            cost = costs[first] + 1 + emptiness**2 + cut
            if cost < costs[last + 1]:
                costs[last + 1], begins[last + 1] = cost, first
    found = []
    behind = len(words)
    while behind:
        found.append((begins[behind], behind))
        behind = begins[behind]
    return found[::-1]
