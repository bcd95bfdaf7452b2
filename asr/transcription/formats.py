"""Transcripts as files that other programs read: txt, json, srt, vtt, tsv, ctm, trn and Praat's TextGrid."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape

from asr.decoding.hypothesis import Word
from asr.errors import OutputError
from asr.transcription.transcript import Transcript

CUE_CHARACTERS = 84
"""Two lines of subtitles of 42 characters, the broadcasters' habit."""
CUE_SECONDS = 7.0
"""Longest that a subtitle stays."""
CUE_PAUSE = 1.0
"""Seconds of silence after which a new subtitle begins."""


@dataclass(frozen=True, slots=True)
class Cue:
    """One subtitle, times in seconds."""

    start: float
    end: float
    text: str


def render(transcript: Transcript, name: str, format_: str) -> str:
    """A transcript as text in one of `FORMATS`, the last line ended.

    Args:
        transcript: ctm and TextGrid need word times; subtitles use them where they are there.
        name: of the recording, for the formats that carry one (json, ctm, trn).
        format_: a key of `FORMATS`.

    Raises:
        OutputError: the format needs word times and the transcript has none, or there is no such format.
    """
    if format_ not in FORMATS:
        raise OutputError(f"no transcript format {format_!r}; choose of {', '.join(FORMATS)}")
    return FORMATS[format_](transcript, name)


def cues(transcript: Transcript) -> Iterator[Cue]:
    """Subtitles: segments, cut into pieces of at most `CUE_CHARACTERS` and `CUE_SECONDS` where words have times."""
    for segment in transcript.segments:
        if any(word.start is None or word.end is None for word in segment.words) or not segment.words:
            if segment.text:
                yield Cue(segment.start, segment.end, segment.text)
            continue
        cue: Cue | None = None
        for word in segment.words:
            start, end = _times(word, "subtitles")
            if cue is not None:
                longer = Cue(cue.start, end, f"{cue.text} {word.text}")
                fits = len(longer.text) <= CUE_CHARACTERS and end - cue.start <= CUE_SECONDS
                if fits and start - cue.end <= CUE_PAUSE:
                    cue = longer
                    continue
                yield cue
            cue = Cue(start, end, word.text)
        if cue is not None:
            yield cue


def _txt(transcript: Transcript, name: str) -> str:
    return transcript.text + "\n"


def _json(transcript: Transcript, name: str) -> str:
    return json.dumps({"file": name, **transcript.to_dict()}, ensure_ascii=False) + "\n"


def _srt(transcript: Transcript, name: str) -> str:
    """SubRip: numbered cues, a comma before the milliseconds."""
    return "\n".join(
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{cue.text}\n"
        for number, cue in enumerate(cues(transcript), 1)
    )


def _vtt(transcript: Transcript, name: str) -> str:
    """WebVTT, as browsers read it."""
    return "WEBVTT\n" + "".join(
        f"\n{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{escape(cue.text, quote=False)}\n"
        for cue in cues(transcript)
    )


def _tsv(transcript: Transcript, name: str) -> str:
    """Start and end in whole milliseconds and the text, a cue a line, with a header."""
    rows = (f"{round(1000 * cue.start)}\t{round(1000 * cue.end)}\t{cue.text}\n" for cue in cues(transcript))
    return "start\tend\ttext\n" + "".join(rows)


def _ctm(transcript: Transcript, name: str) -> str:
    """NIST: recording, channel, start, duration, word and, where known, confidence; a word a line."""
    lines = []
    for word in transcript.words:
        start, end = _times(word, "ctm")
        sure = "" if word.confidence is None else f" {word.confidence:.4f}"
        lines.append(f"{_field(name)} 1 {start:.3f} {max(0.0, end - start):.3f} {word.text}{sure}\n")
    return "".join(lines)


def _trn(transcript: Transcript, name: str) -> str:
    """NIST: the words, then the id of the utterance in parentheses."""
    return f"{transcript.text} ({_field(name)})\n"


def _textgrid(transcript: Transcript, name: str) -> str:
    """Praat's long text form: a tier of segments and one of words; intervals without text fill the gaps."""
    tiers = {
        "segments": [Cue(part.start, part.end, part.text) for part in transcript.segments],
        "words": [Cue(*_times(word, "TextGrid"), word.text) for word in transcript.words],
    }
    end = max([transcript.duration, *(cue.end for cues_ in tiers.values() for cue in cues_)])
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end:.3f}"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (tier, spans) in enumerate(tiers.items(), 1):
        filled = list(_filled(spans, end))
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f'        name = "{tier}"']
        lines += ["        xmin = 0", f"        xmax = {end:.3f}", f"        intervals: size = {len(filled)}"]
        for index, cue in enumerate(filled, 1):
            quoted = cue.text.replace('"', '""')
            lines += [f"        intervals [{index}]:", f"            xmin = {cue.start:.3f}"]
            lines += [f"            xmax = {cue.end:.3f}", f'            text = "{quoted}"']
    return "\n".join(lines) + "\n"


def _filled(spans: list[Cue], end: float) -> Iterator[Cue]:
    """Intervals that follow each other without gap from 0 to `end`, as a tier must."""
    reached = 0.0
    for span in spans:
        start, finish = round(max(span.start, reached), 3), round(span.end, 3)
        if finish <= start:  # Praat refuses intervals of no length
            continue
        if start > reached:
            yield Cue(reached, start, "")
        yield Cue(start, finish, span.text)
        reached = finish
    if round(end, 3) > reached:
        yield Cue(reached, end, "")


def _times(word: Word, format_: str) -> tuple[float, float]:
    if word.start is None or word.end is None:
        raise OutputError(
            f"{format_} needs word times, and {word.text!r} has none; write txt, or decode with word times"
        )
    return word.start, word.end


def _field(name: str) -> str:
    """A name as one field of a line: no white space and no parentheses."""
    return "".join("_" if character.isspace() or character in "()" else character for character in name) or "_"


def _clock(seconds: float, point: str) -> str:
    whole, milliseconds = divmod(round(1000 * seconds), 1000)
    minutes, second = divmod(whole, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}{point}{milliseconds:03d}"


FORMATS: dict[str, Callable[[Transcript, str], str]] = {
    "txt": _txt,
    "json": _json,
    "srt": _srt,
    "vtt": _vtt,
    "tsv": _tsv,
    "ctm": _ctm,
    "trn": _trn,
    "TextGrid": _textgrid,
}
