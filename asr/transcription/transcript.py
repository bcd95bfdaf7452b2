"""What transcription hands on: the transcript of a recording, in segments and words."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from asr.decoding.hypothesis import Word


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another text for a segment, and its score."""

    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of the recording that was decoded at once. Times in seconds from the start of the recording."""

    start: float
    end: float
    text: str
    score: float
    """Natural-log probability of the decoded path."""
    words: list[Word] = field(default_factory=list)
    alternatives: list[Alternative] = field(default_factory=list)
    """What `decoding.nbest` asked for beyond the best, in order."""


def shifted(word: Word, seconds: float) -> Word:
    """The word with its times, where it has any, counted from another beginning."""
    if word.start is None or word.end is None:
        return word
    return replace(word, start=round(word.start + seconds, 3), end=round(word.end + seconds, 3))


@dataclass(frozen=True, slots=True)
class Transcript:
    """The words of one recording."""

    text: str
    duration: float
    """Seconds of audio."""
    segments: list[Segment] = field(default_factory=list)

    @property
    def words(self) -> list[Word]:
        """Every word of every segment."""
        return [word for segment in self.segments for word in segment.words]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, ready for JSON."""
        return asdict(self)
