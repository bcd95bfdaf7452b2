from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from asr.data.importing import import_data
from asr.data.manifest import Utterance, read_manifest
from asr.errors import ManifestError

Record = Callable[..., Path]


def written(path: Path, *lines: object, encoding: str = "utf-8") -> Path:
    text = "".join((line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)) + "\n" for line in lines)
    path.write_text(text, encoding=encoding)
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_nemo_manifest(tmp_path: Path, record: Record, encoding: str) -> None:
    one, long = record("wav/one.wav", seconds=1.5), record("wav/long.wav", seconds=10)
    source = written(
        tmp_path / "train.json",
        {"audio_filepath": str(one), "duration": 1.5, "text": "für Elise", "lang": "de", "speaker": 12},
        {"audio_filepath": "wav/one.wav", "duration": 1.496, "text": "rounded down"},
        {"audio_filepath": "wav/one.wav", "text": "no duration"},
        {"audio_filepath": "wav/long.wav", "offset": 1.1, "duration": 2.2, "text": "part", "extra": {"a": [1]}},
        {"audio_filepath": "wav/long.wav", "offset": None, "duration": 2.2, "text": "head"},
        "",
        {"audio_filepath": "wav/long.wav", "offset": 4, "text": "rest"},
        encoding=encoding,
    )
    result = import_data(source, tmp_path / "out")
    assert (result.format, result.problems) == ("nemo", [])
    assert list(read_manifest(result.manifest)) == [
        Utterance("one", one, 1.5, 8000, "für Elise", "12"),
        Utterance("one-2", one, 1.496, 8000, "rounded down", recording_samples=12000),
        Utterance("one-3", one, 1.5, 8000, "no duration"),
        Utterance("long-0001100", long, 2.2, 8000, "part", start=1.1, recording_samples=80000),
        Utterance("long-0000000", long, 2.2, 8000, "head", recording_samples=80000),
        Utterance("long-0004000", long, 6.0, 8000, "rest", start=4.0, recording_samples=80000),
    ]


def test_lines_that_cannot_be_used_are_named_and_the_rest_goes_on(tmp_path: Path, record: Record) -> None:
    record("one.wav", seconds=2)
    source = written(
        tmp_path / "train.jsonl",
        '{"audio_filepath": "one.wav", "text": "cut sh',
        "[1, 2]",
        {"audio_filepath": "one.wav", "text": "fine"},
        {"audio_filepath": "one.wav"},
        {"audio_filepath": "one.wav", "text": 7},
        {"audio_filepath": "one.wav", "text": None},
        {"audio_filepath": 3, "text": "a"},
        {"audio_filepath": "one.wav", "text": "a", "speaker": ["x"]},
        {"audio_filepath": "one.wav", "text": "a", "duration": 2.5},
        {"audio_filepath": "one.wav", "text": "a", "duration": 0},
        {"audio_filepath": "one.wav", "text": "a", "duration": True},
        '{"audio_filepath": "one.wav", "text": "a", "duration": NaN}',
        '{"audio_filepath": "one.wav", "text": "a", "offset": 1e400}',
        '{"audio_filepath": "one.wav", "text": "half a pair \\ud800"}',
        "[" * 100_000,
        {"audio_filepath": "one.wav", "text": "fine too", "start": 0.5},
    )
    result = import_data(source, tmp_path / "out")
    assert [u.text for u in read_manifest(result.manifest)] == ["fine", "fine too"]
    assert [(p.id.removeprefix("train.jsonl, line "), p.kind) for p in result.problems] == [
        ("1", "not JSON"),
        ("2", "not JSON"),
        ("4", "missing key"),
        ("5", "no transcript"),
        ("6", "no transcript"),
        ("7", "missing audio"),
        ("8", "unusable speaker"),
        ("9", "outside the recording"),
        ("10", "impossible times"),
        ("11", "impossible times"),
        ("12", "impossible times"),
        ("13", "impossible times"),
        ("14", "not Unicode"),
        ("15", "not JSON"),
    ]
    assert "at column" in result.problems[0].message
    assert "there are 'audio_filepath'; name it with --column text=NAME" in result.problems[2].message


def test_keys_can_be_mapped(tmp_path: Path, record: Record) -> None:
    record("one.wav")
    source = written(tmp_path / "t.jsonl", {"audio_filepath": "one.wav", "text": "a", "pnc": "A."})
    result = import_data(source, tmp_path / "out", columns={"text": "pnc"})
    assert [u.text for u in read_manifest(result.manifest)] == ["A."]


def test_a_manifest_of_ours_needs_no_import(tmp_path: Path, record: Record) -> None:
    record("one.wav")
    source = written(tmp_path / "t.jsonl", {"audio_filepath": "one.wav", "text": "a"})
    manifest = import_data(source, tmp_path / "out").manifest
    for path in (manifest, manifest.parent):
        with pytest.raises(ManifestError, match="manifest"):
            import_data(path, tmp_path / "again")
