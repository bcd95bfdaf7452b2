"""Alternatives in references as NIST's sclite reads them: `i've { um / uh / @ } seen`; the reading that fits best."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TypeAlias

from asr.errors import ScoringError
from asr.scoring.transcripts.model import Choice, Words

NULL = "@"
"""An alternative that is no word."""

_MARK = re.compile(r"[{}/]")
_INSIDE = re.compile(r"[{}/]|(?:\\\S|[^\s{}/])+")
_OUTSIDE = re.compile(r"\S+")
_DEEPEST = 20  # alternatives within alternatives; sclite's own data have two

_Path: TypeAlias = "tuple[int, _Path] | None"  # the options taken, the last one first
_Cell: TypeAlias = "tuple[int, _Path]"  # cost of the errors up to here, and by which options
# The fewest errors win; of readings with as many, the one that sclite would take, whose costs are 4 and 3.
_SUBSTITUTED, _INSERTED_OR_DELETED = 1_000_004, 1_000_003


def parse_words(text: str) -> Words:
    r"""The words of a text with alternatives.

    `{` at the start of a word opens alternatives, `/` stands between them and `}` closes them; `@` is no word; they
    may be nested. A backslash takes the meaning from the character after it: `\{` is a brace. As in SCTK's definition
    of the formats trn and stm (doc/infmts.htm).

    Raises:
        ScoringError: braces that do not match, an empty alternative, or one alone.
    """
    if "{" not in text and "}" not in text:
        return [unescaped(word) for word in text.split()]
    opened: list[tuple[list[str | Choice], list[Words]]] = []
    words: list[str | Choice] = []
    filled = False  # whether the alternative has anything in it, if only an @
    for token in _tokens(text):
        if not _MARK.fullmatch(token) or (token == "/" and not opened):
            filled = True
            if not (opened and token == NULL):
                words.append(unescaped(token))
        elif token == "{":
            opened.append((words, []))
            if len(opened) > _DEEPEST:
                raise ScoringError(f"alternatives are nested more than {_DEEPEST} deep in {text[:60]!r}")
            words, filled = [], False
        else:
            if not opened:
                raise ScoringError(f"a }} without {{ in {text[:60]!r}; alternatives are written {{ a / b }}")
            if not filled:
                raise ScoringError(f"an empty alternative in {text[:60]!r}; write @ for no word")
            opened[-1][1].append(words)
            words = []
            filled = token == "}"
            if filled:
                words, options = opened.pop()
                if len(options) < 2:
                    raise ScoringError(
                        f"a single alternative in {text[:60]!r}; braces hold several, {{ a / b / @ }}: "
                        r"write \{ for a brace that is part of a word"
                    )
                words.append(Choice(tuple(options)))
    if opened:
        raise ScoringError(f"a {{ without }} in {text[:60]!r}; alternatives are written {{ a / b }}")
    return words


def best_reading(words: Words, hypothesis: str, normalise: Callable[[str], str]) -> list[str]:
    """The reading with the fewest word errors against the hypothesis; with as many, the fewest substitutions.

    Errors are counted after normalising, the words between alternatives together; the reading is not normalised.
    """
    heard = normalise(hypothesis).split()
    column: list[_Cell] = [(_INSERTED_OR_DELETED * count, None) for count in range(len(heard) + 1)]
    path = _advance(column, words, heard, normalise)[-1][1]
    taken = []
    while path is not None:
        option, path = path
        taken.append(option)
    return _spell(words, reversed(taken))


def _tokens(text: str) -> Iterator[str]:
    position = depth = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        inside = depth > 0 or text[position] in "{}"
        match = (_INSIDE if inside else _OUTSIDE).match(text, position)
        assert match is not None
        token = match.group()
        depth += (token == "{") - (token == "}" and depth > 0)
        yield token
        position = match.end()


def unescaped(word: str) -> str:
    r"""A word without the backslashes that take the meaning from the character after them."""
    return re.sub(r"\\(.)", r"\1", word) if "\\" in word else word


def _advance(column: list[_Cell], words: Words, heard: Sequence[str], normalise: Callable[[str], str]) -> list[_Cell]:
    """One column of the edit distance further for each word; alternatives go on side by side, the best cells win."""
    for is_choice, run in groupby(words, key=lambda word: isinstance(word, Choice)):
        if not is_choice:
            for word in normalise(" ".join(map(str, run))).split():
                column = _after(column, word, heard)
            continue
        for choice in run:
            assert isinstance(choice, Choice)
            columns = [
                _advance([(cost, (index, path)) for cost, path in column], option, heard, normalise)
                for index, option in enumerate(choice.options)
            ]
            column = [min(cells, key=lambda cell: cell[0]) for cells in zip(*columns, strict=True)]
    return column


def _after(column: list[_Cell], word: str, heard: Sequence[str]) -> list[_Cell]:
    cost, path = column[0]
    cells = [(cost + _INSERTED_OR_DELETED, path)]
    for index, other in enumerate(heard):
        matched = column[index][0] + (_SUBSTITUTED if word != other else 0)
        deleted, inserted = column[index + 1][0] + _INSERTED_OR_DELETED, cells[index][0] + _INSERTED_OR_DELETED
        cost = min(matched, deleted, inserted)
        source = column[index] if cost == matched else column[index + 1] if cost == deleted else cells[index]
        cells.append((cost, source[1]))
    return cells


def _spell(words: Words, taken: Iterator[int]) -> list[str]:
    reading: list[str] = []
    for word in words:
        reading += [word] if isinstance(word, str) else _spell(word.options[next(taken)], taken)
    return reading
