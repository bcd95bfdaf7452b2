"""Pronunciations of words that no dictionary has: an n-gram model of graphones (Bisani and Ney 2008)."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np
from numba import njit

from asr.errors import LanguageModelError
from asr.lm.automaton import Automaton, advance
from asr.lm.corpus import encode
from asr.lm.counting import count_ngrams
from asr.lm.graphones import RAREST, Graphone, align_letters
from asr.lm.kneser_ney import estimate
from asr.lm.ngram import NgramModel

ORDER = 8
"""Graphones of one letter need long histories. Of words held out of CMUdict 25.7 % come out wrong, without stress
(benchmarks/letter_to_sound.py); Bisani and Ney report 24.5 %."""
BEAM = 128


class LetterToSound:
    """Learns how a dictionary is pronounced, and guesses words that it lacks.

    Args:
        pronunciations: of each word; the words' writing (case, apostrophes) is that of the words asked for later.
        rarest: graphones that occur less often are not learnt.
        order: of the n-gram model.

    Raises:
        LanguageModelError: the dictionary is too small to learn from.
    """

    def __init__(self, pronunciations: Mapping[str, Sequence[Sequence[str]]], rarest: int = RAREST, order: int = ORDER):
        entries = [(word, phones) for word, ways in pronunciations.items() for phones in ways]
        aligned = align_letters(entries, rarest)
        if not aligned:
            raise LanguageModelError(
                f"a dictionary of {len(entries)} pronunciations is too small to learn from how letters sound; "
                "add the missing words to it by hand, or take a larger one"
            )
        graphones = sorted({graphone for row in aligned for graphone in row})
        names = {graphone: f"{graphone.letter}}}{'+'.join(graphone.phones)}" for graphone in graphones}
        corpus = encode([names[graphone] for graphone in row] for row in aligned)
        levels, _ = estimate(count_ngrams(corpus.labels, len(corpus.words), order))
        self._automaton = NgramModel.from_levels(corpus.words, levels, "tokens").automaton
        labels = {word: label for label, word in enumerate(corpus.words)}
        self._graphones: dict[int, Graphone] = {labels[names[graphone]]: graphone for graphone in graphones}
        self._labels: dict[str, list[int]] = {}
        for label, graphone in sorted(self._graphones.items()):
            self._labels.setdefault(graphone.letter, []).append(label)

    def pronounce(self, word: str) -> tuple[str, ...] | None:
        """The likeliest phones of a word; accents are dropped where the dictionary has no such letter.

        None where a character is left that no word of the dictionary has, or nothing would be said.
        """
        letters = [c for letter in word for c in ([letter] if letter in self._labels else _plain(letter))]
        if not letters or any(letter not in self._labels for letter in letters):
            return None
        choices = [self._labels[letter] for letter in letters]
        begin = np.cumsum([0, *map(len, choices)])
        labels = _search(self._automaton, begin, np.array([label for row in choices for label in row]), BEAM)
        phones = tuple(phone for label in labels.tolist() for phone in self._graphones[label].phones)
        return phones or None


def _plain(letter: str) -> list[str]:
    """`é` as `e`."""
    return [c for c in unicodedata.normalize("NFD", letter) if not unicodedata.combining(c)]


@njit(cache=True, nogil=True)
def _search(automaton: Automaton, begin: np.ndarray, choices: np.ndarray, beam: int) -> np.ndarray:
    """The likeliest label of each letter; those of letter i are `choices[begin[i] : begin[i + 1]]`."""
    letters = len(begin) - 1
    widest = np.max(begin[1:] - begin[:-1])
    scores, states = np.zeros(beam), np.zeros(beam, np.int64)
    back, labels = np.zeros((letters, beam), np.int64), np.zeros((letters, beam), np.int64)
    states[0] = automaton.start[0]
    active = 1
    for letter in range(letters):
        own = choices[begin[letter] : begin[letter + 1]]
        score, state = np.full(beam * widest, -np.inf), np.zeros(beam * widest, np.int64)
        for place in range(active):
            for index in range(len(own)):
                weight, after = advance(automaton, states[place], own[index])
                score[place * widest + index], state[place * widest + index] = scores[place] + weight, after
        kept = 0
        for candidate in np.argsort(-score):
            if kept == beam or score[candidate] == -np.inf:
                break
            known = False  # of those that go on alike, the best is enough
            for place in range(kept):
                known = known or states[place] == state[candidate]
            if kept == 0 or not known:
                scores[kept], states[kept] = score[candidate], state[candidate]
                back[letter, kept], labels[letter, kept] = candidate // widest, own[candidate % widest]
                kept += 1
        active = kept
    for place in range(active):
        scores[place] += automaton.final_weight[states[place]]
    best = int(np.argmax(scores[:active]))
    found = np.empty(letters, np.int64)
    for letter in range(letters - 1, -1, -1):
        found[letter] = labels[letter, best]
        best = back[letter, best]
    return found
