"""Lexicons: the words a decoder may write and how tokens spell or pronounce each of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from asr.data.lines import read_lines
from asr.data.problems import Problem
from asr.decoding.grammar import word_loop
from asr.errors import TextError
from asr.lm.automaton import Automaton
from asr.text import BLANK, SPACE, Tokenizer

ALTERNATIVE = re.compile(r"(?<=.)\(\d+\)$")
"""`word(2)`: another pronunciation of `word`, as CMUdict writes it."""


@dataclass(frozen=True)
class Lexicon:
    """Words and their spellings in tokens.

    Attributes:
        words: each once, in the order of the list; a word's place is its id.
        spellings: (word id, token ids), at least one for each word; one spelling may belong to several words.
        problems: entries that were left out, `id` the file and line.
    """

    words: list[str]
    spellings: list[tuple[int, tuple[int, ...]]]
    problems: list[Problem] = field(default_factory=list)

    @classmethod
    def from_words(cls, words: Iterable[str], tokenizer: Tokenizer) -> Lexicon:
        """Every word spelled by its characters; a word that the tokens cannot spell is a problem.

        Raises:
            TextError: no word is left.
        """
        return _collect(((f"entry {n}", word, []) for n, word in enumerate(words, 1)), tokenizer, "words")

    @classmethod
    def load(cls, path: str | Path, tokenizer: Tokenizer) -> Lexicon:
        """Read lines `word token token ...`, or `word` alone, which is spelled by its characters.

        `word(2)` is another pronunciation of `word`; lines that begin with `;;;` and whatever follows ` #` are
        comments: CMUdict's conventions. A line with a token that the model does not have is a problem.

        Raises:
            TextError: no word is left; the message shows the first problem.
            ManifestError: the file cannot be read.
        """
        return _collect(_entries(Path(path)), tokenizer, str(path))

    def automaton(self, tokenizer: Tokenizer) -> Automaton:
        """Any sequence of the words with one space between neighbours, all with weight 0; see `word_loop`."""
        return word_loop([tokens for _, tokens in self.spellings], tokenizer)


def _entries(path: Path) -> Iterator[tuple[str, str, list[str]]]:
    for number, line in read_lines(path):
        fields = [] if line.startswith(";;;") else line.split(" #")[0].split()
        if fields:
            yield f"{path}, line {number}", ALTERNATIVE.sub("", fields[0]), fields[1:]


def _collect(entries: Iterable[tuple[str, str, list[str]]], tokenizer: Tokenizer, name: str) -> Lexicon:
    known = {token: index for index, token in enumerate(tokenizer.tokens) if token not in (BLANK, SPACE)}
    ids: dict[str, int] = {}
    spellings: dict[tuple[int, tuple[int, ...]], None] = {}  # a set that keeps the order
    problems = []
    for place, word, spelling in entries:
        parts = spelling or list(word)
        missing = [part for part in dict.fromkeys(parts) if part not in known]
        if missing or not parts:
            tokens = ", ".join(map(repr, missing))
            message = f"{word!r} has {tokens}, not among the model's tokens; respell it" if parts else "an empty word"
            problems.append(Problem(place, "cannot be spelled", message))
            continue
        spellings[ids.setdefault(word, len(ids)), tuple(known[part] for part in parts)] = None
    if not spellings:
        why = f"; {problems[0].id}: {problems[0].message}" if problems else ""
        raise TextError(f"{name}: no words that the model's tokens can spell{why}")
    return Lexicon(list(ids), list(spellings), problems)
