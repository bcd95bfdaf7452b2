"""Lexicons: the words a decoder may write and how tokens spell or pronounce each of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asr.data.lines import read_lines
from asr.data.problems import Problem
from asr.decoding.grammar import word_loop
from asr.errors import TextError
from asr.lm.automaton import Automaton
from asr.text import BLANK, SPACE, PhoneTokenizer, Tokenizer
from asr.text.pronunciations import Pronunciations, lexicon_fields, unstressed


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
        """Every word as the model spells it: by its characters, its BPE pieces, or the pronunciations that it knows.

        A word that the tokens cannot spell is a problem.

        Raises:
            TextError: no word is left.
        """
        return _collect(((number, word, []) for number, word in enumerate(words, 1)), tokenizer, "words", "entry")

    @classmethod
    def load(cls, path: str | Path, tokenizer: Tokenizer) -> Lexicon:
        """Read lines `word token token ...`, or `word` alone, which is spelled as in `from_words`.

        `word(2)` is another pronunciation of `word`; lines that begin with `;;;` and whatever follows ` #` are
        comments: CMUdict's conventions. A line with a token that the model does not have is a problem; a phone with a
        stress digit that the model has without one is taken for that.

        Raises:
            TextError: no word is left; the message shows the first problem.
            ManifestError: the file cannot be read.
        """
        return _collect(_entries(Path(path)), tokenizer, str(path), f"{path}, line")

    @classmethod
    def of_model(cls, tokenizer: PhoneTokenizer) -> Lexicon:
        """The pronunciations that a model of phones was trained with."""
        return cls.from_words(tokenizer.pronunciations, tokenizer)

    def pronunciations(self, tokenizer: Tokenizer) -> Pronunciations:
        """The spellings of each word in tokens as text."""
        found: Pronunciations = {}
        for place, ids in self.spellings:
            found.setdefault(self.words[place], []).append(tuple(tokenizer.tokens[index] for index in ids))
        return found

    def automaton(self, tokenizer: Tokenizer) -> Automaton:
        """Any sequence of the words with one space between neighbours, all with weight 0; see `word_loop`."""
        return word_loop([tokens for _, tokens in self.spellings], tokenizer)


class _TokenIds(dict[str, int]):
    """Ids of tokens, and of phones with a stress digit that the model has without one."""

    def __missing__(self, token: str) -> int:
        plain = unstressed(token)
        if plain not in self:
            raise KeyError(token)
        self[token] = self[plain]
        return self[token]


def _entries(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    for number, line in read_lines(path):
        fields = lexicon_fields(line)
        if fields:
            yield number, fields[0], fields[1:]


def _collect(entries: Iterable[tuple[int, str, list[str]]], tokenizer: Tokenizer, name: str, place: str) -> Lexicon:
    """Of numbered words and their spellings; messages name `place` and the number."""
    joined = tokenizer.joined  # looks at all tokens, and there may be a hundred thousand words
    marks = (BLANK,) if joined else (BLANK, SPACE)
    known = _TokenIds((token, index) for index, token in enumerate(tokenizer.tokens) if token not in marks)
    ids: dict[str, int] = {}
    spellings: dict[tuple[int, tuple[int, ...]], None] = {}  # a set that keeps the order
    problems = []
    for number, word, spelling in entries:
        if spelling:
            try:
                ways = [tuple(map(known.__getitem__, spelling))]
            except KeyError:
                ways, missing = [], [part for part in spelling if part not in known and unstressed(part) not in known]
        else:
            ways, missing = tokenizer.spellings(word), tokenizer.missing(word) or [" "]
        if ways and joined and spelling and not _begins_once(spelling):
            message = f"{word!r}: of BPE tokens the first, and no other, begins with {SPACE}; respell it"
            problems.append(Problem(f"{place} {number}", "cannot be spelled", message))
        elif ways:
            index = ids.setdefault(word, len(ids))
            for way in ways:
                spellings[index, way] = None
        else:
            tokens = ", ".join(map(repr, dict.fromkeys(missing)))
            message = f"{word!r} has {tokens}, not among the model's tokens; respell it" if word else "an empty word"
            problems.append(Problem(f"{place} {number}", "cannot be spelled", message))
    if not spellings:
        why = f"; {problems[0].id}: {problems[0].message}" if problems else ""
        raise TextError(f"{name}: no words that the model's tokens can spell{why}")
    return Lexicon(list(ids), list(spellings), problems)


def _begins_once(spelling: Sequence[str]) -> bool:
    return [place for place, token in enumerate(spelling) if token.startswith(SPACE)] == [0]
