from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.data import corpora
from asr.data.corpora import CORPORA, an4, digits
from asr.data.manifest import Utterance, read_manifest
from asr.errors import CorpusError

REPOSITORY = Path(__file__).resolve().parents[2]
RATE = 16000


def utterances(manifests: dict[str, Path]) -> dict[str, list[Utterance]]:
    return {part: list(read_manifest(path)) for part, path in manifests.items()}


# AN4


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
def test_an4_layout_becomes_three_manifests(tmp_path: Path, suffix: str) -> None:
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


def test_an4_parent_folder_gives_the_same_manifests(tmp_path: Path) -> None:
    root = write_an4(tmp_path / "an4")
    one = an4.prepare(root, tmp_path / "one")
    two = an4.prepare(root.parent, tmp_path / "two")
    assert {part: path.read_text() for part, path in one.items()} == {
        part: path.read_text() for part, path in two.items()
    }


def test_an4_dev_speakers_are_in_neither_train_nor_test(tmp_path: Path) -> None:
    parts = utterances(an4.prepare(write_an4(tmp_path / "an4"), tmp_path / "out"))
    speakers = {part: {row.speaker for row in rows} for part, rows in parts.items()}
    assert not speakers["dev"] & (speakers["train"] | speakers["test"])
    assert Counter((name or "")[0] for name in speakers["dev"]) == {"f": 1, "m": 1}


def test_an4_dev_rule_keeps_names_with_a_number_together_and_ignores_order() -> None:
    names = ["mabc", "mabc2", "mdef", "fxyz"]
    assert an4.dev_speakers(names, count=1) == an4.dev_speakers(reversed(names), count=1) == {"mabc", "mabc2"}


def test_an4_missing_recording_is_named(tmp_path: Path) -> None:
    root = write_an4(tmp_path / "an4")
    (root / "wav/an4test_clstk/mzzz/an9-mzzz-b.wav").unlink()
    with pytest.raises(
        CorpusError, match=r"an4_test\.fileids, line 1: .*an4test_clstk/mzzz/an9-mzzz-b.*no such recording"
    ):
        an4.prepare(root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an4_recording_that_is_not_audio_is_named(tmp_path: Path) -> None:
    root = write_an4(tmp_path / "an4")
    (root / "wav/an4test_clstk/mzzz/an9-mzzz-b.wav").write_bytes(b"nothing")
    with pytest.raises(CorpusError, match=r"an9-mzzz-b\.wav.*unpack the official archive again"):
        an4.prepare(root, tmp_path / "out")


def test_an4_missing_transcript_is_named(tmp_path: Path) -> None:
    root = write_an4(tmp_path / "an4")
    (root / "etc/an4_test.transcription").write_text("YES (other-mzzz-b)\n")
    with pytest.raises(CorpusError, match=r"an4_test\.fileids, line 1: an9-mzzz-b has no transcript"):
        an4.prepare(root, tmp_path / "out")


def test_an4_line_without_id_is_named(tmp_path: Path) -> None:
    root = write_an4(tmp_path / "an4")
    (root / "etc/an4_test.transcription").write_text("RUBOUT G M\n")
    with pytest.raises(CorpusError, match=r"an4_test\.transcription, line 1: expected 'WORDS \(utterance-id\)'"):
        an4.prepare(root, tmp_path / "out")


def test_an4_other_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no AN4 corpus here, etc/an4_train\.fileids is missing"):
        an4.prepare(tmp_path, tmp_path / "out")


def test_an4_archive_without_all_recordings_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "an4_sphere.tar.gz", "w:gz") as tar:
        tar.add(write_an4(tmp_path / "made" / "an4", ".sph"), "an4")
    with pytest.raises(CorpusError, match=r"an4_sphere\.tar\.gz: the archive holds 40 train recordings instead of 948"):
        an4.download(tmp_path)


@pytest.mark.skipif(not (REPOSITORY / "data/corpora/an4").is_dir(), reason="no AN4 in data/corpora/an4")
def test_an4_real_corpus_has_the_published_counts(tmp_path: Path) -> None:
    parts = utterances(an4.prepare(REPOSITORY / "data/corpora/an4", tmp_path))
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 845, "dev": 103, "test": 130}
    assert len({row.speaker for row in parts["train"]}) == 66
    assert Counter((name or "")[0] for name in {row.speaker for row in parts["dev"]}) == {"m": 6, "f": 2}
    assert len({row.speaker for row in parts["test"]}) == 10
    assert sum(len((row.text or "").split()) for row in parts["test"]) == 773
    assert set("".join(row.text or "" for rows in parts.values() for row in rows)) == set("abcdefghijklmnopqrstuvwxyz ")


# Free Spoken Digit Dataset


@pytest.fixture(autouse=True)
def few_test_strings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "TEST_STRINGS", 40)


