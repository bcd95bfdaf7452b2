"""Formats without times: txt, Kaldi `text`, sclite's trn, and JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from asr.errors import ScoringError
from asr.scoring.transcripts.alternatives import parse_words
from asr.scoring.transcripts.model import Choice, Side, Transcripts

TRN_LINE = re.compile(r"(?P<text>.*?)\s*\((?P<id>[^()\s]+)\)")
_ID_KEYS = ("id", "utterance_id", "utt_id")
_FILE_KEYS = ("audio_filepath", "file")

Lines = Iterable[tuple[int, str]]


def read_txt(path: Path, lines: Lines, into: Transcripts) -> None:
    """A sentence a line; ids are the line numbers. Blank lines at the end are kept apart, as `blank_end`."""
    into.named = False
    rows = list(lines)
    spoken = max((place for place, (_, line) in enumerate(rows, start=1) if line), default=0)
    for number, line in rows[:spoken]:
        into.add(str(number), line, path, number)
    into.blank_end = [str(number) for number, _ in rows[spoken:]]


def read_kaldi(path: Path, lines: Lines, into: Transcripts) -> None:
    """`id words`, or just `id`."""
    for number, line in lines:
        identifier, _, text = line.replace("\t", " ").partition(" ")
        into.add(identifier, text.strip(), path, number)


def read_trn(path: Path, lines: Lines, side: Side | None, into: Transcripts) -> None:
    """`words (id)`, with sclite's alternatives in references and its backslashes.

    Raises:
        ScoringError: naming file, line and remedy.
    """
    for number, line in lines:
        match = TRN_LINE.fullmatch(line)
        if match is None:
            raise ScoringError(f"{path}, line {number}: expected `words (id)`, found {line[:60]!r}")
        text = match["text"].strip()
        if not any(character in text for character in "{}\\"):
            into.add(match["id"], text, path, number)
            continue
        try:
            words = parse_words(text)
        except ScoringError as error:
            raise ScoringError(f"{path}, line {number}: {error}") from None
        if side == "hypothesis" and any(isinstance(word, Choice) for word in words):
            raise ScoringError(f"{path}, line {number}: a hypothesis has no alternatives; keep one of {text[:60]!r}")
        into.add(match["id"], words, path, number)


def read_jsonl(path: Path, lines: Lines, side: Side | None, into: Transcripts) -> None:
    """A JSON object a line: an id, a text and maybe a speaker.

    The id is `id`, `utterance_id` or `utt_id`, or the name of the file in `audio_filepath` (NeMo) or `file` without its
    ending. The text is `text`. Lines may hold both sides: a reference is then `reference` rather than `text`, a
    hypothesis `pred_text` (NeMo) rather than `text`. The first line tells for the file.

    Raises:
        ScoringError: naming file, line and remedy.
    """
    key = ""
    for number, line in lines:
        where = f"{path}, line {number}"
        entry = _object(where, line)
        key = key or _text_key(where, entry, side)
        identifier = _identifier(where, entry)
        if key not in entry:
            raise ScoringError(f"{where}: key {key!r} is missing; found {_listed(entry)}")
        into.add(identifier, _string(where, f"{key} of id {identifier!r}", entry[key]), path, number)
        if entry.get("speaker") is not None:
            into.speakers[identifier] = _string(where, f"speaker of id {identifier!r}", entry["speaker"])


def read_json(path: Path, text: str, into: Transcripts, identifier: str | None = None) -> None:
    """One transcript as `asr transcribe` and whisper write it: `text`, or else the texts of `segments`.

    The id is `identifier`, or else the name of the file without its ending.

    Raises:
        ScoringError: naming file and remedy.
    """
    into.named = False
    entry = _object(f"{path}", text)
    value = entry.get("text")
    if value is None and isinstance(entry.get("segments"), list):
        parts = [part.get("text") if isinstance(part, dict) else None for part in entry["segments"]]
        value = " ".join(_string(f"{path}", "text of a segment", part) for part in parts)
    if value is None:
        raise ScoringError(f"{path}: neither `text` nor `segments`; found {_listed(entry)}")
    into.add(path.stem if identifier is None else identifier, _string(f"{path}", "text", value), path)


def _object(where: str, text: str) -> dict[str, Any]:
    try:
        entry = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        place = ""
        if isinstance(error, json.JSONDecodeError):
            place = (
                f" at line {error.lineno}, column {error.colno}" if error.lineno > 1 else f" at column {error.colno}"
            )
        raise ScoringError(f"{where}: not JSON ({getattr(error, 'msg', error)}{place}): {text[:60]!r}") from None
    if not isinstance(entry, dict):
        raise ScoringError(f"{where}: expected a JSON object with a transcript, found {text[:60]!r}")
    return entry


def _text_key(where: str, entry: dict[str, Any], side: Side | None) -> str:
    if "text" not in entry:
        return "pred_text" if side == "hypothesis" and "pred_text" in entry else "text"
    both = {"reference": ("reference", "text"), "pred_text": ("text", "pred_text")}
    for key, (reference, hypothesis) in both.items():
        if key in entry:
            if side is None:
                raise ScoringError(
                    f"{where}: the file holds references ({reference!r}) and hypotheses ({hypothesis!r}); say which: "
                    "side='reference' or side='hypothesis'"
                )
            return reference if side == "reference" else hypothesis
    return "text"


def _identifier(where: str, entry: dict[str, Any]) -> str:
    for key in _ID_KEYS:
        if key in entry:
            value = entry[key]
            if isinstance(value, int) and not isinstance(value, bool):
                return str(value)
            if value is None:
                raise ScoringError(f"{where}: {key} is null; give each utterance its own")
            return _string(where, key, value)
    for key in _FILE_KEYS:
        if key in entry:
            name = Path(_string(where, key, entry[key])).stem
            return f"{name}-{entry['offset']}" if entry.get("offset") else name
    raise ScoringError(f"{where}: key 'id' is missing; found {_listed(entry)}")


def _string(where: str, what: str, value: object) -> str:
    if not isinstance(value, str):
        remedy = 'give "" for no words' if value is None else "put it in quotes"
        raise ScoringError(f"{where}: {what} is {value!r}, not a string; {remedy}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ScoringError(f"{where}: {what} is not Unicode ({value[:60]!r}); correct its \\u escapes") from None
    return value


def _listed(entry: dict[str, Any]) -> str:
    return ", ".join(map(repr, entry)) or "none"
