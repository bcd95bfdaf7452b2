"""Decoded windows to segments: where two overlap, each gives its words up to, or from, one moment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from asr.decoding.hypothesis import Hypothesis
from asr.decoding.times import word_tokens
from asr.text import Tokenizer
from asr.transcription.transcript import Alternative, Segment, shifted

STEP = 0.01
"""Seconds between the moments that are tried for a seam."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A window that has been decoded; times in seconds of the recording, hypotheses best first."""

    start: float
    end: float
    overlaps: bool
    """It begins inside the piece before it."""
    hypotheses: list[Hypothesis]


class Seams:
    """Joins the pieces of a recording.

    Args:
        tokenizer: the model's; its tokens say where words begin.
        frame_seconds: from one frame of log-probs to the next.
    """

    def __init__(self, tokenizer: Tokenizer, frame_seconds: float):
        self.tokenizer, self.frame_seconds = tokenizer, frame_seconds

    def join(self, pieces: Iterable[Piece]) -> Iterator[Segment]:
        """A segment for each piece with words, as soon as the next one is known; none overlaps another."""
        return (segment for segment in self._segments(pieces) if segment.words)

    def _segments(self, pieces: Iterable[Piece]) -> Iterator[Segment]:
        previous: Piece | None = None
        begin = 0.0
        for piece in pieces:
            if previous is not None:
                seam = self.seam(previous, piece) if piece.overlaps else previous.end
                yield self._segment(previous, begin, seam)
                begin = seam if piece.overlaps else piece.start
            else:
                begin = piece.start
            previous = piece
        if previous is not None:
            yield self._segment(previous, begin, previous.end)

    def seam(self, left: Piece, right: Piece) -> float:
        """The moment inside the overlap that is farthest from any word of either piece.

        Both have heard the overlap, and agree about what lies well inside it. At its edges each lacks the context that
        the other has, so that a seam near the middle is preferred among equals.
        """
        low, high = right.start, left.end
        spans = [*self._spans(left, left.hypotheses[0]), *self._spans(right, right.hypotheses[0])]
        middle = (low + high) / 2

        def clearance(moment: float) -> float:
            """Seconds to the nearest word, negative inside one."""
            return min((max(start - moment, moment - end) for start, end in spans), default=high - low)

        moments = [low + STEP * index for index in range(1, max(2, round((high - low) / STEP)))]
        edge = (high - low) / 4
        return max(moments, key=lambda t: (min(clearance(t), edge), -abs(t - middle)))

    def _spans(self, piece: Piece, hypothesis: Hypothesis) -> list[tuple[float, float]]:
        """First and last emission of each word, in seconds of the recording."""
        step = self.frame_seconds
        return [
            (piece.start + hypothesis.frames[word[0]] * step, piece.start + hypothesis.frames[word[-1]] * step)
            for word in word_tokens(hypothesis.tokens, self.tokenizer)
        ]

    def _segment(self, piece: Piece, begin: float, end: float) -> Segment:
        best, *others = (self._between(piece, hypothesis, begin, end) for hypothesis in piece.hypotheses)
        words = []
        for word in best.words:
            moved = shifted(word, piece.start)
            if moved.start is not None and moved.end is not None:  # a word beside the seam may reach over it
                start = min(max(moved.start, begin), end)
                moved = replace(moved, start=round(start, 3), end=round(min(max(moved.end, start), end), 3))
            words.append(moved)
        different = {other.text: other for other in reversed(others)}  # the better one of equal texts
        different.pop(best.text, None)
        alternatives = [Alternative(other.text, other.score) for other in reversed(different.values())]
        return Segment(begin, end, best.text, best.score, words, alternatives)

    def _between(self, piece: Piece, hypothesis: Hypothesis, begin: float, end: float) -> Hypothesis:
        """The words whose middle lies from `begin` to `end`; the score stays that of the whole window."""
        if begin <= piece.start and end >= piece.end:
            return hypothesis
        spans = self._spans(piece, hypothesis)
        inside = [begin <= (start + last) / 2 < end for start, last in spans]
        words = [word for word, kept in zip(hypothesis.words, inside, strict=True) if kept]
        return replace(hypothesis, words=words, text=" ".join(word.text for word in words))
