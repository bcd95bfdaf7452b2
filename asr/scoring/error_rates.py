"""Word, character and sentence error rates of hypotheses against references."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from asr.errors import ScoringError
from asr.scoring.alignment import Alignment, Confusions, align_words, character_errors, operation
from asr.scoring.bootstrap import rate_intervals, sums_by
from asr.scoring.normalisation import normaliser

RATES = ("wer", "cer", "ser", "substitutions", "deletions", "insertions")
"""Word, character and sentence error rate, and substitutions, deletions and insertions per reference word."""
_LISTED_IDS = 5  # ids an error message shows before it only counts the rest


@dataclass(frozen=True)
class UtteranceScore:
    """One hypothesis against its reference. Texts have single spaces between words; counts are words."""

    id: str
    reference: str
    hypothesis: str
    hits: int
    substitutions: int
    deletions: int
    insertions: int
    character_errors: int
    alignment: Alignment = field(repr=False)

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def words(self) -> int:
        """Words of the reference."""
        return self.hits + self.substitutions + self.deletions

    @property
    def characters(self) -> int:
        """Characters of the reference, the spaces between words included."""
        return len(self.reference)

    @property
    def wer(self) -> float:
        """Word error rate as a fraction; with an empty reference, 0 without errors and infinite with any."""
        if self.words == 0:
            return float("inf") if self.errors else 0.0
        return self.errors / self.words


@dataclass(frozen=True)
class Rate:
    """An error rate as a fraction with its 95 % bootstrap intervals (`asr.scoring.bootstrap`)."""

    value: float
    interval: tuple[float, float]
    """Over utterances."""
    speaker_interval: tuple[float, float] | None
    """Over speakers; None where they are not known, or there is one alone."""


@dataclass(frozen=True)
class Score:
    """Error rates of a test set as fractions (0.05 is 5 %); what `score` returns.

    Rates are taken over the set (all errors by all reference words), not averaged over utterances.  There is at least
    one reference word.  Intervals are computed when first asked for.
    """

    utterances: list[UtteranceScore]
    """In the order of the references."""
    seed: int = 0
    """Of the bootstrap."""
    normalisation: str = "none"
    """What both texts went through before they were compared, a name of `asr.scoring.normalisation`."""
    speakers: Mapping[str, str] | None = None
    """Utterance id -> speaker, of every utterance; None where they are not known."""

    @cached_property
    def hits(self) -> int:
        """Words recognised correctly."""
        return sum(utterance.hits for utterance in self.utterances)

    @cached_property
    def substitutions(self) -> int:
        """Reference words taken for another word."""
        return sum(utterance.substitutions for utterance in self.utterances)

    @cached_property
    def deletions(self) -> int:
        """Reference words left out."""
        return sum(utterance.deletions for utterance in self.utterances)

    @cached_property
    def insertions(self) -> int:
        """Hypothesis words that nobody said."""
        return sum(utterance.insertions for utterance in self.utterances)

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def words(self) -> int:
        """Reference words."""
        return self.hits + self.substitutions + self.deletions

    @cached_property
    def characters(self) -> int:
        """Reference characters, the spaces between words included."""
        return sum(utterance.characters for utterance in self.utterances)

    @property
    def wer(self) -> float:
        """Word error rate."""
        return self.errors / self.words

    @property
    def wer_interval(self) -> tuple[float, float]:
        """95 % interval of the word error rate over utterances."""
        return self._intervals["wer"]

    @cached_property
    def cer(self) -> float:
        """Character error rate, the space between words counted as a character."""
        return sum(utterance.character_errors for utterance in self.utterances) / self.characters

    @property
    def cer_interval(self) -> tuple[float, float]:
        """95 % interval of the character error rate over utterances."""
        return self._intervals["cer"]

    @property
    def wrong_sentences(self) -> int:
        """Utterances with at least one word error."""
        return sum(utterance.errors > 0 for utterance in self.utterances)

    @property
    def sentence_error_rate(self) -> float:
        """Share of utterances with at least one word error."""
        return self.wrong_sentences / len(self.utterances)

    @cached_property
    def rates(self) -> dict[str, Rate]:
        """All rates with their intervals, by the names of `RATES`."""
        speakers = self._speaker_intervals
        values = (
            self.wer,
            self.cer,
            self.sentence_error_rate,
            self.substitutions / self.words,
            self.deletions / self.words,
            self.insertions / self.words,
        )
        return {
            name: Rate(value, self._intervals[name], speakers[name] if speakers else None)
            for name, value in zip(RATES, values, strict=True)
        }

    @cached_property
    def speaker_count(self) -> int | None:
        """How many speakers there are; None where they are not known."""
        return None if self.speakers is None else len(set(self.speakers.values()))

    @cached_property
    def _counts(self) -> np.ndarray:
        """Errors and then totals of each rate, `[utterances, 2 * rates]`."""
        rows = []
        for u in self.utterances:
            kinds = (u.substitutions, u.deletions, u.insertions)
            errors = sum(kinds)
            rows.append((errors, u.character_errors, errors > 0, *kinds, u.words, u.characters, 1, *[u.words] * 3))
        return np.array(rows, np.int64)

    @cached_property
    def _intervals(self) -> dict[str, tuple[float, float]]:
        return self._bootstrap(self._counts)

    @cached_property
    def _speaker_intervals(self) -> dict[str, tuple[float, float]] | None:
        if self.speakers is None or self.speaker_count == 1:
            return None
        return self._bootstrap(sums_by([self.speakers[u.id] for u in self.utterances], self._counts))

    def _bootstrap(self, counts: np.ndarray) -> dict[str, tuple[float, float]]:
        errors, totals = np.split(counts, 2, axis=1)
        return dict(zip(RATES, rate_intervals(errors, totals, seed=self.seed), strict=True))

    @cached_property
    def confusions(self) -> Confusions:
        """Counts of the words that were substituted, deleted and inserted."""
        return Confusions.count(utterance.alignment for utterance in self.utterances)

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain numbers and lists for JSON; `utterances` is their number."""
        return {
            "wer": self.wer,
            "wer_interval": list(self.wer_interval),
            "cer": self.cer,
            "cer_interval": list(self.cer_interval),
            "sentence_error_rate": self.sentence_error_rate,
            "substitutions": self.substitutions,
            "insertions": self.insertions,
            "deletions": self.deletions,
            "hits": self.hits,
            "utterances": len(self.utterances),
            "words": self.words,
            "characters": self.characters,
            "normalisation": self.normalisation,
            "speaker_count": self.speaker_count,
            "rates": {
                name: {
                    "value": rate.value,
                    "interval": list(rate.interval),
                    "speaker_interval": rate.speaker_interval and list(rate.speaker_interval),
                }
                for name, rate in self.rates.items()
            },
        }


