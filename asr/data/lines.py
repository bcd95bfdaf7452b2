"""Text files that other programs and people wrote: byte-order marks, Windows line ends, and bytes that are no UTF-8."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from asr.errors import ManifestError

TABLE_SUFFIXES = (".csv", ".tsv", ".tab")


def is_table(path: str | Path) -> bool:
    """Whether a file of this name is a table."""
    return str(path).lower().endswith(TABLE_SUFFIXES)


def table_remedy(path: str | Path) -> str:
    """What to do with a table where only a manifest is read."""
    return f"`asr data import {path} --output DIR` makes a manifest of it"


def read_lines(path: str | Path, encoding: str | None = None, *, remedy: str = "") -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end) of a text file, one line in memory at a time.

    UTF-8 with or without a byte-order mark, and UTF-16 with one (spreadsheets write it). Lines end with LF or CR LF.

    Args:
        path: the file.
        encoding: another encoding, such as `cp1252`; None takes those above.
        remedy: how the user names another encoding, where that is possible; for the error.

    Raises:
        ManifestError: the file cannot be opened, or, naming the line, is not in that encoding.
    """
    path = Path(path)
    number = 0
    try:
        if encoding is not None and codecs.lookup(encoding).name == "utf-8":
            encoding = "utf-8-sig"  # a byte-order mark is no part of the first line, whether or not UTF-8 is asked for
        with open(path, encoding=encoding or _encoding(path), newline="\n") as file:
            for number, line in enumerate(file, start=1):
                yield number, line.rstrip("\r\n")
    except LookupError:
        raise ManifestError(f"{path}: {encoding!r} is no encoding that Python knows; try utf-8 or cp1252") from None
    except UnicodeError as error:
        number = _bad_line(path) if encoding is None else number + 1
        other = f", or {remedy}" if remedy else ""
        raise ManifestError(
            f"{path}, line {number}: not {encoding or 'UTF-8'} text ({getattr(error, 'reason', error)}); convert it, "
            f"for instance with `iconv -f WINDOWS-1252 -t UTF-8 {path.name}`{other}"
        ) from None
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror or error}); check the path") from None


def _encoding(path: Path) -> str:
    with open(path, "rb") as file:
        start = file.read(4)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return "utf-8-sig"


def _bad_line(path: Path) -> int:
    """The first line that is not UTF-8; the decoder reads ahead in blocks and cannot tell."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1  # UTF-16 that breaks off
