from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lhotse
import numpy as np
import pytest
import soundfile

from asr.data.manifest import Utterance, manifest_path, read_manifest, write_manifest
from asr.data.reading import load_utterance
from asr.errors import ManifestError

RATE = 16000


def record(path: Path, seconds: float = 1.0, channels: int = 1, rate: int = RATE) -> np.ndarray:
    shape = (round(seconds * rate), channels)
    samples = np.random.default_rng(len(path.name)).uniform(-0.5, 0.5, shape).astype(np.float32)
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return samples


def cut(**changes: Any) -> dict[str, Any]:
    """A cut as Lhotse writes it, with some values changed, or removed where they are `...`."""
    whole: dict[str, Any] = {
        "id": "a",
        "start": 0.0,
        "duration": 1.0,
        "channel": 0,
        "supervisions": [{"id": "a", "recording_id": "a", "start": 0.0, "duration": 1.0, "channel": 0, "text": "hi"}],
        "recording": recording(),
        "type": "MonoCut",
    }
    return {key: value for key, value in {**whole, **changes}.items() if value is not ...}


def recording(**changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "id": "a",
        "sources": [{"type": "file", "channels": [0], "source": "a.wav"}],
        "sampling_rate": RATE,
        "num_samples": RATE,
        "duration": 1.0,
    }
    return {key: value for key, value in {**whole, **changes}.items() if value is not ...}


def written(folder: Path, *lines: object) -> Path:
    path = folder / "cuts.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def utterances(folder: Path) -> list[Utterance]:
    record(folder / "one.wav")
    record(folder / "long.wav", seconds=3.0)
    return [
        Utterance("whole", folder / "one.wav", 1.0, RATE, "zwölf “quoted” words", "bob"),
        Utterance("head", folder / "long.wav", 0.5, RATE, "head", None, 0.0, None, 3 * RATE),
        Utterance("middle", folder / "long.wav", 0.75, RATE, "middle", "eve", 1.25, None, 3 * RATE),
        Utterance("silent", folder / "long.wav", 0.25, RATE, None, None, 2.5, None, 3 * RATE),
        Utterance("empty", folder / "one.wav", 1.0, RATE, "", None),
    ]


@pytest.mark.parametrize("name", ["cuts.jsonl", "cuts.jsonl.gz"])
def test_written_manifest_reads_back_equal(tmp_path: Path, name: str) -> None:
    expected = utterances(tmp_path)
    assert write_manifest(tmp_path / "new" / name, expected) == len(expected)
    assert list(read_manifest(tmp_path / "new" / name)) == expected
    assert list(read_manifest(tmp_path / "new")) == expected
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]


@pytest.mark.parametrize("name", ["cuts.jsonl", "cuts.jsonl.gz"])
def test_lhotse_reads_what_we_write(tmp_path: Path, name: str) -> None:
    expected = utterances(tmp_path)
    write_manifest(tmp_path / name, expected)
    cuts = list(lhotse.CutSet.from_file(tmp_path / name))
    assert [cut.id for cut in cuts] == [utterance.id for utterance in expected]
    for one, utterance in zip(cuts, expected, strict=True):
        lhotse.validate(one)
        assert one.duration == utterance.duration
        assert one.sampling_rate == utterance.sample_rate
        assert [(s.text, s.speaker) for s in one.supervisions] == (
            [] if utterance.text is None else [(utterance.text, utterance.speaker)]
        )
        np.testing.assert_array_equal(one.load_audio()[0], load_utterance(utterance, RATE))


