"""The entries of a list that constrains decoding, from a file or from Python, each with its place for messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from asr.config import TextConfig
from asr.data.lines import read_lines
from asr.errors import TextError
from asr.text import Tokenizer, normalise

SHOWN = 3
"""Bad entries that a message shows; the rest are counted."""


def numbered(source: str | Path | Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield (place, entry): the lines of a file that are not blank, or the strings of an iterable, all of them.

    Raises:
        ManifestError: the file cannot be read; see `asr.data.lines.read_lines`.
    """
    if isinstance(source, str | Path):
        yield from ((f"{source}, line {number}", line) for number, line in read_lines(source) if line.strip())
    else:
        yield from ((f"entry {index}", entry) for index, entry in enumerate(source, start=1))


def spell(text: str, tokenizer: Tokenizer, rules: TextConfig) -> tuple[int, ...]:
    """Token ids of a text after the model's text rules.

    Raises:
        TextError: a character is outside the alphabet, or a word has no pronunciation.
    """
    clean = normalise(text, rules.case, rules.remove)
    if tokenizer.missing(clean):
        remedy = "leave it out" if tokenizer.units == "phones" else "spell it out or leave it out"
        lacking = tokenizer.lacking(clean, "the model's")
        raise TextError(f"{clean[:60]!r} has {lacking}; {remedy}")
    return tuple(tokenizer.encode(clean))


def refuse(problems: Sequence[str]) -> None:
    """One error for all bad entries of a list, when there are any: the first few and how many more.

    Raises:
        TextError: there are.
    """
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise TextError("; ".join(problems[:SHOWN]) + more)
