"""Tables: CSV and TSV files, the metadata file of a Hugging Face audio folder, and Common Voice's TSV files."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from asr.data.importing.entries import AudioRoot, Found, Options, Unusable, make_entry, match_columns, source_lines
from asr.data.importing.nemo import read_json_lines
from asr.data.lines import TABLE_SUFFIXES, is_table
from asr.data.problems import Problem
from asr.errors import ManifestError

DELIMITERS = ",;\t"
METADATA_NAMES = ("metadata.csv", "metadata.jsonl")
CLIPS = "clips"
"""The folder beside Common Voice's tables that holds the recordings."""


def read(source: Path, options: Options) -> Iterator[Found]:
    """A table whose first line names the columns: `audio,text[,speaker,start,end,id,channel]` or synonyms of them."""
    return _rows(_only_table(source), options, source.parent if source.is_file() else source)


def read_huggingface(source: Path, options: Options) -> Iterator[Found]:
    """A folder with `metadata.csv` or `metadata.jsonl` (file_name, transcription | text | sentence), or that file."""
    path = source
    if source.is_dir():
        present = [source / name for name in METADATA_NAMES if (source / name).is_file()]
        if len(present) != 1:
            raise ManifestError(
                f"{source}: holds {'both' if present else 'neither'} {' and '.join(METADATA_NAMES)}; "
                "give the file itself, or the folder that holds it"
            )
        path = present[0]
    if path.suffix.lower() == ".csv":
        return _rows(path, options, path.parent)
    return read_json_lines(path, options, duration_is_span=False)


def read_common_voice(source: Path, options: Options) -> Iterator[Found]:
    """A TSV of Common Voice (client_id, path, sentence); its recordings are in `clips/` beside it."""
    path = _only_table(source)
    return _rows(path, options, path.parent / CLIPS, quoted=False)


def header(path: Path, encoding: str | None) -> tuple[str, list[str]]:
    """The delimiter (the candidate that the first line has most of) and the column names.

    Raises:
        ManifestError: the file is empty or cannot be read.
    """
    for number, line in source_lines(path, encoding):
        if line.strip():
            delimiter = max(DELIMITERS, key=line.count)
            try:
                return delimiter, [name.strip() for name in next(csv.reader([line], delimiter=delimiter))]
            except csv.Error as error:
                raise ManifestError(f"{path}, line {number}: {_what(error)}") from None
    raise ManifestError(f"{path}: empty; the first line must name the columns, such as audio,text")


def unused_columns(source: Path, options: Options) -> list[str]:
    """The columns of a table that nothing is taken from; none of JSON lines.

    Raises:
        ManifestError: the table cannot be read.
    """
    metadata = [source / name for name in METADATA_NAMES if (source / name).is_file()]
    path = metadata[0] if metadata else _only_table(source)
    if path.suffix.lower() in (".jsonl", ".json"):
        return []
    names = header(path, options.encoding)[1]
    used = match_columns(names, options.columns).values()
    return [name for name in names if name and name not in used]


def _only_table(source: Path) -> Path:
    if source.is_file():
        return source
    tables = tables_in(source)
    if len(tables) != 1:
        names = ", ".join(path.name for path in tables[:10]) or f"no {', '.join(TABLE_SUFFIXES)} file"
        raise ManifestError(f"{source}: the folder holds {names}; give one table, such as {source / 'train.csv'}")
    return tables[0]


def tables_in(folder: Path) -> list[Path]:
    """The tables directly in a folder."""
    return sorted(path for path in folder.iterdir() if is_table(path) and path.is_file())


def _rows(path: Path, options: Options, folder: Path, quoted: bool = True) -> Iterator[Found]:
    delimiter, names = header(path, options.encoding)
    try:
        matched = match_columns(names, options.columns)
    except ManifestError as error:
        raise ManifestError(
            f"{path}: {error}; the first line names the columns, between commas, semicolons or tabs"
        ) from None
    places = {ours: names.index(theirs) for ours, theirs in matched.items()}
    root = AudioRoot(options.audio_root or folder)
    records = _records(path, options.encoding, delimiter, quoted)
    next(records)  # the header
    for number, fields in records:
        where = f"{path.name}, line {number}"
        if isinstance(fields, str):
            yield Problem(where, "broken row", fields)
        elif len(fields) != len(names):
            message = f"{len(fields)} fields, but the first line names {len(names)} columns; "
            yield Problem(where, "wrong number of fields", message + "quote a field that holds the delimiter")
        else:
            try:
                yield make_entry(where, {ours: fields[place] for ours, place in places.items()}, root)
            except Unusable as unusable:
                yield unusable.problem


def _records(path: Path, encoding: str | None, delimiter: str, quoted: bool) -> Iterator[tuple[int, list[str] | str]]:
    """Number of the first line and the fields of each record, or what is wrong with that line.

    A quotation mark that is never closed swallows what follows it; then only its own line is given up and reading goes
    on with the next.
    """
    lines = source_lines(path, encoding)
    again: deque[tuple[int, str]] = deque()
    used: list[tuple[int, str]] = []

    def feed() -> Iterator[str]:
        while True:
            line = again.popleft() if again else next(lines, None)
            if line is None:
                return
            used.append(line)
            yield line[1] + "\n"

    while True:
        used.clear()
        # A reader of its own for each record: after an error or an end, one cannot be used again.
        reader = csv.reader(
            feed(), delimiter=delimiter, strict=True, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        )
        try:
            fields = next(reader, None)
        except csv.Error as error:
            yield used[0][0], _what(error)
            again.extendleft(reversed(used[1:]))
            continue
        if fields is None:
            return
        if fields and any(field.strip() for field in fields):
            yield used[0][0], fields


def _what(error: csv.Error) -> str:
    if "new-line" in str(error):
        return "a carriage return inside the line; save the file with the line ends of Windows or Unix"
    return f"{error}; write a quotation mark inside a quoted field twice"
