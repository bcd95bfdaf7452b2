"""Readers of transcript files: plain text, Kaldi `text`, sclite `.trn`, JSON lines and manifests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from asr.errors import ScoringError

TranscriptFormat = Literal["auto", "plain", "kaldi", "trn", "jsonl"]

_TRN_LINE = re.compile(r"(?P<text>.*?)\s*\((?P<id>[^()\s]+)\)")


def read_transcripts(path: str | Path, format: TranscriptFormat = "auto") -> dict[str, str]:
    """Read id -> text, in file order.

    Formats:
        plain: one sentence a line; ids are the line numbers "1", "2", ...; an empty line is an empty sentence.
        kaldi: `id words of the sentence`.
        trn: `words of the sentence (id)`; lines that start with `;;` are comments.
        jsonl: one object a line with the keys `id` and `text`, or a manifest written by `asr prepare`.
        auto: jsonl for a folder, `.jsonl` and `.jsonl.gz`; kaldi for a file named `text`; trn for `.trn` and when
            every line ends in `(id)`; else plain, unless the lines look like kaldi's.

    UTF-8 with or without a byte order mark, any line ends.

    Raises:
        ScoringError: the file is missing, not UTF-8, empty, breaks its format or repeats an id (with the line).
        ManifestError: the same for a manifest.
    """
    path = Path(path)
    if format not in get_args(TranscriptFormat):
        raise ScoringError(f"format {format!r} is unknown; choose one of {', '.join(get_args(TranscriptFormat))}")
    if path.is_dir() or path.name.endswith(".gz"):
        if format not in ("auto", "jsonl"):
            raise ScoringError(f"{path}: a folder or compressed file must be a manifest, not format {format!r}")
        return _read_manifest(path)
    lines = _read_lines(path)
    if not any(line.strip() for line in lines):
        raise ScoringError(f"{path}: holds no transcripts")
    if format == "auto":
        format = _detect(path, lines)
    if format == "plain":
        return {str(number): line.strip() for number, line in enumerate(lines, start=1)}
    if format == "jsonl" and _is_manifest(lines):
        return _read_manifest(path)

    parse = {"kaldi": _parse_kaldi, "trn": _parse_trn, "jsonl": _parse_json}[format]
    transcripts: dict[str, str] = {}
    first_lines: dict[str, int] = {}
    for number, line in _content(lines, format):
        try:
            identifier, text = parse(line)
            first = first_lines.setdefault(identifier, number)
            if first != number:
                raise ScoringError(f"id {identifier!r} stands on line {first} already; ids must be unique")
        except ScoringError as error:
            raise ScoringError(f"{path}, line {number}: {error}") from None
        transcripts[identifier] = text
    if not transcripts:
        raise ScoringError(f"{path}: holds comments but no transcripts")
    return transcripts


def _read_lines(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            return [line.rstrip("\n") for line in file]
    except FileNotFoundError:
        raise ScoringError(f"{path}: no such file; give a transcript file or a manifest") from None
    except UnicodeDecodeError as error:
        raise ScoringError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); convert it first") from None
    except OSError as error:
        raise ScoringError(f"{path}: cannot be read ({error.strerror or error})") from None


def _content(lines: list[str], format: TranscriptFormat) -> Iterator[tuple[int, str]]:
    """The numbered, stripped lines that hold an utterance."""
    for number, line in enumerate(lines, start=1):
        line = line.strip()
        if line and not (format == "trn" and line.startswith(";;")):
            yield number, line


def _detect(path: Path, lines: list[str]) -> TranscriptFormat:
    if path.suffix == ".jsonl":
        return "jsonl"
    if path.suffix == ".trn":
        return "trn"
    if path.name == "text":
        return "kaldi"
    if all(_TRN_LINE.fullmatch(line) for _, line in _content(lines, "trn")):
        return "trn"
    # Ids scored as words would be right every time and flatter the error rate, so the guess is left to the user.
    first_words = [line.split()[0] for _, line in _content(lines, "plain")]
    if (
        len(first_words) > 1
        and len(set(first_words)) == len(first_words)
        and all(re.search(r"\d", word) for word in first_words)
    ):
        raise ScoringError(
            f"{path}: every line starts with something like an id ({first_words[0]!r}); "
            "give the format: 'kaldi' if these are ids, 'plain' if they were spoken"
        )
    return "plain"


def _parse_kaldi(line: str) -> tuple[str, str]:
    identifier, _, text = line.replace("\t", " ").partition(" ")
    return identifier, text.strip()


def _parse_trn(line: str) -> tuple[str, str]:
    match = _TRN_LINE.fullmatch(line)
    if match is None:
        raise ScoringError(f"expected `words (id)`, found {line[:60]!r}")
    return match["id"], match["text"].strip()


def _parse_json(line: str) -> tuple[str, str]:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise ScoringError(f"not JSON ({error.msg} at column {error.colno}): {line[:60]!r}") from None
    if not isinstance(entry, dict):
        raise ScoringError(f"expected a JSON object with `id` and `text`, found {line[:60]!r}")
    for key in ("id", "text"):
        if key not in entry:
            raise ScoringError(f"key {key!r} is missing; found {', '.join(map(repr, entry)) or 'none'}")
    if not isinstance(entry["id"], str | int) or isinstance(entry["id"], bool):
        raise ScoringError(f"id {entry['id']!r} is not a string")
    if not isinstance(entry["text"], str):
        raise ScoringError(f'text of id {entry["id"]!r} is {entry["text"]!r}, not a string; give "" for no words')
    return str(entry["id"]), entry["text"]


def _is_manifest(lines: list[str]) -> bool:
    first = next(line for line in lines if line.strip())
    try:
        entry = json.loads(first)
    except json.JSONDecodeError:
        return False  # the line-by-line reader reports it with its line
    return isinstance(entry, dict) and ("recording" in entry or "supervisions" in entry)


def _read_manifest(path: Path) -> dict[str, str]:
    from asr.data.manifest import read_manifest

    transcripts = {}
    for utterance in read_manifest(path):
        if utterance.text is None:
            raise ScoringError(f"{path}: utterance {utterance.id!r} has no transcript to score against; add its text")
        transcripts[utterance.id] = utterance.text
    if not transcripts:
        raise ScoringError(f"{path}: holds no transcripts")
    return transcripts
