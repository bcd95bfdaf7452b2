"""What references and hypotheses may go through before they are compared, so that formatting is no error."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from asr.errors import ScoringError
from asr.text import APOSTROPHES

if TYPE_CHECKING:
    from asr.scoring.error_rates import Score

NORMALISATIONS = {
    "none": "text as it stands: case and punctuation count",
    "basic": "lower case, no punctuation or symbols but apostrophes inside words",
    "english": "whisper's English normaliser: spelling, contractions, numbers, fillers and what stands in brackets",
}
"""Names and what they mean."""

_TELLING_SHARE = 0.2  # of the errors that are formatting alone, from which on it is said

_LOOSE_APOSTROPHES = re.compile(r"(?<!\S)'+|'+(?!\S)|'{2,}")


def normaliser(name: str) -> Callable[[str], str]:
    """The function behind a name.

    Raises:
        ScoringError: there is no such normalisation, or the package it needs is not installed.
    """
    if name == "none":
        return str
    if name == "basic":
        return basic
    if name == "english":
        return _english()
    raise ScoringError(f"normalisation {name!r} is unknown; choose one of {', '.join(NORMALISATIONS)}")


def basic(text: str) -> str:
    """Formatting taken out, in any language, and no word lost:

    1. Unicode NFKC, then lower case, then NFKC again (`ﬁ` is `fi`, `１` is `1`);
    2. `’`, `‘`, `ʼ`, the grave and the acute accent are apostrophes;
    3. every other punctuation character and symbol (Unicode categories P and S), hyphens and underscores among them,
       becomes a space; soft hyphens and other invisible format characters (Cf) go, but for the two joiners that
       Persian and Indic spelling needs;
    4. apostrophes stay between two characters that stayed (`don't`, `o'clock`), elsewhere they become spaces;
    5. runs of white space are one space, none at the ends.

    Whisper's BasicTextNormalizer differs in four ways: it makes apostrophes spaces too, so that `don't` is two words
    and leaving out its apostrophe two errors; it removes whatever stands in brackets, and with it words that were said
    or that a recogniser made up; combining marks become spaces, which cuts words of Hindi or Thai into pieces; and a
    soft hyphen stays. On English without apostrophes, brackets and format characters the two are the same.
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text.translate(APOSTROPHES)).lower())
    return without_punctuation(text)


def without_punctuation(text: str) -> str:
    """What the steps 3 to 5 of `basic` make of a text."""
    return " ".join(_LOOSE_APOSTROPHES.sub(" ", text.translate(_CHARACTERS)).split())


class _Characters(dict[int, int | str | None]):
    """What `str.translate` makes of a character, looked up once for each."""

    def __missing__(self, code: int) -> int | str | None:
        category = unicodedata.category(chr(code))
        made: int | str | None = code
        if category[0] in "PS" and code != ord("'"):
            made = " "
        elif category == "Cf" and code not in (0x200C, 0x200D):
            made = None
        self[code] = made
        return made


_CHARACTERS = _Characters()


@cache
def _english() -> Callable[[str], str]:
    try:
        from whisper_normalizer.english import EnglishTextNormalizer
    except ImportError:
        raise ScoringError(
            "the normalisation 'english' needs a package: pip install whisper-normalizer; or choose 'basic'"
        ) from None
    normalise = EnglishTextNormalizer()
    return lambda text: " ".join(normalise(text).split())


def formatting_hint(score: Score) -> str | None:
    """A sentence on what `basic` would make of a score without normalisation, where much of it is formatting."""
    if score.normalisation != "none" or not score.errors:
        return None
    from asr.scoring.alignment import align_words, operation

    errors = words = 0
    changed: list[tuple[str, str]] = []  # what has to be aligned again
    for utterance in score.utterances:
        texts = basic(utterance.reference), basic(utterance.hypothesis)
        words += len(texts[0].split())
        if utterance.errors and texts == (utterance.reference, utterance.hypothesis):
            errors += utterance.errors
        elif utterance.errors and texts[0] != texts[1]:
            changed.append(texts)
    alignments = align_words([said for said, _ in changed], [heard for _, heard in changed]) if changed else []
    errors += sum(operation(*pair) != "" for alignment in alignments for pair in alignment)
    share = 1 - errors / score.errors
    if share < _TELLING_SHARE or not words:
        return None
    wer = 100 * errors / words
    what = "case, punctuation or Unicode form"
    return f"{100 * share:.0f} % of the errors are {what}: --normalise basic gives WER {wer:.2f} %"
