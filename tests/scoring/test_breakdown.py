"""Scores by speaker and by value, and the words that are never recognised."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from asr.scoring import Score, by_label, by_value, format_groups, never_recognised, score


def digits(utterances: int, wrong: int = 0) -> Score:
    """Utterances "0", "1", ... of two words; the first `wrong` have an error."""
    references = {str(number): "one two" for number in range(utterances)}
    return score(references, {key: "one too" if int(key) < wrong else "one two" for key in references})


def test_groups_are_scores_of_their_own_and_add_up() -> None:
    generator = np.random.default_rng(0)
    references = {str(n): " ".join(generator.choice(["a", "b", "c"], size=6)) for n in range(60)}
    hypotheses = {key: " ".join(generator.choice(["a", "b", "c"], size=6)) for key in references}
    speakers = {key: f"speaker-{int(key) % 4}" for key in references}
    whole = score(references, hypotheses, seed=3, speakers=speakers)
    groups = by_label(whole, {key: "even" if int(key) % 2 == 0 else "odd" for key in references})
    assert {group.name for group in groups} == {"even", "odd"}
    for group in groups:
        keys = [key for key in references if (int(key) % 2 == 0) == (group.name == "even")]
        alone = score(
            {key: references[key] for key in keys},
            {key: hypotheses[key] for key in keys},
            seed=3,
            speakers={key: speakers[key] for key in keys},
        )
        assert group.score.to_dict() == alone.to_dict()
        assert group.score.speaker_count == 2
    assert groups[0].score.wer >= groups[1].score.wer
    for count in ("errors", "words", "characters", "substitutions", "deletions", "insertions"):
        assert sum(getattr(group.score, count) for group in groups) == getattr(whole, count)


def test_the_worst_label_comes_first_and_utterances_without_label_are_a_group() -> None:
    groups = by_label(digits(6, wrong=2), {"0": "bad", "1": "bad", "2": "good", "3": "good", "9": "elsewhere"})
    assert [(group.name, group.score.wer, len(group.score.utterances)) for group in groups] == [
        ("bad", 0.5, 2),
        ("good", 0.0, 2),
        ("unknown", 0.0, 2),
    ]


def test_groups_without_reference_words_have_no_error_rate_and_are_left_out() -> None:
    result = score({"a": "one", "b": ""}, {"a": "one", "b": "noise"})
    assert [group.name for group in by_label(result, {"a": "speech", "b": "silence"})] == ["speech"]
    assert [group.name for group in by_value(result, {"a": 1.0, "b": 2.0}, "s", bins=2)] == ["1.0-2.0 s"]


def test_bins_hold_equally_many_utterances_in_ascending_order() -> None:
    values = {str(number): 1.0 + 0.1 * ((7 * number) % 100) for number in range(100)}
    groups = by_value(digits(100), values, "s")
    assert [group.name for group in groups] == ["1.0-3.0 s", "3.0-5.0 s", "5.0-7.0 s", "7.0-9.0 s", "9.0-10.9 s"]
    for low, group in zip((1, 3, 5, 7, 9), groups, strict=True):
        members = {utterance.id for utterance in group.score.utterances}
        assert members == {key for key, value in values.items() if low - 1e-9 <= value < low + 2 - 1e-9}
        assert len(members) == 20


@pytest.mark.parametrize(
    ("values", "unit", "names"),
    [
        ([-30.0, -20.5, -20.5, -10.0], "dBFS", ["-30.0 to -20.5 dBFS", "-20.5 to -10.0 dBFS"]),
        ([5.0, 5.0, 5.0, 5.0], "s", ["5.0 s"]),
        ([1.0, 1.0, 1.0, 2.0], "s", ["1.0-2.0 s"]),
        ([1.0, 2.0, 2.0, 2.0], "s", ["1.0-2.0 s", "2.0 s"]),
        ([1.01, 1.02, 1.03, 1.04], "s", ["1.01-1.03 s", "1.03-1.04 s"]),
        ([-math.inf, 0.0, 10.0, math.inf], "dB", ["-inf to 10.0 dB", "10.0 to inf dB"]),
        ([1.0, 2.0, 3.0, math.nan], "s", ["1.0-2.0 s", "2.0-3.0 s", "unknown"]),
        ([math.nan] * 4, "s", ["unknown"]),
    ],
)
def test_bins_are_named_by_their_ends(values: list[float], unit: str, names: list[str]) -> None:
    groups = by_value(digits(4), {str(number): value for number, value in enumerate(values)}, unit, bins=2)
    assert [group.name for group in groups] == names
    assert sum(len(group.score.utterances) for group in groups) == 4


def test_utterances_without_value_are_a_group_at_the_end() -> None:
    groups = by_value(digits(7), {"0": 1.0, "1": 2.0, "9": 3.0}, "s", bins=2)
    assert [(group.name, len(group.score.utterances)) for group in groups] == [
        ("1.0-2.0 s", 1),
        ("2.0 s", 1),
        ("unknown", 5),
    ]


def test_words_never_recognised_come_with_their_count_most_frequent_first() -> None:
    result = score(["zed one zed", "oh two one", "zed"], ["said one", "zed two one", "set zed"])
    # zed is right in the third, where `set` is made up; oh was taken for it.
    assert never_recognised(result) == [("oh", 1)]
    result = score(["alpha bravo", "bravo charlie", "charlie"], ["alfa brave", "brave charlie", ""])
    assert never_recognised(result) == [("bravo", 2), ("alpha", 1)]
    assert never_recognised(digits(3)) == []


def test_many_groups_cost_nothing_until_their_intervals_are_asked_for() -> None:
    result = digits(20_000, wrong=500)
    start = time.process_time()
    groups = by_label(result, {u.id: f"s{int(u.id) // 10}" for u in result.utterances})
    assert [group.score.wer for group in groups[:50]] == [0.5] * 50
    assert len(groups) == 2000
    assert time.process_time() - start < 1  # the intervals of all take several seconds
    assert "_intervals" not in vars(groups[0].score)


def test_groups_stand_in_columns_and_say_how_many_are_not_shown() -> None:
    groups = by_label(digits(40, wrong=10), {str(n): "東京" if n < 20 else f"speaker {n // 4}" for n in range(40)})
    low, high = (100 * end for end in groups[0].score.wer_interval)
    assert format_groups("By speaker", groups, top=2) == (
        "By speaker  utterances  words      WER   95 % interval   S  D  I\n"
        f"東京                20     40  25.00 %  [{low:.2f}, {high:.2f}]  10  0  0\n"
        "speaker 5            4      8   0.00 %    [0.00, 0.00]   0  0  0\n"
        "... 4 more"
    )
    assert "more" not in format_groups("By speaker", groups)
