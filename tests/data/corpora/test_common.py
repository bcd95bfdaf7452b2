from __future__ import annotations

import io
import logging
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, Recording, RecordingSet, SupervisionSegment, SupervisionSet

from asr.audio import load_audio
from asr.data.corpora.common import (
    Archive,
    corpus_root,
    fetch,
    lhotse_recipe,
    recording,
    table_rows,
    utterances_from_lhotse,
    write_parts,
)
from asr.data.corpora.parts import choose_parts, split_groups
from asr.data.manifest import read_manifest
from asr.data.utterance import Utterance
from asr.errors import CorpusError, ManifestError

# Lhotse


@pytest.fixture
def stereo(tmp_path: Path) -> Recording:
    """Two seconds of noise at 8 kHz, different in both channels."""
    path = tmp_path / "call.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, (16000, 2)), 8000, subtype="FLOAT")
    return Recording.from_file(path)


def segment(id: str, start: float, duration: float, channel: int | list[int], **more: str) -> SupervisionSegment:
    return SupervisionSegment(id, "call", start=start, duration=duration, channel=channel, **more)


def test_segments_and_channels_are_the_audio_that_lhotse_reads(stereo: Recording, tmp_path: Path) -> None:
    supervisions = SupervisionSet.from_segments(
        [segment("b", 0.5, 0.25, 1, text="b", speaker="B"), segment("a", 0.25, 0.75, 0, text=""), segment("c", 1, 1, 0)]
    )
    recordings = RecordingSet.from_recordings([stereo])
    ours = list(utterances_from_lhotse(recordings, supervisions))
    assert [(row.id, row.text, row.speaker) for row in ours] == [("a", "", None), ("b", "b", "B"), ("c", None, None)]
    theirs = CutSet.from_manifests(recordings, supervisions).trim_to_supervisions(keep_overlapping=False)
    expected = {cut.supervisions[0].id: cut.load_audio()[0] for cut in theirs}
    manifest = write_parts({"all": ours}, tmp_path / "out")["all"]
    for row in read_manifest(manifest):
        heard = load_audio(row.audio, 8000, start=row.start, duration=row.duration, channel=row.channel)
        np.testing.assert_array_equal(heard, expected[row.id])


def test_all_channels_of_a_whole_recording_stay_one_utterance(stereo: Recording) -> None:
    (row,) = utterances_from_lhotse(RecordingSet.from_recordings([stereo]), [segment("a", 0, 2, [0, 1])])
    assert (row.channel, row.whole, row.duration) == (None, True, 2.0)


def test_end_behind_the_recording_is_cut(stereo: Recording) -> None:
    (row,) = utterances_from_lhotse(RecordingSet.from_recordings([stereo]), [segment("a", 1.5, 0.6, 0)])
    assert (row.start, row.duration) == (1.5, 0.5)


def test_segment_behind_the_recording_is_refused(stereo: Recording) -> None:
    with pytest.raises(CorpusError, match=r"a: starts at 2\.5 s of a recording of 2\.0 s"):
        list(utterances_from_lhotse(RecordingSet.from_recordings([stereo]), [segment("a", 2.5, 0.1, 0)]))


def test_supervision_without_recording_is_named(stereo: Recording) -> None:
    with pytest.raises(CorpusError, match="a: there is no recording 'other'"):
        list(
            utterances_from_lhotse(
                RecordingSet.from_recordings([stereo]), [SupervisionSegment("a", "other", start=0, duration=1)]
            )
        )


def test_resampled_recording_is_refused(stereo: Recording) -> None:
    with pytest.raises(CorpusError, match="a: the recording call has transforms"):
        list(utterances_from_lhotse(RecordingSet.from_recordings([stereo.resample(16000)]), [segment("a", 0, 1, 0)]))


def test_recipe_errors_become_one_that_names_folder_and_layout(tmp_path: Path) -> None:
    with (
        pytest.raises(
            CorpusError, match=f"{tmp_path}: Lhotse's recipe fails .*No such directory.*expected wav and etc"
        ),
        lhotse_recipe("an4", tmp_path, "wav and etc"),
    ):
        raise AssertionError("No such directory")


def test_recipe_warnings_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), lhotse_recipe("an4", tmp_path, "wav and etc"):
        for index in range(5):
            logging.warning("No such file: %d.wav", index)
    lines = [record.getMessage() for record in caplog.records if record.name == "asr.data.corpora.common"]
    assert lines[0] == "an4: 5 utterances left out, missing or damaged in this copy:"
    assert lines[1].endswith("No such file: 0.wav")
    assert lines[-1] == "  and 2 more"


# Archives


