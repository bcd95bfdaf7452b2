from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asr.data.manifest import Utterance, read_manifest

if TYPE_CHECKING:
    from tests.conftest import Ran, Trained

    Command = Callable[..., Ran]


@pytest.fixture
def utterances(trained: Trained) -> list[Utterance]:
    return list(read_manifest(trained.test))


def test_one_file_prints_its_text_alone(asr_command: Command, trained: Trained, utterances: list[Utterance]) -> None:
    ran = asr_command("transcribe", utterances[0].audio, "--model", trained.folder, "--device", "cpu")
    assert (ran.status, ran.out, ran.err) == (0, f"{utterances[0].text}\n", "")


def test_several_files_with_a_bad_one_exit_1_and_print_the_others(
    asr_command: Command, trained: Trained, utterances: list[Utterance], tmp_path: Path
) -> None:
    (tmp_path / "bad.wav").write_text("no audio")
    files = [utterances[0].audio, tmp_path / "bad.wav", tmp_path / "gone.wav", utterances[1].audio]
    ran = asr_command("transcribe", *files, "--model", trained.folder, "--device", "cpu")
    assert ran.status == 1
    assert ran.out.splitlines() == [f"{row.audio}: {row.text}" for row in utterances[:2]]
    assert "bad.wav: not audio" in ran.err
    assert "gone.wav: no such file" in ran.err
    assert "2 of 4 files failed" in ran.err


def test_json_is_one_object_a_line(asr_command: Command, trained: Trained, utterances: list[Utterance]) -> None:
    files = [row.audio for row in utterances[:3]]
    ran = asr_command("transcribe", *files, "--model", trained.folder, "--format", "json", "--device", "cpu")
    rows = [json.loads(line) for line in ran.out.splitlines()]
    assert [(row["file"], row["text"]) for row in rows] == [(str(row.audio), row.text) for row in utterances[:3]]
    assert all(row["segments"][0]["end"] == row["duration"] for row in rows)


@pytest.mark.parametrize("format_", ["txt", "json"])
def test_output_dir_gets_one_file_each(
    asr_command: Command, trained: Trained, utterances: list[Utterance], tmp_path: Path, format_: str
) -> None:
    folder = tmp_path / "new" / "texts"
    files = [row.audio for row in utterances[:2]]
    (tmp_path / "bad.wav").write_text("no audio")
    options = ["--output-dir", folder, "--format", format_, "--device", "cpu"]
    ran = asr_command("transcribe", *files, tmp_path / "bad.wav", "--model", trained.folder, *options)
    assert (ran.status, ran.out) == (1, "")
    assert sorted(path.name for path in folder.iterdir()) == [f"{file.stem}.{format_}" for file in files]
    text = (folder / f"{files[0].stem}.{format_}").read_text(encoding="utf-8")
    assert (text if format_ == "txt" else json.loads(text)["text"] + "\n") == f"{utterances[0].text}\n"


def test_two_files_of_one_name_are_not_written_over_each_other(
    asr_command: Command, trained: Trained, utterances: list[Utterance], tmp_path: Path
) -> None:
    copies = [tmp_path / "one" / "same.wav", tmp_path / "two" / "same.wav"]
    for copy, utterance in zip(copies, utterances, strict=False):
        copy.parent.mkdir()
        shutil.copy(utterance.audio, copy)
    ran = asr_command("transcribe", *copies, "--model", trained.folder, "--output-dir", tmp_path / "out")
    assert ran.status == 2
    assert all(str(copy) in ran.err for copy in copies)
    assert not (tmp_path / "out").exists()


def test_an_output_dir_that_is_a_file_exits_2(
    asr_command: Command, trained: Trained, utterances: list[Utterance], tmp_path: Path
) -> None:
    (tmp_path / "out").touch()
    ran = asr_command("transcribe", utterances[0].audio, "--model", trained.folder, "--output-dir", tmp_path / "out")
    assert ran.status == 2
    assert "--output-dir" in ran.err


NAMES = [
    "with space.wav",
    'it\'s "quoted".wav',
    "😀 日本語.wav",
    "-dash.wav",
    "--help.wav",
    "a:b%s{}[red].wav",
    "no_suffix",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_any_kind_are_taken(
    asr_command: Command,
    trained: Trained,
    utterances: list[Utterance],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(utterances[0].audio, tmp_path / name)
    options = ["--model", trained.folder, "--device", "cpu", "--", name]
    assert asr_command("transcribe", *options).out == f"{utterances[0].text}\n"
    assert asr_command("transcribe", *options, utterances[1].audio).out.startswith(f"{name}: {utterances[0].text}\n")
    asr_command("transcribe", "--output-dir", "out", *options)
    assert [path.stem for path in (tmp_path / "out").iterdir()] == [Path(name).stem]
    missing = asr_command("transcribe", *options[:-1], f"{name}.gone")
    assert (missing.status, f"error: {name}.gone: no such file" in missing.err) == (1, True)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse names that are not UTF-8")
def test_a_name_that_is_not_utf_8_stops_nothing(
    asr_command: Command, trained: Trained, utterances: list[Utterance], tmp_path: Path
) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav")
    shutil.copy(utterances[0].audio, odd)
    for options in ([], ["--format", "json"]):
        ran = asr_command("transcribe", odd, utterances[1].audio, "--model", trained.folder, *options)
        assert ran.status == 0, ran.err
        assert len(ran.out.splitlines()) == 2


def test_transcribing_without_a_model_exits_1(
    asr_command: Command, utterances: list[Utterance], tmp_path: Path
) -> None:
    ran = asr_command("transcribe", utterances[0].audio, "--model", tmp_path / "nowhere")
    assert ran.status == 1
    assert "nowhere: no such model folder" in ran.err


def test_an_unknown_device_exits_2(asr_command: Command, trained: Trained, utterances: list[Utterance]) -> None:
    ran = asr_command("transcribe", utterances[0].audio, "--model", trained.folder, "--device", "abacus")
    assert ran.status == 2
    assert "--device abacus: expected auto, cpu" in ran.err
