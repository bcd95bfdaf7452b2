"""Transcripts in one writing: Unicode, apostrophes, case and spaces."""

from __future__ import annotations

import unicodedata
from typing import Literal

APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ`´＇", "'"))

SENTENCE_MARKS = '.,!?;:…¿¡"“”„«»'
"""Punctuation that belongs to no word: at its ends it is the sentence's."""


def marks_around(word: str) -> str:
    """The sentence marks at both ends of a word, each once, in the order above: `,"` of `"so,"`."""
    ends = word[: len(word) - len(word.lstrip(SENTENCE_MARKS))] + word[len(word.rstrip(SENTENCE_MARKS)) :]
    return "".join(mark for mark in SENTENCE_MARKS if mark in ends)


def normalise(text: str, case: Literal["lower", "upper", "keep"] = "lower", remove: str = "") -> str:
    """NFC, one kind of apostrophe, single spaces, the chosen case; the characters in `remove` become spaces."""
    text = unicodedata.normalize("NFC", text).translate(APOSTROPHES)
    if remove:
        text = text.translate(dict.fromkeys(map(ord, remove.translate(APOSTROPHES)), " "))
    if case == "lower":
        text = text.lower()
    elif case == "upper":
        text = text.upper()
    return " ".join(unicodedata.normalize("NFC", text).translate(APOSTROPHES).split())
