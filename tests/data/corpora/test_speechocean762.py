from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.data.corpora import speechocean762
from asr.data.manifest import read_manifest
from asr.data.utterance import Utterance
from asr.errors import CorpusError


def write_corpus(root: Path, line_end: str = "\n", train_speakers: int = 16) -> Path:
    """Two utterances a speaker in the official layout: 0.1 s and 0.2 s of noise."""
    rng = np.random.default_rng(0)
    numbers = {"train": range(1, 2 * train_speakers, 2), "test": range(2, 8, 2)}
    for part, speakers in numbers.items():
        tables: dict[str, list[str]] = {"wav.scp": [], "text": [], "utt2spk": [], "spk2utt": []}
        for number in speakers:
            speaker, ids = f"{number:04d}", [f"{number:05d}{index:04d}" for index in (10, 35)]
            for seconds, (id_, text) in enumerate(zip(ids, ("WE CALL IT BEAR", "I'M  HERE"), strict=True), start=1):
                path = root / "WAVE" / f"SPEAKER{speaker}" / f"{id_}.WAV"
                path.parent.mkdir(parents=True, exist_ok=True)
                samples = (rng.standard_normal(1600 * seconds) * 3000).astype(np.int16)
                soundfile.write(path, samples, 16000, format="WAV")
                tables["wav.scp"].append(f"{id_}\tWAVE/SPEAKER{speaker}/{id_}.WAV")
                tables["text"].append(f"{id_}\t{text}")
                tables["utt2spk"].append(f"{id_}\t{speaker}")
            tables["spk2utt"].append(f"{speaker} {' '.join(ids)}")
        (root / part).mkdir()
        for name, lines in tables.items():
            (root / part / name).write_bytes("".join(line + line_end for line in lines).encode())
    (root / "resource").mkdir()
    (root / "resource" / "scores.json").write_text("{}")
    return root


def read(manifests: dict[str, Path]) -> dict[str, list[Utterance]]:
    return {part: list(read_manifest(path)) for part, path in manifests.items()}


def test_layout_becomes_three_manifests(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "speechocean762")
    parts = read(speechocean762.prepare(root, tmp_path / "out"))
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 28, "dev": 4, "test": 6}
    assert [row.speaker for row in parts["dev"]] == ["0011", "0011", "0031", "0031"]
    assert {row.speaker for row in parts["test"]} == {"0002", "0004", "0006"}
    row = parts["test"][0]
    assert (row.id, row.text, row.duration, row.sample_rate) == ("000020010", "WE CALL IT BEAR", 0.1, 16000)
    assert row.audio == root / "WAVE" / "SPEAKER0002" / "000020010.WAV"


def test_utterances_are_those_of_lhotse_reading_the_kaldi_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lhotse.kaldi import load_kaldi_data_dir

    root = write_corpus(tmp_path / "speechocean762")
    parts = read(speechocean762.prepare(root, tmp_path / "out"))
    monkeypatch.chdir(root)
    for official, ours in (("train", parts["train"] + parts["dev"]), ("test", parts["test"])):
        recordings, segments, _ = load_kaldi_data_dir(root / official, sampling_rate=16000)
        assert segments is not None
        assert {row.id: (row.text, row.speaker, row.duration) for row in ours} == {
            s.id: (s.text, s.speaker, recordings[s.recording_id].duration) for s in segments
        }


def test_parent_folder_and_windows_line_ends_give_the_same(tmp_path: Path) -> None:
    one = write_corpus(tmp_path / "one" / "speechocean762")
    two = write_corpus(tmp_path / "two" / "speechocean762", line_end="\r\n")
    (two / "train" / "text").write_bytes(b"\xef\xbb\xbf" + (two / "train" / "text").read_bytes())
    first, second = (
        read(speechocean762.prepare(root.parent, tmp_path / root.parent.name / "out")) for root in (one, two)
    )
    assert [(row.id, row.text, row.speaker) for rows in first.values() for row in rows] == [
        (row.id, row.text, row.speaker) for rows in second.values() for row in rows
    ]


@pytest.mark.parametrize(("table", "line"), [("text", "000050010\tWE CALL IT BEAR"), ("utt2spk", "000050010\t0005")])
def test_missing_line_of_a_table_is_named(tmp_path: Path, table: str, line: str) -> None:
    root = write_corpus(tmp_path / "speechocean762")
    path = root / "train" / table
    path.write_text(path.read_text().replace(f"{line}\n", ""))
    with pytest.raises(CorpusError, match=rf"train/{table}: no line for 000050010, .*unpack the official archive"):
        speechocean762.prepare(root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_transcript_without_words_is_named(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "speechocean762")
    path = root / "train" / "text"
    path.write_text(path.read_text().replace("000050010\tWE CALL IT BEAR", "000050010\t"))
    with pytest.raises(CorpusError, match=r"train/text, line 5: 1 fields instead of 2"):
        speechocean762.prepare(root, tmp_path / "out")


def test_missing_recording_is_named(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "speechocean762")
    (root / "WAVE/SPEAKER0005/000050010.WAV").unlink()
    with pytest.raises(CorpusError, match=r"SPEAKER0005/000050010\.WAV.*unpack the official archive again"):
        speechocean762.prepare(root, tmp_path / "out")


def test_other_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        CorpusError, match=r"no speechocean762 here, train/wav\.scp is missing; .*\(speechocean762\) or its parent"
    ):
        speechocean762.prepare(tmp_path, tmp_path / "out")


def test_archive_without_all_recordings_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(tmp_path / "speechocean762.tar.gz", "w:gz") as tar:
        tar.add(write_corpus(tmp_path / "made", train_speakers=6), "speechocean762")
    with pytest.raises(CorpusError, match=r"speechocean762: 12 train recordings instead of 2500, so the archive"):
        speechocean762.download(tmp_path)
    monkeypatch.setattr(speechocean762, "ARCHIVE_UTTERANCES", {"train": 12, "test": 6})
    assert speechocean762.download(tmp_path) == tmp_path / "speechocean762"
