from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asr.data.manifest import read_manifest, write_manifest

if TYPE_CHECKING:
    from tests.conftest import Ran, Trained

    Command = Callable[..., Ran]


@pytest.fixture
def folder(trained: Trained, tmp_path: Path) -> Path:
    shutil.copytree(trained.folder, tmp_path / "model")
    return tmp_path / "model"


def test_tuning_prints_greedy_beside_and_the_model_folder_decodes_with_it(
    asr_command: Command, trained: Trained, folder: Path, tmp_path: Path
) -> None:
    made = asr_command("lm", "train", trained.train, "--order", 2, "-o", tmp_path / "words.arpa")
    assert made.status == 0, made.err
    options = ("--model", folder, "--lm", tmp_path / "words.arpa", "--beam", 8, "--device", "cpu", "--threads", 1)
    tuned = asr_command("lm", "tune", trained.dev, *options, "--json")
    found = json.loads(tuned.out)
    assert found["trials"] >= 30
    assert found["written"] == (found["dev_wer"] < found["greedy_dev_wer"]) == (tuned.status == 0)
    assert ("lm: lm.lm" in (folder / "config.yaml").read_text()) == found["written"] == (folder / "lm.lm").is_file()
    again = asr_command("evaluate", trained.dev, "--model", folder, "--device", "cpu", "--json")
    assert json.loads(again.out)["wer"] == pytest.approx(min(found["dev_wer"], found["greedy_dev_wer"]))
    dry = asr_command("lm", "tune", trained.dev, *options, "--dry-run")
    assert "greedy" in dry.out
    assert "lm_weight" in dry.out


def test_alternatives_and_word_times_are_in_the_json(asr_command: Command, trained: Trained, folder: Path) -> None:
    row = next(row for row in read_manifest(trained.test) if len((row.text or "").split()) > 2)
    ran = asr_command(
        *("transcribe", row.audio, "--model", folder, "--device", "cpu"),
        *("--format", "json", "--nbest", 3, "--word-times", "--beam", 8),
    )
    assert ran.status == 0, ran.err
    (segment,) = json.loads(ran.out)["segments"]
    assert [word["text"] for word in segment["words"]] == segment["text"].split()
    assert all(0 <= word["start"] < word["end"] <= row.duration + 0.05 for word in segment["words"])
    assert 0 < len(segment["alternatives"]) <= 2
    assert all(other["score"] <= segment["score"] for other in segment["alternatives"])


def test_grammar_and_hot_words_reach_the_decoder(
    asr_command: Command, trained: Trained, folder: Path, tmp_path: Path
) -> None:
    row = next(iter(read_manifest(trained.test)))
    (tmp_path / "grammar.txt").write_text(f"{row.text}\nhead\n")
    common = ("transcribe", row.audio, "--model", folder, "--device", "cpu")
    assert asr_command(*common, "--grammar", tmp_path / "grammar.txt").out == f"{row.text}\n"
    (tmp_path / "hot.txt").write_text("zebra\n")
    refused = asr_command(*common, "--hotwords", tmp_path / "hot.txt")
    assert refused.status == 1
    assert "hot.txt, line 1" in refused.err
    missing = asr_command(*common, "--lm", tmp_path / "none.lm")
    assert missing.status == 1
    assert "none.lm" in missing.err


def test_calibration_is_kept_and_measured(asr_command: Command, trained: Trained, folder: Path, tmp_path: Path) -> None:
    rows = list(read_manifest(trained.dev))
    wrong = [
        replace(row, text=f"{row.text} zebra".replace("head", "ab")) for row in rows
    ]  # the model makes no mistakes
    write_manifest(tmp_path / "dev.jsonl", wrong)
    fitted = asr_command("calibrate", tmp_path / "dev.jsonl", "--model", folder, "--device", "cpu", "--threads", 1)
    assert fitted.status == 0, fitted.err
    assert {line.split()[0] for line in fitted.out.splitlines()} == {"before", "after"}
    assert (folder / "confidence.json").is_file()
    options = ("--model", folder, "--device", "cpu", "--output", tmp_path / "out", "--json")
    measured = json.loads(asr_command("evaluate", trained.test, *options).out)["confidence"]
    assert 0 <= measured["ece"] <= 1
    assert measured["words"] > 0
    assert measured["calibrated"]
    assert (tmp_path / "out" / "reliability.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("option", [("--nbest", 3), ("--word-times",)])
def test_what_only_the_json_holds_is_refused_for_text(
    asr_command: Command, trained: Trained, folder: Path, option: tuple[object, ...]
) -> None:
    row = next(iter(read_manifest(trained.test)))
    ran = asr_command("transcribe", row.audio, "--model", folder, *option)
    assert ran.status == 2
    assert "add --format json" in ran.err
