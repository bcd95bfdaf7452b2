from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.data.corpora import cmu_arctic
from asr.data.corpora.common import Archive
from asr.data.manifest import read_manifest
from asr.data.utterance import Utterance
from asr.errors import CorpusError

PROMPTS = {
    "arctic_a0001": "Author of the danger trail, Philip Steels, etc.",
    "arctic_a0002": "Not at this particular case, Tom, apologized Whittemore.",
    "arctic_b0539": "There was a change now.",
}


def write_speaker(root: Path, speaker: str, line_end: str = "\n") -> Path:
    """The folder of one speaker in the official layout: 0.1, 0.2 and 0.3 s of noise."""
    folder = root / f"cmu_us_{speaker}_arctic"
    (folder / "etc").mkdir(parents=True)
    (folder / "wav").mkdir()
    lines = [f'( {name} "{text}" ){line_end}' for name, text in PROMPTS.items()]
    (folder / "etc" / "txt.done.data").write_bytes("".join(lines).encode())
    rng = np.random.default_rng(len(speaker))
    for count, name in enumerate(PROMPTS, start=1):
        samples = (rng.standard_normal(1600 * count) * 3000).astype(np.int16)
        soundfile.write(folder / "wav" / f"{name}.wav", samples, 16000)
    return folder


def write_corpus(root: Path, speakers: tuple[str, ...] = ("bdl", "clb", "rms", "slt")) -> Path:
    for speaker in speakers:
        write_speaker(root, speaker)
    return root


def read(manifests: dict[str, Path]) -> dict[str, list[Utterance]]:
    return {part: list(read_manifest(path)) for part, path in manifests.items()}


def test_layout_becomes_parts_that_share_no_speaker(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "ARCTIC")
    parts = read(cmu_arctic.prepare(root, tmp_path / "out"))
    speakers = {part: {row.speaker for row in rows} for part, rows in parts.items()}
    assert speakers == {"train": {"bdl", "rms"}, "dev": {"clb"}, "test": {"slt"}}
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 6, "dev": 3, "test": 3}
    row = parts["test"][1]
    assert (row.id, row.text) == ("slt-arctic_a0002", "Not at this particular case, Tom, apologized Whittemore.")
    assert (row.audio, row.duration) == (root / "cmu_us_slt_arctic/wav/arctic_a0002.wav", 0.2)


def test_all_eighteen_speakers_give_three_for_dev_and_three_for_test(tmp_path: Path) -> None:
    parts = read(cmu_arctic.prepare(write_corpus(tmp_path / "ARCTIC", tuple(cmu_arctic.SHA256)), tmp_path / "out"))
    speakers = {part: {row.speaker for row in rows} for part, rows in parts.items()}
    assert speakers["dev"] == {"ahw", "eey", "lnh"}
    assert speakers["test"] == {"axb", "jmk", "slp"}
    assert len(speakers["train"]) == 12


def test_utterances_are_those_of_lhotse(tmp_path: Path) -> None:
    from lhotse.recipes import prepare_cmu_arctic

    root = write_corpus(tmp_path / "ARCTIC")
    ours = {row.id: row for rows in read(cmu_arctic.prepare(root, tmp_path / "out")).values() for row in rows}
    theirs = prepare_cmu_arctic(root)
    assert {id_: (row.text, row.speaker, row.duration, str(row.audio)) for id_, row in ours.items()} == {
        s.id: (s.text, s.speaker, s.duration, theirs["recordings"][s.recording_id].sources[0].source)
        for s in theirs["supervisions"]
    }


def test_windows_line_ends_and_quotes_within_a_prompt(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "ARCTIC", ("bdl", "clb"))
    folder = write_speaker(root, "awb", line_end="\r\n")
    with open(folder / "etc" / "txt.done.data", "ab") as out:
        out.write(b'\r\n( arctic_b0540 "He said "No" again." )\r\n')
    soundfile.write(folder / "wav" / "arctic_b0540.wav", np.zeros(1600), 16000)
    rows = [row for rows in read(cmu_arctic.prepare(root, tmp_path / "out")).values() for row in rows]
    texts = {row.id: row.text for row in rows if row.speaker == "awb"}
    assert texts == {f"awb-{name}": text for name, text in PROMPTS.items()} | {"awb-arctic_b0540": "He said No again."}


def test_recording_without_a_transcript_is_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_corpus(tmp_path / "ARCTIC")
    soundfile.write(root / "cmu_us_bdl_arctic/wav/arctic_a0507.wav", np.zeros(1600), 16000)
    parts = read(cmu_arctic.prepare(root, tmp_path / "out"))
    assert sum(len(rows) for rows in parts.values()) == 12
    assert "cmu_arctic bdl: 1 utterances left out" in caplog.text
    assert "cmu_us_bdl_arctic/wav/arctic_a0507.wav" in caplog.text


def test_missing_recording_is_named(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "ARCTIC")
    (root / "cmu_us_clb_arctic/wav/arctic_a0002.wav").unlink()
    with pytest.raises(CorpusError, match=r"cmu_us_clb_arctic/wav/arctic_a0002\.wav.*unpack the official archive"):
        cmu_arctic.prepare(root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_broken_prompt_line_is_named(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "ARCTIC")
    (root / "cmu_us_clb_arctic/etc/txt.done.data").write_text('( arctic_a0001 "Author" )\narctic_a0002 Not at this\n')
    with pytest.raises(CorpusError, match=r"txt\.done\.data, line 2: expected '\( arctic_a0001 \"WORDS\" \)', found"):
        cmu_arctic.prepare(root, tmp_path / "out")


def test_other_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no CMU ARCTIC here, cmu_us_\*_arctic/etc/txt\.done\.data is missing"):
        cmu_arctic.prepare(tmp_path, tmp_path / "out")


def test_two_speakers_are_too_few(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "ARCTIC", ("bdl", "slt"))
    with pytest.raises(CorpusError, match=r"bdl, slt.*at least three"):
        cmu_arctic.prepare(root.parent, tmp_path / "out")


def test_archives_are_unpacked_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archives = []
    for speaker in ("bdl", "clb", "slt"):
        path = tmp_path / f"cmu_us_{speaker}_arctic.tar.bz2"
        with tarfile.open(path, "w:bz2") as tar:
            tar.add(write_speaker(tmp_path / "made", speaker), f"cmu_us_{speaker}_arctic")
        archives.append(Archive(f"http://127.0.0.1:9/{path.name}", hashlib.sha256(path.read_bytes()).hexdigest()))
    monkeypatch.setattr(cmu_arctic, "ARCHIVES", archives)
    parts = read(cmu_arctic.prepare(cmu_arctic.download(tmp_path), tmp_path / "out"))
    assert sum(len(rows) for rows in parts.values()) == 9


def test_checksums_are_those_of_torchaudio() -> None:
    from torchaudio.datasets.cmuarctic import _CHECKSUMS

    assert {archive.url: archive.sha256 for archive in cmu_arctic.ARCHIVES} == _CHECKSUMS
