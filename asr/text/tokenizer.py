"""The token table, and what all kinds of tokens share; by itself the tokenizer of characters. Blank is 0."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Literal

from asr.errors import TextError
from asr.files import replacing

BLANK = "<blank>"
SPACE = "▁"
"""How tokens.txt writes the space between words, as sentencepiece and the runtimes that read its tables do."""
Units = Literal["characters", "bpe", "phones"]
COMPANIONS: dict[Units, str] = {"bpe": "bpe.model", "phones": "pronunciations.txt"}
"""The file beside tokens.txt that text becomes these tokens by; characters need none."""


class Tokenizer:
    """Characters to ids and back; id 0 is the CTC blank.

    Attributes:
        units: what the tokens are.
        tokens: every token in id order, `tokens[0]` the blank; the space is `SPACE`.
    """

    units: ClassVar[Units] = "characters"

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

    @property
    def joined(self) -> bool:
        """Whether tokens carry the space before them (`▁the`), as BPE's do; else the space is a token of its own."""
        return any(len(token) > 1 and token.startswith(SPACE) for token in self.tokens)

    @classmethod
    def from_characters(cls, characters: Iterable[str]) -> Tokenizer:
        """A tokenizer of these characters and the space, in code-point order."""
        return Tokenizer([BLANK, SPACE, *sorted(set(characters) - {" ", SPACE})])

    def missing(self, text: str) -> list[str]:
        """What keeps a normalised text from being spelled: characters, or words for phones; each once, in order."""
        return [character for character in dict.fromkeys(text) if character not in self._ids]

    def lacking(self, text: str, whose: str = "the") -> str:
        """The same for a message: `'x' (U+0078) outside the alphabet`."""
        shown = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in self.missing(text)[:5])
        return f"{shown} outside {whose} alphabet"

    def encode(self, text: str) -> list[int]:
        """Token ids of a normalised text.

        Raises:
            TextError: a character is not in the table; the message shows it and its code point.
        """
        try:
            return [self._ids[character] for character in text]
        except KeyError:
            raise self._unspelled(text) from None

    def _unspelled(self, text: str) -> TextError:
        alphabet = "".join(token for token in self._ids if len(token) == 1)
        return TextError(
            f"{text[:60]!r} has {self.lacking(text)} {alphabet!r}; "
            "spell it out in the transcript or add the character to text.alphabet"
        )

    def spellings(self, word: str) -> list[tuple[int, ...]]:
        """Token ids of a word, without a space of its own before or after; none where it cannot be spelled."""
        return [] if not word or " " in word or self.missing(word) else [tuple(self.encode(word))]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of token ids from which repeats and blanks are already gone."""
        return " ".join("".join(self.tokens[index] for index in ids).replace(SPACE, " ").split())

    def save(self, path: Path) -> None:
        """Write one `token id` pair a line, and beside the file what text becomes these tokens by.

        Raises:
            OSError: it cannot be written.
        """
        companion = self._companion()
        if companion is not None:
            with replacing(path.with_name(COMPANIONS[self.units])) as partial:
                partial.write_bytes(companion)
        lines = (f"{token} {index}\n" for index, token in enumerate(self.tokens))
        with replacing(path) as partial:
            partial.write_text("".join(lines), encoding="utf-8", newline="\n")

    def _companion(self) -> bytes | None:
        return None

    @classmethod
    def load(cls, path: Path, units: Units | None = None) -> Tokenizer:
        """Read what `save` wrote.

        Args:
            path: the token table.
            units: what the tokens are. None: what the file beside the table is for; characters where there is none.

        Raises:
            TextError: naming the file and line, when it is missing, garbled or out of order.
        """
        from asr.text.bpe import BpeTokenizer
        from asr.text.phones import PhoneTokenizer

        if units is None:
            units = next((kind for kind, name in COMPANIONS.items() if path.with_name(name).is_file()), "characters")
        tokens = _read_table(path)
        try:
            if units == "bpe":
                return BpeTokenizer.read(tokens, path.with_name(COMPANIONS["bpe"]))
            if units == "phones":
                return PhoneTokenizer.read(tokens, path.with_name(COMPANIONS["phones"]))
            return Tokenizer(tokens)
        except TextError as error:
            raise TextError(f"{path}: {error}") from None


def _read_table(path: Path) -> list[str]:
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
    return tokens


def ctc_frames(tokens: Sequence[int]) -> int:
    """The fewest frames in which CTC can emit `tokens`: one each, and a blank between equal neighbours."""
    return len(tokens) + sum(a == b for a, b in pairwise(tokens))
