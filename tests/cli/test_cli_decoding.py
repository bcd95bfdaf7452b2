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
    from tests.conftest import Ran, Speech, Trained

    Command = Callable[..., Ran]


CALIBRATION = '{"features": ["least", "mean", "entropy"], "weights": [0, 0, 0], "bias": 1.0, "words": 100}'


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


def test_tuning_keeps_a_better_decoder_and_else_takes_its_calibration_away(
    asr_command: Command, trained: Trained, speech: Speech, folder: Path, tmp_path: Path
) -> None:
    rows = list(read_manifest(trained.dev))
    swapped = {"head": "bad", "bad": "cafe"}  # the lexicon says what the model cannot know
    texts = [" ".join(swapped.get(word, word) for word in (row.text or "").split()) for row in rows]
    gone = replace(rows[0], id="gone", audio=tmp_path / "gone.wav")
    write_manifest(tmp_path / "dev.jsonl", [gone, *(replace(r, text=t) for r, t in zip(rows, texts, strict=True))])
    spelled = "".join(f"{swapped.get(word, word)} {' '.join(word)}\n" for word in speech.words)
    (tmp_path / "words.txt").write_text(spelled)
    (tmp_path / "text.txt").write_text("\n".join(texts))
    assert asr_command("lm", "train", tmp_path / "text.txt", "--order", 1, "-o", tmp_path / "lm.arpa").status == 0
    (folder / "confidence.json").write_text(CALIBRATION)
    tune = ("lm", "tune", tmp_path / "dev.jsonl", "--model", folder, "--lm", tmp_path / "lm.arpa", "--beam", 8)
    first = asr_command(*tune, "--lexicon", tmp_path / "words.txt")
    assert first.status == 1  # for want of a recording; the rest is done
    assert "error: gone: " in first.err
    assert "1 utterances could not be read and were not tried" in first.err
    assert "as it is now" not in first.out
    assert f"`asr calibrate {tmp_path / 'dev.jsonl'} --model {folder}` fits it again" in first.err
    assert not (folder / "confidence.json").exists()
    config = (folder / "config.yaml").read_text()
    assert "lexicon: lexicon.txt" in config

    (folder / "confidence.json").write_text(CALIBRATION)
    second = asr_command(*tune, "--json")  # without the lexicon: worse
    found = json.loads(second.out)
    assert found["present_dev_wer"] < found["dev_wer"]
    assert (second.status, found["written"], found["failed_utterances"]) == (1, False, 1)
    assert "no setting beats greedy decoding and how it decodes now" in second.err
    assert (folder / "config.yaml").read_text() == config
    assert (folder / "confidence.json").read_text() == CALIBRATION
    assert "as it is now       dev WER" in asr_command(*tune).out
    (folder / "lexicon.txt").unlink()
    broken = asr_command(*tune, "--dry-run")
    assert "cannot decode as it is configured, which is not measured: " in broken.err
    assert "as it is now" not in broken.out


def test_calibration_says_what_it_could_not_read(
    asr_command: Command, trained: Trained, folder: Path, tmp_path: Path
) -> None:
    rows = [replace(row, text=f"{row.text} zebra".replace("head", "ab")) for row in read_manifest(trained.dev)]
    write_manifest(tmp_path / "dev.jsonl", [replace(rows[0], id="gone", audio=tmp_path / "gone.wav"), *rows])
    ran = asr_command("calibrate", tmp_path / "dev.jsonl", "--model", folder, "--device", "cpu")
    assert ran.status == 1
    assert "error: gone: " in ran.err
    assert "dev.jsonl: 1 utterances could not be read and are not in the fit" in ran.err
    assert (folder / "confidence.json").is_file()
    assert ran.out.startswith("before")


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
