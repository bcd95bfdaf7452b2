from __future__ import annotations

import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.data.corpora import an4
from asr.data.manifest import read_manifest
from asr.data.utterance import Utterance
from asr.errors import CorpusError

REPOSITORY = Path(__file__).resolve().parents[3]
RATE = 16000


def utterances(manifests: dict[str, Path]) -> dict[str, list[Utterance]]:
    return {part: list(read_manifest(path)) for part, path in manifests.items()}


def write_an4(root: Path, suffix: str = ".wav", speakers: int = 20) -> Path:
    """A small corpus in the official layout: two utterances a speaker, half women and half men; one test speaker."""
    rng = np.random.default_rng(0)
    names = [
        f"{'fm'[index % 2]}{index:02d}x".translate(str.maketrans("0123456789", "abcdefghij"))
        for index in range(speakers)
    ]
    listed: dict[str, list[tuple[str, str, str]]] = {"train": [], "test": []}
    for name in names:
        listed["train"].append((f"an4_clstk/{name}/an1-{name}-b", "<s> ENTER FIVE </s> ", f"an1-{name}-b"))
        listed["train"].append((f"an4_clstk/{name}/cen2-{name}-b", "<s> O'BRIEN </s> ", f"cen2-{name}-b"))
    listed["test"].append(("an4test_clstk/mzzz/an9-mzzz-b", "RUBOUT G M ", "an9-mzzz-b"))
    (root / "etc").mkdir(parents=True)
    for part, rows in listed.items():
        (root / "etc" / f"an4_{part}.fileids").write_text("".join(f"{path}\n" for path, _, _ in rows))
        (root / "etc" / f"an4_{part}.transcription").write_text("".join(f"{text}({id_})\n" for _, text, id_ in rows))
        for path, _, _ in rows:
            audio = root / "wav" / f"{path}{suffix}"
            audio.parent.mkdir(parents=True, exist_ok=True)
            samples = (rng.standard_normal(1600) * 3000).astype(np.int16)
            soundfile.write(audio, samples, RATE, format="NIST" if suffix == ".sph" else "WAV", subtype="PCM_16")
    return root


@pytest.mark.parametrize("suffix", [".wav", ".sph"])
def test_layout_becomes_three_manifests(tmp_path: Path, suffix: str) -> None:
    root = write_an4(tmp_path / "an4", suffix)
    parts = utterances(an4.prepare(root, tmp_path / "out"))
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 36, "dev": 4, "test": 1}
    (test,) = parts["test"]
    assert test.text == "rubout g m"
    assert test.speaker == "mzzz"
    assert (test.duration, test.sample_rate) == (0.1, RATE)
    assert test.audio == (root / "wav/an4test_clstk/mzzz" / f"an9-mzzz-b{suffix}").resolve()
    assert {row.text for row in parts["train"]} == {"enter five", "o'brien"}
    assert all(row.audio.is_absolute() and row.audio.is_file() for rows in parts.values() for row in rows)


def test_parent_folder_gives_the_same_manifests(tmp_path: Path) -> None:
    root = write_an4(tmp_path / "an4")
    one = an4.prepare(root, tmp_path / "one")
    two = an4.prepare(root.parent, tmp_path / "two")
    assert {part: path.read_text() for part, path in one.items()} == {
        part: path.read_text() for part, path in two.items()
    }


def test_dev_speakers_are_in_neither_train_nor_test(tmp_path: Path) -> None:
    parts = utterances(an4.prepare(write_an4(tmp_path / "an4"), tmp_path / "out"))
    speakers = {part: {row.speaker for row in rows} for part, rows in parts.items()}
    assert not speakers["dev"] & (speakers["train"] | speakers["test"])
    assert Counter((name or "")[0] for name in speakers["dev"]) == {"f": 1, "m": 1}


def test_dev_rule_keeps_names_with_a_number_together_and_ignores_order() -> None:
    names = ["mabc", "mabc2", "mdef", "fxyz"]
    assert an4.dev_speakers(names, count=1) == an4.dev_speakers(reversed(names), count=1) == {"mabc", "mabc2"}


def test_missing_recording_is_named(tmp_path: Path) -> None:
    root = write_an4(tmp_path / "an4")
    (root / "wav/an4test_clstk/mzzz/an9-mzzz-b.wav").unlink()
    with pytest.raises(
        CorpusError, match=r"an4_test\.fileids, line 1: .*an4test_clstk/mzzz/an9-mzzz-b.*no such recording"
    ):
        an4.prepare(root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_recording_that_is_not_audio_is_named(tmp_path: Path) -> None:
    root = write_an4(tmp_path / "an4")
    (root / "wav/an4test_clstk/mzzz/an9-mzzz-b.wav").write_bytes(b"nothing")
    with pytest.raises(CorpusError, match=r"an9-mzzz-b\.wav.*unpack the official archive again"):
        an4.prepare(root, tmp_path / "out")


def test_missing_transcript_is_named(tmp_path: Path) -> None:
    root = write_an4(tmp_path / "an4")
    (root / "etc/an4_test.transcription").write_text("YES (other-mzzz-b)\n")
    with pytest.raises(CorpusError, match=r"an4_test\.fileids, line 1: an9-mzzz-b has no transcript"):
        an4.prepare(root, tmp_path / "out")


def test_line_without_id_is_named(tmp_path: Path) -> None:
    root = write_an4(tmp_path / "an4")
    (root / "etc/an4_test.transcription").write_text("RUBOUT G M\n")
    with pytest.raises(CorpusError, match=r"an4_test\.transcription, line 1: expected 'WORDS \(utterance-id\)'"):
        an4.prepare(root, tmp_path / "out")


def test_other_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no AN4 corpus here, etc/an4_train\.fileids is missing"):
        an4.prepare(tmp_path, tmp_path / "out")


def test_archive_without_all_recordings_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "an4_sphere.tar.gz", "w:gz") as tar:
        tar.add(write_an4(tmp_path / "made" / "an4", ".sph"), "an4")
    with pytest.raises(CorpusError, match=r"an4_sphere\.tar\.gz: the archive holds 40 train recordings instead of 948"):
        an4.download(tmp_path)


@pytest.mark.skipif(not (REPOSITORY / "data/corpora/an4").is_dir(), reason="no AN4 in data/corpora/an4")
def test_real_corpus_has_the_published_counts(tmp_path: Path) -> None:
    parts = utterances(an4.prepare(REPOSITORY / "data/corpora/an4", tmp_path))
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 845, "dev": 103, "test": 130}
    assert len({row.speaker for row in parts["train"]}) == 66
    assert Counter((name or "")[0] for name in {row.speaker for row in parts["dev"]}) == {"m": 6, "f": 2}
    assert len({row.speaker for row in parts["test"]}) == 10
    assert sum(len((row.text or "").split()) for row in parts["test"]) == 773
    assert set("".join(row.text or "" for rows in parts.values() for row in rows)) == set("abcdefghijklmnopqrstuvwxyz ")