def test_we_read_what_lhotse_writes(tmp_path: Path) -> None:
    samples = record(tmp_path / "long.wav", seconds=3.0)[:, 0]
    source = lhotse.Recording.from_file(tmp_path / "long.wav")
    supervision = lhotse.SupervisionSegment("s", source.id, 1.0, 0.5, text="some words", speaker="bob")
    whole = lhotse.MonoCut("cut", 0.0, source.duration, 0, [supervision], recording=source)
    part = whole.truncate(offset=1.0, duration=0.5, preserve_id=False).with_id("part")
    bare = lhotse.MonoCut("bare", 0.0, source.duration, 0, recording=source)
    lhotse.CutSet.from_cuts([part, bare]).to_file(tmp_path / "cuts.jsonl.gz")
    first, second = read_manifest(tmp_path)
    assert (first.id, first.text, first.speaker) == ("part", "some words", "bob")
    assert (first.start, first.duration, first.sample_rate, first.whole) == (1.0, 0.5, RATE, False)
    assert (second.id, second.text, second.duration, second.whole) == ("bare", None, 3.0, True)
    np.testing.assert_array_equal(load_utterance(first, RATE), samples[RATE : RATE + RATE // 2])
    np.testing.assert_array_equal(load_utterance(second, RATE), samples)


def test_one_channel_of_a_stereo_recording_cut_by_lhotse(tmp_path: Path) -> None:
    samples = record(tmp_path / "stereo.wav", channels=2)
    source = lhotse.Recording.from_file(tmp_path / "stereo.wav")
    lhotse.CutSet.from_cuts(
        [lhotse.MonoCut(f"channel-{c}", 0.0, source.duration, c, recording=source) for c in (0, 1)]
    ).to_file(tmp_path / "cuts.jsonl")
    for channel, utterance in enumerate(read_manifest(tmp_path)):
        assert utterance.channel == channel
        np.testing.assert_array_equal(load_utterance(utterance, RATE), samples[:, channel])


@pytest.mark.parametrize("channel", [0, 1])
def test_chosen_channel_survives_writing(tmp_path: Path, channel: int) -> None:
    samples = record(tmp_path / "stereo.wav", channels=2)
    utterance = Utterance("a", tmp_path / "stereo.wav", 1.0, RATE, "hi", channel=channel)
    write_manifest(tmp_path / "cuts.jsonl", [utterance])
    assert list(read_manifest(tmp_path)) == [utterance]
    (one,) = lhotse.CutSet.from_file(tmp_path / "cuts.jsonl")
    np.testing.assert_array_equal(one.load_audio(), samples[None, :, channel])


def test_cut_that_lhotse_changes_while_loading_is_refused(tmp_path: Path) -> None:
    record(tmp_path / "one.wav")
    changed = lhotse.Recording.from_file(tmp_path / "one.wav").to_cut().perturb_speed(1.1)
    lhotse.CutSet.from_cuts([changed]).to_file(tmp_path / "cuts.jsonl")
    with pytest.raises(ManifestError, match="transforms"):
        list(read_manifest(tmp_path))


def test_padded_cut_of_lhotse_is_refused_by_name(tmp_path: Path) -> None:
    record(tmp_path / "one.wav")
    padded = lhotse.Recording.from_file(tmp_path / "one.wav").to_cut().pad(3.0)
    lhotse.CutSet.from_cuts([padded]).to_file(tmp_path / "cuts.jsonl")
    with pytest.raises(ManifestError, match="line 1: a 'MixedCut' cannot be read, only MonoCut"):
        list(read_manifest(tmp_path))


def test_relative_audio_is_taken_from_the_folder_of_the_manifest(tmp_path: Path) -> None:
    (utterance,) = read_manifest(written(tmp_path, cut()))
    assert utterance.audio == tmp_path / "a.wav"


def test_line_that_is_not_json_is_named_with_its_file(tmp_path: Path) -> None:
    path = written(tmp_path, cut(), "", '{"id": "b", ')
    lines = read_manifest(path)
    assert next(lines).id == "a"
    with pytest.raises(ManifestError) as caught:
        next(lines)
    assert str(caught.value).startswith(f"{path}, line 3: not JSON")
    assert '{"id": "b",' in str(caught.value)


def test_id_that_repeats_is_named_with_both_lines(tmp_path: Path) -> None:
    path = written(tmp_path, cut(), cut(id="b"), cut())
    with pytest.raises(ManifestError) as caught:
        list(read_manifest(path))
    assert str(caught.value) == f"{path}, line 3: id 'a' stands on line 1 already; ids must be unique"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (cut(recording=...), "key 'recording' is missing"),
        (cut(id=...), "key 'id' is missing"),
        (cut(duration=...), "key 'duration' is missing"),
        (cut(recording=recording(sources=...)), "key 'sources' is missing"),
        (cut(recording=recording(num_samples=...)), "key 'num_samples' is missing"),
        (cut(type="MultiCut"), "a 'MultiCut' cannot be read"),
        (cut(supervisions=[{"text": "one"}, {"text": "two"}]), "2 supervisions in one cut"),
        (
            cut(recording=recording(sources=[{"type": "url", "source": "http://a/b"}])),
            "exactly one source, of type 'file'",
        ),
        (cut(recording=recording(sources=[])), "exactly one source"),
        (cut(recording=None), "wrong type"),
        (cut(duration="long"), "wrong type"),
        (cut(duration=float("nan")), ""),
        (cut(duration=0), "duration 0.0 s"),
        (cut(duration=-1), "duration -1.0 s"),
        (cut(start=-1), "start -1.0 s"),
        ([1, 2], "expected a JSON object, found list"),
        (3, "expected a JSON object, found int"),
    ],
)
def test_unusable_cut_is_an_error_with_file_and_line(tmp_path: Path, line: object, message: str) -> None:
    path = written(tmp_path, cut(id="first"), line)
    with pytest.raises(ManifestError) as caught:
        list(read_manifest(path))
    assert f"{path}, line 2: " in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        cut(supervisions=5),
        cut(supervisions=[3]),
        cut(supervisions={"text": "hi"}),
        cut(supervisions=[{"text": 5}]),
        cut(duration=float("inf")),
        cut(start=float("inf")),
        cut(recording=recording(num_samples=float("inf"))),
        cut(recording=recording(sampling_rate=0)),
        cut(id=None),
    ],
)
def test_value_of_a_wrong_kind_is_an_error_with_file_and_line(tmp_path: Path, line: object) -> None:
    with pytest.raises(ManifestError, match="line 1"):
        list(read_manifest(written(tmp_path, line)))


