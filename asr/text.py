"""Transcripts as tokens: Unicode and case rules, and the character tokenizer with blank = 0."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

from asr.errors import TextError
from asr.files import replacing

BLANK = "<blank>"
SPACE = "▁"
"""How tokens.txt writes the space between words, as sentencepiece and the runtimes that read its tables do."""

APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ`´＇", "'"))


def normalise(text: str, case: Literal["lower", "upper", "keep"] = "lower", remove: str = "") -> str:
    """NFC, one kind of apostrophe, single spaces, the chosen case; the characters in `remove` become spaces."""
    text = unicodedata.normalize("NFC", text).translate(APOSTROPHES)
    if remove:
        text = text.translate(dict.fromkeys(map(ord, remove), " "))
    if case == "lower":
        text = text.lower()
    elif case == "upper":
        text = text.upper()
    return " ".join(unicodedata.normalize("NFC", text).translate(APOSTROPHES).split())


class Tokenizer:
    """Characters to ids and back; id 0 is the CTC blank.

    Attributes:
        tokens: every token in id order, `tokens[0]` the blank; the space is `SPACE`.
    """

    def __init__(self, tokens: Sequence[str]):
        self.tokens = list(tokens)
        if len(self.tokens) < 2 or self.tokens[0] != BLANK:
            raise TextError(f"a token table needs {BLANK} as token 0 and at least one token more")
        if len(set(self.tokens)) != len(self.tokens):
            repeated = sorted({token for token in self.tokens if self.tokens.count(token) > 1})
            raise TextError(f"the token table lists {', '.join(map(repr, repeated))} more than once")
        self._ids = {" " if token == SPACE else token: index for index, token in enumerate(self.tokens)}
        del self._ids[BLANK]

    def __len__(self) -> int:
        return len(self.tokens)

    @classmethod
    def from_characters(cls, characters: Iterable[str]) -> Tokenizer:
        """A tokenizer of these characters and the space, in code-point order."""
        return cls([BLANK, SPACE, *sorted(set(characters) - {" ", SPACE})])

    def missing(self, text: str) -> list[str]:
        """The characters of a normalised text that the table does not have, each once, in order."""
        return [character for character in dict.fromkeys(text) if character not in self._ids]

    def encode(self, text: str) -> list[int]:
        """Token ids of a normalised text.

        Raises:
            TextError: a character is not in the table; the message shows it and its code point.
        """
        try:
            return [self._ids[character] for character in text]
        except KeyError:
            shown = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in self.missing(text))
            raise TextError(
                f"{text[:60]!r} has {shown} outside the alphabet {''.join(self._ids)!r}; "
                "spell it out in the transcript or add the character to text.alphabet"
            ) from None

    def decode(self, ids: Iterable[int]) -> str:
        """Text of token ids from which repeats and blanks are already gone."""
        return " ".join("".join(self.tokens[index] for index in ids).replace(SPACE, " ").split())

    def save(self, path: Path) -> None:
        """Write one `token id` pair a line."""
        lines = (f"{token} {index}\n" for index, token in enumerate(self.tokens))
        with replacing(path) as partial:
            partial.write_text("".join(lines), encoding="utf-8", newline="\n")

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read what `save` wrote.

        Raises:
            TextError: naming the file and line, when it is missing, garbled or out of order.
        """
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except FileNotFoundError:
            raise TextError(f"{path}: no such token table") from None
        except (OSError, UnicodeDecodeError) as error:
            raise TextError(f"{path}: cannot be read as a token table ({error})") from None
        tokens = []
        for number, line in enumerate(filter(None, lines)):
            token, _, index = line.rpartition(" ")
            if not token or index != str(number):
                raise TextError(f"{path}, line {number + 1}: expected `token {number}`, found {line!r}")
            tokens.append(token)
        try:
            return cls(tokens)
        except TextError as error:
            raise TextError(f"{path}: {error}") from None


def ctc_frames(tokens: Sequence[int]) -> int:
    """The fewest frames in which CTC can emit `tokens`: one each, and a blank between equal neighbours."""
    return len(tokens) + sum(a == b for a, b in pairwise(tokens))