def score(
    references: Mapping[str, str] | Sequence[str],
    hypotheses: Mapping[str, str] | Sequence[str],
    *,
    missing: Literal["error", "empty"] = "error",
    seed: int = 0,
    normalisation: str = "none",
    speakers: Mapping[str, str] | None = None,
) -> Score:
    """Score hypotheses against references.

    Unless normalised, text is compared as it stands: case, punctuation and Unicode form count; only runs of white
    space are one space.  An empty reference is allowed, and every word of its hypothesis is an insertion.

    Args:
        references: id -> text; or, as in jiwer, a list of sentences or one sentence, with ids "1", "2", ...
        hypotheses: the same for the recogniser's output.
        missing: what to do with a reference without hypothesis: an error, or count it as an empty hypothesis.
        seed: of the bootstrap intervals.
        normalisation: what both texts go through first, a name of `asr.scoring.normalisation`.
        speakers: utterance id -> speaker, for intervals over speakers.

    Raises:
        ScoringError: the ids differ, lists differ in length, a text is not a string, no reference has a word, the
            normalisation is unknown, or an utterance has no speaker.
    """
    if isinstance(references, Mapping) != isinstance(hypotheses, Mapping):
        raise ScoringError("give references and hypotheses the same way: both as id -> text or both as lists")
    if missing not in ("error", "empty"):
        raise ScoringError(f"missing={missing!r} is unknown; choose 'error' or 'empty'")
    reference_texts = _by_id("reference", references)
    hypothesis_texts = _by_id("hypothesis", hypotheses)
    if not isinstance(references, Mapping) and len(reference_texts) != len(hypothesis_texts):
        raise ScoringError(
            f"{len(reference_texts)} references but {len(hypothesis_texts)} hypotheses; lists are compared line by line"
        )
    _check_ids(reference_texts, hypothesis_texts, missing)
    if speakers is not None:
        speakers = _of_all(reference_texts, speakers)
    normalise = normaliser(normalisation)
    reference_list = [_one_space(normalise(text)) for text in reference_texts.values()]
    hypothesis_list = [_one_space(normalise(hypothesis_texts.get(identifier, ""))) for identifier in reference_texts]
    if not any(reference_list):
        after = "" if normalisation == "none" else f" after normalisation {normalisation!r}"
        raise ScoringError(f"no reference words in {len(reference_list)} utterances{after}, so there is no error rate")

    alignments = align_words(reference_list, hypothesis_list)
    all_character_errors = character_errors(reference_list, hypothesis_list)
    utterances = []
    for identifier, reference, hypothesis, alignment, wrong_characters in zip(
        reference_texts, reference_list, hypothesis_list, alignments, all_character_errors, strict=True
    ):
        operations = [operation(*pair) for pair in alignment]
        utterances.append(
            UtteranceScore(
                id=identifier,
                reference=reference,
                hypothesis=hypothesis,
                hits=operations.count(""),
                substitutions=operations.count("S"),
                deletions=operations.count("D"),
                insertions=operations.count("I"),
                character_errors=wrong_characters,
                alignment=alignment,
            )
        )
    return Score(utterances, seed, normalisation, speakers)


