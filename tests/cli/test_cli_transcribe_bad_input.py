from __future__ import annotations

import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

from asr.data.manifest import Utterance, read_manifest, write_manifest

if TYPE_CHECKING:
    from tests.conftest import Ran, Trained

    Transcribe = Callable[..., Ran]

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def utterances(trained: Trained) -> list[Utterance]:
    return list(read_manifest(trained.test))


@pytest.fixture
def transcribe(asr_command: Callable[..., Ran], trained: Trained) -> Transcribe:
    def run(*arguments: object) -> Ran:
        return asr_command("transcribe", "--model", trained.folder, "--device", "cpu", *arguments)

    return run


def hundred(utterances: list[Utterance], count: int = 100) -> dict[str, str]:
    """Fill the folder `calls` with so many recordings; returns the text of each key."""
    texts = {}
    for index in range(count):
        row = utterances[index % len(utterances)]
        Path(f"calls/{index % 7}").mkdir(parents=True, exist_ok=True)
        os.symlink(row.audio, f"calls/{index % 7}/{index:03d}.wav")
        texts[f"{index % 7}/{index:03d}"] = row.text or ""
    return texts


def written(folder: str = "out") -> dict[str, str]:
    """The text of each key; every file in the folder must be one."""
    paths = [path for path in Path(folder).rglob("*") if path.is_file()]
    assert {path.suffix for path in paths} <= {".txt"}, paths
    return {str(path.relative_to(folder).with_suffix("")): path.read_text(encoding="utf-8")[:-1] for path in paths}


# Files that cannot be read


def test_a_folder_of_a_hundred_with_five_broken_in_five_ways(
    transcribe: Transcribe, utterances: list[Utterance]
) -> None:
    texts = hundred(utterances)
    broken = {
        "0/000": ("empty file", lambda path: path.touch()),
        "1/015": ("not audio that can be read", lambda path: path.write_text("Dear Sir or Madam")),
        "2/044": ("cut short", lambda path: path.write_bytes(utterances[0].audio.read_bytes()[:5000])),
        "3/052": (
            "N of N samples are NaN or infinite",
            lambda path: soundfile.write(path, np.full(800, np.nan), 8000, subtype="FLOAT"),
        ),
        "6/097": ("no such file", lambda path: path.symlink_to("gone.wav")),
    }
    for key, (_, damage) in broken.items():
        path = Path(f"calls/{key}.wav")
        path.unlink()
        damage(path)
    ran = transcribe("calls", "--output-dir", "out")
    assert (ran.status, ran.out) == (1, "")
    assert written() == {key: text for key, text in texts.items() if key not in broken}
    lines = ran.err.splitlines()
    for line, key in zip(lines[:5], sorted(broken), strict=True):  # at once, in the order of the files
        assert line.startswith(f"error: calls/{key}.wav: ")
    assert re.match(r"transcribed 95 recordings, .* of audio in .*, [\d.,]+ times real time; 5 failed:", lines[5])
    assert set(lines[6:]) == {f"  1 {kind}: calls/{key}.wav" for key, (kind, _) in broken.items()}


def test_failures_of_one_kind_are_counted_with_a_few_names(transcribe: Transcribe) -> None:
    Path("calls").mkdir()
    for index in range(12):
        Path(f"calls/{index:02d}.wav").touch()
    ran = transcribe("calls")
    assert ran.status == 1
    assert ran.err.count("error: ") == 12
    assert ran.err.endswith(
        "transcribed 0 recordings; 12 failed:\n  12 empty file: calls/00.wav, calls/01.wav, calls/02.wav and 9 more\n"
    )


def test_an_utterance_that_cannot_be_read_is_told_by_its_id(
    transcribe: Transcribe, utterances: list[Utterance], here: Path
) -> None:
    rows = [utterances[0], Utterance("lost", here / "gone.wav", 1.0, 8000), Utterance("../up", here / "x.wav", 1, 8000)]
    write_manifest("cuts.jsonl", rows)
    ran = transcribe("cuts.jsonl", "--output-dir", "out")
    assert ran.status == 1
    assert f"error: lost: {here}/gone.wav: no such file" in ran.err
    assert "error: ../up: this id is no name for a file" in ran.err
    assert written() == {utterances[0].id: utterances[0].text}
    assert "  1 no such file: lost\n" in ran.err


def test_inputs_that_are_nothing_are_told_at_once_and_the_others_go_on(
    transcribe: Transcribe, utterances: list[Utterance]
) -> None:
    Path("empty").mkdir()
    Path("broken.jsonl").write_text("{}\n")
    inputs = ["gone.wav", "empty", "*.mp3", "broken.jsonl", "", utterances[0].audio]
    ran = transcribe(*inputs, "--list", "gone.txt", "--output-dir", "out")
    assert ran.status == 1
    assert [line.split(":")[1].strip() for line in ran.err.splitlines()[:6]] == [
        *(
            "gone.wav",
            "empty",
            "*.mp3",
            "broken.jsonl, line 1",
            "an input is the empty string; name a file or a folder",
        ),
        "gone.txt",
    ]
    assert "; 6 failed:" in ran.err
    assert list(written().values()) == [utterances[0].text]


@pytest.mark.parametrize("name", ["empty", "nothing"])
def test_no_recording_at_all_exits_1_without_an_output_folder(transcribe: Transcribe, name: str) -> None:
    Path("empty").mkdir()
    ran = transcribe(name, "--output-dir", "out")
    assert (ran.status, ran.out, Path("out").exists()) == (1, "", False)
    assert ran.err.startswith(f"error: {name}: no ")


