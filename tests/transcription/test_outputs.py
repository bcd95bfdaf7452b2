from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from asr.data.utterance import Utterance
from asr.decoding.hypothesis import Word
from asr.errors import ConfigError, OutputError
from asr.transcription.formats import FORMATS
from asr.transcription.outputs import BY_KEY, ONE_STREAM, Outputs, chosen_formats, rendered
from asr.transcription.sources import Recording
from asr.transcription.transcript import Segment, Transcript

SPOKEN = Transcript("a b", 1.0, [Segment(0, 1, "a b", -1.0, [Word("a", 0.1, 0.4, 0.9), Word("b", 0.5, 0.9, 0.8)])])
UNTIMED = Transcript("a b", 1.0, [Segment(0, 1, "a b", -1.0, [Word("a"), Word("b")])])


@pytest.mark.parametrize(
    ("asked", "formats"),
    [
        (["txt"], ["txt"]),
        (["srt,vtt", "json"], ["srt", "vtt", "json"]),
        (["vtt, VTT", "vtt"], ["vtt"]),
        (["textgrid", "JSONL"], ["TextGrid", "jsonl"]),
        (["all"], list(FORMATS)),
        (["srt,all"], ["srt", *(name for name in FORMATS if name != "srt")]),
    ],
)
def test_formats_are_named_once_in_any_case_with_commas_or_all(asked: list[str], formats: list[str]) -> None:
    assert chosen_formats(asked) == formats


@pytest.mark.parametrize("asked", ["docx", "", "txt,", "txt srt"])
def test_an_unknown_format_is_an_error_that_lists_them(asked: str) -> None:
    with pytest.raises(ConfigError, match=r"no such format; choose of txt, json, jsonl, .*TextGrid, or all"):
        chosen_formats([asked])


def test_the_sets_of_formats_are_formats() -> None:
    assert {*BY_KEY, *ONE_STREAM} <= FORMATS.keys()


def test_a_recording_is_called_by_its_path_in_json_and_by_its_key_in_tables() -> None:
    recording = Recording("calls/b/c d.wav", "b/c d")
    assert json.loads(rendered(recording, SPOKEN, "json"))["file"] == "calls/b/c d.wav"
    assert json.loads(rendered(recording, SPOKEN, "jsonl"))["id"] == "b/c d"
    assert rendered(recording, SPOKEN, "trn") == "a b (b/c_d)\n"
    assert rendered(recording, SPOKEN, "ctm").split()[:2] == ["b/c_d", "1"]


def test_every_format_of_a_recording_is_a_file_below_the_folder(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path / "new" / "out", list(FORMATS))
    recording = Recording("calls/b/c.1.wav", "b/c.1")
    assert not outputs.current(recording)
    outputs.write(recording, SPOKEN)
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert files == sorted(Path(f"new/out/b/c.1.{name}") for name in FORMATS)
    assert (tmp_path / "new/out/b/c.1.txt").read_text() == "a b\n"
    assert outputs.current(recording)


def test_a_recording_with_one_format_missing_is_not_there(tmp_path: Path) -> None:
    recording = Recording("c.wav", "c")
    Outputs(tmp_path, ["txt"]).write(recording, SPOKEN)
    assert Outputs(tmp_path, ["txt"]).current(recording)
    assert not Outputs(tmp_path, ["txt", "srt"]).current(recording)
    (tmp_path / "c.srt").mkdir()
    assert not Outputs(tmp_path, ["txt", "srt"]).current(recording)


def test_audio_that_is_newer_than_one_of_its_outputs_is_to_be_done(tmp_path: Path) -> None:
    audio = tmp_path / "c.wav"
    audio.touch()
    in_a_file = Recording(str(audio), "c")
    in_a_manifest = Recording("c", "c", Utterance("c", audio, 1.0, 8000))
    outputs = Outputs(tmp_path, ["txt", "srt"])
    outputs.write(in_a_file, SPOKEN)
    now = time.time()
    for age, current in ((30, True), (20, True), (10, False), (-1000, True)):  # the last: a clock that is ahead
        os.utime(audio, (now - age, now - age))
        os.utime(tmp_path / "c.srt", (now - 20, now - 20))
        assert [outputs.current(in_a_file), outputs.current(in_a_manifest)] == [current, current], age
    audio.unlink()
    assert outputs.current(in_a_file)


def test_an_output_is_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("something longer than the new text\n")
    Outputs(tmp_path, ["txt"]).write(Recording("c.wav", "c"), SPOKEN)
    assert (tmp_path / "c.txt").read_text() == "a b\n"


def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, disk_full_after: Callable[[int], AbstractContextManager[None]]
) -> None:
    outputs = Outputs(tmp_path, ["txt", "json", "srt"])
    with disk_full_after(20), pytest.raises(OutputError, match=r"c\.json: cannot be written \(File too large\)"):
        outputs.write(Recording("c.wav", "c"), SPOKEN)
    assert [path.name for path in tmp_path.iterdir()] == ["c.txt"]
    assert not outputs.current(Recording("c.wav", "c"))


def test_what_cannot_be_rendered_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"c\.ctm: ctm needs word times"):
        Outputs(tmp_path, ["ctm"]).write(Recording("c.wav", "c"), UNTIMED)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["..", "../x", "a/../../x", "/etc/x", "a//b", "a/", "", ".", "a\0b"])
def test_an_id_that_leads_out_of_the_folder_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(OutputError, match="this id is no name for a file"):
        Outputs(tmp_path, ["txt"]).write(Recording(key, key), SPOKEN)


def test_a_name_too_long_for_the_disk_is_an_error_of_that_file(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path, ["txt"])
    recording = Recording("long", "x" * 300)
    assert not outputs.current(recording)
    with pytest.raises(OutputError, match="File name too long"):
        outputs.write(recording, SPOKEN)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse names that are not UTF-8")
def test_a_name_that_is_not_utf_8_is_kept_to_the_byte(tmp_path: Path) -> None:
    recording = Recording(os.fsdecode(b"caf\xe9.wav"), os.fsdecode(b"caf\xe9"))
    Outputs(tmp_path, ["trn"]).write(recording, SPOKEN)
    assert os.listdir(os.fsencode(tmp_path)) == [b"caf\xe9.trn"]
    assert (tmp_path / os.fsdecode(b"caf\xe9.trn")).read_text(encoding="utf-8") == "a b (caf\ufffd)\n"


def test_an_output_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match=f"--output-dir {folder}: "):
            Outputs(folder, ["txt"])
