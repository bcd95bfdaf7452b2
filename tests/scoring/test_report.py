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


def test_summary_shows_rates_intervals_counts_and_the_most_frequent_errors() -> None:
    references = ["five oh one"] * 30 + ["stop now"] * 10
    hypotheses = ["nine oh one"] * 3 + ["five one"] * 2 + ["five oh one one"] + ["five oh one"] * 24 + ["stop now"] * 10
    result = score(references, hypotheses)
    low, high = (100 * end for end in result.wer_interval)
    lines = format_summary(result).splitlines()
    assert lines[0] == f"WER 5.45 % [{low:.2f}, {high:.2f}]  (S 3, D 2, I 1 of 110 words, 40 utterances)"
    assert lines[1].startswith(f"CER {100 * result.cer:.2f} % [")
    assert lines[2] == "Sentence errors 15.00 %  (6 of 40 utterances)"
    assert lines[3:] == ["Substituted: five -> nine (3)", "Deleted: oh (2)", "Inserted: one (1)"]


def test_summary_says_when_the_interval_cannot_be_trusted() -> None:
    assert "too narrow: no errors" in format_summary(score(["a"] * 50, ["a"] * 50))
    assert "too narrow: only 1 utterance" in format_summary(score("a b", "a c"))
    assert "too narrow" not in format_summary(score(["a b"] * 50, ["a b"] * 49 + ["a c"]))
