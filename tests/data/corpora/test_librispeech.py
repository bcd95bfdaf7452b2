from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.data.corpora import librispeech, mini_librispeech
from asr.data.manifest import read_manifest
from asr.data.utterance import Utterance
from asr.errors import CorpusError

REPOSITORY = Path(__file__).resolve().parents[3]
REAL = REPOSITORY / "data/corpora/LibriSpeech"
RATE = 16000


def utterances(manifests: dict[str, Path]) -> dict[str, list[Utterance]]:
    return {part: list(read_manifest(path)) for part, path in manifests.items()}


def write_part(root: Path, part: str, speakers: tuple[int, ...] = (84, 174)) -> Path:
    """One chapter a speaker, two utterances a chapter, 0.1 and 0.2 s."""
    for speaker in speakers:
        chapter = root / part / str(speaker) / "121123"
        chapter.mkdir(parents=True)
        lines = []
        for index, text in enumerate(("GO DO YOU HEAR", "BUT IN LESS THAN FIVE MINUTES")):
            name = f"{speaker}-121123-{index:04d}"
            soundfile.write(chapter / f"{name}.flac", np.zeros(1600 * (index + 1)), RATE)
            lines.append(f"{name} {text}\n")
        (chapter / f"{speaker}-121123.trans.txt").write_text("".join(lines))
    return root


def test_parts_that_are_there_become_manifests(tmp_path: Path) -> None:
    root = write_part(write_part(tmp_path / "LibriSpeech", "dev-clean"), "train-clean-5", (5, 6, 7))
    parts = utterances(librispeech.prepare(tmp_path, tmp_path / "out"))
    assert {part: len(rows) for part, rows in parts.items()} == {"dev-clean": 4, "train-clean-5": 6}
    first, second, *_ = sorted(parts["dev-clean"], key=lambda row: (int(row.speaker or 0), row.id))
    assert first == Utterance(
        id="84-121123-0000",
        audio=root / "dev-clean/84/121123/84-121123-0000.flac",
        duration=0.1,
        sample_rate=RATE,
        text="GO DO YOU HEAR",
        speaker="84",
    )
    assert (second.duration, second.text) == (0.2, "BUT IN LESS THAN FIVE MINUTES")


def test_asked_parts_alone_are_written(tmp_path: Path) -> None:
    root = write_part(write_part(tmp_path / "LibriSpeech", "dev-clean"), "test-other", (5,))
    assert list(librispeech.prepare(root, tmp_path / "one", parts=["test-other"])) == ["test-other"]
    assert list(librispeech.prepare(root, tmp_path / "two", parts="dev-clean")) == ["dev-clean"]
    assert not (tmp_path / "two" / "test-other").exists()


def test_mini_librispeech_is_its_two_parts(tmp_path: Path) -> None:
    root = write_part(write_part(tmp_path / "LibriSpeech", "dev-clean-2"), "train-clean-5", (5,))
    write_part(root, "test-clean", (6,))
    assert list(mini_librispeech.prepare(root, tmp_path / "out")) == ["train-clean-5", "dev-clean-2"]


def test_same_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    root = write_part(tmp_path / "LibriSpeech", "dev-clean", (3, 2, 1))
    one = librispeech.prepare(root, tmp_path / "one")["dev-clean"].read_text()
    two = librispeech.prepare(root, tmp_path / "two")["dev-clean"].read_text()
    assert one == two
    assert [row.id for row in read_manifest(tmp_path / "one" / "dev-clean")] == sorted(
        row.id for row in read_manifest(tmp_path / "one" / "dev-clean")
    )


def test_missing_recording_is_reported_and_the_rest_is_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_part(tmp_path / "LibriSpeech", "dev-clean")
    (root / "dev-clean/84/121123/84-121123-0001.flac").unlink()
    with caplog.at_level(logging.WARNING):
        rows = utterances(librispeech.prepare(root, tmp_path / "out"))["dev-clean"]
    assert "84-121123-0001" not in {row.id for row in rows}
    assert len(rows) == 3
    assert "84-121123-0001.flac" in caplog.text


def test_recordings_without_a_transcript_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_part(tmp_path / "LibriSpeech", "dev-clean")
    (root / "dev-clean/84/121123/84-121123.trans.txt").unlink()
    with caplog.at_level(logging.WARNING):
        rows = utterances(librispeech.prepare(root, tmp_path / "out"))["dev-clean"]
    assert {row.speaker for row in rows} == {"174"}
    assert "dev-clean: 2 utterances left out, no transcript" in caplog.text
    assert "84-121123-0001.flac" in caplog.text


