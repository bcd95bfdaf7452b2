"""Phones: words become their pronunciations, and pronunciations the words that most likely have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import ClassVar

from asr.errors import TextError
from asr.text.pronunciations import Pronunciations, read_pronunciations, written_pronunciations
from asr.text.tokenizer import BLANK, SPACE, Tokenizer, Units

FARTHEST = 0.5
"""Phones to change, leave out or add, for each that was heard, that make another word of it at most; one always may."""


class PhoneTokenizer(Tokenizer):
    """Words to phones, with `▁` between words, and back; id 0 is the CTC blank.

    A word is spelled by its first pronunciation. A pronunciation is written as the first word of which it is the first
    one, or else any; where no word has it, as the word with the nearest, or as `<k-ae-t>` where none is near.

    Args:
        tokens: the table.
        pronunciations: of each word, in phones of the table; the word that comes first wins among those that sound
            alike.

    Raises:
        TextError: a phone is not in the table, or there is no `▁`.
    """

    units: ClassVar[Units] = "phones"

    def __init__(self, tokens: Sequence[str], pronunciations: Pronunciations):
        super().__init__(tokens)
        if SPACE not in self.tokens:
            raise TextError(f"phones need the token {SPACE} between words")
        self.space = self.tokens.index(SPACE)
        self.pronunciations = pronunciations
        ids = {token: index for index, token in enumerate(self.tokens) if index and index != self.space}
        self._spellings: dict[str, list[tuple[int, ...]]] = {}
        for word, ways in pronunciations.items():
            try:
                self._spellings[word] = [tuple(map(ids.__getitem__, way)) for way in ways]
            except KeyError as error:
                said = f"the pronunciation of {word!r} has {error.args[0]!r}, which is not in the token table"
                raise TextError(said) from None

    @cached_property
    def _words(self) -> dict[tuple[int, ...], str]:
        """The word of each pronunciation. Beam search over a lexicon never asks."""
        words: dict[tuple[int, ...], str] = {}
        for first in (True, False):
            for word, spellings in self._spellings.items():
                for spelling in spellings[:1] if first else spellings[1:]:
                    words.setdefault(spelling, word)
        return words

    @cached_property
    def _sounds(self) -> tuple[list[str], list[str]]:
        """Pronunciations as text, a character a phone, and their words: first the most frequent."""
        pairs = [(spelling, word) for word, spellings in self._spellings.items() for spelling in spellings]
        return ["".join(map(chr, sound)) for sound, _ in pairs], [word for _, word in pairs]

    @classmethod
    def from_words(cls, words: Mapping[str, int], dictionary: Pronunciations) -> PhoneTokenizer:
        """The phones of these words, which have occurrences, in alphabetical order; words sorted by how many.

        Only what is needed is kept of the dictionary: the words' pronunciations. A phone that no first pronunciation
        has would never be learnt, and so others that have it are left out.

        Raises:
            TextError: the dictionary has none of the words.
        """
        known = sorted((word for word in words if word in dictionary), key=lambda word: (-words[word], word))
        if not known:
            first = ", ".join(map(repr, list(words)[:3]))
            raise TextError(f"the pronunciation dictionary has none of the words ({first} ...); is text.case right?")
        phones = {phone for word in known for phone in dictionary[word][0]}
        kept = {word: [way for way in dictionary[word] if phones.issuperset(way)] for word in known}
        return cls([BLANK, SPACE, *sorted(phones)], kept)

    @classmethod
    def read(cls, tokens: Sequence[str], path: Path) -> PhoneTokenizer:
        """The tokenizer of a table and of the pronunciations that its model was trained with.

        Raises:
            TextError: the file is missing, broken, or of another table.
        """
        return cls(tokens, read_pronunciations(path))

    def missing(self, text: str) -> list[str]:
        """The words of a normalised text that have no pronunciation, each once, in order."""
        return [word for word in dict.fromkeys(text.split()) if word not in self._spellings]

    def lacking(self, text: str, whose: str = "the") -> str:
        """The same for a message: `'zoo' without a pronunciation in the lexicon`."""
        missing = self.missing(text)
        more = f" and {len(missing) - 5} words more" if len(missing) > 5 else ""
        return f"{', '.join(map(repr, missing[:5]))}{more} without a pronunciation in {whose} lexicon"

    def encode(self, text: str) -> list[int]:
        """Token ids of a normalised text: the first pronunciation of each word.

        Raises:
            TextError: a word has none; the message shows it.
        """
        ids: list[int] = []
        for word in text.split():
            if word not in self._spellings:
                raise TextError(f"{text[:60]!r} has {self.lacking(text)}; `asr lexicon` writes or guesses them")
            ids += [self.space] * bool(ids)
            ids += self._spellings[word][0]
        return ids

    def spellings(self, word: str) -> list[tuple[int, ...]]:
        """Every pronunciation of a word, its first first; none where it has none."""
        return self._spellings.get(word, [])

    def decode(self, ids: Iterable[int]) -> str:
        """Words of token ids from which repeats and blanks are already gone."""
        groups = [tuple(group) for space, group in groupby(ids, lambda index: index == self.space) if not space]
        return " ".join(self._words.get(group) or self._near(group) or self._visible(group) for group in groups)

    def _near(self, group: Sequence[int]) -> str | None:
        """The word with the nearest pronunciation (Levenshtein), of several the most frequent; None where none is."""
        from rapidfuzz import process  # not before it is needed: most starts of the program never do
        from rapidfuzz.distance import Levenshtein

        most, heard = max(1, int(FARTHEST * len(group))), "".join(map(chr, group))
        sounds, words = self._sounds
        found = process.extractOne(heard, sounds, scorer=Levenshtein.distance, score_cutoff=most)
        return None if found is None else words[found[2]]

    def _visible(self, group: Sequence[int]) -> str:
        return f"<{'-'.join(self.tokens[index] for index in group).lower()}>"

    def _companion(self) -> bytes:
        return "".join(written_pronunciations(self.pronunciations)).encode()
