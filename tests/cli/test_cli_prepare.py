from __future__ import annotations

import hashlib
import io
import re
import resource
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import asr.data.download as download_module
from asr.data.corpora import CORPORA, librispeech
from asr.data.manifest import read_manifest

REPOSITORY = Path(__file__).resolve().parents[2]
Command = Callable[..., Any]
TEXTS = ("GO DO YOU HEAR", "BUT IN LESS THAN FIVE MINUTES", "THE STAIRCASE GROANED")


class Server(ThreadingHTTPServer):
    """Serves `files` by path, with ranges; the first `drops` answers break off half-way, `silent` more at once."""

    daemon_threads = True
    files: dict[str, bytes]
    drops = 0
    silent = 0
    asked: list[tuple[str, str | None]]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        body = self.server.files.get(self.path)
        if body is None:
            self.send_error(404, "Not Found")
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        rest = body[start:]
        if self.server.drops > 0:
            self.server.drops -= 1
            rest = rest[: len(rest) // 2]
        elif self.server.silent > 0:
            self.server.silent -= 1
            rest = b""
        self.wfile.write(rest)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of the two archives of Mini LibriSpeech, which the corpus module believes to be OpenSLR."""
    monkeypatch.setattr(download_module, "BACKOFF_SECONDS", 0.01)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server(("127.0.0.1", 0), Handler) as running:
        running.asked = []
        running.files = {f"/{part}.tar.gz": archive(part) for part in librispeech.MINI_MD5}
        url = f"http://127.0.0.1:{running.server_port}"
        monkeypatch.setattr(librispeech, "MINI_URL", url)
        monkeypatch.setattr(
            librispeech,
            "MINI_MD5",
            {part: hashlib.md5(running.files[f"/{part}.tar.gz"]).hexdigest() for part in librispeech.MINI_MD5},
        )
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def archive(part: str, prefix: str = "LibriSpeech/") -> bytes:
    """A part of LibriSpeech with one speaker and three utterances of a second."""
    out = io.BytesIO()
    rng = np.random.default_rng(0)
    with tarfile.open(fileobj=out, mode="w:gz") as tar:

        def add(name: str, content: bytes) -> None:
            member = tarfile.TarInfo(f"{prefix}{part}/84/121123/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))

        for index in range(len(TEXTS)):
            flac = io.BytesIO()
            soundfile.write(flac, rng.uniform(-0.1, 0.1, 16000), 16000, format="FLAC")
            add(f"84-121123-{index:04d}.flac", flac.getvalue())
        lines = [f"84-121123-{index:04d} {text}\n" for index, text in enumerate(TEXTS)]
        add("84-121123.trans.txt", "".join(lines).encode())
    return out.getvalue()


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def write_speech_commands(root: Path, count: int = 30) -> Path:
    """`count` training words of 0.1 s by two speakers, and one for dev and test each."""
    one = io.BytesIO()
    soundfile.write(one, np.zeros(1600), 16000, format="WAV")
    names = [f"yes/{'aabb'[index % 4]}0_nohash_{index}.wav" for index in range(count)]
    for name in (*names, "no/c0_nohash_0.wav", "no/d0_nohash_0.wav"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(one.getvalue())
    (root / "validation_list.txt").write_text("no/c0_nohash_0.wav\n")
    (root / "testing_list.txt").write_text("no/d0_nohash_0.wav\n")
    return root


def rows(output: str) -> dict[str, list[str]]:
    """The rows of a printed table by their first cell."""
    return {line.split()[0]: re.split(r"\s{2,}", line) for line in output.splitlines()}


def test_list_is_a_table_of_every_corpus(asr_command: Command) -> None:
    ran = asr_command("prepare", "--list")
    assert ran.status == 0
    table = rows(ran.out)
    assert table["name"] == ["name", "language", "hours", "download", "licence", "title"]
    assert set(table) == {"name", *CORPORA}
    assert table["ljspeech"][:5] == ["ljspeech", "English", "23.9", "2.7 GB", "public domain"]
    assert table["fsdd"][2:5] == ["0.37", "16 MB", "CC BY-SA 4.0"]
    assert table["librispeech"][5].endswith("--option parts=[dev-clean] for a part alone")


def test_nothing_is_downloaded_unless_it_is_said(asr_command: Command, server: Server, tmp_path: Path) -> None:
    ran = asr_command("prepare", "mini_librispeech", "--output", tmp_path / "out")
    assert ran.status == 2
    for said in ("--source DIR", "--download", "459 MB", "CC BY 4.0", str(tmp_path / "out" / "download")):
        assert said in ran.err
    both = asr_command("prepare", "mini_librispeech", "--download", "--source", tmp_path)
    assert both.status == 2
    assert "give only one of --source DIR" in both.err
    assert not server.asked
    assert not list(tmp_path.iterdir())


def test_unknown_corpus_is_said_first(asr_command: Command) -> None:
    ran = asr_command("prepare", "librispech")
    assert ran.status == 1
    assert "did you mean 'librispeech'?" in ran.err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["an4", "--option", "speed=3"], 1, "an4: no option 'speed'"),
        (["an4", "--option", "speed"], 2, "speed: expected key=value"),
        (["an4", "--option", "speed=[3"], 2, "speed=[3"),
        (["fsdd", "--option", "strings=many"], 1, "fsdd: option strings cannot be 'many'"),
        (["an4"], 1, "no AN4 corpus here"),
    ],
)
def test_what_is_wrong_is_explained(
    asr_command: Command, tmp_path: Path, arguments: list[str], status: int, message: str
) -> None:
    ran = asr_command("prepare", *arguments, "--source", tmp_path, "--output", tmp_path / "out")
    assert ran.status == status
    assert message in ran.err
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not (REPOSITORY / "data/corpora/an4").is_dir(), reason="no AN4 in data/corpora/an4")
def test_real_an4_is_counted(asr_command: Command, tmp_path: Path) -> None:
    source = REPOSITORY / "data/corpora/an4"
    ran = asr_command("prepare", "an4", "--source", source, "--output", tmp_path)
    assert {part: cells[1:4] for part, cells in rows(ran.out).items() if part != "part"} == {
        "train": ["845", "0.63", "66"],
        "dev": ["103", "0.08", "8"],
        "test": ["130", "0.10", "10"],
    }


def test_parts_are_counted(asr_command: Command, tmp_path: Path) -> None:
    source = write_speech_commands(tmp_path / "corpus", 90)
    ran = asr_command("prepare", "speech_commands", "--source", source, "--output", tmp_path / "out[1]")
    assert ran.status == 0
    table = rows(ran.out)
    assert table["part"] == ["part", "utterances", "hours", "speakers", "manifest"]
    assert table["train"] == ["train", "90", "0.00", "2", str(tmp_path / "out[1]/train/cuts.jsonl")]
    assert table["test"][1:4] == ["1", "0.00", "1"]


def test_download_goes_through_dropped_connections(asr_command: Command, server: Server, tmp_path: Path) -> None:
    server.drops = 2
    ran = asr_command("prepare", "mini_librispeech", "--download", "--output", tmp_path / "out")
    assert (ran.status, ran.err) == (0, "")
    assert rows(ran.out)["train-clean-5"][1:4] == ["3", "0.00", "1"]
    size = len(server.files["/train-clean-5.tar.gz"])
    half, quarter = size // 2, (size - size // 2) // 2
    assert server.asked == [
        ("/train-clean-5.tar.gz", None),
        ("/train-clean-5.tar.gz", f"bytes={half}-"),
        ("/train-clean-5.tar.gz", f"bytes={half + quarter}-"),
        ("/dev-clean-2.tar.gz", None),
    ]
    found = list(read_manifest(tmp_path / "out" / "dev-clean-2"))
    assert [row.text for row in found] == list(TEXTS)
    assert all(row.audio.is_relative_to(tmp_path / "out/download/LibriSpeech/dev-clean-2") for row in found)


def test_download_that_gave_up_goes_on_in_the_next_run(asr_command: Command, server: Server, tmp_path: Path) -> None:
    server.drops, server.silent = 1, 5  # as many as there are attempts, one of which gets on
    first = asr_command("prepare", "mini_librispeech", "--download", "--output", tmp_path / "out")
    assert first.status == 1
    assert "the same command goes on from there" in first.err
    assert not list(tmp_path.rglob("cuts.jsonl"))
    kept = (tmp_path / "out/download/train-clean-5.tar.gz.part").stat().st_size
    server.asked.clear()
    again = asr_command("prepare", "mini_librispeech", "--download", "--output", tmp_path / "out")
    assert again.status == 0
    assert server.asked == [("/train-clean-5.tar.gz", f"bytes={kept}-"), ("/dev-clean-2.tar.gz", None)]
    server.asked.clear()
    assert asr_command("prepare", "mini_librispeech", "--download", "--output", tmp_path / "out").status == 0
    assert server.asked == []


def test_asked_parts_alone_are_downloaded(asr_command: Command, server: Server, tmp_path: Path) -> None:
    arguments = ("--download", "--output", tmp_path / "out", "--option", "parts=[dev-clean-2]")
    ran = asr_command("prepare", "librispeech", *arguments)
    assert ran.status == 0
    assert set(rows(ran.out)) == {"part", "dev-clean-2"}
    assert server.asked == [("/dev-clean-2.tar.gz", None)]


def test_damaged_and_missing_archives_are_refused(
    asr_command: Command, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = server.files["/train-clean-5.tar.gz"]
    server.files["/train-clean-5.tar.gz"] = whole[:-1] + b"x"
    ran = asr_command("prepare", "mini_librispeech", "--download", "--output", tmp_path / "out")
    assert ran.status == 1
    assert f"expected {hashlib.md5(whole).hexdigest()}" in ran.err
    server.files.clear()
    ran = asr_command("prepare", "mini_librispeech", "--download", "--output", tmp_path / "out")
    assert ran.status == 1
    assert "HTTP 404" in ran.err
    assert "--source DIR" in ran.err
    assert not list(tmp_path.rglob("*.flac"))


def test_archive_that_writes_elsewhere_is_refused(
    asr_command: Command, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = archive("train-clean-5", prefix="../../outside/")
    server.files["/train-clean-5.tar.gz"] = evil
    monkeypatch.setitem(librispeech.MINI_MD5, "train-clean-5", hashlib.md5(evil).hexdigest())
    ran = asr_command("prepare", "mini_librispeech", "--download", "--output", tmp_path / "out")
    assert ran.status == 1
    assert "points outside the folder" in ran.err
    assert not list(tmp_path.rglob("*.flac"))


def test_disk_full_while_downloading_is_said_and_made_good(
    asr_command: Command, server: Server, tmp_path: Path
) -> None:
    with full_disk(10_000):
        ran = asr_command("prepare", "mini_librispeech", "--download", "--output", tmp_path / "out")
    assert ran.status == 1
    assert "train-clean-5.tar.gz.part: cannot be written (File too large); make room and run again" in ran.err
    assert asr_command("prepare", "mini_librispeech", "--download", "--output", tmp_path / "out").status == 0


def test_disk_full_while_preparing_leaves_the_old_manifests(tmp_path: Path) -> None:
    source = write_speech_commands(tmp_path / "corpus")
    arguments = ["prepare", "speech_commands", "--source", str(source), "--output", str(tmp_path / "out")]

    def run(limit: str) -> subprocess.CompletedProcess[str]:
        code = (
            f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY)); "
            f"sys.argv = ['asr', *{arguments!r}]; from asr.cli import main; main()"
        )
        # -B: the limit is on compiled modules too.
        return subprocess.run([sys.executable, "-B", "-c", code], cwd=REPOSITORY, capture_output=True, text=True)

    first = run("5000")
    assert first.returncode == 1
    assert "train/cuts.jsonl: cannot be written (File too large)" in first.stderr
    assert "Traceback" not in first.stderr
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert run("resource.RLIM_INFINITY").returncode == 0
    before = (tmp_path / "out/train/cuts.jsonl").read_text()
    again = run("5000")
    assert again.returncode == 1
    assert (tmp_path / "out/train/cuts.jsonl").read_text() == before
    assert not list((tmp_path / "out/train").glob(".*"))


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["an5"], 1, "did you mean 'an4'?"),
        (["an4", "--option", "speed=3"], 1, "an4: no option 'speed'"),
        (["an4", "--option", "speed"], 2, "speed: expected key=value"),
        (["an4", "--option", "speed=[3"], 2, "speed=[3"),
        (["an4"], 1, "no AN4 corpus here"),
    ],
)
def test_prepare_explains_what_is_wrong(
    asr_command: Command, tmp_path: Path, arguments: list[str], status: int, message: str
) -> None:
    ran = asr_command("prepare", *arguments, "--source", tmp_path, "--output", tmp_path / "out")
    assert ran.status == status
    assert message in ran.err
