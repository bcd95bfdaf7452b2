"""Transcript files of every format, and what is wrong with broken ones."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from asr.errors import AsrError, ScoringError
from asr.scoring import read_transcripts


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def cut_line(identifier: str, text: str | None) -> str:
    supervision = {"id": identifier, "recording_id": identifier, "start": 0.0, "duration": 1.0, "channel": 0}
    if text is not None:
        supervision["text"] = text
    return json.dumps(
        {
            "id": identifier,
            "start": 0.0,
            "duration": 1.0,
            "channel": 0,
            "supervisions": [supervision],
            "recording": {
                "id": identifier,
                "sources": [{"type": "file", "channels": [0], "source": f"{identifier}.wav"}],
                "sampling_rate": 16000,
                "num_samples": 16000,
                "duration": 1.0,
            },
            "type": "MonoCut",
        }
    )


def test_plain_lines_are_numbered_and_an_empty_line_is_an_empty_sentence(tmp_path: Path) -> None:
    path = write(tmp_path / "ref.txt", "hello world\n\nthird (almost) line\n")
    assert read_transcripts(path) == {"1": "hello world", "2": "", "3": "third (almost) line"}


def test_byte_order_mark_and_windows_line_ends_leave_no_trace(tmp_path: Path) -> None:
    expected = {"1": "één", "2": "two\u2028half"}
    assert read_transcripts(write(tmp_path / "bom.txt", "\ufeff" + "één\r\ntwo\u2028half\r\n")) == expected
    assert read_transcripts(write(tmp_path / "old-mac.txt", "één\rtwo\u2028half")) == expected


def test_kaldi_lines_are_read_on_request_and_from_a_file_named_text(tmp_path: Path) -> None:
    content = "spk1-001 hello  world\nspk1-002\n\nspk1-003\tagain now\n"
    expected = {"spk1-001": "hello  world", "spk1-002": "", "spk1-003": "again now"}
    assert read_transcripts(write(tmp_path / "ref.txt", content), "kaldi") == expected
    assert read_transcripts(write(tmp_path / "text", content)) == expected


def test_lines_that_look_like_kaldis_are_not_taken_for_sentences_unasked(tmp_path: Path) -> None:
    path = write(tmp_path / "ref.txt", "spk1-001 hello\nspk1-002 world\n")
    with pytest.raises(ScoringError, match=r"ref\.txt.*'spk1-001'.*'kaldi'.*'plain'"):
        read_transcripts(path)
    assert read_transcripts(path, "plain") == {"1": "spk1-001 hello", "2": "spk1-002 world"}
    assert read_transcripts(write(tmp_path / "digits.txt", "4 2 1\n4 3 1\n")) == {"1": "4 2 1", "2": "4 3 1"}


@pytest.mark.parametrize("name", ["hyp.trn", "an4_test.transcription"])
def test_trn_lines_are_recognised_by_name_or_pattern(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, ";; a comment\nyes (an4-1)\n\ntwo  words(an4-2)\n(an4-3)\n")
    assert read_transcripts(path) == {"an4-1": "yes", "an4-2": "two  words", "an4-3": ""}


def test_json_lines_give_id_and_text(tmp_path: Path) -> None:
    path = write(tmp_path / "hyp.jsonl", '{"id": "a", "text": "één", "score": -1}\n\n{"text": "", "id": 7}\n')
    assert read_transcripts(path) == {"a": "één", "7": ""}
    assert read_transcripts(write(tmp_path / "hyp.log", path.read_bytes()), "jsonl") == {"a": "één", "7": ""}


def test_manifests_are_read_as_file_folder_or_compressed(tmp_path: Path) -> None:
    content = cut_line("a", "hello") + "\n" + cut_line("b", "") + "\n"
    expected = {"a": "hello", "b": ""}
    assert read_transcripts(write(tmp_path / "cuts.jsonl", content)) == expected
    assert read_transcripts(tmp_path) == expected
    assert read_transcripts(tmp_path / "cuts.jsonl", "jsonl") == expected
    compressed = write(tmp_path / "other.jsonl.gz", gzip.compress(content.encode()))
    assert read_transcripts(compressed) == expected


def test_a_manifest_without_transcripts_cannot_be_scored(tmp_path: Path) -> None:
    path = write(tmp_path / "cuts.jsonl", cut_line("a", "hello") + "\n" + cut_line("b", None) + "\n")
    with pytest.raises(ScoringError, match=r"cuts\.jsonl: utterance 'b' has no transcript"):
        read_transcripts(path)
    with pytest.raises(AsrError, match=r"cuts\.jsonl"):
        read_transcripts(write(path, cut_line("a", "x") + "\n" + cut_line("a", "y") + "\n"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text", "a one\nb two\na three\n", r"text, line 3: id 'a' stands on line 1 already"),
        ("x.trn", "one (a)\n\ntwo (a)\n", r"x\.trn, line 3: id 'a' stands on line 1 already"),
        ("x.jsonl", '{"id": 1, "text": ""}\n{"id": "1", "text": ""}\n', r"x\.jsonl, line 2: id '1' stands on line 1"),
        ("x.trn", "one (a)\ntwo\n", r"x\.trn, line 2: expected `words \(id\)`, found 'two'"),
        ("x.jsonl", '{"id": "a", "text": "b"}\nhello\n', r"x\.jsonl, line 2: not JSON .*'hello'"),
        ("x.jsonl", "hello\n", r"x\.jsonl, line 1: not JSON"),
        ("x.jsonl", "[1]\n", r"line 1: expected a JSON object"),
        ("x.jsonl", '{"id": "a"}\n', r"line 1: key 'text' is missing; found 'id'"),
        ("x.jsonl", '{"id": "a", "text": null}\n', r"line 1: text of id 'a' is None"),
        ("x.jsonl", '{"id": null, "text": ""}\n', r"line 1: id None is not a string"),
        ("x.txt", b"caf\xe9\n", r"x\.txt: not UTF-8 text"),
        ("x.txt", "\n \n", r"x\.txt: holds no transcripts"),
        ("x.trn", ";; nothing\n", r"x\.trn: holds comments but no transcripts"),
    ],
)
def test_broken_files_are_named_with_their_line(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        read_transcripts(write(tmp_path / name, content))


def test_missing_files_and_unknown_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match=r"gone\.txt: no such file"):
        read_transcripts(tmp_path / "gone.txt")
    with pytest.raises(ScoringError, match="'ctm' is unknown; choose one of auto, plain, kaldi, trn, jsonl"):
        read_transcripts(tmp_path / "x", "ctm")  # type: ignore[arg-type]
    with pytest.raises(ScoringError, match="must be a manifest"):
        read_transcripts(tmp_path, "trn")
