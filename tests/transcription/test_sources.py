from __future__ import annotations

import gzip
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from asr.data.manifest import Utterance, write_manifest
from asr.errors import ConfigError
from asr.transcription.sources import Sources


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def found(*inputs: str, lists: tuple[str, ...] = (), **options: bool) -> dict[str, str]:
    """Key of each path; nothing may be wrong."""
    sources = Sources(inputs, lists, **options)
    assert sources.problems == []
    recordings = list(sources)
    assert sources.count == len(recordings)
    return {recording.path: recording.key for recording in recordings}


def problem(*inputs: str, lists: tuple[str, ...] = ()) -> str:
    sources = Sources(inputs, lists)
    (error,) = sources.problems
    assert list(sources) == []
    return str(error)


def as_input(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


# Files and folders


def test_named_files_keep_their_order_and_are_called_by_their_names() -> None:
    touch("b.wav", "deep/er/a.tar.mp3", "no_suffix", ".hidden.wav")
    named = ("b.wav", "deep/er/a.tar.mp3", "./no_suffix", ".hidden.wav")
    assert list(found(*named).items()) == list(zip(named, ("b", "a.tar", "no_suffix", ".hidden"), strict=True))
    assert list(found(*named, full_names=True).values()) == ["b.wav", "a.tar.mp3", "no_suffix", ".hidden.wav"]


def test_a_folder_is_its_audio_files_to_the_bottom_sorted() -> None:
    touch(
        "calls/b.wav", "calls/a/z.FLAC", "calls/a/y/x.ogg", "calls/c/1.sph", "calls/a.txt", "calls/notes", "calls/A.mp3"
    )
    keys = ["A", "a/y/x", "a/z", "b", "c/1"]
    assert list(found("calls").values()) == list(found("calls/").values()) == list(found("./calls").values()) == keys
    assert list(found("calls")) == [f"calls/{name}" for name in ("A.mp3", "a/y/x.ogg", "a/z.FLAC", "b.wav", "c/1.sph")]
    os.chdir("calls")
    assert list(found(".").values()) == keys


def test_hidden_files_and_folders_are_left_out_of_a_folder() -> None:
    touch("calls/._call.wav", "calls/.cache/x.wav", "calls/call.wav", ".secret/folder.wav/y.wav")
    assert list(found("calls", ".secret").values()) == ["call", "folder.wav/y"]


def test_sound_of_other_kinds_is_counted_not_hidden() -> None:
    touch("calls/a.m4a", "calls/b.M4A", "calls/c.mp4", "calls/d.wav", "calls/e.pdf")
    sources = Sources(["calls"])
    assert (sources.count, dict(sources.unread)) == (1, {".m4a": 2, ".mp4": 1})


def test_folders_nested_deeper_than_python_recurses(here: Path) -> None:
    depth = 1500
    for _ in range(depth):
        os.mkdir("d")
        os.chdir("d")
    touch("end.wav")
    os.chdir(here)
    assert list(found("d").values()) == ["d/" * (depth - 1) + "end"]
    for _ in range(depth):  # pytest could not remove it
        os.chdir("d")
    os.remove("end.wav")
    for _ in range(depth):
        os.chdir("..")
        os.rmdir("d")


NAMES = [
    "with space.wav",
    'it\'s "quoted".wav',
    "😀 日本語.wav",
    "-dash.wav",
    "new\nline.wav",
    "[1]*?.wav",
    "~.wav",
    "@x.wav",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_any_kind(name: str) -> None:
    touch(name, f"folder/{name}")
    assert found(name) == {name: name[:-4]}
    assert list(found("folder").values()) == [name[:-4]]
    Path("list.txt").write_bytes(name.encode() + b"\0")
    assert found(lists=("list.txt",)) == {name: name[:-4]}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse names that are not UTF-8")
def test_names_that_are_not_utf_8_are_kept_and_shown_readable() -> None:
    os.mkdir(b"calls")
    Path(os.fsdecode(b"calls/caf\xe9.wav")).touch()
    Path("list.txt").write_bytes(b"calls/caf\xe9.wav\n")
    for sources in (Sources(["calls"]), Sources([os.fsdecode(b"calls/caf\xe9.wav")]), Sources([], ["list.txt"])):
        (recording,) = sources
        assert os.fsencode(recording.path) == b"calls/caf\xe9.wav"
        assert recording.name == "calls/caf\ufffd.wav"
        assert os.fsencode(recording.key).endswith(b"caf\xe9")


# Links, pipes, permissions


def test_links_are_followed_and_loops_end() -> None:
    touch("elsewhere/e.wav", "calls/a/one.wav")
    os.symlink("../elsewhere", "calls/there")
    os.symlink("../../elsewhere/e.wav", "calls/a/linked.wav")
    os.symlink(".", "calls/a/self")
    os.symlink("..", "calls/a/up")
    os.symlink("../calls", "elsewhere/back")
    os.symlink("around", "calls/around")
    assert list(found("calls").values()) == ["a/linked", "a/one", "there/e"]


def test_a_dangling_link_is_left_to_be_told_when_it_is_read() -> None:
    touch("calls/a.wav")
    os.symlink("gone.wav", "calls/b.wav")
    os.symlink("c.wav", "calls/c.wav")
    assert list(found("calls").values()) == ["a", "b", "c"]
    assert list(found("calls/b.wav").values()) == ["b"]


def test_a_pipe_in_a_folder_is_told_and_not_waited_for() -> None:
    touch("calls/a.wav")
    os.mkfifo("calls/b.wav")
    os.symlink("b.wav", "calls/c.wav")
    sources = Sources(["calls"])
    assert [recording.key for recording in sources] == ["a"]
    assert [str(error).split(":")[0] for error in sources.problems] == ["calls/b.wav", "calls/c.wav"]
    assert "pipe" in str(sources.problems[0])


@contextmanager
def somebody_else() -> Iterator[None]:
    """Permissions do not hold for the administrator."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_folder_that_cannot_be_read_is_told_and_the_others_go_on(here: Path) -> None:
    touch("calls/a.wav", "calls/locked/b.wav", "calls/open/c.wav", "closed/d.wav")
    here.chmod(0o755)
    Path("calls/locked").chmod(0)
    Path("closed").chmod(0)
    try:
        with somebody_else():
            sources = Sources(["closed", "calls"])
    finally:
        Path("calls/locked").chmod(0o755)
        Path("closed").chmod(0o755)
    assert [recording.key for recording in sources] == ["a", "open/c"]
    assert [str(error).partition(": ")[0] for error in sources.problems] == ["closed", "calls/locked"]
    assert all("cannot be read (Permission denied)" in str(error) for error in sources.problems)


# What is not there


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gone.wav", "gone.wav: no such file; check the path (the working directory is "),
        ("gone/*.wav", "gone/*.wav: no such file, and nothing matches this pattern"),
        ("empty", "empty: no audio files in this folder and below it (.wav .flac"),
        ("a.txt/b.wav", "a.txt/b.wav: no such file"),
        ("", "the empty string"),
        ("nothing.jsonl", "nothing.jsonl: no utterances"),
        ("words.jsonl", "words.jsonl, line 1: not JSON"),
        ("words.csv", "words.csv: a table, not audio; `asr data import words.csv --output DIR` makes a manifest of it"),
    ],
)
def test_what_is_not_there_is_a_problem_that_names_it(text: str, message: str) -> None:
    touch("empty/readme.txt", "a.txt", "nothing.jsonl")
    Path("words.jsonl").write_text("hello\n")
    Path("words.csv").write_text("audio,text\na.wav,hello\n")
    assert message in problem(text)


# Patterns


def test_a_pattern_is_what_it_matches_sorted() -> None:
    touch("calls/b.wav", "calls/a.wav", "calls/c.mp3", "calls/deep/er/d.wav", "calls/deep/e.wav")
    assert list(found("calls/*.wav")) == ["calls/a.wav", "calls/b.wav"]
    assert list(found("calls/**/[de].wav").values()) == ["e", "d"]
    assert list(found("ca??s").values()) == ["a", "b", "c", "deep/e", "deep/er/d"]


def test_a_file_that_is_called_like_a_pattern_is_that_file() -> None:
    touch("[ab].wav", "a.wav", "b.wav")
    assert list(found("[ab].wav")) == ["[ab].wav"]
    os.remove("[ab].wav")
    assert list(found("[ab].wav")) == ["a.wav", "b.wav"]


# Lists


@pytest.mark.parametrize(
    "data",
    [
        b"sub/a.wav\nb c.wav\n",
        b"sub/a.wav\n\nb c.wav",
        b"sub/a.wav\r\nb c.wav\r\n",
        b"./sub//a.wav\0b c.wav\0",
        b"\xef\xbb\xbfsub/a.wav\nb c.wav\n",
        "sub/a.wav\r\nb c.wav\r\n".encode("utf-16"),
    ],
)
def test_a_list_is_a_path_a_line_from_its_own_folder(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("lists").mkdir()
    Path("lists/calls.txt").write_bytes(data)
    assert found(lists=("lists/calls.txt",)) == {"lists/sub/a.wav": "sub/a", "lists/b c.wav": "b c"}
    as_input(monkeypatch, data)
    assert found(lists=("-",)) == {"sub/a.wav": "sub/a", "b c.wav": "b c"}


def test_paths_that_lead_out_of_the_folder_of_the_list_are_called_by_their_names(here: Path) -> None:
    Path("lists").mkdir()
    Path("lists/calls.txt").write_text(f"{here}/lists/in/a.wav\n{here}/out/b.wav\n../out/c.wav\n[x].wav\n-\n")
    keys = list(found(lists=("lists/calls.txt",)).values())
    assert keys == ["in/a", "b", "c", "[x]", "-"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\n \n", "names no recordings"),
        (b"RIFF\x24\x08\0\0WAVEfmt \x10\0\0\0\x01", "not a list of paths"),
        (None, "No such"),
    ],
)
def test_a_list_that_is_none_is_a_problem(data: bytes | None, message: str) -> None:
    if data is not None:
        Path("list.txt").write_bytes(data)
    text = problem(lists=("list.txt",))
    assert "list.txt" in text
    assert message in text


# Standard input


def test_standard_input_is_one_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    as_input(monkeypatch, b"RIFF")
    (recording,) = Sources(["-"])
    assert (recording.name, recording.key) == ("-", "stdin")
    assert recording.source.read() == b"RIFF"  # type: ignore[union-attr]


def test_standard_input_cannot_be_two_things() -> None:
    with pytest.raises(ConfigError, match="either audio"):
        Sources(["-"], ["-"])


def test_a_file_called_dash_is_reached_by_its_folder_or_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    touch("-")
    as_input(monkeypatch, b"-\n")
    assert found("./-") == {"./-": "-"} == found(lists=("-",))


# Manifests


@pytest.mark.parametrize("name", ["set", "set/cuts.jsonl", "other.jsonl.gz"])
def test_a_manifest_is_its_utterances_by_their_ids(name: str, here: Path) -> None:
    touch("set/a.wav")
    rows = [Utterance(identifier, here / "a.wav", 1.0, 8000, start=i) for i, identifier in enumerate(("x.1", "y/2"))]
    write_manifest("set/cuts.jsonl", rows)
    with gzip.open("other.jsonl.gz", "wb") as packed:
        packed.write(Path("set/cuts.jsonl").read_bytes())
    sources = Sources([name])
    for _ in range(2):
        assert [(recording.name, recording.key) for recording in sources] == [("x.1", "x.1"), ("y/2", "y/2")]
    assert [recording.source for recording in sources] == [recording.utterance for recording in sources]
    assert [recording.utterance.start for recording in sources if recording.utterance] == [0, 1]


def test_a_broken_manifest_is_left_out_whole(here: Path) -> None:
    write_manifest("bad.jsonl", [Utterance("x", here / "a.wav", 1.0, 8000)])
    with open("bad.jsonl", "a") as out:
        out.write("{}\n")
    assert "bad.jsonl, line 2: key 'id' is missing" in problem("bad.jsonl")


# Two that are the same, two of one name


def test_what_is_named_twice_is_taken_once(here: Path) -> None:
    touch("calls/a.wav", "calls/b.wav")
    Path("list.txt").write_text("calls/b.wav\ncalls/a.wav\n")
    sources = Sources(["calls/b.wav", "calls", "./calls/../calls", f"{here}/calls/a.wav"], ["list.txt"])
    assert [recording.path for recording in sources] == ["calls/b.wav", "calls/a.wav"]
    assert (sources.repeated, sources.problems) == (6, [])


def test_two_recordings_of_one_name_are_found() -> None:
    touch("a/x.wav", "b/x.wav", "b/x.mp3", "b/y.wav")
    assert Sources(["a", "b/y.wav"]).clash() is None
    clash = Sources(["a", "b/y.wav", "b/x.wav"]).clash()
    assert clash is not None
    assert [recording.path for recording in clash] == ["a/x.wav", "b/x.wav"]
    assert Sources(["b"]).clash() is not None
    assert Sources(["b"], full_names=True).clash() is None
    assert Sources(["."]).clash() is not None
    assert Sources(["."], full_names=True).clash() is None


def test_an_utterance_and_a_file_of_one_name_are_found(here: Path) -> None:
    touch("x.wav")
    write_manifest("set/cuts.jsonl", [Utterance("x", here / "x.wav", 1.0, 8000)])
    clash = Sources(["set", "x.wav"]).clash()
    assert clash is not None
    assert [recording.name for recording in clash] == ["x", "x.wav"]


def test_the_remedy_for_two_of_one_name_is_one_that_helps(here: Path) -> None:
    touch("a/x.wav", "a/x.flac", "b/x.wav")
    write_manifest("set/cuts.jsonl", [Utterance("x", here / "a/x.wav", 1.0, 8000)])

    def remedy(*inputs: str, full_names: bool = False) -> str:
        sources = Sources(inputs, full_names=full_names)
        clash = sources.clash()
        assert clash is not None
        return sources.remedy(*clash)

    assert remedy("a") == "--full-names keeps x.flac and x.wav apart, or rename one"
    assert remedy("a/x.wav", "a/x.flac") == "--full-names keeps x.wav and x.flac apart, or rename one"
    for inputs in (("a", "b"), ("a/x.wav", "b/x.wav")):
        assert remedy(*inputs, full_names=True).startswith("name the folder that both are below instead")
    assert Sources(["."], full_names=True).clash() is None  # as the remedies said
    assert remedy("set", "a/x.wav").startswith("transcribe them in separate calls")
