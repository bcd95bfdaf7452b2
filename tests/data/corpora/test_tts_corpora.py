from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.data.corpora import libritts, ljspeech, vctk
from asr.data.manifest import read_manifest
from asr.data.utterance import Utterance
from asr.errors import CorpusError


def utterances(manifests: dict[str, Path]) -> dict[str, list[Utterance]]:
    return {part: list(read_manifest(path)) for part, path in manifests.items()}


def record(path: Path, rate: int, seconds: float = 0.1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(round(rate * seconds)), rate)


# LJ Speech


def write_ljspeech(root: Path, chapters: int = 50) -> Path:
    """Two passages a chapter."""
    lines = []
    for chapter in range(1, chapters + 1):
        for passage in (1, 2):
            name = f"LJ{chapter:03d}-{passage:04d}"
            record(root / "wavs" / f"{name}.wav", 22050)
            lines.append(f"{name}|In 1465, “Dr.” {passage}|In fourteen sixty-five, “Doctor” {passage}\n")
    (root / "metadata.csv").write_text("".join(lines), encoding="utf-8")
    return root


def test_ljspeech_layout_becomes_manifests_with_the_normalised_text(tmp_path: Path) -> None:
    root = write_ljspeech(tmp_path / "LJSpeech-1.1")
    parts = utterances(ljspeech.prepare(tmp_path, tmp_path / "out"))
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 92, "dev": 4, "test": 4}
    assert parts["train"][0] == Utterance(
        id="LJ001-0001",
        audio=root / "wavs/LJ001-0001.wav",
        duration=0.1,
        sample_rate=22050,
        text="In fourteen sixty-five, “Doctor” 1",
        speaker="LJ",
    )


def test_ljspeech_chapters_are_in_one_part_and_the_same_everywhere(tmp_path: Path) -> None:
    parts = utterances(ljspeech.prepare(write_ljspeech(tmp_path / "LJSpeech-1.1"), tmp_path / "out"))
    chapters = {part: {row.id[:5] for row in rows} for part, rows in parts.items()}
    assert chapters["dev"] == {"LJ007", "LJ032"}
    assert chapters["test"] == {"LJ019", "LJ044"}
    assert len(chapters["train"]) == 46


def test_ljspeech_missing_recording_and_missing_line_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_ljspeech(tmp_path / "LJSpeech-1.1", chapters=4)
    (root / "wavs/LJ001-0001.wav").unlink()
    record(root / "wavs/LJ001-0003.wav", 22050)
    with caplog.at_level(logging.WARNING):
        parts = utterances(ljspeech.prepare(root, tmp_path / "out"))
    assert sum(map(len, parts.values())) == 7
    assert "LJ001-0001.wav" in caplog.text
    assert "LJ001-0003: " in caplog.text


def test_ljspeech_bad_line_is_named(tmp_path: Path) -> None:
    root = write_ljspeech(tmp_path / "LJSpeech-1.1", chapters=4)
    with open(root / "metadata.csv", "a", encoding="utf-8") as file:
        file.write("LJ004-0003|only two\n")
    with pytest.raises(CorpusError, match=r"metadata\.csv, line 9: 2 fields instead of 3"):
        ljspeech.prepare(root, tmp_path / "out")


