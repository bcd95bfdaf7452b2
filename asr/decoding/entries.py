"""The entries of a list that constrains decoding, from a file or from Python, each with its place for messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, product
from pathlib import Path

from asr.config import TextConfig
from asr.data.lines import read_lines
from asr.errors import TextError
from asr.text import PhoneTokenizer, Tokenizer, normalise

MOST_WAYS = 64
"""Ways to say an entry that are told apart; a sentence of ten common words has thousands."""
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
        more = "give a lexicon that has it, and a language model where there is one, or leave it out"
        remedy = more if tokenizer.units == "phones" else "spell it out or leave it out"
        lacking = tokenizer.lacking(clean, "the model's")
        raise TextError(f"{clean[:60]!r} has {lacking}; {remedy}")
    return tuple(tokenizer.encode(clean))


def spell_all(text: str, tokenizer: Tokenizer, rules: TextConfig) -> list[tuple[int, ...]]:
    """The same, and then every other way to say it that the pronunciations of its words make, `MOST_WAYS` at most.

    Raises:
        TextError: as `spell`.
    """
    first = spell(text, tokenizer, rules)
    if not isinstance(tokenizer, PhoneTokenizer) or not first:
        return [first]
    ways = product(*(tokenizer.spellings(word) for word in normalise(text, rules.case, rules.remove).split()))
    joined = (tuple(chain.from_iterable((tokenizer.space, *word) for word in way))[1:] for way in ways)
    return list(dict.fromkeys([first, *islice(joined, MOST_WAYS)]))


def refuse(problems: Sequence[str]) -> None:
    """One error for all bad entries of a list, when there are any: the first few and how many more.

    Raises:
        TextError: there are.
    """
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise TextError("; ".join(problems[:SHOWN]) + more)
