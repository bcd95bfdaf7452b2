from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.data.corpora import speech_commands
from asr.data.manifest import read_manifest
from asr.data.utterance import Utterance
from asr.errors import CorpusError

DEV = ("yes/0a7c2a8d_nohash_0.wav",)
TEST = ("no/b49caed3_nohash_1.wav", "yes/b49caed3_nohash_0.wav")
TRAIN = ("no/f00d0000_nohash_0.wav", "yes/c0ffee00_nohash_0.wav", "yes/c0ffee00_nohash_1.wav")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    root = tmp_path / "speech_commands_v0.02"
    for index, name in enumerate((*DEV, *TEST, *TRAIN, "_background_noise_/running_tap.wav")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, np.zeros(1600 + 16 * index), 16000)
    (root / "validation_list.txt").write_text("".join(f"{name}\n" for name in DEV))
    (root / "testing_list.txt").write_text("".join(f"{name}\n" for name in TEST))
    (root / "README.md").write_text("Speech Commands")
    return root


def utterances(manifests: dict[str, Path]) -> dict[str, list[Utterance]]:
    return {part: list(read_manifest(path)) for part, path in manifests.items()}


def test_official_lists_make_the_parts_and_noise_is_left_out(corpus: Path, tmp_path: Path) -> None:
    parts = utterances(speech_commands.prepare(corpus, tmp_path / "out"))
    found = {part: tuple(str(row.audio.relative_to(corpus)) for row in rows) for part, rows in parts.items()}
    assert found == {"train": TRAIN, "dev": DEV, "test": TEST}
    assert parts["dev"] == [
        Utterance("yes_0a7c2a8d_nohash_0", corpus / DEV[0], 0.1, 16000, text="yes", speaker="0a7c2a8d")
    ]
    assert {row.speaker for row in parts["train"]} == {"f00d0000", "c0ffee00"}
    assert [row.text for row in parts["test"]] == ["no", "yes"]


def test_parent_folder_gives_the_same_manifests(corpus: Path, tmp_path: Path) -> None:
    one = speech_commands.prepare(corpus, tmp_path / "one")
    two = speech_commands.prepare(corpus.parent, tmp_path / "two")
    assert [path.read_text() for path in one.values()] == [path.read_text() for path in two.values()]


def test_missing_and_damaged_recordings_are_reported(
    corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (corpus / TEST[0]).unlink()
    (corpus / TRAIN[1]).write_bytes(b"nothing")
    with caplog.at_level(logging.WARNING):
        parts = utterances(speech_commands.prepare(corpus, tmp_path / "out"))
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 2, "dev": 1, "test": 1}
    assert caplog.text.count("speech_commands: 1 utterances left out, missing or damaged in this copy") == 2
    assert f"{TEST[0]}: no such file" in caplog.text
    assert f"{TRAIN[1]}: not audio" in caplog.text


def test_missing_list_other_folder_and_empty_part_are_named(corpus: Path, tmp_path: Path) -> None:
    (corpus / "validation_list.txt").write_text("")
    with pytest.raises(CorpusError, match="dev: not one usable utterance"):
        speech_commands.prepare(corpus, tmp_path / "out")
    (corpus / "validation_list.txt").unlink()
    with pytest.raises(CorpusError, match=r"validation_list\.txt: cannot be read"):
        speech_commands.prepare(corpus, tmp_path / "out")
    (corpus / "testing_list.txt").unlink()
    with pytest.raises(CorpusError, match=r"no Speech Commands here, testing_list\.txt is missing"):
        speech_commands.prepare(corpus, tmp_path / "out")
