"""Two systems on the same utterances: the difference of their error rates, and whether it can be chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from asr.errors import ScoringError
from asr.scoring.differences import SIGNIFICANT, Difference, difference, standard_error, standard_errors_to_show
from asr.scoring.error_rates import Score, UtteranceScore
from asr.scoring.subsets import FEWEST_BLOCKS, p_value, share_below_zero, subset_sums

RATE_NAMES = {
    "wer": "WER",
    "cer": "CER",
    "ser": "Sentence errors",
    "substitutions": "Substitutions",
    "deletions": "Deletions",
    "insertions": "Insertions",
}
"""The rates that are compared, and their names; the last three are per reference word."""
_LISTED = 5


@dataclass(frozen=True)
class Changed:
    """One utterance under both systems."""

    a: UtteranceScore
    b: UtteranceScore

    @property
    def id(self) -> str:
        """Of the utterance."""
        return self.a.id

    @property
    def change(self) -> int:
        """Errors of B less those of A."""
        return self.b.errors - self.a.errors


@dataclass(frozen=True)
class WordChange:
    """How often a reference word was said, and recognised by one system and not by the other."""

    word: str
    said: int
    wrong_a: int
    wrong_b: int
    fixed: int
    """Wrong in A, right in B."""
    broken: int
    """Right in A, wrong in B."""


@dataclass(frozen=True)
class Comparison:
    """What `compare` returns. Differences are those of B from A: below zero, B is better."""

    a: Score
    b: Score
    speakers: Mapping[str, str] | None
    """Of the utterances; None where they are not known."""
    unit: Literal["speaker", "utterance"]
    """What was resampled as a whole."""
    units: int
    rates: dict[str, Difference]
    """With the keys of `RATE_NAMES`."""
    p_value: float
    """Two-sided, that both have the same word error rate; never 0."""
    probability_of_improvement: float
    """Share of resampled test sets on which B has the lower WER, equal ones counted half (Bisani and Ney 2004)."""
    standard_error: float
    """Of the difference of WER."""

    @property
    def wer(self) -> Difference:
        """Of the word error rate."""
        return self.rates["wer"]

    @property
    def wer_intervals(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """95 % intervals of the word error rates of A and B, over what was resampled."""
        a, b = (score.rates["wer"] for score in (self.a, self.b))
        if self.unit == "speaker":
            return a.speaker_interval or a.interval, b.speaker_interval or b.interval
        return a.interval, b.interval

    @property
    def significant(self) -> bool:
        """Whether p < 0.05."""
        return self.p_value < SIGNIFICANT

    @property
    def detectable(self) -> float | None:
        """The difference of WER that sets like this one would show 4 times in 5; None where nothing varies."""
        return standard_errors_to_show(self.units) * self.standard_error if self.standard_error else None

    @property
    def utterances_needed(self) -> int | None:
        """Utterances, of as many more speakers, that would show a difference as large as this one 4 times in 5.

        None where the systems do not differ.
        """
        if not self.standard_error or not self.wer.value:
            return None
        units: float = self.units
        for _ in range(10):  # of which the quantiles themselves depend on
            units = max(
                FEWEST_BLOCKS, self.units * (standard_errors_to_show(units) * self.standard_error / self.wer.value) ** 2
            )
        return int(np.ceil(len(self.a.utterances) * units / self.units))

    @cached_property
    def utterances(self) -> list[Changed]:
        """All of them, in the order of A."""
        by_id = {utterance.id: utterance for utterance in self.b.utterances}
        return [Changed(utterance, by_id[utterance.id]) for utterance in self.a.utterances]

    @cached_property
    def better(self) -> list[Changed]:
        """Utterances with fewer errors in B, those that gained most first."""
        return sorted((pair for pair in self.utterances if pair.change < 0), key=lambda pair: pair.change)

    @cached_property
    def worse(self) -> list[Changed]:
        """Utterances with more errors in B, those that lost most first."""
        return sorted((pair for pair in self.utterances if pair.change > 0), key=lambda pair: -pair.change)

    @cached_property
    def otherwise_wrong(self) -> list[Changed]:
        """Utterances with other words and as many errors."""
        return [pair for pair in self.utterances if not pair.change and pair.a.hypothesis != pair.b.hypothesis]

    @cached_property
    def words(self) -> list[WordChange]:
        """The words that one system recognised somewhere and the other did not, the most changed first."""
        said, wrong_a, wrong_b = Counter[str](), Counter[str](), Counter[str]()
        fixed, broken = Counter[str](), Counter[str]()
        for pair in self.utterances:
            if pair.a.reference != pair.b.reference:
                continue
            words = [(word, heard == word) for word, heard in pair.a.alignment if word is not None]
            right_in_b = [heard == word for word, heard in pair.b.alignment if word is not None]
            for (word, in_a), in_b in zip(words, right_in_b, strict=True):
                said[word] += 1
                wrong_a[word] += not in_a
                wrong_b[word] += not in_b
                fixed[word] += in_b and not in_a
                broken[word] += in_a and not in_b
        changed = [
            WordChange(word, said[word], wrong_a[word], wrong_b[word], fixed[word], broken[word])
            for word in said
            if fixed[word] or broken[word]
        ]
        return sorted(changed, key=lambda change: -(change.fixed + change.broken))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, texts and lists for JSON."""
        return {
            "utterances": len(self.utterances),
            "words": self.a.words,
            "normalisation": self.a.normalisation,
            "resampled": self.unit,
            "resampled_units": self.units,
            "wer_interval_a": list(self.wer_intervals[0]),
            "wer_interval_b": list(self.wer_intervals[1]),
            **{name: difference.to_dict() for name, difference in self.rates.items()},
            "p_value": self.p_value,
            "significant": self.significant,
            "probability_of_improvement": self.probability_of_improvement,
            "detectable_difference": self.detectable,
            "utterances_needed": self.utterances_needed,
            "better": len(self.better),
            "worse": len(self.worse),
            "same_errors_other_words": len(self.otherwise_wrong),
            "changed_utterances": [
                {
                    "id": pair.id,
                    **({"speaker": self.speakers[pair.id]} if self.speakers else {}),
                    "errors_a": pair.a.errors,
                    "errors_b": pair.b.errors,
                    "reference": pair.a.reference,
                    "a": pair.a.hypothesis,
                    "b": pair.b.hypothesis,
                }
                for pair in [*self.better, *self.worse, *self.otherwise_wrong]
            ],
            "changed_words": [vars(change) for change in self.words],
        }


