from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from asr.errors import OutputError
from asr.evaluation.table import Row, by_manifest, format_table, terminal_table, write_table

NUMBERS: dict[str, Any] = {
    "wer": 0.0970245,
    "wer_interval": [0.0731, 0.1217],
    "rates": {"wer": {"value": 0.0970245, "interval": [0.0731, 0.1217], "speaker_interval": [0.0697, 0.1275]}},
    "cer": 0.0424951,
    "sentence_error_rate": 0.3692307,
    "substitutions": 63,
    "deletions": 9,
    "insertions": 3,
    "utterances": 130,
    "words": 773,
    "normalisation": "none",
    "audio_seconds": 357.0,
    "decoding_seconds": 0.7,
    "times_real_time": 510.3,
    "failed_utterances": 2,
}
GOOD = Row("data/an4/test", "exp/an4-0", "greedy", NUMBERS)
PIPE = Row("data/an4/dev", "exp/an4-0", "beam=64,lm=a|b.lm", NUMBERS | {"failed_utterances": 0})
FAILED = Row("data/an4/test", "exp/gone", "greedy", error="exp/gone: no such folder, give another")


def printed(rows: list[Row], width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(terminal_table(rows))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_markdown_has_a_row_for_each_evaluation_and_says_what_failed() -> None:
    lines = format_table([GOOD, PIPE, FAILED], ".md").splitlines()
    header, rule, good, pipe, failed, *notes = lines
    cells = [cell.strip() for cell in good.strip("|").split("|")]
    assert dict(zip([cell.strip() for cell in header.strip("|").split("|")], cells, strict=True)) == {
        "manifest": "data/an4/test",
        "model": "exp/an4-0",
        "decoder": "greedy",
        "utterances": "130",
        "words": "773",
        "WER": "9.70 %",
        "95 % interval": "7.31 - 12.17 %",
        "CER": "4.25 %",
        "SER": "36.92 %",
        "S": "63",
        "D": "9",
        "I": "3",
        "x real time": "510",
    }
    assert rule.count("---:") == 10
    assert r"a\|b.lm" in pipe
    assert "| failed |" in failed
    assert any("exp/gone: no such folder" in note for note in notes)
    assert any(note.startswith("2 utterances of data/an4/test could not be read") for note in notes)


def test_csv_holds_plain_fractions_and_reads_back() -> None:
    rows = list(csv.DictReader(io.StringIO(format_table([GOOD, PIPE, FAILED], ".csv"))))
    assert [row["decoder"] for row in rows] == ["greedy", "beam=64,lm=a|b.lm", "greedy"]
    assert float(rows[0]["wer"]) == NUMBERS["wer"]
    assert (float(rows[0]["wer_low"]), float(rows[0]["wer_high"])) == tuple(NUMBERS["wer_interval"])
    speakers = (rows[0]["wer_low_over_speakers"], rows[0]["wer_high_over_speakers"])
    assert speakers == ("0.0697", "0.1275")
    assert (rows[0]["failed_utterances"], rows[0]["error"]) == ("2", "")
    assert (rows[2]["wer"], rows[2]["error"]) == ("", FAILED.error)


def test_json_holds_all_numbers() -> None:
    rows = json.loads(format_table([GOOD, FAILED], ".json"))
    assert rows[0] == {**NUMBERS, "manifest": "data/an4/test", "model": "exp/an4-0", "decoder": "greedy"}
    assert rows[1] == {
        "manifest": "data/an4/test",
        "model": "exp/gone",
        "decoder": "greedy",
        "error": FAILED.error,
    }


def test_rows_of_a_manifest_stand_together() -> None:
    a, b = Row("dev", "m", "greedy"), Row("test", "m", "greedy")
    c, d = Row("dev", "m", "beam=8"), Row("test", "m", "beam=8")
    assert by_manifest([a, b, c, d]) == [a, c, b, d]


def test_the_terminal_shows_shared_names_once() -> None:
    text = printed([GOOD, PIPE])
    title, *body = text.splitlines()
    assert title.strip() == "model exp/an4-0"
    assert not any("exp/an4-0" in line for line in body)
    assert "9.70 %" in text
    assert "7.31 - 12.17 %" in text
    alone = printed([GOOD])
    assert "data/an4/test" in alone
    assert "failed" in printed([GOOD, FAILED])


def test_numbers_are_whole_on_a_narrow_terminal() -> None:
    assert "9.70 %" in printed([GOOD, PIPE, FAILED], width=110)


@pytest.mark.parametrize("name", ["table", "table.txt", "table.xlsx"])
def test_an_unknown_format_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"\.md, \.csv, \.json"):
        write_table(tmp_path / name, [GOOD])
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_table(
    tmp_path: Path, disk_full_after: Callable[[int], AbstractContextManager[None]]
) -> None:
    write_table(tmp_path / "new" / "t.md", [GOOD])
    before = (tmp_path / "new" / "t.md").read_text()
    with disk_full_after(100), pytest.raises(OutputError, match=r"t\.md: cannot be written"):
        write_table(tmp_path / "new" / "t.md", [GOOD, PIPE])
    assert [path.read_text() for path in (tmp_path / "new").iterdir()] == [before]
