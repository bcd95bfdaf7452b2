from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from asr.data.manifest import read_manifest, write_manifest
from asr.data.reading import load_utterance
from asr.data.shard_writing import write_shards
from asr.data.shards import FETCHING, failure_note, is_remote, local_shards, read_index, read_member
from asr.data.utterance import Utterance
from asr.errors import AudioError, ManifestError

RATE = 16000
IDS = ("plain", "speaker/1-a", "dots.in.it.", "two words", "größe-日本", "x" * 300)


def recordings(folder: Path, ids: tuple[str, ...] = IDS) -> Path:
    """A manifest of 16-bit recordings of these ids, of different lengths, loud ones among them."""
    rng = np.random.default_rng(0)
    utterances = []
    for number, identifier in enumerate(ids):
        path = folder / "wav" / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = rng.integers(-(2**15), 2**15, 3000 + 501 * number, dtype=np.int16)
        soundfile.write(path, samples, RATE, subtype="PCM_16")
        utterances.append(Utterance(identifier, path, len(samples) / RATE, RATE, f"wört {number}", f"s{number % 2}"))
    write_manifest(folder / "cuts.jsonl", utterances)
    return folder


def shards(folder: Path, **options: Any) -> Path:
    """`recordings` in shards of three."""
    return write_shards(recordings(folder / "plain"), folder / "out", **{"size": 3, "seed": None, **options}).folder


def waveforms(path: Path) -> dict[str, np.ndarray]:
    return {utterance.id: load_utterance(utterance, RATE) for utterance in read_manifest(path)}


@pytest.mark.parametrize("format", ["flac", "wav"])
def test_sixteen_bits_come_back_exactly(tmp_path: Path, format: str) -> None:
    out = shards(tmp_path, format=format)
    originals = list(read_manifest(tmp_path / "plain"))
    for read, original in zip(read_manifest(out), originals, strict=True):
        assert (read.id, read.text, read.speaker) == (original.id, original.text, original.speaker)
        assert (read.duration, read.sample_rate, read.whole) == (original.duration, RATE, True)
        expected, _ = soundfile.read(original.audio, dtype="float32")
        np.testing.assert_array_equal(load_utterance(read, RATE), expected)


@pytest.mark.parametrize("place", ["", "shar", "shards.json"])
def test_the_folder_its_shards_and_its_list_are_the_same_manifest(tmp_path: Path, place: str) -> None:
    assert [utterance.id for utterance in read_manifest(shards(tmp_path) / place)] == list(IDS)