def make_archive(folder: Path, member: str = "corpus/a.txt", name: str = "corpus.tar.gz") -> Archive:
    """An archive that is downloaded already."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "made").write_text("content")
    with tarfile.open(folder / name, "w:gz") as tar:
        tar.add(folder / "made", member)
    return Archive(f"http://127.0.0.1:9/{name}", holds="corpus/a.txt")


def test_unpacked_archive_may_be_deleted(tmp_path: Path) -> None:
    archive = make_archive(tmp_path)
    assert fetch([archive], tmp_path) == tmp_path
    (tmp_path / "corpus.tar.gz").unlink()
    fetch([archive], tmp_path)
    assert (tmp_path / "corpus/a.txt").read_text() == "content"


def test_what_was_unpacked_and_deleted_is_unpacked_again(tmp_path: Path) -> None:
    archive = make_archive(tmp_path)
    fetch([archive], tmp_path)
    (tmp_path / "corpus/a.txt").unlink()
    fetch([archive], tmp_path)
    assert (tmp_path / "corpus/a.txt").read_text() == "content"


def test_archive_without_top_folder_is_unpacked_into_one(tmp_path: Path) -> None:
    make_archive(tmp_path, "a.txt")
    fetch([Archive("http://127.0.0.1:9/corpus.tar.gz", holds="a.txt", into="corpus")], tmp_path)
    assert (tmp_path / "corpus/a.txt").is_file()


def test_archive_of_other_content_is_refused(tmp_path: Path) -> None:
    archive = make_archive(tmp_path, "other/a.txt")
    with pytest.raises(CorpusError, match=r"corpus\.tar\.gz: unpacked, but there is no corpus/a\.txt"):
        fetch([archive], tmp_path)


def test_archive_that_writes_outside_the_folder_is_refused(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "in", "../outside.txt")
    with pytest.raises(CorpusError, match="refused to unpack, a member points outside the folder"):
        fetch([archive], tmp_path / "in")
    assert not (tmp_path / "outside.txt").exists()


def test_archive_with_another_checksum_is_refused(tmp_path: Path) -> None:
    make_archive(tmp_path)
    with pytest.raises(CorpusError, match=r"corpus\.tar\.gz: sha256 is [0-9a-f]{64}, expected 00"):
        fetch([Archive("http://127.0.0.1:9/corpus.tar.gz", sha256="00")], tmp_path)
    assert not (tmp_path / "corpus").exists()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_terminal_sees_a_progress_bar_and_a_file_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = make_archive(tmp_path)
    fetch([archive], tmp_path)
    assert capsys.readouterr().err == ""
    (tmp_path / "corpus/a.txt").unlink()
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    fetch([archive], tmp_path)
    assert "corpus.tar.gz: unpacking" in terminal.getvalue()


# Folders, tables and parts


def test_corpus_folder_is_found_in_its_parent_by_pattern(tmp_path: Path) -> None:
    (tmp_path / "corpus-1.1" / "wav").mkdir(parents=True)
    assert corpus_root(tmp_path, "Corpus", "wav", ["corpus*"]) == (tmp_path / "corpus-1.1").resolve()
    assert corpus_root(tmp_path / "corpus-1.1", "Corpus", ["mp3", "wav"]) == (tmp_path / "corpus-1.1").resolve()
    with pytest.raises(CorpusError, match=r"no Corpus here, mp3 is missing; .*\(corpus\*\) or its parent"):
        corpus_root(tmp_path, "Corpus", "mp3", ["corpus*"])


def test_table_rows_are_split_and_checked(tmp_path: Path) -> None:
    table = tmp_path / "table.txt"
    table.write_bytes(b"\xef\xbb\xbfa-1 GO ON \r\n\r\nb-1 STOP\r\n")
    assert list(table_rows(table, 2)) == [["a-1", "GO ON"], ["b-1", "STOP"]]
    with pytest.raises(CorpusError, match=r"table\.txt, line 1: 1 fields instead of 2: 'a-1 GO ON"):
        list(table_rows(table, 2, "|"))
    with pytest.raises(CorpusError, match=r"none\.txt: cannot be read"):
        list(table_rows(tmp_path / "none.txt", 2))


def test_groups_are_split_whole_at_even_steps() -> None:
    rows = [Utterance(f"{group:02d}-{index}", Path("a.wav"), 1.0, 8000) for group in range(30) for index in (0, 1)]
    parts = split_groups(rows, lambda row: row.id[:2], 0.1)
    groups = {part: sorted({row.id[:2] for row in found}) for part, found in parts.items()}
    assert groups["dev"] == ["02", "12", "22"]
    assert groups["test"] == ["07", "17", "27"]
    assert sum(map(len, parts.values())) == 60
    backwards = split_groups(reversed(rows), lambda row: row.id[:2], 0.1)
    assert {row.id for row in backwards["dev"]} == {row.id for row in parts["dev"]}


@pytest.mark.parametrize(
    ("groups", "expected"), [(3, (1, 1, 1)), (4, (2, 1, 1)), (19, (15, 2, 2)), (110, (88, 11, 11))]
)
def test_groups_of_any_number_give_three_parts(groups: int, expected: tuple[int, int, int]) -> None:
    rows = [Utterance(f"{group:03d}", Path("a.wav"), 1.0, 8000) for group in range(groups)]
    parts = split_groups(rows, lambda row: row.id, 0.1)
    assert tuple(len(parts[name]) for name in ("train", "dev", "test")) == expected


def test_parts_are_chosen_by_name() -> None:
    assert choose_parts(None, ["a", "b"], "Corpus") == ["a", "b"]
    assert choose_parts("b", ["a", "b"], "Corpus") == ["b"]
    assert choose_parts(["b", "a", "b"], ["a", "b"], "Corpus") == ["b", "a"]


def test_part_with_a_repeated_id_leaves_nothing(tmp_path: Path) -> None:
    audio = tmp_path / "a.wav"
    soundfile.write(audio, np.zeros(800), 8000)
    row = recording(audio, id="a", text="a", speaker=None)
    assert row == Utterance("a", audio, 0.1, 8000, "a")
    with pytest.raises(ManifestError, match="id 'a' occurs twice"):
        write_parts({"train": [row, row]}, tmp_path / "out")
    assert not list((tmp_path / "out" / "train").iterdir())
    manifest = write_parts({"train": [row]}, tmp_path / "out")["train"]
    with pytest.raises(CorpusError, match="train: not one usable utterance"):
        write_parts({"train": []}, tmp_path / "out")
    assert list(read_manifest(manifest)) == [row]
    with pytest.raises(CorpusError, match=r"b\.wav: no such file.*unpack the official archive again"):
        recording(tmp_path / "b.wav", id="b", text="b", speaker=None)
