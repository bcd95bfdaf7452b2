"""NIST's timed formats, ctm (a word a line) and stm (a segment a line); which words fall into which segment."""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from asr.errors import ScoringError
from asr.scoring.transcripts.alternatives import parse_words, unescaped
from asr.scoring.transcripts.model import Choice, Piece, Side, Transcripts, first_reading

IGNORE = "IGNORE_TIME_SEGMENT_IN_SCORING"
_LABEL = re.compile(r"<[^<>\s]*>(\s+|$)")
_ALTERNATIVES = ("<ALT_BEGIN>", "<ALT>", "<ALT_END>")

Lines = Iterable[tuple[int, str]]


def read_ctm(path: Path, lines: Lines, side: Side | None, into: Transcripts) -> None:
    """Take in `RECORDING CHANNEL START DURATION WORD [CONFIDENCE ...]` lines, in seconds and any order.

    In a reference, `<ALT_BEGIN>`, `<ALT>` and `<ALT_END>` may enclose alternatives, an empty one for no word.

    Raises:
        ScoringError: naming file, line and remedy.
    """
    options: list[list[str]] | None = None  # of the alternatives that are open
    first_line = 0
    pieces: list[Piece] = []
    for number, line in lines:
        fields = line.split()
        if len(fields) < 5:
            raise ScoringError(
                f"{path}, line {number}: expected `recording channel start duration word`, found {line[:60]!r}"
            )
        recording, channel, start, duration, word = fields[:5]
        if word[0] != "<" or word.upper() not in _ALTERNATIVES:
            begin = _seconds(path, number, start, "start")
            end = begin + _seconds(path, number, duration, "duration")
            # Names that repeat a million times are kept once.
            piece = Piece(sys.intern(recording), sys.intern(channel), begin, end, (unescaped(word),))
            if options is None:
                into.add_piece(piece, path, number)
            else:
                options[-1].append(unescaped(word))
                pieces.append(piece)
            continue
        where, tag = f"{path}, line {number}", word.upper()
        if side == "hypothesis":
            raise ScoringError(f"{where}: {word}: a hypothesis has no alternatives; keep one of them")
        if (tag == "<ALT_BEGIN>") != (options is None):
            raise ScoringError(f"{where}: {word} does not follow; write <ALT_BEGIN> words <ALT> words <ALT_END>")
        if tag == "<ALT_END>":
            assert options is not None
            into.add_piece(_closed(where, options, pieces), path, number)
            options, pieces = None, []
        else:
            options = [*(options or []), []]
            first_line = number if tag == "<ALT_BEGIN>" else first_line
    if options is not None:
        raise ScoringError(f"{path}, line {first_line}: <ALT_BEGIN> without <ALT_END>; close the alternatives")


def _closed(where: str, options: list[list[str]], pieces: list[Piece]) -> Piece:
    if not pieces or len(options) < 2:
        raise ScoringError(f"{where}: alternatives need two or more with <ALT> between, one of them with a word")
    if len({(piece.recording, piece.channel) for piece in pieces}) > 1:
        raise ScoringError(f"{where}: alternatives across recordings or channels; close them with <ALT_END> before")
    first = pieces[0]
    end = max(piece.end for piece in pieces)
    return Piece(first.recording, first.channel, first.start, end, [Choice(tuple(options))])


def read_stm(path: Path, lines: Lines, side: Side | None, into: Transcripts) -> None:
    """Take in `RECORDING CHANNEL SPEAKER START END [<LABEL>] words` lines, in seconds.

    A sixth field in angle brackets is always the label. Segments whose text is `IGNORE_TIME_SEGMENT_IN_SCORING` are
    not to be scored.

    Raises:
        ScoringError: naming file, line and remedy.
    """
    for number, line in lines:
        where = f"{path}, line {number}"
        fields = line.split(None, 5)
        if len(fields) < 5:
            raise ScoringError(
                f"{where}: expected `recording channel speaker start end <label> words`, found {line[:60]!r}"
            )
        recording, channel, speaker = fields[:3]
        start, end = _seconds(path, number, fields[3], "start"), _seconds(path, number, fields[4], "end")
        if end < start:
            raise ScoringError(f"{where}: the segment ends at {fields[4]} s before it starts at {fields[3]} s")
        text = fields[5] if len(fields) > 5 else ""
        text = text[label.end() :] if (label := _LABEL.match(text)) else text
        ignored = IGNORE in text.upper()
        try:
            words = [] if ignored else parse_words(text)
        except ScoringError as error:
            raise ScoringError(f"{where}: {error}") from None
        if side == "hypothesis" and any(isinstance(word, Choice) for word in words):
            raise ScoringError(f"{where}: a hypothesis has no alternatives; keep one of {text[:60]!r}")
        piece = Piece(recording, channel, start, end, words, speaker, ignored)
        into.add_piece(piece, path, number)
        if not ignored:
            identifier = segment_id(piece)
            into.add(identifier, words, path, number)
            into.speakers[identifier] = speaker


