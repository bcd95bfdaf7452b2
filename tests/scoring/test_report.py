"""The summary line and the alignment file."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr.errors import ScoringError
from asr.scoring import format_summary, score, write_alignments


def test_alignments_stand_in_columns_with_the_worst_utterance_first(tmp_path: Path) -> None:
    result = score(
        {"right": "all good", "one": "red fish", "worst": "the cat sat on a mat", "also-one": "blue fish"},
        {"right": "all good", "one": "read fish", "worst": "cat satin on a red mat", "also-one": "blue fish oh"},
    )
    path = tmp_path / "new" / "alignments.txt"
    write_alignments(path, result)
    assert path.read_text(encoding="utf-8") == (
        "worst: 3 errors in 6 words (S 1, D 1, I 1)\n"
        "REF: the cat sat   on a *** mat\n"
        "HYP: *** cat satin on a red mat\n"
        "OPS: D       S          I\n"
        "\n"
        "one: 1 error in 2 words (S 1, D 0, I 0)\n"
        "REF: red  fish\n"
        "HYP: read fish\n"
        "OPS: S\n"
        "\n"
        "also-one: 1 error in 2 words (S 0, D 0, I 1)\n"
        "REF: blue fish **\n"
        "HYP: blue fish oh\n"
        "OPS:           I\n"
        "\n"
        "right: 0 errors in 2 words (S 0, D 0, I 0)\n"
        "REF: all good\n"
        "HYP: all good\n"
        "OPS:\n"
        "\n"
    )
    assert list(path.parent.iterdir()) == [path]


def test_columns_hold_for_wide_and_combining_characters_and_empty_texts(tmp_path: Path) -> None:
    path = tmp_path / "alignments.txt"
    write_alignments(path, score(["東京 x", "cafe\u0301 x", ""], ["a x", "tea x", ""]))
    text = path.read_text(encoding="utf-8")
    assert "REF: 東京 x\nHYP: a    x\n" in text
    assert "REF: cafe\u0301 x\nHYP: tea  x\n" in text
    assert "3: 0 errors in 0 words (S 0, D 0, I 0)\nREF:\nHYP:\nOPS:\n" in text


def test_a_failed_write_is_reported_and_leaves_nothing_behind(tmp_path: Path) -> None:
    result, folder = score(["a"], ["a"]), tmp_path / "folder"
    (folder / "old").mkdir(parents=True)
    with pytest.raises(ScoringError, match="old: the alignments cannot be written"):
        write_alignments(folder / "old", result)
    assert list(folder.iterdir()) == [folder / "old"]
    write_alignments(folder / "file", result)
    with pytest.raises(ScoringError, match="cannot be written"):
        write_alignments(folder / "file" / "below.txt", result)
    assert (folder / "file").read_text().startswith("1: 0 errors")


def test_text_that_no_file_can_hold_is_escaped(tmp_path: Path) -> None:
    write_alignments(tmp_path / "alignments.txt", score(["lone \udc80"], ["lone x"]))
    assert "REF: lone \\udc80" in (tmp_path / "alignments.txt").read_text(encoding="utf-8")


def percents(ends: tuple[float, float] | None) -> str:
    assert ends is not None
    return f"[{100 * ends[0]:.2f}, {100 * ends[1]:.2f}]"


def confused() -> tuple[list[str], list[str]]:
    references = ["five oh one"] * 30 + ["stop now"] * 9 + ["go now"]
    hypotheses = ["nine oh one"] * 3 + ["five one"] * 2 + ["five oh one one"] + ["five oh one"] * 24
    return references, hypotheses + ["stop now"] * 9 + ["now"]


def test_summary_shows_rates_intervals_counts_and_the_most_frequent_errors() -> None:
    result = score(*confused())
    ends = {name: percents(rate.interval) for name, rate in result.rates.items()}
    width = max(
        map(len, ("6.36 % " + ends["wer"], f"{100 * result.cer:.2f} % {ends['cer']}", "17.50 % " + ends["ser"]))
    )
    assert format_summary(result, top=2).splitlines() == [
        f"            WER {'6.36 % ' + ends['wer']:{width}}   7 of 110 words",
        f"            CER {f'{100 * result.cer:.2f} % ' + ends['cer']:{width}}   19 of 408 characters",
        f"Sentence errors {'17.50 % ' + ends['ser']:{width}}   7 of 40 utterances",
        f"  Substitutions {'2.73 % ' + ends['substitutions']:{width}}   3",
        f"      Deletions {'2.73 % ' + ends['deletions']:{width}}   3",
        f"     Insertions {'0.91 % ' + ends['insertions']:{width}}   1",
        "95 % bootstrap intervals over utterances",
        "Normalisation none: text as it stands: case and punctuation count",
        "Substituted: five -> nine (3)",
        "Deleted: oh (2), go (1)",
        "Inserted: one (1)",
        "Never recognised: go (1)",
        "Worst utterances: 40 (1 in 2 words), 1 (1 in 3 words) and 5 more",
    ]
    assert "Substituted" not in format_summary(result, top=0)


def test_summary_shows_intervals_over_speakers_where_they_are_known() -> None:
    references, hypotheses = ({str(key): text for key, text in enumerate(texts)} for texts in confused())
    result = score(references, hypotheses, speakers={key: f"speaker {int(key) // 4}" for key in references})
    lines = format_summary(result).splitlines()
    for line, rate in zip(lines, result.rates.values(), strict=False):
        assert f"{percents(rate.interval)} " in line
        assert f"   speakers {percents(rate.speaker_interval)} " in line
    assert lines[6:8] == [
        "95 % bootstrap intervals over utterances (for these 10 speakers) and over speakers (for others like them)",
        "Those over speakers are too narrow: only 10 speakers",
    ]
    alone = format_summary(score(references, hypotheses, speakers=dict.fromkeys(references, "x")))
    assert "There is one speaker: the intervals say nothing of others" in alone
    assert "speakers [" not in alone


def test_summary_says_when_the_interval_cannot_be_trusted() -> None:
    # 0.942 ** 50 is 5 %: with more wrong sentences than 5.8 %, 50 right ones would be rarer than that.
    right = format_summary(score(["a"] * 50, ["a"] * 50))
    assert "too narrow: no errors; up to 5.8 % of such sentences may have some" in right
    assert "too narrow: only 1 utterance" in format_summary(score("a b", "a c"))
    assert "too narrow" not in format_summary(score(["a b"] * 50, ["a b"] * 49 + ["a c"]))


def test_summary_names_the_normalisation() -> None:
    assert "\nNormalisation basic: lower case, no punct" in format_summary(score("A, b", "a b", normalisation="basic"))