def test_lhotse_reads_what_we_write(tmp_path: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    out = shards(tmp_path)
    cuts = list(lhotse.CutSet.from_shar(in_dir=out / "shar"))
    assert [cut.id for cut in cuts] == list(IDS)
    for cut, original in zip(cuts, read_manifest(tmp_path / "plain"), strict=True):
        expected, _ = soundfile.read(original.audio, dtype="float32")
        np.testing.assert_array_equal(cut.load_audio()[0], expected)
        assert (cut.supervisions[0].text, cut.supervisions[0].speaker) == (original.text, original.speaker)
        assert (cut.num_samples, cut.recording.num_samples) == (len(expected), len(expected))
        lhotse.validate(cut)


def lhotse_cuts(folder: Path) -> Any:
    """Whole recordings, segments, and the second channel of a stereo file."""
    lhotse = pytest.importorskip("lhotse")
    cuts = list(lhotse.CutSet.from_file(recordings(folder) / "cuts.jsonl"))
    rng = np.random.default_rng(1)
    stereo = folder / "stereo.wav"
    soundfile.write(stereo, rng.uniform(-0.5, 0.5, (RATE, 2)), RATE)
    for number, start in enumerate((0.0, 0.25)):
        cut = lhotse.Recording.from_file(stereo).to_cut().truncate(offset=start, duration=0.5).to_mono()[1]
        cut.supervisions = [lhotse.SupervisionSegment(f"s{number}", cut.recording.id, 0.0, 0.5, 1, f"segment {number}")]
        cuts.append(cut.with_id(f"segment/{number}"))
    return lhotse.CutSet.from_cuts(cuts)


@pytest.mark.parametrize("format", ["wav", "flac", "opus", "mp3", "original"])
def test_we_read_what_lhotse_writes(tmp_path: Path, format: str) -> None:
    lhotse = pytest.importorskip("lhotse")
    (tmp_path / "shar").mkdir()
    lhotse_cuts(tmp_path).to_shar(tmp_path / "shar", fields={"recording": format}, shard_size=3)
    theirs = list(lhotse.CutSet.from_shar(in_dir=tmp_path / "shar"))
    ours = list(read_manifest(tmp_path / "shar"))
    assert [utterance.id for utterance in ours] == [cut.id for cut in theirs]
    for utterance, cut in zip(ours, theirs, strict=True):
        assert utterance.text == cut.supervisions[0].text
        assert utterance.duration == cut.duration
        waveform, expected = load_utterance(utterance, RATE), cut.resample(RATE).load_audio()[0]
        assert len(waveform) == len(expected)
        if format == "opus":  # Lhotse makes it 48 kHz; two resamplers differ a little
            assert np.corrcoef(waveform, expected)[0, 1] > 0.99
        else:
            np.testing.assert_allclose(waveform, expected, atol=1e-4 if format == "mp3" else 0)


def layout(tar: Path) -> list[tarfile.TarInfo]:
    with tarfile.open(tar) as archive:
        return archive.getmembers()


PLACES: dict[str, tuple[Callable[[list[tarfile.TarInfo]], int], int]] = {
    "in the first header": (lambda members: 100, 0),
    "before the first recording": (lambda members: members[0].offset_data, 0),
    "in a recording": (lambda members: members[2].offset_data + members[2].size // 2, 1),
    "behind a recording": (lambda members: members[2].offset_data + members[2].size, 2),
    "in the padding behind it": (lambda members: members[3].offset - 1, 2),
    "between members": (lambda members: members[4].offset, 2),
    "in a header": (lambda members: members[4].offset + 200, 2),
    "in an extended header": (lambda members: members[4].offset + 700, 2),
    "behind an extended header": (lambda members: members[4].offset_data - 512, 2),
    "in the last member": (lambda members: members[5].offset_data + 5, 3),
    "behind the last member": (lambda members: members[5].offset_data + 512, 3),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_shard_cut_short_gives_what_is_before_the_cut_and_reports_the_rest(tmp_path: Path, place: str) -> None:
    ids = ("speaker/1-a", "plain", "größe-日本")
    out = write_shards(recordings(tmp_path, ids), tmp_path / "out", seed=None).folder
    tar = out / "shar" / "recording.000000.tar"
    where, whole = PLACES[place]
    members = layout(tar)
    assert members[4].offset_data - members[4].offset > 512  # the third name needs an extended header
    expected = waveforms(out)
    os.truncate(tar, where(members))
    for number, utterance in enumerate(read_manifest(out)):
        if number < whole:
            np.testing.assert_array_equal(load_utterance(utterance, RATE), expected[utterance.id])
        else:
            with pytest.raises(AudioError, match=r"recording\.000000\.tar: the shard .*(cut short|truncated).*again"):
                load_utterance(utterance, RATE)


def test_an_empty_and_a_damaged_shard_are_told_from_one_without_the_recording(tmp_path: Path) -> None:
    tar = shards(tmp_path) / "shar" / "recording.000000.tar"
    with pytest.raises(AudioError, match=r"has no recording of 'other', though its cuts list one"):
        read_member(tar, "other")
    content = bytearray(tar.read_bytes())
    second = layout(tar)[2].offset
    content[second + 10] ^= 0xFF  # in the name: the header's checksum is wrong
    tar.write_bytes(content)
    assert read_member(tar, "plain")[:4] == b"fLaC"
    with pytest.raises(AudioError, match=rf"cut short or damaged after {second} bytes; copy it again"):
        read_member(tar, "speaker/1-a")
    tar.write_bytes(b"")
    with pytest.raises(AudioError, match=r"cannot be read \(empty file\); copy it again"):
        read_member(tar, "plain")


def test_a_damaged_recording_is_named_with_its_shard(tmp_path: Path) -> None:
    out = shards(tmp_path)
    tar = out / "shar" / "recording.000000.tar"
    content = bytearray(tar.read_bytes())
    start = layout(tar)[0].offset_data
    content[start : start + 100] = bytes(100)
    tar.write_bytes(content)
    with pytest.raises(AudioError, match=r"recording\.000000\.tar, 'plain': "):
        load_utterance(next(iter(read_manifest(out))), RATE)


def test_half_a_pair_and_a_listed_file_that_is_gone_are_errors(tmp_path: Path) -> None:
    out = shards(tmp_path)
    cuts, tar = out / "shar" / "cuts.000001.jsonl.gz", out / "shar" / "recording.000001.tar"
    kept = tar.read_bytes()
    tar.unlink()
    with pytest.raises(ManifestError, match=r"recording\.000001\.tar: missing, though .*shards\.json lists it"):
        local_shards(out)
    with pytest.raises(ManifestError, match=r"cuts\.000001\.jsonl\.gz: its recordings are not beside it"):
        local_shards(out / "shar")
    tar.write_bytes(kept)
    cuts.unlink()
    with pytest.raises(ManifestError, match=r"cuts\.000001\.jsonl\.gz: missing, though"):
        local_shards(out)
    with pytest.raises(ManifestError, match=r"recording\.000001\.tar: its cuts are not beside it"):
        local_shards(out / "shar")


def test_a_shard_that_goes_while_it_is_used_is_an_error_of_its_utterances(tmp_path: Path) -> None:
    out = shards(tmp_path)
    utterances = list(read_manifest(out))
    (out / "shar" / "recording.000001.tar").unlink()
    assert len(load_utterance(utterances[0], RATE)) == 3000
    with pytest.raises(AudioError, match=r"recording\.000001\.tar: no such shard; copy it again"):
        load_utterance(utterances[4], RATE)


def test_a_shard_being_fetched_is_waited_for(tmp_path: Path) -> None:
    tar = shards(tmp_path) / "shar" / "recording.000000.tar"
    away = tar.rename(tmp_path / "away.tar")
    (tar.parent / FETCHING).write_text(str(os.getpid()))
    threading.Timer(0.2, lambda: away.rename(tar)).start()
    assert read_member(tar, "plain")[:4] == b"fLaC"


def test_a_shard_that_goes_and_comes_while_it_is_read_is_read(tmp_path: Path) -> None:
    tar = shards(tmp_path) / "shar" / "recording.000000.tar"
    (tar.parent / FETCHING).write_text(str(os.getpid()))
    done = threading.Event()

    def juggle() -> None:
        while not done.is_set():
            tar.rename(tmp_path / "away.tar").rename(tar)

    thread = threading.Thread(target=juggle)
    thread.start()
    try:
        assert {read_member(tar, "plain")[:4] for _ in range(1000)} == {b"fLaC"}
    finally:
        done.set()
        thread.join()


def test_nobody_waits_for_a_shard_that_is_lost_or_whose_fetcher_is_dead(tmp_path: Path) -> None:
    tar = tmp_path / "recording.000000.tar"
    (tmp_path / FETCHING).write_text(str(os.getpid()))
    failure_note(tar).write_text("shard lost: it was not found")
    with pytest.raises(AudioError, match="shard lost: it was not found"):
        read_member(tar, "a")
    failure_note(tar).unlink()
    with subprocess.Popen([sys.executable, "-c", "pass"]) as dead:
        pass
    (tmp_path / FETCHING).write_text(str(dead.pid))
    started = time.monotonic()
    with pytest.raises(AudioError, match="no such shard"):
        read_member(tar, "a")
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"<html>", "not a list of shards"),
        (b"[]", "not a list of shards"),
        (b'{"shards": [{"cuts": "a"}]}', "not a list of shards.*missing"),
        (b"\xff", "not a list of shards"),
        (b'{"shards": []}', "lists no shards"),
    ],
)
def test_a_damaged_list_is_named(text: bytes, message: str) -> None:
    with pytest.raises(ManifestError, match=rf"^http://a/shards\.json: {message}"):
        read_index(text, "http://a/shards.json")


def test_a_list_names_files(tmp_path: Path) -> None:
    entry = json.loads((shards(tmp_path) / "shards.json").read_bytes())["shards"][0]
    with pytest.raises(ManifestError, match="7 is not a name"):
        read_index(json.dumps({"shards": [entry | {"cuts": 7}]}).encode(), "x")


def test_urls_are_told_from_paths() -> None:
    assert [is_remote(x) for x in ("http://a/b", "s3://b", "memory://x", "data/a:b", "/a//b", Path("a"))] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]
