"""Pronunciation dictionaries in the manner of CMUdict: `word PHONE PHONE ...`, `word(2)` for another way to say it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from asr.errors import TextError
from asr.text.tokenizer import BLANK, SPACE

ALTERNATIVE = re.compile(r"(?<=.)\(\d+\)$")
"""`word(2)`: another pronunciation of `word`."""
STRESSED = re.compile(r"[A-Z]{2}[012]")
"""CMUdict's vowels, with a digit for no, primary or secondary stress."""
Pronunciations = dict[str, list[tuple[str, ...]]]
"""The pronunciations of each word, each once, the first of the file first."""


def lexicon_fields(line: str) -> list[str]:
    """Word and phones of a line; nothing for comments, which `;;;` begins, or ` #` behind an entry."""
    if "#" in line or ";" in line:
        line = "" if line.startswith(";;;") else line.split(" #")[0]
    fields = line.split()
    if fields and fields[0].endswith(")"):
        fields[0] = ALTERNATIVE.sub("", fields[0])
    return fields


def read_pronunciations(path: str | Path, word_of: Callable[[str], str] = str, stress: bool = True) -> Pronunciations:
    """Read a dictionary.

    Args:
        path: of a UTF-8 file.
        word_of: the writing of a word that transcripts have; what becomes empty or several words is left out.
        stress: keep the stress digits of the phones.

    Raises:
        TextError: naming the line: it cannot be read, a word has no phones, or a phone is a mark of ours; or there is
            no entry at all.
    """
    found: Pronunciations = {}
    for number, line in _lines(Path(path)):
        fields = lexicon_fields(line)
        if not fields:
            continue
        word, phones = word_of(fields[0]), tuple(fields[1:])
        if not phones:
            raise TextError(f"{path}, line {number}: {fields[0]!r} has no phones; write them after it, or delete it")
        if {BLANK, SPACE} & set(phones):
            raise TextError(f"{path}, line {number}: {BLANK} and {SPACE} are no phones; rename them")
        if not word or " " in word:
            continue
        if not stress:
            phones = tuple(unstressed(phone) for phone in phones)
        known = found.setdefault(word, [])
        if phones not in known:
            known.append(phones)
    if not found:
        raise TextError(f"{path}: no pronunciations; write one a line, `word PHONE PHONE ...`")
    return found


def unstressed(phone: str) -> str:
    """`AH0` as `AH`. In phones of another kind a figure is part of the name, a tone say."""
    return phone[:-1] if STRESSED.fullmatch(phone) else phone


def written_pronunciations(
    pronunciations: Mapping[str, Sequence[Sequence[str]]], comments: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Lines of a dictionary with `comments` behind the words that have one."""
    for word, ways in pronunciations.items():
        comment = (comments or {}).get(word)
        for number, phones in enumerate(ways, start=1):
            head = word if number == 1 else f"{word}({number})"
            yield f"{head} {' '.join(phones)}{f' # {comment}' if comment else ''}\n"


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise TextError(f"{path}: no such pronunciation dictionary; `asr lexicon` writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise TextError(f"{path}: cannot be read as a pronunciation dictionary in UTF-8 ({error})") from None
    yield from enumerate(text.split("\n"), start=1)
