from __future__ import annotations

import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE
from typing import TYPE_CHECKING, Any

import pytest

from asr.data.manifest import Utterance, read_manifest

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


def recordings(utterances: list[Utterance], count: int) -> dict[str, str]:
    """Fill the folder `calls` with so many recordings; returns the text of each key."""
    texts = {}
    for index in range(count):
        row = utterances[index % len(utterances)]
        Path(f"calls/{index % 7}").mkdir(parents=True, exist_ok=True)
        os.symlink(row.audio, f"calls/{index % 7}/{index:04d}.wav")
        texts[f"{index % 7}/{index:04d}"] = row.text or ""
    return texts


def written() -> dict[str, str]:
    """The text of each key; every file in the folder must be one."""
    paths = [path for path in Path("out").rglob("*") if path.is_file()]
    assert {path.suffix for path in paths} <= {".txt"}, paths
    return {str(path.relative_to("out").with_suffix("")): path.read_text(encoding="utf-8")[:-1] for path in paths}


def run_apart(trained: Trained, *arguments: object, stdout: Any = PIPE, stderr: Any = PIPE) -> subprocess.Popen[str]:
    """The command in a process of its own, which heeds Ctrl-C even where the tests were started to ignore it."""
    command = [sys.executable, "-m", "asr", "transcribe", "--model", trained.folder, "--device", "cpu", *arguments]
    return subprocess.Popen(
        list(map(str, command)),
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        stdout=stdout,
        stderr=stderr,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


# What it says while it works


def test_a_terminal_shows_how_far_it_is(trained: Trained, utterances: list[Utterance]) -> None:
    recordings(utterances, 20)
    Path("calls/0/0000.wav").unlink()
    Path("calls/0/0000.wav").touch()
    terminal, end = pty.openpty()
    running = run_apart(trained, "calls", stderr=end)
    os.close(end)
    shown = bytearray()

    def watch() -> None:
        try:
            while data := os.read(terminal, 4096):
                shown.extend(data)
        except OSError:  # Linux says so when the other end is closed
            pass

    watching = threading.Thread(target=watch)
    watching.start()
    out, _ = running.communicate()
    watching.join()
    os.close(terminal)
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown.decode())
    assert running.returncode == 1, text
    assert len(out.splitlines()) == 19
    assert "\x1b" not in out
    assert "loading the model" in text
    assert re.search(r"20 of 20 recordings, \d+ s of audio, [\d,.]+x real time, 0.0 s left, 1 failed", text)
    assert "error: calls/0/0000.wav: empty file" in text
    assert "transcribed 19 recordings" in text


def test_without_a_terminal_there_is_a_line_now_and_then(
    transcribe: Transcribe, utterances: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings(utterances, 20)
    assert transcribe("calls", "--batch-seconds", 4).err.count("\n") == 1
    monkeypatch.setattr("asr.cli.transcribe_progress.LINE_SECONDS", 0.0)
    *lines, last = transcribe("calls", "--batch-seconds", 4).err.splitlines()
    assert len(lines) > 20
    for line in lines:
        assert re.fullmatch(r"[\d]+ of 20 recordings, [\d.]+ s of audio, [\d,.]+x real time, [\d.]+ s left", line)
    assert last.startswith("transcribed 20 recordings, ")


# Where it writes and what it reads


def test_a_pipe_is_a_file_that_is_read_once(transcribe: Transcribe, utterances: list[Utterance]) -> None:
    reading, writing = os.pipe()  # as a shell does for <(COMMAND)
    os.write(writing, utterances[0].audio.read_bytes()[:60_000])
    os.close(writing)
    ran = transcribe(f"/dev/fd/{reading}")
    os.close(reading)
    assert (ran.status, ran.out) == (0, f"{utterances[0].text}\n"), ran.err


def test_a_name_that_standard_output_cannot_show_is_an_error(
    transcribe: Transcribe, utterances: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    os.symlink(utterances[0].audio, "日本.wav")
    with open("out.txt", "w", encoding="ascii") as ascii_only:
        monkeypatch.setattr(sys, "stdout", ascii_only)
        ran = transcribe("日本.wav", utterances[1].audio)
    assert ran.status == 1
    assert "error: standard output is ascii and has no" in ran.err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_standard_output_on_a_full_disk_is_an_error(trained: Trained, utterances: list[Utterance]) -> None:
    with open("/dev/full", "wb") as full:
        done = run_apart(trained, utterances[0].audio, stdout=full)
        _, err = done.communicate()
    assert done.returncode == 1
    assert err == "error: standard output cannot be written (No space left on device); make room\n"


# Stopping


def test_ctrl_c_half_way_and_the_same_command_goes_on(
    transcribe: Transcribe, trained: Trained, utterances: list[Utterance]
) -> None:
    texts = recordings(utterances, 800)
    running = run_apart(trained, "calls", "--output-dir", "out", "--batch-seconds", 2)
    deadline = time.monotonic() + 60
    while len(list(Path().glob("out/*/*.txt"))) < 20 and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=30)
    assert (running.returncode, out) == (130, ""), err
    done = written()
    assert 20 <= len(done) < len(texts)
    assert done.items() <= texts.items()
    assert f"transcribed {len(done)} recordings" in err
    assert "interrupted; what is written stays, and the same command goes on from here" in err
    assert "Traceback" not in err
    times = {key: os.stat(f"out/{key}.txt").st_mtime_ns for key in done}
    ran = transcribe("calls", "--output-dir", "out")
    assert ran.status == 0
    assert f"transcribed {len(texts) - len(done):,} recordings" in ran.err
    assert f"skipped {len(done)} whose outputs are there" in ran.err
    assert written() == texts
    assert times == {key: os.stat(f"out/{key}.txt").st_mtime_ns for key in done}


def test_a_reader_that_has_seen_enough_ends_it_quietly(trained: Trained, utterances: list[Utterance]) -> None:
    recordings(utterances, 300)
    running = run_apart(trained, "calls", "--batch-seconds", 2)
    assert running.stdout is not None
    assert running.stdout.readline().startswith("calls/0/0000.wav: ")
    running.stdout.close()
    assert running.stderr is not None
    err = running.stderr.read()
    running.stderr.close()
    assert running.wait() == 1
    assert "Traceback" not in err


# Recordings that are long


def sparse_silence(path: Path, seconds: int) -> None:
    """A WAV file of 16 bits at 8 kHz that takes no room on the disk."""
    size = 2 * 8000 * seconds
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16, b"data", size
    )
    path.write_bytes(head)
    os.truncate(path, len(head) + size)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_hours_of_silence_are_no_words_in_bounded_memory(trained: Trained, here: Path) -> None:
    sparse_silence(here / "long.wav", 3600 * 12)
    running = run_apart(trained, "long.wav", "--format", "json", "--threads", 1, "-o", "out")
    peak = 0
    while running.poll() is None:
        status = Path(f"/proc/{running.pid}/status").read_text()
        if found := re.search(r"VmHWM:\s+(\d+)", status):
            peak = int(found[1])
        time.sleep(0.1)
    _, err = running.communicate()
    assert running.returncode == 0, err
    transcript = json.loads(Path("out/long.json").read_text())
    assert (transcript["text"], transcript["duration"]) == ("", 3600 * 12)
    assert peak < 1.5e6  # kilobytes; half of it is torch
