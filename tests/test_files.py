from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asr.errors import ConfigError, OutputError
from asr.files import check_not_read, replacing, write_text

if TYPE_CHECKING:
    from tests.conftest import DiskFull


def test_file_appears_whole_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with replacing(path) as partial:
        partial.write_text("new")
        assert not path.exists()
        assert partial.parent == tmp_path
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.txt", "new")]


def test_error_keeps_the_old_file_and_leaves_no_part(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as partial:
            partial.write_text("new")
            raise KeyError("x")

    with pytest.raises(KeyError):
        fail()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.txt", "old")]


def test_full_disk_while_writing_text_keeps_the_old_text(tmp_path: Path, disk_full_after: DiskFull) -> None:
    write_text(tmp_path / "new folder" / "README.md", "old")
    with disk_full_after(10), pytest.raises(OutputError, match=r"README\.md: cannot be written"):
        write_text(tmp_path / "new folder" / "README.md", "new and longer than the disk is large")
    assert [(f.name, f.read_text()) for f in (tmp_path / "new folder").iterdir()] == [("README.md", "old")]


def test_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"file/a\.txt: cannot be written"):
        write_text(tmp_path / "file" / "a.txt", "text")


@pytest.mark.parametrize("name", [".", "..", "folder", "folder/"])
def test_folder_in_place_of_a_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="is a folder; name a file"):
        write_text(Path(name), "text")
    with pytest.raises(IsADirectoryError, match="is a folder"), replacing(Path(name)):
        pass


def test_file_that_is_read_is_no_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("read")
    Path("b.txt").symlink_to("a.txt")
    for target in (Path("a.txt"), Path("b.txt"), tmp_path / "a.txt"):
        with pytest.raises(ConfigError, match=r"is read, and would be lost; choose another --report"):
            check_not_read(target, [None, Path("missing"), Path("a.txt")], "--report")
    check_not_read(Path("new.txt"), [Path("a.txt")])
    check_not_read(None, [Path("a.txt")])