def _seconds(path: Path, line: int, field: str, name: str) -> float:
    try:
        value = float(field)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise ScoringError(f"{path}, line {line}: {name} {field!r} is no time; give seconds, such as 12.34")
    return value


def segment_id(segment: Piece) -> str:
    """The name under which a segment of an stm is scored."""
    return f"{segment.recording}-{segment.channel}-{segment.start:.3f}-{segment.end:.3f}"


def by_recording(source: Path, pieces: Iterable[Piece]) -> Transcripts:
    """The words of each recording in the order of their times; of each channel, where a recording has several.

    Raises:
        ScoringError: a stretch is not to be scored, which needs the times of the hypothesis' words.
    """
    joined = Transcripts(source)
    channels = _Channels(pieces)
    for place, own in channels.pieces.items():
        for piece in own:
            if piece.ignored:
                raise ScoringError(
                    f"{source}: {place[0]} from {piece.start} s to {piece.end} s is not to be scored, and which words "
                    "were heard there only a ctm says; give the hypothesis as ctm"
                )
        identifier = channels.name(place)
        joined.add(identifier, [word for piece in own for word in piece.words], source)
        speakers = {piece.speaker for piece in own}
        if len(speakers) == 1 and None not in speakers:
            joined.speakers[identifier] = str(*speakers)
    return joined


def into_segments(references: Transcripts, hypotheses: Transcripts) -> tuple[dict[str, str], int]:
    """The words of a ctm by the segments of an stm; and how many fell where nothing is to be scored.

    As sclite does it (segment_hyp_for_utt in its stm2ctm.c), a word belongs to the first segment that ends after the
    word's middle; so one in the gap between two segments goes to the later, and those after the last segment go to
    that. Channels go by their names, or by themselves where both sides have just one. Recordings that only the ctm
    has keep their words together.
    """
    segments, words = _Channels(references.pieces), _Channels(hypotheses.pieces)
    texts, ignored = {}, 0
    unplaced = dict(words.pieces)
    for place, own in segments.pieces.items():
        if place not in words.pieces and segments.number[place[0]] == words.number[place[0]] == 1:
            heard = unplaced.pop(words.last[place[0]])
        else:
            heard = unplaced.pop(place, [])
        if not heard:
            continue  # nothing in the ctm: a recording that is missing, not one in which nothing was heard
        position = 0
        for segment in own:
            begin = position
            while position < len(heard) and (segment is own[-1] or heard[position].middle < segment.end):
                position += 1
            if segment.ignored:
                ignored += position - begin
            else:
                texts[segment_id(segment)] = _text(heard[begin:position])
    texts |= {words.name(place): _text(heard) for place, heard in unplaced.items()}
    return texts, ignored


class _Channels:
    """Pieces by recording and channel, each in the order of the times."""

    def __init__(self, pieces: Iterable[Piece]):
        self.pieces: dict[tuple[str, str], list[Piece]] = {}
        for piece in pieces:
            self.pieces.setdefault((piece.recording, piece.channel), []).append(piece)
        for own in self.pieces.values():
            own.sort(key=lambda piece: piece.start)
        self.number = Counter(recording for recording, _ in self.pieces)
        """Channels of a recording."""
        self.last = {place[0]: place for place in self.pieces}

    def name(self, place: tuple[str, str]) -> str:
        """The recording, and where it has several channels which."""
        return place[0] if self.number[place[0]] == 1 else "-".join(place)


def _text(pieces: Iterable[Piece]) -> str:
    return " ".join(word for piece in pieces for word in first_reading(piece.words))
