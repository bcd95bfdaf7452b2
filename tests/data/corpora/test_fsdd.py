from __future__ import annotations

import io
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.data.corpora import fsdd
from asr.data.manifest import read_manifest
from asr.data.utterance import Utterance
from asr.errors import CorpusError

REPOSITORY = Path(__file__).resolve().parents[3]


def utterances(manifests: dict[str, Path]) -> dict[str, list[Utterance]]:
    return {part: list(read_manifest(path)) for part, path in manifests.items()}


@pytest.fixture(autouse=True)
def few_test_strings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsdd, "TEST_STRINGS", 40)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 3,000 recordings, 25-34 ms each."""
    root = tmp_path_factory.mktemp("fsdd") / "free-spoken-digit-dataset-1.0.10"
    (root / "recordings").mkdir(parents=True)
    for digit in range(10):
        one = io.BytesIO()
        soundfile.write(one, np.full(200 + 8 * digit, 0.1, dtype=np.float32), 8000, subtype="PCM_16", format="WAV")
        for speaker in fsdd.SPEAKERS:
            for take in range(50):
                (root / "recordings" / f"{digit}_{speaker}_{take}.wav").write_bytes(one.getvalue())
    return root


def test_official_split(corpus: Path, tmp_path: Path) -> None:
    parts = utterances(fsdd.prepare(corpus, tmp_path, strings=200))
    assert {part: len(rows) for part, rows in parts.items()} == {
        "train": 200,
        "dev": 20,
        "test": 300,
        "test_strings": 40,
    }
    for row in parts["test"]:
        digit, name, take = row.audio.stem.split("_")
        assert row.audio.parent == (corpus / "recordings").resolve()
        assert int(take) < 5
        assert (row.text, row.speaker) == (fsdd.WORDS[int(digit)], name)
    assert len({row.audio for row in parts["test"]}) == 300
    lengths = {part: [len((row.text or "").split()) for row in rows] for part, rows in parts.items()}
    assert set(lengths["train"]) == set(range(1, 8))
    assert set(lengths["test_strings"]) == {3, 4, 5, 6, 7}
    assert {row.speaker for row in parts["train"]} == set(fsdd.SPEAKERS)


def test_strings_are_files_as_the_manifest_says(corpus: Path, tmp_path: Path) -> None:
    parts = utterances(fsdd.prepare(corpus, tmp_path, strings=50))
    for part in ("train", "dev", "test_strings"):
        for row in parts[part]:
            info = soundfile.info(row.audio)
            assert (info.samplerate, info.channels, info.subtype) == (8000, 1, "PCM_16")
            assert info.frames / 8000 == row.duration
            assert row.audio.parent == tmp_path / "wav" / part
            words = (row.text or "").split()
            speech = sum(200 + 8 * fsdd.WORDS.index(word) for word in words)
            assert speech <= info.frames <= speech + 2400 * (len(words) + 1)


def test_same_seed_gives_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    def contents(folder: str, seed: int) -> tuple[list[str | None], list[bytes]]:
        rows = utterances(fsdd.prepare(corpus, tmp_path / folder, strings=30, seed=seed))["train"]
        return [row.text for row in rows], [row.audio.read_bytes() for row in rows]

    assert contents("one", 3) == contents("two", 3)
    assert contents("one", 3) != contents("three", 4)


@pytest.mark.parametrize("part_takes", [fsdd.TRAIN_TAKES, fsdd.DEV_TAKES, fsdd.TEST_TAKES])
def test_plan_uses_every_recording_equally_often(part_takes: range) -> None:
    plan = fsdd.plan_strings(["theo", "lucas"], part_takes, 800, fsdd.STRING_LENGTH_SHARES, np.random.default_rng(0))
    assert all(len({speaker for speaker, _, _ in string}) == 1 for string in plan)
    assert {take for string in plan for _, _, take in string} == set(part_takes)
    for speaker in ("theo", "lucas"):
        uses = Counter(recording for string in plan for recording in string if recording[0] == speaker)
        assert len(uses) == 10 * len(part_takes)
        assert max(uses.values()) - min(uses.values()) <= 1


def test_takes_of_the_parts_do_not_meet_and_cover_the_official_split() -> None:
    assert sorted([*fsdd.TEST_TAKES, *fsdd.TRAIN_TAKES, *fsdd.DEV_TAKES]) == list(range(50))
    assert list(fsdd.TEST_TAKES) == [0, 1, 2, 3, 4]
    assert sum(fsdd.STRING_LENGTH_SHARES) == pytest.approx(1)


def test_shares_of_lengths_hold() -> None:
    plan = fsdd.plan_strings(["theo"], range(5, 45), 4000, fsdd.STRING_LENGTH_SHARES, np.random.default_rng(0))
    counts = Counter(len(string) for string in plan)
    for length, share in enumerate(fsdd.STRING_LENGTH_SHARES, start=1):
        assert counts[length] / 4000 == pytest.approx(share, abs=0.03)


def test_held_out_speaker_is_only_in_the_test(corpus: Path, tmp_path: Path) -> None:
    parts = utterances(fsdd.prepare(corpus, tmp_path, strings=100, held_out_speaker="theo"))
    for part in ("train", "dev"):
        assert {row.speaker for row in parts[part]} == set(fsdd.SPEAKERS) - {"theo"}
    assert len(parts["test"]) == 500
    assert {row.speaker for part in ("test", "test_strings") for row in parts[part]} == {"theo"}


def test_join_keeps_the_speech_and_fills_gaps_with_its_noise_floor() -> None:
    rng = np.random.default_rng(1)
    quiet = 0.001 * rng.standard_normal(800)
    loud = 0.3 * np.sin(np.arange(1600) * 0.4)
    digit = np.concatenate([quiet, loud, quiet]).astype(np.float32)
    for _ in range(20):
        joined = fsdd.join_digits([digit, digit, digit], rng)
        assert joined.dtype == np.float32
        speech = np.abs(joined) > 0.1
        assert speech.sum() > 0.5 * 3 * 1600
        frames = joined[: len(joined) // 80 * 80].reshape(-1, 80)
        levels = frames.std(axis=1)
        assert levels.min() > 0.0002, "no digital silence"
        assert np.median(levels[levels < 0.01]) < 0.003
        assert 10 ** (-2 / 20) < np.abs(joined).max() / 0.3 < 10 ** (2 / 20)


def test_trimming_cuts_what_is_soft_at_the_ends_alone() -> None:
    parts = [(0.01, 400), (0.3, 1600), (0.02, 800), (0.3, 800), (0.05, 400)]  # level, samples
    pieces = [level * np.sin(np.arange(samples) * 0.7) for level, samples in parts]
    digit = (0.1 + np.concatenate(pieces)).astype(np.float32)  # an offset is no sound
    np.testing.assert_array_equal(fsdd.trim(digit, -10.0), digit[400:3600])
    np.testing.assert_array_equal(fsdd.trim(digit, -20.0), digit[400:])
    np.testing.assert_array_equal(fsdd.trim(digit, -40.0), digit)
    np.testing.assert_array_equal(fsdd.trim(digit[:2000], -10.0), digit[400:2000])
    np.testing.assert_array_equal(fsdd.trim(digit[:1900], -10.0), digit[:1900])  # would be shorter than 0.2 s
    silence = np.zeros(3000, np.float32)
    np.testing.assert_array_equal(fsdd.trim(silence, -10.0), silence)


def test_trimming_is_for_training_alone(tmp_path: Path) -> None:
    root = tmp_path / "free-spoken-digit-dataset-1.0.10"
    (root / "recordings").mkdir(parents=True)
    one = io.BytesIO()
    soft_end = np.concatenate([0.3 * np.sin(np.arange(1700)), 0.001 * np.sin(np.arange(800))])
    soundfile.write(one, soft_end, 8000, subtype="PCM_16", format="WAV")
    for speaker in fsdd.SPEAKERS:
        for digit in range(10):
            for take in range(50):
                (root / "recordings" / f"{digit}_{speaker}_{take}.wav").write_bytes(one.getvalue())

    def seconds(trimmed: float, part: str) -> list[float]:
        rows = utterances(fsdd.prepare(root, tmp_path / f"{trimmed}", strings=100, trimmed=trimmed))[part]
        return [row.duration for row in rows if len((row.text or "").split()) == 1]

    assert min(seconds(0.0, "train")) == min(seconds(1.0, "dev")) == 2500 / 8000
    assert min(seconds(1.0, "train")) == pytest.approx(1700 / 8000, abs=0.01)
    assert len({round(value, 4) for value in seconds(0.5, "train")}) > 2


def test_join_never_clips() -> None:
    digit = np.sin(np.arange(2000) * 0.5).astype(np.float32)
    for seed in range(10):
        assert np.abs(fsdd.join_digits([digit], np.random.default_rng(seed))).max() <= 0.9901


def test_missing_recording_is_named(corpus: Path, tmp_path: Path) -> None:
    copy = tmp_path / "fsdd"
    (copy / "recordings").mkdir(parents=True)
    for path in (corpus / "recordings").iterdir():
        if path.name != "7_lucas_31.wav":
            (copy / "recordings" / path.name).symlink_to(path)
    with pytest.raises(CorpusError, match=r"7_lucas_31\.wav: no such recording; 1 of the 3,000 are missing"):
        fsdd.prepare(copy, tmp_path / "out")
    (copy / "recordings" / "7_lucas_31.wav").write_bytes(b"nothing")
    with pytest.raises(CorpusError, match=r"7_lucas_31\.wav.*unpack the official archive again"):
        fsdd.prepare(copy, tmp_path / "out", strings=2000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"held_out_speaker": "mary"}, "held_out_speaker 'mary' is not in the corpus; choose of george, jackson"),
        ({"strings": 0}, "strings must be at least 1, not 0"),
        ({"trimmed": 1.5}, r"trimmed is a share from 0 to 1, not 1\.5"),
    ],
)
def test_impossible_options_are_refused(corpus: Path, tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        fsdd.prepare(corpus, tmp_path, **options)


def test_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no Free Spoken Digit Dataset here"):
        fsdd.prepare(tmp_path, tmp_path / "out")


def test_archive_is_unpacked_and_checked(corpus: Path, tmp_path: Path) -> None:
    archive = tmp_path / f"{fsdd.COMMIT}.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in (corpus / "recordings").iterdir():
            zipped.write(path, f"free-spoken-digit-dataset-{fsdd.COMMIT}/recordings/{path.name}")
    root = fsdd.download(tmp_path)
    assert root == (tmp_path / f"free-spoken-digit-dataset-{fsdd.COMMIT}").resolve()
    assert len(list((root / "recordings").iterdir())) == 3000


@pytest.mark.skipif(not (REPOSITORY / "data/corpora/fsdd").is_dir(), reason="no FSDD in data/corpora/fsdd")
def test_real_corpus(tmp_path: Path) -> None:
    parts = utterances(fsdd.prepare(REPOSITORY / "data/corpora/fsdd", tmp_path, strings=100))
    assert Counter(row.text for row in parts["test"]) == dict.fromkeys(fsdd.WORDS, 30)
    assert sum(row.duration for row in parts["test"]) == pytest.approx(2.15 * 60, abs=1)
    assert all(0.14 < row.duration < 12 for rows in parts.values() for row in rows)
