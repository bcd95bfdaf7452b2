"""How often `asr compare` calls equal systems different, and how often it finds a difference that is there.

python benchmarks/comparison.py --json
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import typer
from measure import print_json, print_table
from scipy import stats

from asr.cli.common import run_script
from asr.scoring import Score, UtteranceScore
from asr.scoring.comparison import Comparison, compare

WER = 0.1
BETTER = 0.9
"""Errors of the better system for each error of the other where there is a difference."""
SETS = {
    "2 x 100": [100] * 2,
    "4 x 30": [30] * 4,
    "6 x 20": [20] * 6,
    "10 x 13 (AN4)": [13] * 10,
    "20 x 1 to 90": [90, 60, 40, 30, 20, 20, 15, 12, 10, 10, 8, 8, 6, 6, 4, 4, 3, 2, 1, 1],
    "40 x 15": [15] * 40,
    "40 x 65 (LibriSpeech)": [65] * 40,
    "100 x 30": [30] * 100,
    "300 x 1": [1] * 300,
}
"""Utterances of each speaker."""


@dataclass(frozen=True)
class Pair:
    """One test set under two systems: which of its words each has wrong, `[words]`, and where each word belongs."""

    wrong_a: np.ndarray
    wrong_b: np.ndarray
    utterance: np.ndarray
    speaker: np.ndarray
    """`[utterances]`."""

    def compare(self, *, by_speaker: bool) -> Comparison:
        """As a user would, from the two scores."""
        ids = [f"utterance{number}" for number in range(len(self.speaker))]
        words = np.bincount(self.utterance).tolist()
        errors = (np.bincount(self.utterance, wrong).astype(int).tolist() for wrong in (self.wrong_a, self.wrong_b))
        a, b = (
            Score(
                [UtteranceScore(i, "x", "x", w - e, e, 0, 0, e, ()) for i, w, e in zip(ids, words, wrong, strict=True)]
            )
            for wrong in errors
        )
        alone = len(set(self.speaker)) == len(ids)
        blocks = dict(zip(ids, map(str, self.speaker), strict=True)) if by_speaker and not alone else None
        return compare(a, b, blocks=blocks)


def draw(generator: np.random.Generator, sizes: list[int], better: float = 1.0, differ: float = 0.18) -> Pair:
    """Two systems on speakers of different difficulty, with utterances and words that are hard for both.

    Error rates of speakers are beta-distributed around `WER` (standard deviation 6.5 points), those of a speaker's
    utterances around the speaker's, those of its words around the utterance's, for both systems; then each system has
    a factor of its own for each speaker (standard deviation `differ`) and each utterance (0.5), whose mean is 1 in A
    and `better` in B.  With the defaults, errors of both per utterance correlate by 0.6, in the AN4 recipe's models of
    two seeds by 0.7.
    """
    speaker = np.repeat(np.arange(len(sizes)), sizes)
    words = 1 + generator.poisson(5, size=len(speaker))
    of_speaker = generator.beta(20 * WER, 20 * (1 - WER), size=len(sizes))[speaker].clip(1e-4, 1 - 1e-4)
    of_utterance = generator.beta(6 * of_speaker, 6 * (1 - of_speaker)).clip(1e-6, 1 - 1e-6).repeat(words)
    of_word = generator.beta(1.5 * of_utterance, 1.5 * (1 - of_utterance))
    wrong = []
    for factor in (1.0, better):
        own = generator.gamma(differ**-2, differ**2, size=len(sizes))[speaker]
        own = factor * own * generator.gamma(4, 1 / 4, size=len(speaker))
        wrong.append(generator.random(len(of_word)) < own.repeat(words) * of_word)
    return Pair(wrong[0], wrong[1], np.arange(len(speaker)).repeat(words), speaker)


def true_difference(differ: float) -> float:
    """WER of B less that of A over as good as all speakers, where B is better."""
    everything = draw(np.random.default_rng(0), [10] * 100_000, BETTER, differ)
    return float(everything.wrong_b.mean() - everything.wrong_a.mean())


def mapsswe(pair: Pair) -> float:
    """p-value of the matched-pairs sentence-segment word error test (Gillick and Cox 1989) as NIST's sc_stats has it.

    Segments are what lies between two words or more that both systems have right, or the ends of utterances; their
    differences in errors are taken for independent.
    """
    either = np.flatnonzero(pair.wrong_a | pair.wrong_b)
    if len(either) == 0:
        return 1.0
    apart = (np.diff(either) > 2) | (np.diff(pair.utterance[either]) > 0)
    segment = np.concatenate([[0], np.cumsum(apart)])
    difference = np.bincount(segment, pair.wrong_a[either].astype(int) - pair.wrong_b[either])
    deviation = difference.std(ddof=1) if len(difference) > 1 else 0.0
    if not deviation:
        return 0.0 if difference.any() else 1.0
    return float(2 * stats.norm.sf(abs(difference.mean()) / deviation * np.sqrt(len(difference))))


def percentile_bootstrap(pair: Pair, generator: np.random.Generator, draws: int = 2000) -> float:
    """p-value of the paired bootstrap that draws speakers with replacement (Bisani and Ney 2004)."""
    speaker = pair.speaker[pair.utterance]
    change = np.bincount(speaker, pair.wrong_b.astype(int) - pair.wrong_a)
    drawn = generator.multinomial(len(change), np.full(len(change), 1 / len(change)), size=draws) @ change
    lower = (np.count_nonzero(drawn < 0) + np.count_nonzero(drawn == 0) / 2 + 0.5) / (draws + 1)
    return float(2 * min(lower, 1 - lower))


def measure(sizes: list[int], pairs: int, differ: float, truth: float) -> dict[str, Any]:
    """Of so many pairs of equal and of different systems, how many each test calls different."""
    generator = np.random.default_rng(len(sizes) * sum(sizes))
    found = dict.fromkeys(("ours", "unblocked", "percentile", "mapsswe", "power", "mapsswe_power", "covered"), 0)
    for _ in range(pairs):
        pair = draw(generator, sizes, 1.0, differ)
        found["ours"] += pair.compare(by_speaker=True).significant
        found["unblocked"] += pair.compare(by_speaker=False).significant
        found["percentile"] += percentile_bootstrap(pair, generator) < 0.05
        found["mapsswe"] += mapsswe(pair) < 0.05
        pair = draw(generator, sizes, BETTER, differ)
        comparison = pair.compare(by_speaker=True)
        found["power"] += comparison.significant and comparison.wer.value < 0
        found["mapsswe_power"] += mapsswe(pair) < 0.05 and pair.wrong_b.sum() < pair.wrong_a.sum()
        low, high = comparison.wer.interval or (-np.inf, np.inf)
        found["covered"] += bool(low <= truth <= high)
    exact = stats.binomtest(found["ours"], pairs).proportion_ci()
    return {key: count / pairs for key, count in found.items()} | {"interval": [float(exact.low), float(exact.high)]}


def main(
    pairs: Annotated[int, typer.Option(help="Pairs of systems for each set.")] = 500,
    differ: Annotated[
        float, typer.Option(help="How much a system's errors differ from speaker to speaker beside the other's.")
    ] = 0.18,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object as the last line.")] = False,
) -> None:
    """Simulated test sets at 10 % WER, so that the truth is known.

    Of equal systems, 5 % should be called different: by `asr compare`; by the same over utterances, speakers ignored;
    by the usual bootstrap, which draws speakers with replacement; by MAPSSWE.  Of systems of which one makes 10 % fewer
    errors, as many as possible; and 95 % of the intervals should hold the true difference.

    `ratio` is the highest share of equal systems that MAPSSWE, which takes no account of speakers, calls different,
    against the highest of ours, with 5 speakers or more; 5 % are wanted.
    """
    truth = true_difference(differ)
    rows = {name: measure(sizes, pairs, differ, truth) for name, sizes in SETS.items()}
    print_table(
        f"Share of {pairs} pairs of systems with p < 0.05",
        [
            "speakers x utterances",
            "equal",
            "95 % interval",
            "speakers ignored",
            "drawn with replacement",
            "MAPSSWE",
            "10 % fewer errors",
            "MAPSSWE",
            "interval holds",
        ],
        [
            [
                name,
                f"{row['ours']:.1%}",
                f"{row['interval'][0]:.1%} - {row['interval'][1]:.1%}",
                f"{row['unblocked']:.1%}",
                f"{row['percentile']:.1%}",
                f"{row['mapsswe']:.1%}",
                f"{row['power']:.1%}",
                f"{row['mapsswe_power']:.1%}",
                f"{row['covered']:.1%}",
            ]
            for name, row in rows.items()
        ],
    )
    if json_:
        blocked = [row for name, row in rows.items() if len(SETS[name]) >= 5]
        ratio = max(row["mapsswe"] for row in blocked) / max(row["ours"] for row in blocked)
        print_json({"benchmark": "comparison", "ratio": ratio, "pairs": pairs, "differ": differ, "sets": rows})


if __name__ == "__main__":
    run_script(main)
