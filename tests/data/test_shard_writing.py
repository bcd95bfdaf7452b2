from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from asr.data.index import ManifestIndex
from asr.data.manifest import read_manifest, write_manifest
from asr.data.reading import load_utterance
from asr.data.shard_writing import UNFINISHED, index_shards, write_shards
from asr.data.shards import local_shards, read_member
from asr.data.utterance import Utterance
from asr.errors import AudioError, ManifestError
from tests.conftest import REPOSITORY, Ran

RATE = 16000


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A manifest of twenty recordings."""
    return recorded(tmp_path / "plain", 20)


def recorded(folder: Path, count: int) -> Path:
    (folder / "wav").mkdir(parents=True)
    rng = np.random.default_rng(0)
    utterances = []
    for number in range(count):
        path = folder / "wav" / f"{number}.wav"
        soundfile.write(path, 0.1 * rng.standard_normal(4000 + 100 * number), RATE)
        seconds = (4000 + 100 * number) / RATE
        utterances.append(Utterance(f"u{number}", path, seconds, RATE, f"text {number}", f"s{number % 4}"))
    write_manifest(folder / "cuts.jsonl", utterances)
    return folder


def ids(folder: Path) -> list[str]:
    return [utterance.id for utterance in read_manifest(folder)]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_shards_have_the_size_asked_for_and_their_list_is_right(plain: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    written = write_shards(plain, tmp_path / "out", size=8, progress=lambda *count: seen.append(count))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert [shard.utterances for shard in written.shards] == [8, 8, 4]
    assert [len(shard) for shard in ManifestIndex.open(tmp_path / "out").shards or []] == [8, 8, 4]
    listed = json.loads((tmp_path / "out/shards.json").read_text())["shards"]
    seconds = sum(utterance.duration for utterance in read_manifest(plain))
    assert sum(entry["seconds"] for entry in listed) == pytest.approx(seconds, abs=0.003)
    for number, entry in enumerate(listed):
        assert entry["cuts"] == f"shar/cuts.{number:06d}.jsonl.gz"
        for kind in ("cuts", "recording"):
            content = (tmp_path / "out" / entry[kind]).read_bytes()
            assert entry[f"{kind}_sha256"] == hashlib.sha256(content).hexdigest()
    assert written.problems == []


def test_the_order_is_that_of_the_seed(plain: Path, tmp_path: Path) -> None:
    for name, seed in (("zero", 0), ("again", 0), ("one", 1), ("kept", None)):
        write_shards(plain, tmp_path / name, size=8, seed=seed)
    assert ids(tmp_path / "kept") == ids(plain)
    assert sorted(ids(tmp_path / "zero")) == sorted(ids(tmp_path / "one")) == sorted(ids(plain))
    assert ids(tmp_path / "zero") != ids(tmp_path / "one") != ids(plain)
    assert contents(tmp_path / "zero") == contents(tmp_path / "again")


def test_two_processes_write_the_same_bytes_as_one(plain: Path, tmp_path: Path) -> None:
    utterances = list(read_manifest(plain))
    bad = [replace(utterances[i], audio=plain / "gone.wav") if i in (2, 11) else utterances[i] for i in range(20)]
    write_manifest(plain / "cuts.jsonl", bad)
    one = write_shards(plain, tmp_path / "one", size=3)
    two = write_shards(plain, tmp_path / "two", size=3, jobs=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert (one.shards, one.problems) == (two.shards, two.problems)


def test_what_cannot_be_read_is_left_out_and_reported(plain: Path, tmp_path: Path) -> None:
    utterances = list(read_manifest(plain))
    (plain / "wav/3.wav").write_bytes(b"no audio")
    (plain / "wav/5.wav").unlink()
    written = write_shards(plain, tmp_path / "out", size=4, seed=None)
    assert [problem.id for problem in written.problems] == ["u3", "u5"]
    assert "3.wav: not audio" in written.problems[0].message
    assert str(plain / "wav/5.wav") in written.problems[1].message
    assert ids(tmp_path / "out") == [u.id for u in utterances if u.id not in ("u3", "u5")]


def test_a_shard_of_which_nothing_is_left_is_not_written(plain: Path, tmp_path: Path) -> None:
    for number in range(4, 8):
        (plain / f"wav/{number}.wav").unlink()
    written = write_shards(plain, tmp_path / "out", size=4, seed=None)
    assert [shard.cuts[-15:-9] for shard in written.shards] == ["000000", "000002", "000003", "000004"]
    assert [part.cuts.name for part in local_shards(tmp_path / "out/shar")] == [s.cuts[5:] for s in written.shards]


def test_nothing_readable_is_an_error_and_leaves_nothing(plain: Path, tmp_path: Path) -> None:
    for path in (plain / "wav").iterdir():
        path.unlink()
    with pytest.raises(AudioError, match=r"plain: none of the 20 recordings could be read; .*wav"):
        write_shards(plain, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("held", ["shar/x", "shards.json", "cuts.jsonl", "cuts.jsonl.gz", "cuts.000000.jsonl.gz"])
def test_a_folder_with_shards_or_a_manifest_is_refused(plain: Path, tmp_path: Path, held: str) -> None:
    file = tmp_path / "out" / held
    file.parent.mkdir(parents=True)
    file.write_text("kept")
    with pytest.raises(ManifestError, match=r"out: holds shards or a manifest already; choose another folder"):
        write_shards(plain, tmp_path / "out")
    assert file.read_text() == "kept"


def test_what_a_killed_run_left_is_written_anew(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / UNFINISHED).mkdir(parents=True)
    (tmp_path / "out" / UNFINISHED / "cuts.000077.jsonl.gz").write_text("half")
    write_shards(plain, tmp_path / "out")
    assert sorted(contents(tmp_path / "out")) == [
        "shar/cuts.000000.jsonl.gz",
        "shar/recording.000000.tar",
        "shards.json",
    ]


@pytest.mark.parametrize(("format", "ending"), [("flac", b"fLaC"), ("wav", b"RIFF"), ("opus", b"OggS"), ("mp3", b"")])
def test_every_format_keeps_the_length_and_the_sound(tmp_path: Path, format: str, ending: bytes) -> None:
    times = np.arange(RATE * 2) / RATE
    tone = 0.3 * np.sin(2 * np.pi * 440 * times) * np.hanning(len(times))
    soundfile.write(tmp_path / "a.wav", np.round(tone * 2**15).astype(np.int16), RATE)
    write_manifest(tmp_path / "cuts.jsonl", [Utterance("a", tmp_path / "a.wav", 2.0, RATE, "a")])
    write_shards(tmp_path, tmp_path / "out", format=format)
    (utterance,) = read_manifest(tmp_path / "out")
    waveform = load_utterance(utterance, RATE)
    assert read_member(utterance.audio, "a").startswith(ending)
    assert len(waveform) == len(tone)
    assert np.abs(waveform - tone).max() < {"flac": 2e-5, "wav": 2e-5, "opus": 0.01, "mp3": 0.01}[format]


def test_unknown_formats_and_rates_that_a_format_lacks_are_explained(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="format 'sph': choose of flac, wav, opus, mp3"):
        write_shards(plain, tmp_path / "out", format="sph")
    with pytest.raises(AudioError, match=r"44100 Hz cannot be written as opus .*give a sample rate, such as 16000"):
        write_shards(plain, tmp_path / "out", format="opus", sample_rate=44100)


def test_resampling_gives_what_loading_at_that_rate_gives(plain: Path, tmp_path: Path) -> None:
    write_shards(plain, tmp_path / "out", sample_rate=8000, seed=None)
    for read, original in zip(read_manifest(tmp_path / "out"), read_manifest(plain), strict=True):
        expected = soxr.resample(soundfile.read(original.audio, dtype="float32")[0], RATE, 8000)
        waveform = load_utterance(read, 8000)
        assert read.sample_rate == 8000
        assert read.duration == len(waveform) / 8000
        np.testing.assert_allclose(waveform, expected, atol=2e-5)


def test_segments_and_channels_become_recordings_of_their_own(tmp_path: Path) -> None:
    sound = np.random.default_rng(0).integers(-3000, 3000, (RATE, 2), dtype=np.int16)
    soundfile.write(tmp_path / "a.wav", sound, RATE)
    segments = [
        Utterance("left", tmp_path / "a.wav", 0.25, RATE, "a", start=0.5, channel=0, recording_samples=RATE),
        Utterance("right", tmp_path / "a.wav", 0.25, RATE, "b", start=0.125, channel=1, recording_samples=RATE),
    ]
    write_manifest(tmp_path / "cuts.jsonl", segments)
    write_shards(tmp_path, tmp_path / "out", seed=None)
    left, right = read_manifest(tmp_path / "out")
    assert (left.start, left.duration, left.channel) == (0, 0.25, None)
    np.testing.assert_array_equal(load_utterance(left, RATE) * 2**15, sound[8000:12000, 0])
    np.testing.assert_array_equal(load_utterance(right, RATE) * 2**15, sound[2000:6000, 1])


def test_shards_can_be_written_of_shards(plain: Path, tmp_path: Path) -> None:
    write_shards(plain, tmp_path / "one", size=7, seed=3)
    write_shards(tmp_path / "one", tmp_path / "two", size=20, seed=None)
    assert ids(tmp_path / "two") == ids(tmp_path / "one")


def test_shards_of_lhotse_get_a_list(plain: Path, tmp_path: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    (tmp_path / "corpora" / "my shards").mkdir(parents=True)
    cuts = lhotse.CutSet.from_file(plain / "cuts.jsonl")
    cuts.to_shar(tmp_path / "corpora/my shards", fields={"recording": "flac"}, shard_size=8)
    listed = index_shards(tmp_path / "corpora/my shards", tmp_path / "corpora")
    assert [shard.utterances for shard in listed.shards] == [8, 8, 4]
    assert listed.shards[1].recording == "my shards/recording.000001.tar"
    assert [part.cuts.name for part in local_shards(tmp_path / "corpora")] == [
        f"cuts.{number:06d}.jsonl.gz" for number in range(3)
    ]
    assert ids(tmp_path / "corpora") == ids(plain)
    assert len(list(lhotse.CutSet.from_shar(in_dir=tmp_path / "corpora/my shards"))) == 20


def test_a_list_beside_or_away_from_the_shards_is_refused(plain: Path, tmp_path: Path) -> None:
    out = write_shards(plain, tmp_path / "out").folder
    for place in (out / "shar", tmp_path / "plain"):
        with pytest.raises(ManifestError, match=rf"out/shar: must lie below {place}.*; try --output {out}"):
            index_shards(out / "shar", place)
    with pytest.raises(ManifestError, match=r"plain: no pairs of"):
        index_shards(plain, tmp_path)
    assert not (out / "shar/shards.json").exists()


def test_shards_that_are_gone_can_be_taken_off_the_list(plain: Path, tmp_path: Path) -> None:
    out = write_shards(plain, tmp_path / "out", size=8).folder
    for path in (out / "shar").glob("*.000001.*"):
        path.unlink()
    assert len(index_shards(out, out).shards) == 2
    assert len(ids(out)) == 12


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The kernel refuses to let any file grow beyond `size` bytes, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_full_disk_is_named_and_leaves_nothing(plain: Path, tmp_path: Path, jobs: int) -> None:
    reason = os.strerror(errno.EFBIG)
    with largest_file(30_000), pytest.raises(ManifestError, match=rf"out: cannot be written \({reason}\); make room"):
        write_shards(plain, tmp_path / "out", size=8, jobs=jobs)
    assert list((tmp_path / "out").iterdir()) == []


def test_ctrl_c_stops_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    plain, out = recorded(tmp_path / "many", 50), tmp_path / "out"
    long = np.zeros(RATE * 60, np.int16)
    for path in (plain / "wav").iterdir():
        soundfile.write(path, long, RATE)
    write_manifest(plain / "cuts.jsonl", [replace(u, duration=60.0) for u in read_manifest(plain)])
    process = subprocess.Popen(
        [sys.executable, "-m", "asr", "data", "shard", plain, "--output", out, "--size", "25", "--jobs", "2"],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while len(list(out.glob("*/recording.*"))) < 2 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the workers too
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert list(out.iterdir()) == []


def test_the_command_says_what_it_wrote_and_what_it_left_out(
    plain: Path, tmp_path: Path, asr_command: Callable[..., Ran]
) -> None:
    ran = asr_command("data", "shard", plain, "--output", tmp_path / "out", "--size", 8, "--jobs", 1)
    assert (ran.status, ran.out) == (0, f"{tmp_path / 'out'}: 3 shards, 20 utterances, 0.00 h\n")
    (plain / "wav/3.wav").unlink()
    ran = asr_command("data", "shard", plain, "--output", tmp_path / "two", "--in-order", "--format", "wav")
    assert ran.status == 1
    assert "1 utterances left out, unreadable audio" in ran.err
    assert "u3: " in ran.err
    assert ids(tmp_path / "two") == [name for name in ids(plain) if name != "u3"]
    (tmp_path / "two/shards.json").unlink()
    ran = asr_command("data", "shard", tmp_path / "two", "--index", "--output", tmp_path / "two")
    assert (ran.status, ran.out) == (0, f"{tmp_path / 'two'}: 1 shards, 19 utterances, 0.00 h\n")
