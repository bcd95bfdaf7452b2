from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.audio import load_audio
from asr.data.corpora import tedlium3
from asr.data.manifest import read_manifest
from asr.data.utterance import Utterance
from asr.errors import CorpusError

RATE = 16000
STM = {
    "train": (
        "911Mothers_2010W",
        [
            "911Mothers_2010W 1 911Mothers_2010W 0.14 0.50 <NA> <unk> because of",
            "911Mothers_2010W 1 911Mothers_2010W 0.45 1.25 <NA> the fact that it 's <unk> unusual",
            "911Mothers_2010W 1 911Mothers_2010W 1.25 1.50 <NA> <unk>",
        ],
    ),
    "dev": (
        "BarrySchwartz_2005G",
        [
            ';; LABEL "o" "Overall"',
            "BarrySchwartz_2005G 1 inter_segment_gap 0 0.30 <o,,unknown> ignore_time_segment_in_scoring",
            "BarrySchwartz_2005G 1 BarrySchwartz_2005G 0.30 1.00 <o,f0,male> i'm going to talk {NOISE} to you",
        ],
    ),
    "test": (
        "AimeeMullins_2009P",
        [
            "AimeeMullins_2009P 1 AimeeMullins_2009P 0.10 2.50 <o,f0,female> {BREATH} caf\u00e9 tables",
            "",
            "AimeeMullins_2009P 1 AimeeMullins_2009P 2.10 2.50 <o,f0,female> after the end",
        ],
    ),
}


def write_corpus(root: Path, line_end: str = "\n", distribution: str = "legacy") -> Path:
    """One talk of two seconds in each part, as NIST sphere files."""
    rng = np.random.default_rng(0)
    for part, (talk, lines) in STM.items():
        folder = root / distribution / part
        (folder / "sph").mkdir(parents=True)
        (folder / "stm").mkdir()
        samples = (rng.standard_normal(2 * RATE) * 3000).astype(np.int16)
        soundfile.write(folder / "sph" / f"{talk}.sph", samples, RATE, format="NIST", subtype="PCM_16")
        (folder / "stm" / f"{talk}.stm").write_bytes("".join(line + line_end for line in lines).encode())
    return root


def read(manifests: dict[str, Path]) -> dict[str, list[Utterance]]:
    return {part: list(read_manifest(path)) for part, path in manifests.items()}


def test_segments_become_three_manifests(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "TEDLIUM_release-3")
    parts = read(tedlium3.prepare(root, tmp_path / "out"))
    assert {part: [row.text for row in rows] for part, rows in parts.items()} == {
        "train": ["because of", "the fact that it 's unusual"],
        "dev": ["i'm going to talk to you"],
        "test": ["caf\u00e9 tables"],
    }
    row = parts["train"][1]
    talk = root / "legacy/train/sph/911Mothers_2010W.sph"
    assert (row.id, row.speaker, row.audio) == ("911Mothers_2010W-1", "911Mothers_2010W", talk)
    assert (row.start, row.duration, row.recording_samples) == (0.45, 0.8, 2 * RATE)


def test_segments_are_read_from_the_talk(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "TEDLIUM_release-3")
    row = read(tedlium3.prepare(root, tmp_path / "out"))["dev"][0]
    whole, _ = soundfile.read(row.audio, dtype="float32")
    segment = load_audio(row.audio, RATE, start=row.start, duration=row.duration)
    np.testing.assert_array_equal(segment, whole[4800:16000])


def test_segments_are_those_of_lhotse(tmp_path: Path) -> None:
    from lhotse.audio.backend import audio_backend
    from lhotse.recipes import prepare_tedlium

    root = write_corpus(tmp_path / "TEDLIUM_release-3")
    stm = root / "legacy/dev/stm/BarrySchwartz_2005G.stm"
    stm.write_text("".join(stm.read_text().splitlines(keepends=True)[1:]))  # Lhotse takes no comments
    test = root / "legacy/test/stm/AimeeMullins_2009P.stm"
    test.write_text(test.read_text().replace("\n\n", "\n"))  # and no empty lines
    with audio_backend("LibsndfileBackend"):  # in place of the program sph2pipe
        theirs = prepare_tedlium(root)
    for part, rows in read(tedlium3.prepare(root, tmp_path / "out")).items():
        segments = {s.id: s for s in theirs[part]["supervisions"] if s.text != "<unk>"}
        assert {row.id: (row.start, row.duration, row.speaker) for row in rows} == {
            id_: (s.start, pytest.approx(s.duration), s.speaker) for id_, s in segments.items()
        }
        for row in rows:
            kept = [word for word in segments[row.id].text.split() if word[0] not in "<[{"]
            assert row.text == " ".join(kept)


