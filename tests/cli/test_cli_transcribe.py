from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
import torch

from asr.config import Config
from asr.data.manifest import Utterance, read_manifest, write_manifest
from asr.model.acoustic import AcousticModel
from asr.model.checkpoint import create_folder, save_tensors
from asr.text import Tokenizer
from asr.transcription.formats import FORMATS

if TYPE_CHECKING:
    from tests.conftest import Ran, Trained

    Transcribe = Callable[..., Ran]

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def utterances(trained: Trained) -> list[Utterance]:
    return list(read_manifest(trained.test))


@pytest.fixture
def transcribe(asr_command: Callable[..., Ran], trained: Trained) -> Transcribe:
    def run(*arguments: object) -> Ran:
        return asr_command("transcribe", "--model", trained.folder, "--device", "cpu", *arguments)

    return run


@pytest.fixture
def tree(utterances: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Recordings in and below the folder `calls` of the working directory: the text of each key."""
    monkeypatch.chdir(tmp_path)
    keys = ("a", "b/a", "b/c/d", "e")
    for key, row in zip(keys, utterances, strict=False):
        Path(f"calls/{key}.wav").parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(row.audio, f"calls/{key}.wav")
    return {key: row.text or "" for key, row in zip(keys, utterances, strict=False)}


def files(folder: str = "out") -> dict[str, str]:
    """The text of each file below a folder, by its path."""
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8")
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


# Printing


def test_one_file_prints_its_text_alone(transcribe: Transcribe, utterances: list[Utterance]) -> None:
    ran = transcribe(utterances[0].audio)
    assert (ran.status, ran.out, ran.err) == (0, f"{utterances[0].text}\n", "")


def test_several_files_with_a_bad_one_exit_1_and_print_the_others(
    transcribe: Transcribe, utterances: list[Utterance], tmp_path: Path
) -> None:
    (tmp_path / "bad.wav").write_text("no audio")
    ran = transcribe(utterances[0].audio, tmp_path / "bad.wav", tmp_path / "gone.wav", utterances[1].audio)
    assert ran.status == 1
    assert ran.out.splitlines() == [f"{row.audio}: {row.text}" for row in utterances[:2]]
    assert "bad.wav: not audio" in ran.err
    assert "gone.wav: no such file" in ran.err
    assert "transcribed 2 recordings, " in ran.err
    assert "; 2 failed:\n" in ran.err
    assert f"  1 not audio that can be read: {tmp_path}/bad.wav\n" in ran.err


def test_json_is_one_object_a_line(transcribe: Transcribe, utterances: list[Utterance]) -> None:
    ran = transcribe(*(row.audio for row in utterances[:3]), "--format", "json")
    rows = [json.loads(line) for line in ran.out.splitlines()]
    assert [(row["file"], row["text"]) for row in rows] == [(str(row.audio), row.text) for row in utterances[:3]]
    assert all(row["segments"][-1]["end"] <= row["duration"] for row in rows)


def test_a_folder_is_printed_as_one_stream_with_ids(transcribe: Transcribe, tree: dict[str, str]) -> None:
    assert transcribe("calls", "-f", "trn").out.splitlines() == [f"{text} ({key})" for key, text in tree.items()]
    rows = [json.loads(line) for line in transcribe("calls", "-f", "jsonl").out.splitlines()]
    assert {row["id"]: row["text"] for row in rows} == tree
    said: dict[str, list[str]] = {}
    for line in transcribe("calls", "-f", "ctm").out.splitlines():
        key, channel, start, duration, word, confidence = line.split()
        assert (channel, float(start) >= 0, float(duration) > 0) == ("1", True, True)
        assert 0 <= float(confidence) <= 1
        said.setdefault(key, []).append(word)
    assert {key: " ".join(words) for key, words in said.items()} == tree


def test_a_manifest_is_transcribed_by_its_ids(
    transcribe: Transcribe, trained: Trained, utterances: list[Utterance]
) -> None:
    for named in (trained.test, trained.test / "cuts.jsonl"):
        ran = transcribe(named, "--format", "trn")
        assert ran.out.splitlines() == [f"{row.text} ({row.id})" for row in utterances]
        assert f"transcribed {len(utterances)} recordings" in ran.err


def test_pieces_of_a_recording_are_transcribed_apart(
    transcribe: Transcribe, utterances: list[Utterance], tmp_path: Path
) -> None:
    waveforms = [soundfile.read(row.audio, dtype="float32")[0] for row in utterances[:2]]
    soundfile.write(tmp_path / "both.wav", np.concatenate(waveforms), 8000)
    first, second = (replace(row, audio=Path("both.wav"), recording_samples=10**6) for row in utterances[:2])
    write_manifest(tmp_path / "cuts.jsonl", [first, replace(second, start=first.duration)])
    ran = transcribe(tmp_path)
    assert ran.out.splitlines() == [f"{row.id}: {row.text}" for row in utterances[:2]], ran.err


def test_audio_on_standard_input(
    transcribe: Transcribe, utterances: list[Utterance], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def pipe(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    pipe(utterances[0].audio.read_bytes())
    assert transcribe("-").out == f"{utterances[0].text}\n"
    pipe(utterances[0].audio.read_bytes())
    assert transcribe("-", "-o", tmp_path / "out").status == 0
    assert files(str(tmp_path / "out")) == {"stdin.txt": f"{utterances[0].text}\n"}
    pipe(b"")
    ran = transcribe("-")
    assert (ran.status, ran.out) == (1, "")
    assert "error: -: " in ran.err


def test_a_list_of_files(transcribe: Transcribe, tree: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("calls/list").write_text("e.wav\n./b/a.wav\n")
    expected = [f"{tree[key]} ({key})" for key in ("e", "b/a")]
    assert transcribe("--list", "calls/list", "-f", "trn").out.splitlines() == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"calls/e.wav\0calls/b/a.wav\0")))
    printed = transcribe("--list", "-").out.splitlines()
    assert printed == [f"calls/{key}.wav: {tree[key]}" for key in ("e", "b/a")]


def test_a_pattern_in_quotes(transcribe: Transcribe, tree: dict[str, str]) -> None:
    ran = transcribe("calls/**/a.wav")
    assert ran.out.splitlines() == [f"calls/{key}.wav: {tree[key]}" for key in ("a", "b/a")]


def test_words_are_coloured_when_asked(transcribe: Transcribe, utterances: list[Utterance]) -> None:
    plain = f"{utterances[0].text}\n"
    assert transcribe(utterances[0].audio, "--colour", "auto").out == plain  # no terminal here
    ran = transcribe(utterances[0].audio, "--color", "always")
    assert ran.out.count("\x1b[") >= 2 * len(plain.split())
    assert ran.out != plain


# Writing


@pytest.mark.parametrize("format_", list(FORMATS))
def test_output_dir_gets_the_tree_of_a_folder(transcribe: Transcribe, tree: dict[str, str], format_: str) -> None:
    ran = transcribe("calls", "--output-dir", "new/out", "--format", format_)
    assert (ran.status, ran.out) == (0, "")
    written = files("new/out")
    assert list(written) == sorted(f"{key}.{format_}" for key in tree)
    for key, text in tree.items():
        content = written[f"{key}.{format_}"]
        if format_ == "txt":
            assert content == f"{text}\n"
        elif format_ in ("json", "jsonl"):
            assert json.loads(content)["text"] == text
        elif format_ == "tsv":
            assert " ".join(row["text"] for row in csv.DictReader(io.StringIO(content), delimiter="\t")) == text
        else:
            assert all(word in content for word in text.split())


def test_named_files_and_lists_are_written_by_their_names(transcribe: Transcribe, tree: dict[str, str]) -> None:
    Path("list").write_text("calls/b/a.wav\n")
    assert transcribe("calls/b/c/d.wav", "calls/e.wav", "--list", "list", "-o", "out").status == 0
    assert files() == {
        f"{name}.txt": f"{tree[key]}\n" for name, key in [("calls/b/a", "b/a"), ("d", "b/c/d"), ("e", "e")]
    }


def test_all_formats_at_once(transcribe: Transcribe, tree: dict[str, str]) -> None:
    assert transcribe("calls/a.wav", "-o", "out", "-f", "all").status == 0
    assert list(files()) == sorted(f"a.{name}" for name in FORMATS)
    assert transcribe("calls/e.wav", "-o", "some", "-f", "srt,vtt", "-f", "textgrid").status == 0
    assert list(files("some")) == ["e.TextGrid", "e.srt", "e.vtt"]


def test_what_has_its_outputs_is_skipped_unless_told(transcribe: Transcribe, tree: dict[str, str]) -> None:
    assert transcribe("calls", "-o", "out").status == 0
    os.remove("out/b/a.txt")
    Path("out/e.txt").write_text("corrected by hand\n")
    ran = transcribe("calls", "-o", "out")
    assert ran.status == 0
    assert "transcribed 1 recording, " in ran.err
    assert "skipped 3 whose outputs are there (--overwrite writes them again)" in ran.err
    assert files() == {f"{key}.txt": "corrected by hand\n" if key == "e" else f"{tree[key]}\n" for key in tree}
    ran = transcribe("calls", "-o", "out", "--overwrite")
    assert "skipped" not in ran.err
    assert files() == {f"{key}.txt": f"{tree[key]}\n" for key in tree}


def test_a_recording_that_was_replaced_is_done_again(
    transcribe: Transcribe, tree: dict[str, str], utterances: list[Utterance]
) -> None:
    assert transcribe("calls", "-o", "out").status == 0
    for path in Path("out").rglob("*.txt"):
        os.utime(path, (1e9, 1e9))
    for path in Path("calls").rglob("*.wav"):
        os.utime(path, (9e8, 9e8))
    shutil.copyfile(utterances[-1].audio, "calls/b/a.wav")
    ran = transcribe("calls", "-o", "out")
    assert "transcribed 1 recording, " in ran.err
    assert "skipped 3 whose outputs are there (--overwrite writes them again)" in ran.err
    assert files() == {f"{key}.txt": f"{utterances[-1].text if key == 'b/a' else tree[key]}\n" for key in tree}


def test_one_format_missing_and_the_recording_is_done_again(transcribe: Transcribe, tree: dict[str, str]) -> None:
    transcribe("calls/a.wav", "-o", "out")
    ran = transcribe("calls/a.wav", "calls/e.wav", "-o", "out", "-f", "txt,srt")
    assert "transcribed 2 recordings" in ran.err
    assert len(files()) == 4
    assert "skipped 2" in transcribe("calls/a.wav", "calls/e.wav", "-o", "out", "-f", "srt,txt").err


LIGHT = """
import json, sys
from asr.cli import main

for arguments in json.loads(sys.argv[1]):
    sys.argv = ["asr", "transcribe", *arguments]
    try:
        main()
    except SystemExit as stop:
        print(stop.code, "torch" in sys.modules)
"""

WRONG: list[tuple[list[str], str, int]] = [
    (["gone"], "gone: no such file", 1),
    (["--list", "gone.txt"], "gone.txt: the list cannot be read", 1),
    ([], "nothing to transcribe", 2),
    (["calls", "--model", "nowhere"], "nowhere: no such model folder; `asr train", 1),
    (["calls", "--format", "docx"], "--format docx: no such format; choose of txt, json", 2),
    (["calls", "--format", "txt,srt"], "several formats need --output-dir", 2),
    (["calls", "--format", "srt"], "srt is a file a recording, and there are 4; add --output-dir", 2),
    (["calls", "--overwrite"], "--overwrite means files in --output-dir", 2),
    (["calls", "--nbest", "3"], "add --format json", 2),
    (["calls", "--word-times"], "there are no times in txt; add --format json", 2),
    (["calls", "--colour", "always", "--output-dir", "out"], "--colour is for printed text", 2),
    (["calls", "--colour", "purple"], "purple", 2),
    (["calls", "--output-dir", "calls/e.wav"], "--output-dir calls/e.wav: ", 2),
    (["calls", "--batch-seconds", "0"], "--batch-seconds", 2),
]


def test_torch_is_not_loaded_for_wrong_arguments_nor_for_nothing_to_do(
    transcribe: Transcribe, tree: dict[str, str]
) -> None:
    transcribe("calls", "-o", "out")
    runs = [["--model", ".", *arguments] for arguments, _, _ in WRONG]
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, json.dumps([*runs, ["--model", ".", "calls", "-o", "out"]])],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == [f"{status} False" for _, _, status in WRONG] + ["0 False"], done.stderr
    assert "transcribed 0 recordings; skipped 4 whose outputs are there" in done.stderr


@pytest.mark.parametrize(("arguments", "message", "status"), WRONG)
def test_wrong_arguments_are_explained(
    transcribe: Transcribe, tree: dict[str, str], arguments: list[str], message: str, status: int
) -> None:
    ran = transcribe(*arguments)
    assert (ran.status, ran.out) == (status, "")
    assert message in ran.err


def test_an_unknown_device_exits_2(transcribe: Transcribe, tree: dict[str, str]) -> None:
    ran = transcribe("calls", "--device", "abacus")
    assert ran.status == 2
    assert "--device abacus: expected auto, cpu" in ran.err


def test_batches_change_no_text(transcribe: Transcribe, tree: dict[str, str]) -> None:
    assert len({transcribe("calls", "--batch-seconds", seconds).out for seconds in (1, 4, 500)}) == 1


@pytest.mark.parametrize(
    ("named", "remedy"),
    [
        (["calls/a.wav", "calls/b/a.wav"], "name the folder that both are below"),
        (["calls/a.wav", "calls/a.flac"], "--full-names keeps a.wav and a.flac apart"),
    ],
)
def test_two_recordings_for_one_output_are_told_before_anything_is_written(
    transcribe: Transcribe, tree: dict[str, str], named: list[str], remedy: str
) -> None:
    shutil.copy("calls/e.wav", "calls/a.flac")
    ran = transcribe(*named, "--output-dir", "out")
    assert (ran.status, Path("out").exists()) == (2, False)
    assert f"{named[0]} and {named[1]} would both be written to out/a.txt; {remedy}" in ran.err
    ran = transcribe(*named, "--format", "trn")
    assert (ran.status, ran.out) == (2, "")
    assert "would both be called a in trn" in ran.err
    assert transcribe(*named).status == 0  # the whole path is printed


def test_full_names_keep_two_kinds_of_one_recording_apart(transcribe: Transcribe, tree: dict[str, str]) -> None:
    shutil.copy("calls/e.wav", "calls/a.flac")
    assert transcribe("calls", "-o", "out", "--full-names").status == 0
    assert list(files()) == ["a.flac.txt", "a.wav.txt", "b/a.wav.txt", "b/c/d.wav.txt", "e.wav.txt"]


def test_whoever_waits_for_the_compiler_is_told(
    transcribe: Transcribe, utterances: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    from asr.cli import transcribe as module
    from asr.decoding.decoder import Decoder

    def slow(self: Decoder, *arguments: object) -> object:
        time.sleep(0.2 if calls == [] else 0)
        calls.append(self)
        return decode(self, *arguments)  # type: ignore[arg-type]

    calls: list[Decoder] = []
    decode = Decoder.__call__
    monkeypatch.setattr(Decoder, "__call__", slow)
    monkeypatch.setattr(module, "COMPILING_SECONDS", 0.05)
    told = transcribe(utterances[0].audio, "--beam", 4)
    assert told.err == module.COMPILING + "\n"
    quick = transcribe(utterances[0].audio, "--beam", 4)
    assert (quick.err, quick.out) == ("", told.out)
    calls.clear()
    assert transcribe(utterances[0].audio).err == ""  # greedy decoding compiles nothing


def test_a_model_with_an_attention_head_searches_with_a_beam(
    asr_command: Callable[..., Ran], small_config: Callable[..., Config], utterances: list[Utterance], tmp_path: Path
) -> None:
    config, tokenizer = small_config(model={"head": "attention"}), Tokenizer.from_characters("abc")
    torch.manual_seed(1)
    create_folder(tmp_path / "model", config, tokenizer)
    save_tensors(tmp_path / "model/model.safetensors", AcousticModel(config, len(tokenizer)).state_dict())
    ran = asr_command("transcribe", utterances[0].audio, "--model", tmp_path / "model", "--beam", 2, "--device", "cpu")
    assert (ran.status, ran.err) == (0, "")
