from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.data.corpora import yesno
from asr.data.manifest import read_manifest
from asr.data.utterance import Utterance
from asr.errors import CorpusError

RATE = 8000


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 recordings of the official names and layout, 0.1 s and longer."""
    root = tmp_path_factory.mktemp("yesno") / "waves_yesno"
    root.mkdir()
    (root / "README").write_text("The names tell what is said.\n")
    rng = np.random.default_rng(0)
    for number in range(60):
        samples = (rng.standard_normal(800 + 8 * number) * 3000).astype(np.int16)
        soundfile.write(root / f"{'_'.join(f'{number * 4 + 3:08b}')}.wav", samples, RATE)
    return root


def read(manifests: dict[str, Path]) -> dict[str, list[Utterance]]:
    return {part: list(read_manifest(path)) for part, path in manifests.items()}


def test_first_half_is_train_and_dev_and_second_half_is_test(corpus: Path, tmp_path: Path) -> None:
    parts = read(yesno.prepare(corpus, tmp_path))
    names = sorted(path.stem for path in corpus.glob("*.wav"))
    assert [row.id for row in parts["test"]] == names[30:]
    assert [row.id for row in parts["dev"]] == [names[i] for i in (4, 9, 14, 19, 24, 29)]
    assert sorted(row.id for part in ("train", "dev") for row in parts[part]) == names[:30]
    row = parts["train"][1]
    assert (row.id, row.text) == ("0_0_0_0_0_1_1_1", "NO NO NO NO NO YES YES YES")
    assert row.audio == corpus / "0_0_0_0_0_1_1_1.wav"
    assert (row.duration, row.sample_rate, row.speaker) == (0.101, RATE, None)


def test_utterances_are_those_of_lhotse(corpus: Path, tmp_path: Path) -> None:
    from lhotse.recipes import prepare_yesno

    ours = {row.id: row for rows in read(yesno.prepare(corpus, tmp_path)).values() for row in rows}
    theirs = {s.id: s for half in prepare_yesno(corpus).values() for s in half["supervisions"]}
    assert {id_: (row.text, row.duration) for id_, row in ours.items()} == {
        id_: (segment.text, segment.duration) for id_, segment in theirs.items()
    }


def test_parent_folder_gives_the_same(corpus: Path, tmp_path: Path) -> None:
    one, two = yesno.prepare(corpus, tmp_path / "one"), yesno.prepare(corpus.parent, tmp_path / "two")
    assert {part: path.read_text() for part, path in one.items()} == {
        part: path.read_text() for part, path in two.items()
    }


def copy_of(corpus: Path, target: Path, without: str = "") -> Path:
    target.mkdir()
    for path in corpus.glob("*.wav"):
        if path.stem != without:
            (target / path.name).symlink_to(path)
    return target


def test_missing_recording_is_found_by_counting(corpus: Path, tmp_path: Path) -> None:
    copy = copy_of(corpus, tmp_path / "waves_yesno", without="0_0_0_0_0_1_1_1")
    with pytest.raises(CorpusError, match=r"waves_yesno: 59 recordings instead of 60; .*unpack the official archive"):
        yesno.prepare(copy, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_damaged_recording_is_named(corpus: Path, tmp_path: Path) -> None:
    copy = copy_of(corpus, tmp_path / "waves_yesno", without="0_0_0_0_0_1_1_1")
    (copy / "0_0_0_0_0_1_1_1.wav").write_bytes(b"nothing")
    with pytest.raises(CorpusError, match=r"0_0_0_0_0_1_1_1\.wav.*Unpack the official archive again"):
        yesno.prepare(copy, tmp_path / "out")


def test_name_that_is_no_transcript_is_refused(corpus: Path, tmp_path: Path) -> None:
    copy = copy_of(corpus, tmp_path / "waves_yesno", without="0_0_0_0_0_1_1_1")
    (copy / "0_0_2_0_0_1_1_1.wav").symlink_to(corpus / "0_0_0_0_0_1_1_1.wav")
    with pytest.raises(CorpusError, match=r"expected 60 recordings with names such as 1_0_1_1_1_0_1_0\.wav"):
        yesno.prepare(copy, tmp_path / "out")


def test_other_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no YesNo here, .*official archive \(waves_yesno\) or its parent"):
        yesno.prepare(tmp_path, tmp_path / "out")


def test_archive_is_unpacked_and_its_checksum_compared(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "waves_yesno.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(corpus, "waves_yesno")
    with pytest.raises(CorpusError, match="sha256 is"):
        yesno.download(tmp_path)
    monkeypatch.setattr(yesno, "SHA256", hashlib.sha256(archive.read_bytes()).hexdigest())
    assert len(list(yesno.download(tmp_path).glob("*.wav"))) == 60


def test_checksum_is_that_of_torchaudio() -> None:
    from torchaudio.datasets.yesno import _RELEASE_CONFIGS

    release = _RELEASE_CONFIGS["release1"]
    assert (release["checksum"], release["folder_in_archive"]) == (yesno.SHA256, yesno.FOLDER)
    assert yesno.URL.split("//www.")[1] == release["url"].split("//www.")[1]