def compare(
    a: Score,
    b: Score,
    *,
    blocks: Mapping[str, str] | None = None,
    seed: int = 0,
    alternatives: Collection[str] = (),
) -> Comparison:
    """Compare two systems by their errors on the same utterances.

    A paired bootstrap over subsets of the blocks (`asr.scoring.subsets`) gives intervals, the p-value and the
    probability of improvement.  Blocks are speakers, because a speaker's utterances are not independent of one
    another; with fewer than 5 speakers, with which no difference could be shown, they are utterances, and the outcome
    is about these speakers.

    Args:
        a, b: scores of the same utterances against the same references.
        blocks: utterance id -> speaker (or recording, or whatever utterances share); the scores' own speakers by
            default, and single utterances where these are not known.
        seed: of the random subsets.
        alternatives: utterances whose references may differ, because they had alternatives.

    Raises:
        ScoringError: the utterances, their references or the normalisations differ, or `blocks` lacks an utterance.
    """
    _check(a, b, alternatives)
    speakers = blocks if blocks is not None else a.speakers or b.speakers
    identifiers = [utterance.id for utterance in a.utterances]
    unknown = [identifier for identifier in identifiers if speakers is not None and identifier not in speakers]
    if unknown:
        raise ScoringError(f"{len(unknown)} utterances have no speaker ({_some(unknown)}); give every one a block")
    unit: Literal["speaker", "utterance"] = "utterance"
    labels = identifiers
    if speakers is not None and len({speakers[identifier] for identifier in identifiers}) >= FEWEST_BLOCKS:
        unit, labels = "speaker", [speakers[identifier] for identifier in identifiers]
    order = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    counts = _counts(a, b)
    sums = np.zeros((len(order), counts.shape[1]))
    np.add.at(sums, [order[label] for label in labels], counts)

    subsets = subset_sums(sums, seed)
    rates, statistics = {}, {}
    for number, name in enumerate(RATE_NAMES):
        columns = slice(4 * number, 4 * number + 4)
        rates[name], statistics[name] = difference(sums[:, columns].sum(axis=0), subsets[:, columns])
    return Comparison(
        a=a,
        b=b,
        speakers=speakers,
        unit=unit,
        units=len(order),
        rates=rates,
        p_value=p_value(statistics["wer"]),
        probability_of_improvement=share_below_zero(statistics["wer"]),
        standard_error=standard_error(sums[:, :4]),
    )


def _check(a: Score, b: Score, alternatives: Collection[str]) -> None:
    if a.normalisation != b.normalisation:
        raise ScoringError(
            f"A was scored with normalisation {a.normalisation!r}, B with {b.normalisation!r}; score both with the same"
        )
    in_a = {utterance.id: utterance.reference for utterance in a.utterances}
    in_b = {utterance.id: utterance.reference for utterance in b.utterances}
    problems = [
        f"{len(ids)} only in {side} ({_some(ids)})"
        for side, ids in (
            ("A", [key for key in in_a if key not in in_b]),
            ("B", [key for key in in_b if key not in in_a]),
        )
        if ids
    ]
    if problems:
        raise ScoringError(
            f"the utterances differ: {' and '.join(problems)}, {len(in_a.keys() & in_b.keys())} in both; "
            "--common-only compares those that are in both"
        )
    differing = [key for key in in_a if in_a[key] != in_b[key] and key not in alternatives]
    if differing:
        key = differing[0]
        raise ScoringError(
            f"the references of {len(differing)} of {len(in_a)} utterances differ ({key!r}: {in_a[key][:60]!r} in A, "
            f"{in_b[key][:60]!r} in B); --reference gives both the same, --normalise basic takes out formatting"
        )


def _counts(a: Score, b: Score) -> np.ndarray:
    """Errors and totals of each utterance, `[utterances, 4 * rates]`: errors of A, of B, total of A, of B."""
    by_id = {utterance.id: utterance for utterance in b.utterances}
    return np.array([_row(utterance, by_id[utterance.id]) for utterance in a.utterances], np.float64)


def _row(a: UtteranceScore, b: UtteranceScore) -> list[int]:
    words, characters = [a.words, b.words], [a.characters, b.characters]
    row = [a.errors, b.errors, *words, a.character_errors, b.character_errors, *characters]
    row += [a.errors > 0, b.errors > 0, 1, 1]
    for kind in ("substitutions", "deletions", "insertions"):
        row += [getattr(a, kind), getattr(b, kind), *words]
    return row


def _some(ids: list[str]) -> str:
    return ", ".join(map(repr, ids[:_LISTED])) + (", ..." if len(ids) > _LISTED else "")
