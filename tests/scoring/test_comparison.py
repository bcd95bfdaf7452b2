"""Comparing two systems: the statistics against SciPy and simulation, the rest against what was counted by hand."""

from __future__ import annotations

import importlib.util
import math
import sys
from itertools import product
from types import ModuleType

import numpy as np
import pytest

from asr.errors import ScoringError
from asr.scoring import Score, score
from asr.scoring.comparison import WordChange, compare
from asr.scoring.comparison_report import format_comparison, notes, p_text, probability, three_rows, verdict
from asr.scoring.subsets import EXACT_BLOCKS, interval, p_value, share_below_zero, subset_sums
from tests.conftest import REPOSITORY

stats = pytest.importorskip("scipy.stats")


def scores(errors_a: list[int], errors_b: list[int], words: int = 10) -> tuple[Score, Score]:
    """Two systems that have so many of the first words of each utterance wrong."""
    references = {f"u{i}": " ".join(f"w{j}" for j in range(words)) for i in range(len(errors_a))}
    a, b = (
        {f"u{i}": " ".join("x" if j < wrong else f"w{j}" for j in range(words)) for i, wrong in enumerate(errors)}
        for errors in (errors_a, errors_b)
    )
    return score(references, a), score(references, b)


def sign_flip(change: np.ndarray) -> float:
    """SciPy's exact paired permutation test, with what is as extreme as the outcome counted half."""
    found = stats.permutation_test(
        (change, np.zeros_like(change)),
        lambda x, y, axis: np.sum(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    )
    ties = np.isclose(np.abs(found.null_distribution), abs(found.statistic)).mean()
    return float(found.pvalue - ties / 2)


@pytest.mark.parametrize("seed", range(4))
def test_p_value_is_the_exact_sign_flip_test_of_scipy(seed: int) -> None:
    generator = np.random.default_rng(seed)
    errors_a, errors_b = generator.binomial(10, 0.3, 12), generator.binomial(10, 0.2, 12)
    found = compare(*scores(errors_a.tolist(), errors_b.tolist()))
    assert found.p_value == pytest.approx(sign_flip(errors_b - errors_a), abs=1e-12)
    assert found.probability_of_improvement in (
        pytest.approx(found.p_value / 2),
        pytest.approx(1 - found.p_value / 2),
    )


def test_random_subsets_agree_with_scipy_where_there_are_too_many_to_take_all() -> None:
    generator = np.random.default_rng(1)
    errors_a, errors_b = generator.binomial(10, 0.3, 16), generator.binomial(10, 0.24, 16)
    assert len(errors_a) > EXACT_BLOCKS
    found = compare(*scores(errors_a.tolist(), errors_b.tolist()))
    assert found.p_value == pytest.approx(sign_flip(errors_b - errors_a), abs=0.02)


def test_interval_is_the_paired_bootstrap_of_scipy_where_there_are_many_utterances() -> None:
    generator = np.random.default_rng(2)
    difficulty = generator.beta(1, 4, 400)
    errors_a, errors_b = generator.binomial(10, difficulty), generator.binomial(10, 0.8 * difficulty)
    found = compare(*scores(errors_a.tolist(), errors_b.tolist()))
    for name, statistic in (
        ("interval", lambda a, b, axis: (b.sum(axis) - a.sum(axis)) / (10 * 400)),
        ("relative_interval", lambda a, b, axis: b.sum(axis) / a.sum(axis) - 1),
    ):
        theirs = stats.bootstrap(
            (errors_a, errors_b), statistic, paired=True, vectorized=True, method="percentile", rng=generator
        ).confidence_interval
        ours = getattr(found.wer, name)
        assert ours == pytest.approx((theirs.low, theirs.high), abs=0.06 * (theirs.high - theirs.low))
    assert found.standard_error == pytest.approx((errors_b - errors_a).std(ddof=1) / math.sqrt(400) / 10)


def test_interval_leaves_zero_out_where_the_p_value_is_below_5_percent() -> None:
    generator = np.random.default_rng(3)
    agreed = 0
    for blocks in (5, 6, 9, 13, 14, 60):
        for _ in range(30):
            change = generator.normal(0.6, 1, blocks)
            subsets = subset_sums(np.stack([change, np.ones(blocks)], axis=1))
            with np.errstate(invalid="ignore"):
                statistic = subsets[:, 0] / subsets[:, 1]
            ends = interval(statistic)
            assert ends is not None
            outside = ends[0] > 0 or ends[1] < 0
            assert outside == (p_value(statistic) <= 0.05)
            agreed += outside
    assert 20 < agreed < 160  # both happened


def test_few_blocks_by_hand() -> None:
    sums = subset_sums(np.array([[1.0], [2.0], [-4.0]]))
    assert sorted(sums[:, 0]) == sorted(a + b - c for a, b, c in product((0, 1), (0, 2), (0, 4)))
    assert share_below_zero(np.array([-1.0, 0.0, 2.0, np.nan])) == 0.5
    assert interval(np.array([np.nan, *range(15)])) is None  # of four blocks, one subset is empty


def test_speakers_are_resampled_as_a_whole() -> None:
    # Each speaker gains or loses in all of its utterances: 24 utterances, and no more evidence than 6 speakers.
    errors_a = [5] * 24
    errors_b = [5 + change for change in (-2, -2, -1, -1, 1, 1) for _ in range(4)]
    a, b = scores(errors_a, errors_b)
    speakers = {utterance.id: f"s{index // 4}" for index, utterance in enumerate(a.utterances)}
    found = compare(a, b, blocks=speakers)
    assert (found.unit, found.units) == ("speaker", 6)
    assert found.p_value == pytest.approx(sign_flip(np.array([-8, -8, -4, -4, 4, 4])))
    alone = compare(a, b)
    assert (alone.unit, alone.units) == ("utterance", 24)
    assert alone.p_value < found.p_value
    assert "speakers are not known" in format_comparison(alone)


def test_speakers_of_the_scores_are_taken_where_none_are_given() -> None:
    texts = {f"u{i}": "one two" for i in range(10)}
    speakers = {identifier: identifier[-1] for identifier in texts}
    a = score(texts, texts, speakers=speakers)
    assert compare(a, a).unit == "speaker"


def test_few_speakers_give_way_to_utterances_and_it_is_said() -> None:
    a, b = scores([4] * 30, [2] * 30)
    found = compare(a, b, blocks={utterance.id: f"s{index % 3}" for index, utterance in enumerate(a.utterances)})
    assert (found.unit, found.units) == ("utterance", 30)
    assert found.significant
    assert "on these 3 speakers" in verdict(found)
    assert "3 speakers are too few" in " ".join(notes(found))


def test_a_system_with_itself() -> None:
    for utterances in (1, 3, 30):
        a, b = scores([1] * utterances, [1] * utterances)
        found = compare(a, b)
        assert (found.wer.value, found.wer.relative, found.p_value) == (0, 0, 1)
        assert found.probability_of_improvement == 0.5
        assert found.detectable is found.utterances_needed is None
        assert found.wer.interval == (None if utterances < 5 else (0, 0))
        assert "recognised the same words" in verdict(found)
        assert "p = 1.00" in format_comparison(found)
        assert found.to_dict()["changed_utterances"] == []


def test_systems_without_errors_divide_by_nothing() -> None:
    perfect, other = scores([0] * 20, [1] * 20)
    both = compare(perfect, perfect)
    assert (both.wer.a, both.wer.relative, both.wer.relative_interval) == (0, None, None)
    worse = compare(perfect, other)
    assert worse.wer.relative is worse.wer.relative_interval is None
    assert verdict(worse).startswith("A is better: 20 errors instead of none")
    assert "-100.0 %" in format_comparison(compare(other, perfect))
    assert 0 < worse.p_value < 0.001


def test_utterances_without_reference_words_count_their_insertions() -> None:
    references = {"silence": "", **{f"u{i}": "one two" for i in range(9)}}
    a = score(references, {**references, "silence": "uh"})
    found = compare(a, score(references, references))
    assert found.rates["insertions"].errors == (1, 0)
    assert found.wer.value == pytest.approx(-1 / 18)
    assert found.p_value == 0.5  # one utterance differs: as likely a win of either


def test_p_value_is_never_zero_and_never_printed_so() -> None:
    found = compare(*scores([5] * 200, [1] * 200))
    assert 0 < found.p_value <= 1e-3
    assert "p < 0.001" in verdict(found)
    assert p_text(0.0004) == "p < 0.001"
    assert (p_text(0.0123), p_text(0.5)) == ("p = 0.012", "p = 0.50")
    assert (probability(1 - 1e-9), probability(0.0), probability(0.5)) == ("> 99.9 %", "< 0.1 %", "50.0 %")


def test_rates_are_counted_by_kind() -> None:
    references = {f"u{i}": "the cat sat" for i in range(6)}
    a = score(references, dict.fromkeys(references, "the cat"))
    b = score(references, dict.fromkeys(references, "the bat sat down"))
    found = compare(a, b)
    errors = {name: rate.errors for name, rate in found.rates.items()}
    assert errors["wer"] == (6, 12)
    assert (errors["substitutions"], errors["deletions"], errors["insertions"]) == ((0, 6), (6, 0), (0, 6))
    assert errors["ser"] == (6, 6)
    assert found.rates["cer"].a == pytest.approx(4 / 11)
    assert found.rates["cer"].b == pytest.approx(6 / 11)
    assert (found.rates["ser"].a, found.rates["insertions"].b) == (1, pytest.approx(1 / 3))


def test_changed_utterances_and_words() -> None:
    references = {"1": "one two three", "2": "two two", "3": "four", "4": "five", "5": "six"}
    a = score(references, {"1": "one x y", "2": "two two", "3": "for", "4": "five", "5": "six"})
    b = score(references, {"1": "one two three", "2": "two x", "3": "fore", "4": "oh five", "5": "six"})
    found = compare(a, b)
    assert [(pair.id, pair.change) for pair in found.better] == [("1", -2)]
    assert [(pair.id, pair.change) for pair in found.worse] == [("2", 1), ("4", 1)]
    assert [pair.id for pair in found.otherwise_wrong] == ["3"]
    assert found.words == [
        WordChange("two", said=3, wrong_a=1, wrong_b=1, fixed=1, broken=1),
        WordChange("three", said=1, wrong_a=1, wrong_b=0, fixed=1, broken=0),
    ]
    text = format_comparison(found)
    assert "Utterances: 1 better in B, 2 worse, 2 with as many errors, 1 of which with other words" in text
    assert "Fixed most often: two 1 (1 broken), three 1" in text
    assert "    REF: one two three\n    A:   one x   y\n    B:   one two three" in text
    dictionary = found.to_dict()
    assert [row["id"] for row in dictionary["changed_utterances"]] == ["1", "2", "4", "3"]
    two = {"word": "two", "said": 3, "wrong_a": 1, "wrong_b": 1, "fixed": 1, "broken": 1}
    assert dictionary["changed_words"][0] == two


def test_insertions_of_both_stand_side_by_side() -> None:
    a = score("one two", "uh one too").utterances[0].alignment
    b = score("one two", "oh well one two now").utterances[0].alignment
    rows = three_rows(a, b)
    assert [row[0] for row in rows if row[0]] == ["one", "two"]
    assert " ".join(row[1] for row in rows if row[1]) == "uh one too"
    assert " ".join(row[2] for row in rows if row[2]) == "oh well one two now"
    assert len(rows) == 5


def test_what_it_would_take_is_what_it_takes() -> None:
    generator = np.random.default_rng(5)
    difficulty = generator.beta(1, 6, 100)
    errors_a, errors_b = generator.binomial(10, difficulty), generator.binomial(10, 0.92 * difficulty)
    found = compare(*scores(errors_a.tolist(), errors_b.tolist()))
    assert not found.significant
    needed = found.utterances_needed
    assert needed is not None
    assert found.detectable is not None
    assert needed > 100
    assert found.detectable > abs(found.wer.value)
    assert "utterances" in verdict(found)
    change = (errors_b - errors_a) / 10
    shown = 0
    for _ in range(300):
        drawn = generator.choice(change, needed)
        shown += abs(stats.ttest_1samp(drawn, 0).statistic) > 1.96
    assert 0.72 < shown / 300 < 0.88


def test_utterances_and_references_must_be_the_same() -> None:
    a = score({"1": "one", "2": "two"}, {"1": "one", "2": "two"})
    with pytest.raises(ScoringError, match=r"1 only in A \('2'\) and 1 only in B \('3'\), 1 in both"):
        compare(a, score({"1": "one", "3": "two"}, {"1": "one", "3": "two"}))
    with pytest.raises(ScoringError, match=r"references of 1 of 2 utterances differ \('2': 'two' in A, 'Two' in B\)"):
        compare(a, score({"1": "one", "2": "Two"}, {"1": "one", "2": "two"}))
    with pytest.raises(ScoringError, match=r"normalisation 'none', B with 'basic'"):
        compare(a, score({"1": "one", "2": "two"}, {"1": "one", "2": "two"}, normalisation="basic"))
    with pytest.raises(ScoringError, match=r"1 utterances have no speaker \('2'\)"):
        compare(a, a, blocks={"1": "s"})


def test_references_with_alternatives_may_differ() -> None:
    a = score({"1": "um one", "2": "two"}, {"1": "um one", "2": "two"})
    b = score({"1": "one", "2": "two"}, {"1": "one", "2": "too"})
    found = compare(a, b, alternatives={"1"})
    assert (found.wer.a, found.wer.b) == (0, 0.5)
    assert [word.word for word in found.words] == ["two"]
    assert "1 utterance with alternatives" in " ".join(notes(found))


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    """benchmarks/comparison.py, whose simulated systems these tests share."""
    sys.path.insert(0, str(REPOSITORY / "benchmarks"))
    try:
        spec = importlib.util.spec_from_file_location("comparison_benchmark", REPOSITORY / "benchmarks/comparison.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module


@pytest.mark.parametrize("sizes", [[13] * 10, [20, 12, 9, 8, 5, 4, 3, 2, 1]], ids=["equal speakers", "unequal"])
def test_equal_systems_differ_in_5_of_100_cases(benchmark: ModuleType, sizes: list[int]) -> None:
    generator = np.random.default_rng(6)
    pairs = 300
    called = sum(benchmark.draw(generator, sizes).compare(by_speaker=True).significant for _ in range(pairs))
    assert stats.binomtest(called, pairs, 0.05).pvalue > 0.01


def test_large_differences_are_found(benchmark: ModuleType) -> None:
    generator = np.random.default_rng(7)
    found = [benchmark.draw(generator, [15] * 20, better=0.5).compare(by_speaker=True) for _ in range(40)]
    assert sum(comparison.significant and comparison.wer.value < 0 for comparison in found) >= 36