def test_empty_file_has_no_utterances(tmp_path: Path) -> None:
    assert list(read_manifest(written(tmp_path))) == []
    assert list(read_manifest(written(tmp_path, "", "  "))) == []


@pytest.mark.parametrize("compressed", [False, True])
def test_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path, compressed: bool) -> None:
    content = b"\xef\xbb\xbf" + b"\r\n".join(json.dumps(cut(id=name)).encode() for name in "ab") + b"\r\n"
    path = tmp_path / ("cuts.jsonl.gz" if compressed else "cuts.jsonl")
    path.write_bytes(gzip.compress(content) if compressed else content)
    assert [utterance.id for utterance in read_manifest(path)] == ["a", "b"]


def many() -> bytes:
    return gzip.compress("".join(json.dumps(cut(id=str(i))) + "\n" for i in range(500)).encode())


def test_truncated_gz_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "cuts.jsonl.gz"
    path.write_bytes(many()[:-20])
    with pytest.raises(ManifestError) as caught:
        list(read_manifest(path))
    assert f"{path}, after line " in str(caught.value)
    assert "ended before the end-of-stream marker" in str(caught.value)


def test_plain_text_named_gz_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "cuts.jsonl.gz"
    path.write_text(json.dumps(cut()))
    with pytest.raises(ManifestError, match="Not a gzipped file"):
        list(read_manifest(path))


def test_damaged_gz_is_an_error(tmp_path: Path) -> None:
    content = bytearray(many())
    content[300:330] = b"\xff" * 30
    (tmp_path / "cuts.jsonl.gz").write_bytes(content)
    with pytest.raises(ManifestError):
        list(read_manifest(tmp_path))


def test_text_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "cuts.jsonl"
    path.write_bytes(json.dumps(cut()).encode() + b"\n\xff\xfe\n")
    with pytest.raises(ManifestError, match="not UTF-8 text"):
        list(read_manifest(path))


@pytest.mark.parametrize("name", ["transcripts.csv", "dev.TSV"])
def test_a_table_is_no_manifest_and_the_error_says_what_makes_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("audio,text\none.wav,hello\n")
    with pytest.raises(ManifestError) as caught:
        list(read_manifest(tmp_path / name))
    path = tmp_path / name
    made = f"`asr data import {path} --output DIR` makes a manifest of it"
    assert str(caught.value) == f"{path}: a table, not a manifest; {made}"


def test_missing_manifest_and_folder_without_one(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"none\.jsonl: no such manifest"):
        manifest_path(tmp_path / "none.jsonl")
    with pytest.raises(ManifestError, match=r"holds no cuts\.jsonl or cuts\.jsonl\.gz; `asr prepare` and"):
        list(read_manifest(tmp_path))


def test_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    utterance = Utterance("a", tmp_path / "a.wav", 1.0, RATE, "old")
    write_manifest(tmp_path / "cuts.jsonl", [utterance])
    before = (tmp_path / "cuts.jsonl").read_bytes()

    def failing() -> Iterator[Utterance]:
        yield Utterance("new", tmp_path / "a.wav", 1.0, RATE, "new")
        raise RuntimeError("the source broke off")

    with pytest.raises(RuntimeError, match="broke off"):
        write_manifest(tmp_path / "cuts.jsonl", failing())
    with pytest.raises(ManifestError, match="id 'a' occurs twice"):
        write_manifest(tmp_path / "cuts.jsonl", [utterance, utterance])
    assert (tmp_path / "cuts.jsonl").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["cuts.jsonl"]


def test_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / "file" / "cuts.jsonl"
    with pytest.raises(ManifestError) as caught:
        write_manifest(path, [])
    assert f"{path}: cannot be written" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
