from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asr.data.manifest import Utterance, read_manifest, write_manifest

if TYPE_CHECKING:
    from tests.conftest import Ran, Trained

    Command = Callable[..., Ran]


@pytest.fixture
def utterances(trained: Trained) -> list[Utterance]:
    return list(read_manifest(trained.test))


def test_it_prints_and_saves_the_score(asr_command: Command, trained: Trained, tmp_path: Path) -> None:
    options = ["--model", trained.folder, "--output", tmp_path / "out", "--device", "cpu"]
    ran = asr_command("evaluate", trained.test, *options)
    assert ran.status == 0, ran.err
    for expected in ("WER", "real time", "speaker1", "dBFS", "ECE", "decoder greedy", "out/report.html"):
        assert expected in ran.out
    names = {"score.json", "hypotheses.jsonl", "alignments.txt", "report.html", "reliability.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    saved = json.loads((tmp_path / "out/score.json").read_text())
    printed = json.loads(asr_command("evaluate", trained.test, *options, "--json").out)
    assert {key: value for key, value in printed.items() if "time" not in key and "seconds" not in key} == {
        key: value for key, value in saved.items() if "time" not in key and "seconds" not in key
    }
    assert printed["wer"] <= 0.1


def test_without_confidence_there_is_none(asr_command: Command, trained: Trained, tmp_path: Path) -> None:
    ran = asr_command(
        "evaluate", trained.test, "--model", trained.folder, "--no-confidence", "--output", tmp_path, "--device", "cpu"
    )
    assert ran.status == 0, ran.err
    assert "ECE" not in ran.out
    assert not (tmp_path / "reliability.png").exists()
    assert "words" not in json.loads((tmp_path / "hypotheses.jsonl").read_text().splitlines()[0])


def test_the_normalisation_is_chosen_and_printed(
    asr_command: Command, trained: Trained, utterances: list[Utterance], tmp_path: Path
) -> None:
    write_manifest(tmp_path / "cuts.jsonl", [replace(u, text=f"{u.text}!") for u in utterances])
    plain = asr_command("evaluate", tmp_path, "--model", trained.folder)
    assert "--normalise basic gives WER" in plain.out
    ran = asr_command("evaluate", tmp_path, "--model", trained.folder, "--normalise", "basic", "--json")
    found = json.loads(ran.out)
    assert found["normalisation"] == "basic"
    assert (
        found["wer"]
        == json.loads(asr_command("evaluate", trained.test, "--model", trained.folder, "--json").out)["wer"]
    )
    normalised = asr_command("evaluate", tmp_path, "--model", trained.folder, "--normalise", "basic").out
    assert "Normalisation basic: lower case, no punctuation" in normalised
    assert "--normalise basic gives" not in normalised


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_with_an_unreadable_recording_it_exits_1(
    asr_command: Command, trained: Trained, utterances: list[Utterance], tmp_path: Path, options: list[str]
) -> None:
    gone = Utterance("gone", tmp_path / "gone.wav", 1.0, 8000, "ab")
    write_manifest(tmp_path / "cuts.jsonl", [*utterances, gone])
    ran = asr_command("evaluate", tmp_path, "--model", trained.folder, "--device", "cpu", *options)
    assert ran.status == 1
    assert "error: gone: " in ran.err
    assert "gone.wav: no such file" in ran.err
    assert "1 utterances could not be read and are not in the score" in ran.err
    if options:
        assert json.loads(ran.out)["failed_utterances"] == 1
    else:
        assert "WER" in ran.out


def test_utterances_without_transcript_are_left_out_only_when_told(
    asr_command: Command, trained: Trained, utterances: list[Utterance], tmp_path: Path
) -> None:
    write_manifest(tmp_path / "cuts.jsonl", [replace(utterances[0], text=None), *utterances[1:]])
    ran = asr_command("evaluate", tmp_path, "--model", trained.folder)
    assert ran.status == 1
    assert "1 of 20 utterances have no transcript (first 'test-000')" in ran.err
    ran = asr_command("evaluate", tmp_path, "--model", trained.folder, "--skip-untranscribed")
    assert ran.status == 0
    assert "1 utterances without transcript were left out" in ran.out


def test_without_manifest_it_exits_1(asr_command: Command, trained: Trained, tmp_path: Path) -> None:
    ran = asr_command("evaluate", tmp_path, "--model", trained.folder)
    assert ran.status == 1
    assert "holds no cuts.jsonl" in ran.err


def test_several_give_one_table_and_a_folder_each(asr_command: Command, trained: Trained, tmp_path: Path) -> None:
    ran = asr_command(
        *("evaluate", trained.dev, trained.test, "--model", trained.folder, "--device", "cpu"),
        *("--decoder", "greedy", "--decoder", "beam=8", "--output", tmp_path / "out", "--table", tmp_path / "t.csv"),
    )
    assert ran.status == 0, ran.err
    assert ran.out.count("beam=8") == 2
    assert f"model {trained.folder}" in " ".join(ran.out.split())
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert [(row["manifest"], row["decoder"]) for row in rows] == [
        (str(manifest), decoder) for manifest in (trained.dev, trained.test) for decoder in ("greedy", "beam=8")
    ]
    for row in rows:
        saved = json.loads((tmp_path / "out" / Path(row["manifest"]).name / row["decoder"] / "score.json").read_text())
        assert (saved["wer"], saved["words"]) == (float(row["wer"]), int(row["words"]))


@pytest.mark.parametrize("suffix", ["md", "json"])
def test_one_that_fails_does_not_lose_the_others(
    asr_command: Command, trained: Trained, tmp_path: Path, suffix: str
) -> None:
    table = tmp_path / f"t.{suffix}"
    ran = asr_command(
        *("evaluate", tmp_path / "gone", trained.test, "--model", trained.folder, "--table", table, "--json")
    )
    assert ran.status == 1
    assert "no such manifest" in ran.err
    good, bad = sorted(json.loads(ran.out)["evaluations"], key=lambda row: "error" in row)
    assert good["utterances"] == 20
    assert "no such manifest" in bad["error"]
    assert "no such manifest" in table.read_text()
    assert str(trained.test) in table.read_text()


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--decoder", "beem=8"], 2, "did you mean 'decoding.beam'"),
        (["--decoder", "greedy", "--decoder", "greedy"], 2, "given twice"),
        (["--decoder", "greedy", "--beam", "8"], 2, "--beam beside --decoder"),
        (["--table", "t.xlsx"], 1, "a table is written as .md, .csv, .json"),
        (["--normalise", "all"], 2, "one of 'none', 'basic', 'english'"),
        (["--model", "gone"], 1, "gone"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_decoded(
    asr_command: Command, trained: Trained, options: list[str], status: int, message: str
) -> None:
    models = [] if "--model" in options else ["--model", trained.folder]
    ran = asr_command("evaluate", trained.test, *models, *options)
    assert (ran.status, ran.out) == (status, "")
    assert message in " ".join(ran.err.split())


def test_a_manifest_given_twice_and_an_output_that_cannot_be_written_are_errors(
    asr_command: Command, trained: Trained, tmp_path: Path
) -> None:
    ran = asr_command("evaluate", trained.test, trained.test / "cuts.jsonl", "--model", trained.folder)
    assert (ran.status, ran.out) == (2, "")
    assert "is given twice" in ran.err
    (tmp_path / "out").write_text("a file")
    for options in (["--output", tmp_path / "out"], ["--table", tmp_path / "out" / "t.md"]):
        ran = asr_command("evaluate", trained.test, "--model", trained.folder, *options)
        assert (ran.status, ran.out) == (1, "")
        assert "cannot be written" in ran.err