def test_segment_behind_the_end_is_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_corpus(tmp_path / "TEDLIUM_release-3")
    (row,) = read(tedlium3.prepare(root, tmp_path / "out"))["test"]
    assert (row.start, row.duration) == (0.1, 1.9)  # the talk ends before the segment
    assert "tedlium3 test: 1 utterances left out, starting after the end of the talk" in caplog.text
    assert "AimeeMullins_2009P.stm, line 3: starts at 2.1 s, but the talk has 2.00 s" in caplog.text


def test_windows_line_ends_and_a_byte_order_mark_change_nothing(tmp_path: Path) -> None:
    one = write_corpus(tmp_path / "one" / "TEDLIUM_release-3")
    two = write_corpus(tmp_path / "two" / "TEDLIUM_release-3", line_end="\r\n")
    path = two / "legacy/train/stm/911Mothers_2010W.stm"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    rows = [
        [
            (row.id, row.text, row.start)
            for rows in read(tedlium3.prepare(root.parent, root / "out")).values()
            for row in rows
        ]
        for root in (one, two)
    ]
    assert rows[0] == rows[1]


def test_other_distribution(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "TEDLIUM_release-3", distribution="speaker-adaptation")
    parts = read(tedlium3.prepare(root, tmp_path / "out", distribution="speaker-adaptation"))
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 2, "dev": 1, "test": 1}
    with pytest.raises(CorpusError, match=r"no TED-LIUM 3 here, legacy/train/stm is missing"):
        tedlium3.prepare(root, tmp_path / "out")
    with pytest.raises(CorpusError, match=r"distribution 'old': TED-LIUM 3 has legacy and speaker-adaptation"):
        tedlium3.prepare(root, tmp_path / "out", distribution="old")


@pytest.mark.parametrize("missing", ["sph/911Mothers_2010W.sph", "stm/911Mothers_2010W.stm"])
def test_half_a_talk_is_named(tmp_path: Path, missing: str) -> None:
    root = write_corpus(tmp_path / "TEDLIUM_release-3")
    (root / "legacy/train" / missing).unlink()
    with pytest.raises(CorpusError, match=rf"legacy/train/{missing}: no such file.*unpack the official archive again"):
        tedlium3.prepare(root, tmp_path / "out")
    assert not (tmp_path / "out/train/cuts.jsonl").exists()


def test_talk_that_is_cut_short_is_named(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "TEDLIUM_release-3")
    talk = root / "legacy/train/sph/911Mothers_2010W.sph"
    talk.write_bytes(talk.read_bytes()[:20000])
    with pytest.raises(CorpusError, match=r"911Mothers_2010W\.sph.*unpack the official archive again"):
        tedlium3.prepare(root, tmp_path / "out")


@pytest.mark.parametrize(
    "line", ["911Mothers_2010W 1 911Mothers_2010W 0.5", "a 1 a zero 0.5 <NA> words", "a 1 a 0.5 0.5 <NA> words"]
)
def test_broken_line_is_named(tmp_path: Path, line: str) -> None:
    root = write_corpus(tmp_path / "TEDLIUM_release-3")
    with open(root / "legacy/train/stm/911Mothers_2010W.stm", "a") as stm:
        stm.write(line + "\n")
    with pytest.raises(CorpusError, match=r"911Mothers_2010W\.stm, line 4: expected 'TALK CHANNEL SPEAKER START END"):
        tedlium3.prepare(root, tmp_path / "out")


def test_other_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        CorpusError, match=r"no TED-LIUM 3 here, .*official archive \(TEDLIUM_release-3\) or its parent"
    ):
        tedlium3.prepare(tmp_path, tmp_path / "out")


def test_archive_with_links_to_the_talks_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = write_corpus(tmp_path / "made")
    (made / "data").mkdir()
    (made / "legacy/train/sph").rename(made / "data/sph")
    (made / "legacy/train/sph").symlink_to("../../data/sph")
    archive = tmp_path / "TEDLIUM_release-3.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(made, "TEDLIUM_release-3")
    monkeypatch.setattr(tedlium3, "SHA256", hashlib.sha256(archive.read_bytes()).hexdigest())
    parts = read(tedlium3.prepare(tedlium3.download(tmp_path), tmp_path / "out"))
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 2, "dev": 1, "test": 1}


def test_checksum_is_that_of_torchaudio() -> None:
    from torchaudio.datasets.tedlium import _RELEASE_CONFIGS

    release = _RELEASE_CONFIGS["release3"]
    assert (release["checksum"], release["folder_in_archive"]) == (tedlium3.SHA256, tedlium3.FOLDER)
    assert tedlium3.URL.split("//www.")[1] == release["url"].split("//www.")[1]
