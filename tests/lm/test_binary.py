from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from asr.errors import LanguageModelError, OutputError
from asr.lm.binary import MAGIC
from asr.lm.ngram import NgramModel
from asr.lm.training import train_ngram


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    (tmp_path / "text").write_text("the cat sat\nthe dog sat down\n")
    path = tmp_path / "model.lm"
    train_ngram([tmp_path / "text"], 2).model.save(path)
    return path


def test_every_cut_file_is_refused(binary: Path) -> None:
    whole = binary.read_bytes()
    for length in range(0, len(whole), 7):
        binary.write_bytes(whole[:length])
        with pytest.raises(LanguageModelError, match=r"model\.lm"):
            NgramModel.load(binary)
    binary.write_bytes(whole + b"\0")
    with pytest.raises(LanguageModelError, match=r"bytes where .* are due; the file is cut or damaged"):
        NgramModel.load(binary)


@pytest.mark.parametrize("content", [b"", b"mmap lm http://kheafield.com/code", b"\\data\\\nngram 1=3\n", b"\x80\x04."])
def test_foreign_files_are_refused(binary: Path, content: bytes) -> None:
    binary.write_bytes(content)
    with pytest.raises(LanguageModelError, match=r"model\.lm: no n-gram model of `asr lm train`"):
        NgramModel.load(binary)


def test_a_later_version_asks_for_a_later_asr(binary: Path) -> None:
    binary.write_bytes(binary.read_bytes().replace(b'"version": 1', b'"version": 2'))
    with pytest.raises(LanguageModelError, match=r"version 2 .* reads version 1; update asr"):
        NgramModel.load(binary)


def test_a_damaged_header_is_refused(binary: Path) -> None:
    whole = binary.read_bytes()
    first, header, rest = whole.split(b"\n", 2)
    assert first + b"\n" == MAGIC
    for key, value in (("length", 10**9), ("begin", -64), ("length", -1), ("name", "other"), ("length", "many")):
        values = json.loads(header)
        values["arrays"][1][key] = value
        binary.write_bytes(MAGIC + json.dumps(values).encode() + b"\n" + rest)
        with pytest.raises(LanguageModelError, match=r"model\.lm: the header is damaged"):
            NgramModel.load(binary)
    values = json.loads(header)
    values["arrays"][1]["length"] -= 1
    binary.write_bytes(MAGIC + json.dumps(values).encode().ljust(len(header)) + b"\n" + rest)
    with pytest.raises(LanguageModelError, match="arrays do not fit each other"):
        NgramModel.load(binary)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LanguageModelError, match=r"gone\.lm: cannot be read \(No such file or directory\)"):
        NgramModel.load(tmp_path / "gone.lm")


@pytest.mark.parametrize("name", ["model.lm", "model.arpa", "model.arpa.gz"])
def test_a_full_disk_leaves_the_old_model(
    binary: Path, tmp_path: Path, name: str, disk_full_after: Callable[[int], AbstractContextManager[None]]
) -> None:
    model = NgramModel.load(binary)
    model.save(tmp_path / name)
    before = (tmp_path / name).read_bytes()
    with disk_full_after(100), pytest.raises(OutputError, match="cannot be written"):
        model.save(tmp_path / name)
    assert (tmp_path / name).read_bytes() == before
    assert not list(tmp_path.glob(".*"))