def test_an_input_given_twice_is_transcribed_once(transcribe: Transcribe, utterances: list[Utterance]) -> None:
    audio = utterances[0].audio
    ran = transcribe(audio, audio)
    assert (ran.status, ran.out) == (0, f"{utterances[0].text}\n")
    assert "1 named twice" in ran.err


def test_a_folder_in_a_loop_is_transcribed_once(transcribe: Transcribe, utterances: list[Utterance]) -> None:
    texts = hundred(utterances, 3)
    os.symlink("..", "calls/0/up")
    assert transcribe("calls", "-o", "out").status == 0
    assert written() == texts


def test_video_in_a_folder_is_mentioned(transcribe: Transcribe, utterances: list[Utterance]) -> None:
    hundred(utterances, 2)
    Path("calls/film.mp4").touch()
    ran = transcribe("calls", "-o", "out")
    assert ran.status == 0
    assert "passed over in folders: 1 .mp4; convert" in ran.err


# Names

NAMES = [
    "with space.wav",
    'it\'s "quoted".wav',
    "😀 日本語.wav",
    "-dash.wav",
    "--help.wav",
    "new\nline.wav",
    "a:b%s{}[red].wav",
    "no_suffix",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_any_kind_are_taken(transcribe: Transcribe, utterances: list[Utterance], name: str) -> None:
    shutil.copy(utterances[0].audio, name)
    shown = name.replace("\n", "\\n")
    assert transcribe("--", name).out == f"{utterances[0].text}\n"
    assert transcribe("--", name, utterances[1].audio).out.startswith(f"{shown}: {utterances[0].text}\n")
    assert json.loads(transcribe("-f", "json", "--", name).out)["file"] == name
    transcribe("--output-dir", "out", "--", name)
    assert [path.stem for path in Path("out").iterdir()] == [Path(name).stem]
    missing = transcribe("--", f"{name}.gone")
    assert missing.status == 1
    assert f"error: {shown}.gone: no such file" in missing.err


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse names that are not UTF-8")
def test_a_name_that_is_not_utf_8_stops_nothing(transcribe: Transcribe, utterances: list[Utterance]) -> None:
    os.mkdir("calls")
    shutil.copy(utterances[0].audio, os.fsdecode(b"calls/caf\xe9.wav"))
    Path(os.fsdecode(b"calls/bad\xe9.wav")).touch()
    for options in ([], ["--format", "json"], ["--format", "trn"]):
        ran = transcribe("calls", utterances[1].audio, *options)
        assert ran.status == 1
        assert len(ran.out.splitlines()) == 2
        assert "error: calls/bad\ufffd.wav: empty file" in ran.err
        assert "1 empty file: calls/bad\ufffd.wav" in ran.err
    transcribe("calls", "-o", "out")
    assert os.listdir(b"out") == [b"caf\xe9.txt"]


# The disk


def test_a_full_disk_fails_file_by_file_and_leaves_nothing_half_written(
    transcribe: Transcribe,
    utterances: list[Utterance],
    disk_full_after: Callable[[int], AbstractContextManager[None]],
) -> None:
    texts = hundred(utterances, 20)
    room = 15
    assert {len(text) < room for text in texts.values()} == {True, False}
    with disk_full_after(room):
        ran = transcribe("calls", "--output-dir", "out")
    fitting = {key: text for key, text in texts.items() if len(text) < room}
    assert ran.status == 1
    assert written() == fitting
    failed = len(texts) - len(fitting)
    assert ran.err.count("cannot be written (File too large); make room") == failed
    assert f"  {failed} cannot be written: calls/" in ran.err
    again = transcribe("calls", "--output-dir", "out")
    assert again.status == 0
    assert f"transcribed {failed} recordings" in again.err
    assert written() == texts


# Recordings that are not finished


@pytest.mark.parametrize(
    ("suffix", "promised"),
    [("wav", True), ("wav", False), ("au", True), ("au", False), ("flac", True), ("ogg", True), ("mp3", True)],
)
def test_a_file_that_grows_is_what_was_there_or_a_clear_error(
    transcribe: Transcribe, utterances: list[Utterance], suffix: str, promised: bool
) -> None:
    waveform = np.concatenate([soundfile.read(row.audio)[0] for row in utterances * 3])
    path = Path(f"growing.{suffix}")
    soundfile.write(path, waveform, 8000)
    whole = bytearray(path.read_bytes())
    if not promised:  # as recorders write to a pipe: the size is not known yet
        place = 8 if suffix == "au" else whole.index(b"data") + 4
        whole[place : place + 4] = b"\xff" * 4
    path.write_bytes(whole[: len(whole) // 2])
    stop = threading.Event()

    def grow() -> None:
        with open(path, "ab") as out:
            for start in range(len(whole) // 2, len(whole), 500):
                if stop.wait(0.002):
                    return
                out.write(whole[start : start + 500])
                out.flush()

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        ran = transcribe(path, "--format", "json", "--batch-seconds", 2)
    finally:
        stop.set()
        thread.join()
    if ran.status == 0:
        transcript = json.loads(ran.out)
        assert 0.4 * len(waveform) / 8000 < transcript["duration"] <= len(waveform) / 8000 + 0.1
        reference = " ".join(row.text or "" for row in utterances * 3).split()
        assert transcript["text"].split()[:20] == reference[:20]
    else:
        assert (ran.status, ran.out) == (1, "")
        assert ran.err.startswith(f"error: {path}: cut short")