def _by_id(side: str, texts: Mapping[str, str] | Sequence[str]) -> dict[str, str]:
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, Mapping):
        texts = {str(number): text for number, text in enumerate(texts, start=1)}
    for identifier, text in texts.items():
        if not isinstance(text, str):
            raise ScoringError(f"{side} of utterance {identifier!r} is {text!r}, not text; give '' for no words")
    return dict(texts)


def _one_space(text: str) -> str:
    return " ".join(text.split())


def _of_all(utterances: Iterable[str], speakers: Mapping[str, str]) -> dict[str, str]:
    unknown = [identifier for identifier in utterances if identifier not in speakers]
    if unknown:
        raise ScoringError(f"{len(unknown)} utterances have no speaker (first {unknown[0]!r}); give each one, or none")
    return {identifier: speakers[identifier] for identifier in utterances}


def _check_ids(references: Mapping[str, str], hypotheses: Mapping[str, str], missing: str) -> None:
    without_hypothesis = [] if missing == "empty" else [key for key in references if key not in hypotheses]
    without_reference = [key for key in hypotheses if key not in references]
    problems = [
        f"{len(ids)} {side} ({', '.join(map(repr, ids[:_LISTED_IDS]))}{', ...' if len(ids) > _LISTED_IDS else ''})"
        for ids, side in (
            (without_hypothesis, f"of {len(references)} references have no hypothesis"),
            (without_reference, f"of {len(hypotheses)} hypotheses have no reference"),
        )
        if ids
    ]
    if problems:
        remedy = "; to count a missing hypothesis as empty, pass missing='empty'" if without_hypothesis else ""
        raise ScoringError("the ids differ: " + " and ".join(problems) + remedy)
