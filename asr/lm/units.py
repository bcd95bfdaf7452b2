"""The units a language model predicts: words, characters or the tokens of an acoustic model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, get_args

from asr.errors import LanguageModelError
from asr.text import BLANK, SPACE, Tokenizer

Units = Literal["words", "characters", "tokens"]
UNITS: tuple[Units, ...] = get_args(Units)

UNK, BOS, EOS = "<unk>", "<s>", "</s>"
SPECIAL = (UNK, BOS, EOS)
"""Labels 0, 1 and 2 of every n-gram model."""


def splitter(units: Units, tokenizer: Tokenizer | None = None) -> Callable[[str], Sequence[str]]:
    """How normalised text becomes units: words at its spaces, characters with `▁` for the space, or tokens.

    Without a tokenizer, tokens are what spaces part, as in text that is split into tokens already.

    Raises:
        TextError: by the returned function, when the tokenizer cannot spell the text.
    """
    if units == "characters":
        return lambda text: text.replace(" ", SPACE)
    if units == "tokens" and tokenizer is not None:
        return lambda text: [tokenizer.tokens[index] for index in tokenizer.encode(text)]
    return str.split


def token_vocabulary(tokenizer: Tokenizer) -> list[str]:
    """The tokens that text is made of: all but the blank."""
    return [token for token in tokenizer.tokens if token != BLANK]


def guess_units(words: Iterable[str]) -> Units:
    """The units of a file that does not name them: `▁` stands for a space only in characters and tokens."""
    words = [word for word in words if word not in SPECIAL]
    if not any(SPACE in word for word in words):
        return "words"
    return "characters" if all(len(word) == 1 for word in words) else "tokens"


def check_units(units: str) -> Units:
    """`units` itself.

    Raises:
        LanguageModelError: it is none of words, characters and tokens.
    """
    for known in UNITS:
        if units == known:
            return known
    raise LanguageModelError(f"units {units!r}: choose {', '.join(UNITS[:-1])} or {UNITS[-1]}")
