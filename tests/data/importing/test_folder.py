from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from asr.data.importing import import_data
from asr.data.manifest import Utterance, read_manifest
from asr.errors import ConfigError, ManifestError

Record = Callable[..., Path]


def test_text_files_at_any_depth(tmp_path: Path, record: Record) -> None:
    first, second, third = record("set/take1.wav"), record("set/a/b/take2.FLAC"), record("set/a/my take.ogg")
    (tmp_path / "set/take1.txt").write_bytes("\ufeff  Grüße \r\n".encode())
    (tmp_path / "set/a/b/take2.TXT").write_text("two\nlines\n")
    (tmp_path / "set/a/my take.txt").write_bytes(b"")
    (tmp_path / "set/a/._my take.wav").write_bytes(b"of the file manager")
    result = import_data(tmp_path / "set", tmp_path / "out")
    assert (result.format, result.problems, result.without_text) == ("text_files", [], 1)
    assert list(read_manifest(result.manifest)) == [
        Utterance("take1", first, 1.0, 8000, "Grüße"),
        Utterance("my_take", third, 1.0, 8000, ""),
        Utterance("take2", second, 1.0, 8000, "two\nlines"),
    ]


def test_folders_tell_equal_names_apart(tmp_path: Path, record: Record) -> None:
    for name in ("ann/1", "bob/1", "bob/x/1", "bob/2"):
        record(f"set/{name}.wav")
        (tmp_path / f"set/{name}.txt").write_text(name)
    result = import_data(tmp_path / "set", tmp_path / "out.jsonl.gz")
    assert result.manifest == tmp_path / "out.jsonl.gz"
    found = {u.text: u.id for u in read_manifest(result.manifest)}
    assert found == {"ann/1": "ann-1", "bob/1": "bob-1", "bob/x/1": "bob-x-1", "bob/2": "2"}


def test_what_lacks_its_other_half_is_named_and_the_rest_goes_on(tmp_path: Path, record: Record) -> None:
    for name in ("both", "silent", "latin"):
        record(f"set/x/{name}.wav")
    record("set/x/both.flac")
    (tmp_path / "set/x/phone.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    for name in ("both", "alone", "phone"):
        (tmp_path / f"set/x/{name}.txt").write_text(name)
    (tmp_path / "set/x/latin.txt").write_bytes("größe".encode("latin-1"))
    result = import_data(tmp_path / "set", tmp_path / "out")
    assert [(u.id, u.audio.name) for u in read_manifest(result.manifest)] == [("both", "both.flac")]
    assert {p.id: p.kind for p in result.problems} == {
        "x/both.wav": "a second recording",
        "x/silent.wav": "no transcript",
        "x/latin.wav": "unreadable transcript",
        "x/alone.txt": "missing audio",
        "x/phone.m4a": "unreadable audio",
    }
    messages = {p.id: p.message for p in result.problems}
    assert "x/silent.txt does not exist" in messages["x/silent.wav"]
    assert "ffmpeg" in messages["x/phone.m4a"]
    result = import_data(tmp_path / "set", tmp_path / "out", encoding="latin-1", overwrite=True)
    assert "größe" in [u.text for u in read_manifest(result.manifest)]


def test_a_folder_that_links_to_itself_is_read_once(tmp_path: Path, record: Record) -> None:
    audio = record("elsewhere/one.wav")
    (tmp_path / "elsewhere/one.txt").write_text("hello")
    (tmp_path / "set").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "set/linked")
    os.symlink(tmp_path / "set", tmp_path / "elsewhere/back")
    result = import_data(tmp_path / "set", tmp_path / "out")
    assert [(u.id, u.audio) for u in read_manifest(result.manifest)] == [("one", audio)]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such file names")
def test_a_file_name_that_is_not_unicode_is_a_problem(tmp_path: Path, record: Record) -> None:
    audio = record("set/good.wav")
    (tmp_path / "set/good.txt").write_text("fine")
    for suffix, content in ((b".wav", audio.read_bytes()), (b".txt", b"bad")):
        Path(os.fsdecode(os.fsencode(tmp_path / "set") + b"/b\xe4d" + suffix)).write_bytes(content)
    result = import_data(tmp_path / "set", tmp_path / "out")
    assert [u.id for u in read_manifest(result.manifest)] == ["good"]
    assert [p.kind for p in result.problems] == ["not Unicode"]
    assert all("\udce4" not in p.id + p.message for p in result.problems)


def test_librispeech(tmp_path: Path, record: Record) -> None:
    audio = [record(f"dev/19/198/19-198-000{n}.flac") for n in range(3)]
    (tmp_path / "dev/19/198/19-198.trans.txt").write_text("19-198-0000 NORTHANGER ABBEY\n19-198-0001 THIS\n\n")
    record("dev/x/other.wav")
    (tmp_path / "dev/x/all.trans.txt").write_text("other lower case\nmissing SOME WORDS\nother AGAIN\n")
    result = import_data(tmp_path / "dev", tmp_path / "out")
    assert result.format == "librispeech"
    assert list(read_manifest(result.manifest)) == [
        Utterance("19-198-0000", audio[0], 1.0, 8000, "NORTHANGER ABBEY", "19"),
        Utterance("19-198-0001", audio[1], 1.0, 8000, "THIS", "19"),
        Utterance("other", tmp_path / "dev/x/other.wav", 1.0, 8000, "lower case"),
    ]
    assert [(p.id, p.kind) for p in result.problems] == [
        ("19/198/19-198-0002.flac", "no transcript"),
        ("x/all.trans.txt, line 2", "missing audio"),
        ("x/all.trans.txt, line 3", "repeated id"),
    ]


def test_options_without_use_are_refused(tmp_path: Path, record: Record) -> None:
    record("set/one.wav")
    (tmp_path / "set/one.txt").write_text("one")
    with pytest.raises(ConfigError, match="format text_files has no columns"):
        import_data(tmp_path / "set", tmp_path / "out", columns={"text": "words"})
    with pytest.raises(ConfigError, match="format text_files names no paths"):
        import_data(tmp_path / "set", tmp_path / "out", audio_root=tmp_path)
    with pytest.raises(ManifestError, match="not a folder"):
        import_data(tmp_path / "set/one.wav", tmp_path / "out", format="text_files")