@pytest.fixture(scope="module")
def fsdd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 3,000 recordings, 25-34 ms each."""
    root = tmp_path_factory.mktemp("fsdd") / "free-spoken-digit-dataset-1.0.10"
    (root / "recordings").mkdir(parents=True)
    for digit in range(10):
        one = io.BytesIO()
        soundfile.write(one, np.full(200 + 8 * digit, 0.1, dtype=np.float32), 8000, subtype="PCM_16", format="WAV")
        for speaker in digits.SPEAKERS:
            for take in range(50):
                (root / "recordings" / f"{digit}_{speaker}_{take}.wav").write_bytes(one.getvalue())
    return root


def test_digits_official_split(fsdd: Path, tmp_path: Path) -> None:
    parts = utterances(digits.prepare(fsdd, tmp_path, strings=200))
    assert {part: len(rows) for part, rows in parts.items()} == {
        "train": 200,
        "dev": 20,
        "test": 300,
        "test_strings": 40,
    }
    for row in parts["test"]:
        digit, name, take = row.audio.stem.split("_")
        assert row.audio.parent == (fsdd / "recordings").resolve()
        assert int(take) < 5
        assert (row.text, row.speaker) == (digits.WORDS[int(digit)], name)
    assert len({row.audio for row in parts["test"]}) == 300
    lengths = {part: [len((row.text or "").split()) for row in rows] for part, rows in parts.items()}
    assert set(lengths["train"]) == set(range(1, 8))
    assert set(lengths["test_strings"]) == {3, 4, 5, 6, 7}
    assert {row.speaker for row in parts["train"]} == set(digits.SPEAKERS)


def test_digits_strings_are_files_as_the_manifest_says(fsdd: Path, tmp_path: Path) -> None:
    parts = utterances(digits.prepare(fsdd, tmp_path, strings=50))
    for part in ("train", "dev", "test_strings"):
        for row in parts[part]:
            info = soundfile.info(row.audio)
            assert (info.samplerate, info.channels, info.subtype) == (8000, 1, "PCM_16")
            assert info.frames / 8000 == row.duration
            assert row.audio.parent == tmp_path / "wav" / part
            words = (row.text or "").split()
            speech = sum(200 + 8 * digits.WORDS.index(word) for word in words)
            assert speech <= info.frames <= speech + 2400 * (len(words) + 1)


def test_digits_same_seed_gives_the_same_bytes(fsdd: Path, tmp_path: Path) -> None:
    def contents(folder: str, seed: int) -> tuple[list[str | None], list[bytes]]:
        rows = utterances(digits.prepare(fsdd, tmp_path / folder, strings=30, seed=seed))["train"]
        return [row.text for row in rows], [row.audio.read_bytes() for row in rows]

    assert contents("one", 3) == contents("two", 3)
    assert contents("one", 3) != contents("three", 4)


@pytest.mark.parametrize("part_takes", [digits.TRAIN_TAKES, digits.DEV_TAKES, digits.TEST_TAKES])
def test_digits_plan_uses_every_recording_equally_often(part_takes: range) -> None:
    plan = digits.plan_strings(
        ["theo", "lucas"], part_takes, 800, digits.STRING_LENGTH_SHARES, np.random.default_rng(0)
    )
    assert all(len({speaker for speaker, _, _ in string}) == 1 for string in plan)
    assert {take for string in plan for _, _, take in string} == set(part_takes)
    for speaker in ("theo", "lucas"):
        uses = Counter(recording for string in plan for recording in string if recording[0] == speaker)
        assert len(uses) == 10 * len(part_takes)
        assert max(uses.values()) - min(uses.values()) <= 1


def test_digits_takes_of_the_parts_do_not_meet_and_cover_the_official_split() -> None:
    assert sorted([*digits.TEST_TAKES, *digits.TRAIN_TAKES, *digits.DEV_TAKES]) == list(range(50))
    assert list(digits.TEST_TAKES) == [0, 1, 2, 3, 4]
    assert sum(digits.STRING_LENGTH_SHARES) == pytest.approx(1)


def test_digits_shares_of_lengths_hold() -> None:
    plan = digits.plan_strings(["theo"], range(5, 45), 4000, digits.STRING_LENGTH_SHARES, np.random.default_rng(0))
    counts = Counter(len(string) for string in plan)
    for length, share in enumerate(digits.STRING_LENGTH_SHARES, start=1):
        assert counts[length] / 4000 == pytest.approx(share, abs=0.03)


def test_digits_held_out_speaker_is_only_in_the_test(fsdd: Path, tmp_path: Path) -> None:
    parts = utterances(digits.prepare(fsdd, tmp_path, strings=100, held_out_speaker="theo"))
    for part in ("train", "dev"):
        assert {row.speaker for row in parts[part]} == set(digits.SPEAKERS) - {"theo"}
    assert len(parts["test"]) == 500
    assert {row.speaker for part in ("test", "test_strings") for row in parts[part]} == {"theo"}


def test_digits_join_keeps_the_speech_and_fills_gaps_with_its_noise_floor() -> None:
    rng = np.random.default_rng(1)
    quiet = 0.001 * rng.standard_normal(800)
    loud = 0.3 * np.sin(np.arange(1600) * 0.4)
    digit = np.concatenate([quiet, loud, quiet]).astype(np.float32)
    for _ in range(20):
        joined = digits.join_digits([digit, digit, digit], rng)
        assert joined.dtype == np.float32
        speech = np.abs(joined) > 0.1
        assert speech.sum() > 0.5 * 3 * 1600
        frames = joined[: len(joined) // 80 * 80].reshape(-1, 80)
        levels = frames.std(axis=1)
        assert levels.min() > 0.0002, "no digital silence"
        assert np.median(levels[levels < 0.01]) < 0.003
        assert 10 ** (-2 / 20) < np.abs(joined).max() / 0.3 < 10 ** (2 / 20)


def test_digits_join_never_clips() -> None:
    digit = np.sin(np.arange(2000) * 0.5).astype(np.float32)
    for seed in range(10):
        assert np.abs(digits.join_digits([digit], np.random.default_rng(seed))).max() <= 0.9901


def test_digits_missing_recording_is_named(fsdd: Path, tmp_path: Path) -> None:
    copy = tmp_path / "fsdd"
    (copy / "recordings").mkdir(parents=True)
    for path in (fsdd / "recordings").iterdir():
        if path.name != "7_lucas_31.wav":
            (copy / "recordings" / path.name).symlink_to(path)
    with pytest.raises(CorpusError, match=r"7_lucas_31\.wav: no such recording; 1 of the 3,000 are missing"):
        digits.prepare(copy, tmp_path / "out")
    (copy / "recordings" / "7_lucas_31.wav").write_bytes(b"nothing")
    with pytest.raises(CorpusError, match=r"7_lucas_31\.wav.*unpack the official archive again"):
        digits.prepare(copy, tmp_path / "out", strings=2000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"held_out_speaker": "mary"}, "held_out_speaker 'mary' is not in the corpus; choose of george, jackson"),
        ({"strings": 0}, "strings must be at least 1, not 0"),
    ],
)
def test_digits_impossible_options_are_refused(fsdd: Path, tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        digits.prepare(fsdd, tmp_path, **options)


def test_digits_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no Free Spoken Digit Dataset here"):
        digits.prepare(tmp_path, tmp_path / "out")


def test_digits_archive_is_unpacked_and_checked(fsdd: Path, tmp_path: Path) -> None:
    archive = tmp_path / f"fsdd-{digits.COMMIT[:7]}.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in (fsdd / "recordings").iterdir():
            zipped.write(path, f"free-spoken-digit-dataset-{digits.COMMIT}/recordings/{path.name}")
    root = digits.download(tmp_path)
    assert root == (tmp_path / f"free-spoken-digit-dataset-{digits.COMMIT}").resolve()
    assert len(list((root / "recordings").iterdir())) == 3000


@pytest.mark.skipif(not (REPOSITORY / "data/corpora/fsdd").is_dir(), reason="no FSDD in data/corpora/fsdd")
def test_digits_real_corpus(tmp_path: Path) -> None:
    parts = utterances(digits.prepare(REPOSITORY / "data/corpora/fsdd", tmp_path, strings=100))
    assert Counter(row.text for row in parts["test"]) == dict.fromkeys(digits.WORDS, 30)
    assert sum(row.duration for row in parts["test"]) == pytest.approx(2.15 * 60, abs=1)
    assert all(0.14 < row.duration < 12 for rows in parts.values() for row in rows)


# The registry


def test_registry_names_modules_that_offer_download_and_prepare(fsdd: Path, tmp_path: Path) -> None:
    for name, info in CORPORA.items():
        module = sys.modules[info.module]
        assert info.name == name
        assert callable(module.download)
    manifests = corpora.prepare("digits", source=fsdd, output=tmp_path, strings=10)
    assert len(list(read_manifest(manifests["train"]))) == 10


def test_registry_downloads_when_there_is_no_source(
    fsdd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def download(output: Path) -> Path:
        asked.append(output)
        return fsdd

    monkeypatch.setattr(digits, "download", download)
    corpora.prepare("digits", source=None, output=tmp_path, strings=10)
    assert asked == [tmp_path / "download"]


def test_unknown_corpus_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no corpus named 'an5'; did you mean 'an4'\? Known: an4, digits"):
        corpora.prepare("an5", source=None, output=tmp_path)


def test_unknown_option_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"an4: no option 'seed'; it has no options"):
        corpora.prepare("an4", source=tmp_path, output=tmp_path, seed=1)
    with pytest.raises(CorpusError, match=r"digits: no option 'sed'; it has seed, held_out_speaker, strings"):
        corpora.prepare("digits", source=tmp_path, output=tmp_path, sed=1)


def test_listing_corpora_imports_no_audio_library() -> None:
    code = "import sys, asr.data.corpora; print({'numpy', 'soundfile', 'torch', 'lhotse'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
