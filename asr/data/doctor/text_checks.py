"""What can be wrong with a transcript, and the repairs that change nothing that is said."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from functools import cache

from asr.config import Config
from asr.data.doctor import kinds
from asr.data.manifest import Utterance
from asr.data.problems import Problem
from asr.text import Tokenizer, marks_around, normalise

JOINERS = "\u200c\u200d"
"""Zero-width non-joiner and joiner: spelling in Persian and the scripts of India, rubbish elsewhere."""
IN_WORDS = "-‐‑'’ʼ·"
"""Hyphens, apostrophes and the Catalan middle dot: between two letters they belong to the word."""
SYMBOLS = frozenset("@#%&*/\\[]{}_|~^+=<>")
"""Unicode calls some of these punctuation, but they stand for words (`%`, `&`) or for markup (`[noise]`, `<unk>`)."""


def text_problem(utterance: Utterance, tokenizer: Tokenizer, config: Config) -> Problem | None:
    """Why the transcript cannot be trained on: there is none, or the token table cannot spell it."""
    text = normalise(utterance.text or "", config.text.case, config.text.remove)
    if not text:
        return Problem(
            utterance.id, kinds.NO_TRANSCRIPT, "the transcript is empty; transcribe it or drop the utterance"
        )
    if tokenizer.missing(text):
        kind, remedy = kinds.OUTSIDE, "spell it out in the transcript or add the character to text.alphabet"
        if tokenizer.units == "phones":
            kind = kinds.NO_PRONUNCIATION
            remedy = "`asr lexicon MANIFEST --output NEW` looks them up or guesses them; name NEW as text.lexicon"
            if marks := marks_around("".join(map(marks_around, tokenizer.missing(text)))):
                remedy = f"take the punctuation out with text.remove: {marks!r}"
        return Problem(utterance.id, kind, f"{text[:60]!r} has {tokenizer.lacking(text)}; {remedy}")
    return None


def text_defects(utterance: Utterance) -> list[Problem]:
    """What is wrong with the characters of a transcript whatever the alphabet: NFC, spaces, invisible, broken."""
    text, found = utterance.text or "", []
    if not text.strip():
        return []  # no transcript at all
    if text.isascii() and text.isprintable() and "  " not in text and text == text.strip():
        return []  # nearly every English transcript; the checks below are ten times slower
    if not unicodedata.is_normalized("NFC", text):
        composed = unicodedata.normalize("NFC", text)
        changed = sorted(set(text) - set(composed))
        found.append(
            (kinds.NOT_NFC, f"{shown(changed)} can be composed; write NFC as in {composed[:60]!r}, or use --fix")
        )
    if " ".join(text.split()) != text:
        odd = sorted({c for c in text if c.isspace() and c != " "})
        what = shown(odd) if odd else "spaces at an end or doubled"
        found.append((kinds.WHITESPACE, f"{text[:60]!r} has {what}; leave single spaces between words, or use --fix"))
    invisible = _invisible(text)
    if invisible:
        found.append((kinds.INVISIBLE, f"{text[:60]!r} has {shown(invisible)}; remove them, or use --fix"))
    broken = [c for c in dict.fromkeys(text) if _broken(c)]
    if broken:
        found.append(
            (
                kinds.BROKEN_ENCODING,
                f"{text[:60]!r} has {shown(broken)}: a letter was lost when the text was converted; take the "
                "transcript from its source again, in its right encoding",
            )
        )
    return [Problem(utterance.id, kind, message) for kind, message in found]


def leftovers(identifier: str, text: str, tokenizer: Tokenizer, conventions: Collection[str]) -> list[Problem]:
    """Digits, symbols and punctuation in a normalised text, unless the kind is in `conventions`: normal in this corpus.

    Those that the token table lacks are left to `text_problem`.
    """
    found: dict[str, list[str]] = {}
    for character, kind in leftover_classes(text).items():
        if kind not in conventions and not tokenizer.missing(character):
            found.setdefault(kind, []).append(character)
    problems = []
    for kind in sorted(found):
        remedy = "take them out with text.remove" if kind == kinds.PUNCTUATION else "write what is said"
        message = f"{text[:60]!r} has {shown(found[kind])}; {remedy}, or list them in text.alphabet if they are meant"
        problems.append(Problem(identifier, kind, message))
    return problems


def leftover_classes(text: str) -> dict[str, str]:
    """The digits, symbols and punctuation marks of a text, each with its kind of problem."""
    if text.replace(" ", "").isalpha():
        return {}
    classes: dict[str, str] = {}
    for index, character in enumerate(text):
        kind = _character_class(character)
        if kind and not (character in IN_WORDS and (character in "'’ʼ" or _in_word(text, index))):
            classes[character] = kind
    return classes


def mended_text(text: str) -> str:
    """The text in NFC, with single spaces and one kind of apostrophe, without invisible characters."""
    for character in _invisible(text):
        text = text.replace(character, "")
    return normalise(text, "keep")


@cache
def _character_class(character: str) -> str | None:
    category = unicodedata.category(character)
    if _broken(character):
        return None
    if category[0] == "N":
        return kinds.DIGITS
    if character in SYMBOLS or (category[0] == "S" and category != "Sk"):  # Sk: accents that stand alone
        return kinds.SYMBOLS
    return kinds.PUNCTUATION if category[0] == "P" else None


def _in_word(text: str, index: int) -> bool:
    return 0 < index < len(text) - 1 and text[index - 1].isalpha() and text[index + 1].isalpha()


def _invisible(text: str) -> list[str]:
    """Format and control characters that are no white space; joiners only where no script uses them."""
    found: dict[str, None] = {}
    for index, character in enumerate(text):
        category = unicodedata.category(character)
        if (category == "Cf" and not (character in JOINERS and _caseless(text[index - 1 : index]))) or (
            category == "Cc" and not character.isspace() and character < "\x80"
        ):
            found[character] = None
    return list(found)


def _caseless(character: str) -> bool:
    return unicodedata.category(character)[0] in "LM" and character.upper() == character.lower() if character else False


def _broken(character: str) -> bool:
    """What decoders leave behind: U+FFFD, and C1 controls, which are Windows-1252 read as Latin-1."""
    return (
        character == "\ufffd" or "\x80" <= character < "\xa0" or unicodedata.category(character) in ("Co", "Cn", "Cs")
    )


def shown(characters: Collection[str]) -> str:
    """Characters with their code points: many cannot be told apart, or seen, otherwise."""
    return ", ".join(f"{character!r} (U+{ord(character):04X})" for character in list(characters)[:5])
