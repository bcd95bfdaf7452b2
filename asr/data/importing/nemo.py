"""JSON lines with NeMo's keys: audio_filepath, duration, text, offset, speaker; other keys are left alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from asr.data.importing.entries import (
    AudioRoot,
    Entry,
    Found,
    Options,
    Unusable,
    make_entry,
    match_columns,
    source_lines,
)
from asr.errors import ManifestError


def read(source: Path, options: Options) -> Iterator[Found]:
    """A NeMo manifest. As in NeMo, `duration` seconds from `offset` (or from 0) are the utterance."""
    if not source.is_file():
        raise ManifestError(f"{source}: not a file; give the JSON lines file, such as {source / 'train.jsonl'}")
    return read_json_lines(source, options, duration_is_span=True)


def read_json_lines(path: Path, options: Options, *, duration_is_span: bool) -> Iterator[Found]:
    """Entries from one JSON object a line; `duration_is_span` as in `make_entry`."""
    root = AudioRoot(options.audio_root or path.parent)
    matched: dict[tuple[str, ...], dict[str, str]] = {}
    for number, line in source_lines(path, options.encoding):
        if line.strip():
            try:
                yield _entry(f"{path.name}, line {number}", line, options, root, matched, duration_is_span)
            except Unusable as unusable:
                yield unusable.problem


def _entry(
    where: str,
    line: str,
    options: Options,
    root: AudioRoot,
    matched: dict[tuple[str, ...], dict[str, str]],
    duration_is_span: bool,
) -> Entry:
    values = parse_object(where, line)
    keys = tuple(values)
    if keys not in matched:
        try:
            matched[keys] = match_columns(keys, options.columns)
        except ManifestError as error:
            raise Unusable(where, "missing key", str(error)) from None
    ours = {ours: values[theirs] for ours, theirs in matched[keys].items()}
    return make_entry(where, ours, root, duration_is_span=duration_is_span)


def parse_object(where: str, line: str) -> dict[str, Any]:
    """A line's JSON object, its fractions as decimals.

    Raises:
        Unusable: it is something else.
    """
    try:
        values = json.loads(line, parse_float=Decimal)
    except (json.JSONDecodeError, RecursionError) as error:
        place = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        what = getattr(error, "msg", error)
        raise Unusable(where, "not JSON", f"{what}{place}: {line.strip()[:60]!r}; write one object a line") from None
    if not isinstance(values, dict):
        raise Unusable(where, "not JSON", f"not an object but {line.strip()[:60]!r}; write one object a line")
    return values