@pytest.mark.parametrize(
    ("line", "message"), [("84-121123-0000\n", "line 1: 1 fields instead of 2"), (b"\xff\xfe\xff", "UTF")]
)
def test_bad_transcript_names_file_and_line(tmp_path: Path, line: str | bytes, message: str) -> None:
    root = write_part(tmp_path / "LibriSpeech", "dev-clean")
    table = root / "dev-clean/84/121123/84-121123.trans.txt"
    table.write_bytes(line if isinstance(line, bytes) else line.encode())
    with pytest.raises(CorpusError, match=f"84-121123.trans.txt.*{message}"):
        librispeech.prepare(root, tmp_path / "out")
    assert list((tmp_path / "out").rglob("*.*")) == []


def test_recording_that_is_not_audio_is_named(tmp_path: Path) -> None:
    root = write_part(tmp_path / "LibriSpeech", "dev-clean")
    (root / "dev-clean/84/121123/84-121123-0001.flac").write_bytes(b"nothing")
    with pytest.raises(CorpusError, match=r"84-121123-0001\.flac.*[Uu]npack the official archive again"):
        librispeech.prepare(root, tmp_path / "out")
    assert list((tmp_path / "out").rglob("*.*")) == []


def test_part_without_utterances_is_refused(tmp_path: Path) -> None:
    root = write_part(tmp_path / "LibriSpeech", "test-clean")
    (root / "dev-clean").mkdir()
    with pytest.raises(CorpusError, match=r"Lhotse's recipe fails .* expected dev-clean/SPEAKER/CHAPTER"):
        librispeech.prepare(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out" / "dev-clean" / "cuts.jsonl").exists()


def test_manifests_of_an_earlier_run_are_not_taken_for_the_corpus(tmp_path: Path) -> None:
    root = write_part(tmp_path / "LibriSpeech", "dev-clean")
    (manifest,) = librispeech.prepare(root, tmp_path).values()
    before = manifest.read_text()
    librispeech.prepare(tmp_path, tmp_path)
    assert manifest.read_text() == before


def test_other_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no LibriSpeech here, \*-\*/\*/\*/\*\.trans\.txt is missing"):
        librispeech.prepare(tmp_path, tmp_path / "out")
    with pytest.raises(CorpusError, match="nowhere: no such folder"):
        librispeech.prepare(tmp_path / "nowhere", tmp_path / "out")


def test_unknown_and_missing_parts_are_named(tmp_path: Path) -> None:
    root = write_part(tmp_path / "LibriSpeech", "dev-clean")
    with pytest.raises(CorpusError, match=r"no part 'dev-claen'; did you mean 'dev-clean'\?"):
        librispeech.prepare(root, tmp_path / "out", parts=["dev-claen"])
    with pytest.raises(CorpusError, match="no part 'dev'"):
        librispeech.download(tmp_path, parts=["dev"])
    with pytest.raises(CorpusError, match="there is no test-clean here, only dev-clean"):
        librispeech.prepare(root, tmp_path / "out", parts=["test-clean"])


@pytest.mark.skipif(not REAL.is_dir(), reason="no LibriSpeech in data/corpora/LibriSpeech")
def test_real_corpus_has_lhotses_counts_and_the_files_lengths(tmp_path: Path) -> None:
    from lhotse import CutSet
    from lhotse.recipes import prepare_librispeech

    parts = ["train-clean-5", "dev-clean", "train-clean-100"]
    manifests = librispeech.prepare(REAL, tmp_path, parts=parts)
    theirs = prepare_librispeech(REAL, dataset_parts=parts)
    for part, rows in utterances(manifests).items():
        segments = {segment.id: segment for segment in theirs[part]["supervisions"]}
        assert {row.id: (row.text, row.speaker, row.duration) for row in rows} == {
            key: (segment.text, segment.speaker, segment.duration) for key, segment in segments.items()
        }
        assert len(CutSet.from_jsonl(manifests[part])) == len(rows)
    rows = utterances(manifests)["train-clean-5"]
    hours = sum(soundfile.info(row.audio).frames for row in rows) / RATE / 3600
    assert (len(rows), len({row.speaker for row in rows})) == (1519, 28)
    assert sum(row.duration for row in rows) / 3600 == pytest.approx(hours) == pytest.approx(5.31, abs=0.005)
    assert [len(rows) for rows in utterances(manifests).values()] == [1519, 600, 488]
