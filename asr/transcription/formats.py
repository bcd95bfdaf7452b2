"""Transcripts as files for other programs: text, JSON, subtitles, a table, NIST's ctm and trn, Praat's TextGrid."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from html import escape
from typing import Any

from asr.errors import OutputError
from asr.transcription.subtitles import Interval, Span, cues, in_order, one_line, segments_of, subtitles
from asr.transcription.transcript import Transcript

WORD_TIMES = frozenset({"srt", "vtt", "tsv", "ctm", "TextGrid"})
"""Formats that need the times of words (ctm and TextGrid) or are better with them."""

_TRN_SYNTAX = re.compile(r"[\\}]|^(?=;;|\*\*)")
_CTM_SYNTAX = re.compile(r"\\|^(?=<ALT(_BEGIN|_END)?>$)", re.IGNORECASE)
"""What sclite would not take for words without a backslash before it: braces, comments, marks of alternatives."""


def render(transcript: Transcript, name: str, format_: str) -> str:
    """A transcript as the text of a file, in one of `FORMATS`. It can be encoded in UTF-8.

    Args:
        transcript: ctm and TextGrid need word times; srt, vtt and tsv are cut into readable pieces by them.
        name: of the recording, for the formats that carry one (json, jsonl, ctm, trn). In ctm and trn, `_` stands for
            white space and parentheses, which would end it.
        format_: a key of `FORMATS`.

    Raises:
        OutputError: the format needs word times and the transcript has none, ctm or trn have no way to write a word, or
            there is no such format.
    """
    if format_ not in FORMATS:
        raise OutputError(f"no transcript format {format_!r}; choose of {', '.join(FORMATS)}")
    return FORMATS[format_](transcript, name)


def _txt(transcript: Transcript, name: str) -> str:
    """A line for each segment that has words, as whisper writes it; an empty one where nothing is said at all.

    So a recording of one segment is one line, spoken or not, and such files put together are a line a recording.
    """
    texts = [text for segment in segments_of(transcript) if (text := one_line(segment.text))]
    return "\n".join(texts) + "\n"


def _json(transcript: Transcript, name: str) -> str:
    return _dumped({"file": name, **transcript.to_dict()})


def _jsonl(transcript: Transcript, name: str) -> str:
    """JSON of one line, to put together with others; `id` and `text` make it a file of hypotheses."""
    return _dumped({"id": name, **transcript.to_dict()})


def _dumped(row: dict[str, Any]) -> str:
    try:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise OutputError("the transcript has a time, score or confidence that is not finite; JSON has none") from None
    return re.sub("[\ud800-\udfff]", "\ufffd", text) + "\n"


def _srt(transcript: Transcript, name: str) -> str:
    """SubRip: numbered cues, a comma before the milliseconds. It has no escapes, so an arrow loses a hyphen."""
    return "\n".join(
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{cue.text.replace('-->', '->')}\n"
        for number, cue in enumerate(subtitles(transcript), 1)
    )


def _vtt(transcript: Transcript, name: str) -> str:
    """WebVTT, as browsers read it. The empty line after the head belongs to it."""
    return "WEBVTT\n\n" + "\n".join(
        f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{escape(cue.text, quote=False)}\n"
        for cue in subtitles(transcript)
    )


def _tsv(transcript: Transcript, name: str) -> str:
    """Start and end in whole milliseconds and the text, with a header: whisper's table, a row for each subtitle.

    Like whisper's it has no quoting; but a text that begins with a quotation mark, which table readers would take for
    quoting and read on behind the line, is quoted the way they expect.
    """
    rows = ["start\tend\ttext\n"]
    for cue in cues(transcript):
        text = '"' + cue.text.replace('"', '""') + '"' if cue.text.startswith('"') else cue.text
        rows.append(f"{cue.start}\t{cue.end}\t{text}\n")
    return "".join(rows)


def _ctm(transcript: Transcript, name: str) -> str:
    """NIST: recording, channel, start, duration, word and, where known, confidence; a word a line, in order of time.

    https://github.com/usnistgov/SCTK/blob/master/doc/infmts.htm
    """
    rows = []
    reached = 0
    for (start, end, text), sure in _timed_words(transcript, "ctm"):
        if " " in text:
            raise OutputError(f"ctm cannot hold the word {text!r}, which has a space in it; write json or trn")
        reached = max(reached, round(1000 * start))
        duration = max(0, round(1000 * end) - reached)
        word = _CTM_SYNTAX.sub(r"\\\g<0>", text)
        confidence = "" if sure is None else f" {sure:.4f}"
        rows.append(f"{_field(name)} 1 {_seconds(reached)} {_seconds(duration)} {word}{confidence}\n")
    return "".join(rows)


def _trn(transcript: Transcript, name: str) -> str:
    """NIST: the words, then the id of the utterance in parentheses. Parentheses among the words are theirs to keep."""
    text = one_line(transcript.text)
    if "{" in text:
        raise OutputError(f"trn cannot hold {text[:60]!r}: '{{' begins alternatives in it; write ctm, json or txt")
    text = _TRN_SYNTAX.sub(r"\\\g<0>", text)
    return f"{text} ({_field(name)})\n".lstrip(" ")


def _textgrid(transcript: Transcript, name: str) -> str:
    """Praat's long text form: a tier of segments and one of words; intervals without text fill the gaps.

    https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html
    """
    segments = [(part.start, part.end, text) for part in segments_of(transcript) if (text := one_line(part.text))]
    words = [span for span, _ in _timed_words(transcript, "TextGrid")]
    tiers = {"segments": list(in_order(segments)), "words": list(in_order(words))}
    end = max(1, round(1000 * transcript.duration), *(tier[-1].end for tier in tiers.values() if tier))
    rows = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {_seconds(end)}"]
    rows += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (tier, spoken) in enumerate(tiers.items(), 1):
        intervals = list(_filled(spoken, end))
        rows += [f"    item [{number}]:", '        class = "IntervalTier"', f'        name = "{tier}"']
        rows += ["        xmin = 0", f"        xmax = {_seconds(end)}", f"        intervals: size = {len(intervals)}"]
        for index, interval in enumerate(intervals, 1):
            quoted = interval.text.replace('"', '""')
            rows += [f"        intervals [{index}]:", f"            xmin = {_seconds(interval.start)}"]
            rows += [f"            xmax = {_seconds(interval.end)}", f'            text = "{quoted}"']
    return "\n".join(rows) + "\n"


def _filled(spoken: list[Interval], end: int) -> Iterator[Interval]:
    """Intervals that follow each other without gap from 0 to `end`, as a tier must."""
    reached = 0
    for interval in spoken:
        if interval.start > reached:
            yield Interval(reached, interval.start, "")
        yield interval
        reached = interval.end
    if end > reached:
        yield Interval(reached, end, "")


def _timed_words(transcript: Transcript, format_: str) -> Iterator[tuple[Span, float | None]]:
    """Start, end and text of each word, and its confidence."""
    for segment in segments_of(transcript):
        untimed = [word.text for word in segment.words if word.start is None or word.end is None]
        if untimed or (one_line(segment.text) and not segment.words):
            raise OutputError(
                f"{format_} needs word times, and {[*untimed, segment.text][0][:60]!r} has none; "
                "decode with word times (--word-times), or write txt"
            )
        for word in segment.words:
            if word.start is not None and word.end is not None and (text := one_line(word.text)):
                yield (word.start, word.end, text), word.confidence


def _field(name: str) -> str:
    """A name as one field of a line: no white space, no parentheses, and not the beginning of a comment."""
    return one_line(re.sub(r"[\s()]|^[;*]", "_", name)) or "_"


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"


def _clock(milliseconds: int, point: str) -> str:
    whole, rest = divmod(milliseconds, 1000)
    minutes, second = divmod(whole, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}{point}{rest:03d}"


FORMATS: dict[str, Callable[[Transcript, str], str]] = {
    "txt": _txt,
    "json": _json,
    "jsonl": _jsonl,
    "srt": _srt,
    "vtt": _vtt,
    "tsv": _tsv,
    "ctm": _ctm,
    "trn": _trn,
    "TextGrid": _textgrid,
}