def test_ljspeech_other_folder_and_two_chapters_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no LJ Speech here, metadata\.csv is missing"):
        ljspeech.prepare(tmp_path, tmp_path / "out")
    with pytest.raises(CorpusError, match=r"2 speakers or chapters \(LJ001, LJ002\) cannot be split"):
        ljspeech.prepare(write_ljspeech(tmp_path / "LJSpeech-1.1", chapters=2), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# LibriTTS


def write_libritts(root: Path, part: str = "dev-clean", speaker: str = "84") -> Path:
    chapter = root / part / speaker / "121123"
    names = [f"{speaker}_121123_{index:06d}_000000" for index in (7, 8)]
    for index, name in enumerate(names):
        record(chapter / f"{name}.wav", 24000, 0.1 * (index + 1))
    texts = ("Mr. Noirtier, in 1815.\tMister Noirtier, in eighteen fifteen.", "Villefort rose.\tVillefort rose.")
    rows = [f"{name}\t{text}\n" for name, text in zip(names, texts, strict=True)]
    (chapter / f"{speaker}_121123.trans.tsv").write_text("".join(rows))
    (chapter / f"{speaker}_121123.book.tsv").write_text("".join(f"{row.rstrip()}\t30.5\n" for row in rows))
    return root


def test_libritts_layout_becomes_manifests_with_the_normalised_text(tmp_path: Path) -> None:
    root = write_libritts(write_libritts(tmp_path / "LibriTTS"), "train-clean-100", "19")
    parts = utterances(libritts.prepare(tmp_path, tmp_path / "out"))
    assert {part: len(rows) for part, rows in parts.items()} == {"dev-clean": 2, "train-clean-100": 2}
    first, second = parts["dev-clean"]
    assert first == Utterance(
        id="84_121123_000007_000000",
        audio=root / "dev-clean/84/121123/84_121123_000007_000000.wav",
        duration=0.1,
        sample_rate=24000,
        text="Mister Noirtier, in eighteen fifteen.",
        speaker="84",
    )
    assert (second.duration, second.text) == (0.2, "Villefort rose.")
    assert list(libritts.prepare(root, tmp_path / "one", parts=["train-clean-100"])) == ["train-clean-100"]


def test_libritts_what_is_missing_or_damaged_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_libritts(write_libritts(tmp_path / "LibriTTS"), speaker="19")
    (root / "dev-clean/84/121123/84_121123_000007_000000.wav").unlink()
    (root / "dev-clean/19/121123/19_121123_000007_000000.wav").write_bytes(b"nothing")
    record(root / "dev-clean/84/121123/84_121123_000009_000000.wav", 24000)
    with caplog.at_level(logging.WARNING):
        rows = utterances(libritts.prepare(root, tmp_path / "out"))["dev-clean"]
    assert [row.id for row in rows] == ["19_121123_000008_000000", "84_121123_000008_000000"]
    assert "libritts dev-clean: 2 utterances left out, missing or damaged in this copy" in caplog.text
    assert "84_121123_000007_000000.wav: no such file" in caplog.text
    assert "libritts dev-clean: 1 utterances left out, no transcript" in caplog.text


def test_libritts_bad_line_and_other_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no LibriTTS here"):
        libritts.prepare(tmp_path, tmp_path / "out")
    root = write_libritts(tmp_path / "LibriTTS")
    (root / "dev-clean/84/121123/84_121123.trans.tsv").write_text("84_121123_000007_000000\tone text alone\n")
    with pytest.raises(CorpusError, match=r"84_121123\.trans\.tsv, line 1: 2 fields instead of 3"):
        libritts.prepare(root, tmp_path / "out")
    assert list((tmp_path / "out").rglob("*.*")) == []


def test_libritts_manifest_is_what_lhotses_recipe_finds(tmp_path: Path) -> None:
    from lhotse.recipes import prepare_libritts

    root = write_libritts(write_libritts(tmp_path / "LibriTTS"), speaker="19")
    rows = utterances(libritts.prepare(root, tmp_path / "out"))["dev-clean"]
    theirs = prepare_libritts(root, dataset_parts="dev-clean")["dev-clean"]["supervisions"]
    assert {(row.id, row.text, row.speaker, row.duration) for row in rows} == {
        (segment.id, segment.text, segment.speaker, segment.duration) for segment in theirs
    }


# VCTK


def write_vctk(root: Path, speakers: int = 20) -> Path:
    """One sentence a speaker, from both microphones."""
    for index in range(speakers):
        speaker = f"p{225 + index}"
        for microphone in (1, 2):
            record(root / f"wav48_silence_trimmed/{speaker}/{speaker}_001_mic{microphone}.flac", 48000, microphone / 10)
        (root / "txt" / speaker).mkdir(parents=True)
        (root / f"txt/{speaker}/{speaker}_001.txt").write_text("Please call Stella.\n")
    (root / "wav48_silence_trimmed/log.txt").write_text("")
    return root


def test_vctk_layout_becomes_speaker_disjoint_manifests(tmp_path: Path) -> None:
    root = write_vctk(tmp_path / "VCTK-Corpus-0.92")
    parts = utterances(vctk.prepare(tmp_path, tmp_path / "out"))
    speakers = {part: {row.speaker for row in rows} for part, rows in parts.items()}
    assert speakers["dev"] == {"p227", "p237"}
    assert speakers["test"] == {"p232", "p242"}
    assert len(speakers["train"]) == 16
    assert not speakers["train"] & (speakers["dev"] | speakers["test"])
    assert parts["train"][0] == Utterance(
        id="p225_001",
        audio=root / "wav48_silence_trimmed/p225/p225_001_mic2.flac",
        duration=0.2,
        sample_rate=48000,
        text="Please call Stella.",
        speaker="p225",
    )


def test_vctk_microphone_can_be_chosen(tmp_path: Path) -> None:
    root = write_vctk(tmp_path / "VCTK-Corpus-0.92", speakers=3)
    parts = utterances(vctk.prepare(root, tmp_path / "out", microphone=1))
    assert {row.duration for rows in parts.values() for row in rows} == {0.1}
    with pytest.raises(CorpusError, match="microphone 3: VCTK was recorded with microphones 1 and 2"):
        vctk.prepare(root, tmp_path / "out", microphone=3)


def test_vctk_what_is_missing_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_vctk(tmp_path / "VCTK-Corpus-0.92")
    (root / "wav48_silence_trimmed/p226/p226_001_mic2.flac").unlink()
    (root / "txt/p228/p228_001.txt").unlink()
    (root / "txt/p228").rmdir()
    with caplog.at_level(logging.WARNING):
        parts = utterances(vctk.prepare(root, tmp_path / "out"))
    assert sum(map(len, parts.values())) == 18
    assert "vctk: 1 utterances left out, no recording of microphone 2" in caplog.text
    assert "txt/p228/p228_001.txt is missing" in caplog.text


def test_vctk_damaged_recording_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_vctk(tmp_path / "VCTK-Corpus-0.92", speakers=4)
    (root / "wav48_silence_trimmed/p226/p226_001_mic2.flac").write_bytes(b"nothing")
    with caplog.at_level(logging.WARNING):
        parts = utterances(vctk.prepare(root, tmp_path / "out"))
    assert sorted(row.speaker or "" for rows in parts.values() for row in rows) == ["p225", "p227", "p228"]
    assert "p226_001_mic2.flac: not audio" in caplog.text


def test_vctk_older_version_and_two_speakers_are_refused(tmp_path: Path) -> None:
    (tmp_path / "old" / "wav48").mkdir(parents=True)
    with pytest.raises(CorpusError, match=r"no VCTK 0\.92 here, wav48_silence_trimmed is missing"):
        vctk.prepare(tmp_path / "old", tmp_path / "out")
    with pytest.raises(CorpusError, match=r"2 speakers or chapters \(p225, p226\) cannot be split"):
        vctk.prepare(write_vctk(tmp_path / "VCTK-Corpus-0.92", speakers=2), tmp_path / "out")
