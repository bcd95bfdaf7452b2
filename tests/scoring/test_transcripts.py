"""Transcript files of every format, and what is wrong with broken ones."""

from __future__ import annotations

import gzip
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import AsrError, ScoringError
from asr.scoring.transcripts import FORMATS, Side, Transcripts, pair, read_speakers, read_transcripts


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def cut_line(identifier: str, text: str | None, speaker: str | None = None) -> str:
    supervision = {"id": identifier, "recording_id": identifier, "start": 0.0, "duration": 1.0, "channel": 0}
    if text is not None:
        supervision["text"] = text
    if speaker is not None:
        supervision["speaker"] = speaker
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


def test_blank_lines_at_the_end_are_no_sentences_and_are_remembered(tmp_path: Path) -> None:
    read = read_transcripts(write(tmp_path / "ref.txt", "hello\n\nworld\n\n \n"))
    assert read == {"1": "hello", "2": "", "3": "world"}
    assert read.blank_end == ["4", "5"]


@pytest.mark.parametrize("name", ["x.txt", "x.out", "x.ctm"])
@pytest.mark.parametrize("content", ["", "\n"])
def test_an_empty_file_is_a_hypothesis_but_no_reference(tmp_path: Path, name: str, content: str) -> None:
    path = write(tmp_path / name, content)
    read = read_transcripts(path, side="hypothesis")
    assert read == {}
    assert read.silent
    for side in ("reference", None):
        with pytest.raises(ScoringError, match="holds no transcripts"):
            read_transcripts(path, side=side)


@pytest.mark.parametrize("name", ["x.trn", "x.jsonl", "x.json", "text"])
def test_an_empty_file_of_a_format_that_has_a_line_for_silence_is_broken(tmp_path: Path, name: str) -> None:
    with pytest.raises(ScoringError, match="holds no transcripts"):
        read_transcripts(write(tmp_path / name, "\n"), side="hypothesis")


def test_sentences_that_end_in_parentheses_are_not_taken_for_trn_unasked(tmp_path: Path) -> None:
    path = write(tmp_path / "ref.txt", "he said it (twice)\nand left (slowly)\n")
    with pytest.raises(ScoringError, match=r"ref\.txt.*'twice'.*'trn'.*'txt'"):
        read_transcripts(path)
    assert read_transcripts(path, "txt") == {"1": "he said it (twice)", "2": "and left (slowly)"}
    assert read_transcripts(path, "trn") == {"twice": "he said it", "slowly": "and left"}


def test_byte_order_mark_and_windows_line_ends_leave_no_trace(tmp_path: Path) -> None:
    expected = {"1": "één", "2": "two\u2028half"}
    assert read_transcripts(write(tmp_path / "bom.txt", "\ufeff" + "één\r\ntwo\u2028half\r\n")) == expected
    assert read_transcripts(write(tmp_path / "old-mac.txt", "één\rtwo\u2028half")) == expected


def test_kaldi_lines_are_read_on_request_and_from_a_file_named_text(tmp_path: Path) -> None:
    content = "spk1-001 hello  world\nspk1-002\n\nspk1-003\tagain now\n"
    expected = {"spk1-001": "hello  world", "spk1-002": "", "spk1-003": "again now"}
    assert read_transcripts(write(tmp_path / "ref.txt", content), "kaldi") == expected
    assert read_transcripts(write(tmp_path / "text", content)) == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("alpha\thello world\nbeta\t\n", "; give"),
        ("alpha|hello\nbeta|yes\n", "; write a space in place of `|`, and give"),
    ],
)
@pytest.mark.parametrize("side", ["reference", "hypothesis"])
def test_words_before_a_separator_are_not_scored_as_words(tmp_path: Path, content: str, said: str, side: Side) -> None:
    path = write(tmp_path / "a.txt", content)
    with pytest.raises(ScoringError, match=rf"'alpha.*{re.escape(said)} the format: --{side}-format 'kaldi'"):
        read_transcripts(path, side=side)
    assert len(read_transcripts(path, "txt", side=side)) == 2
    assert read_transcripts(write(tmp_path / "b.txt", "one\ttwo\nthree four\n"), side=side)["1"] == "one\ttwo"


def test_a_table_of_results_is_not_sent_to_the_import_of_data(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match=r"write lines `id text` and give --hypothesis-format kaldi$"):
        read_transcripts(write(tmp_path / "a.csv", "id,text\na,b\n"), side="hypothesis")


def test_lines_that_look_like_kaldis_are_not_taken_for_sentences_unasked(tmp_path: Path) -> None:
    path = write(tmp_path / "ref.txt", "spk1-001 hello\nspk1-002 world\n")
    with pytest.raises(ScoringError, match=r"ref\.txt.*'spk1-001'.*'kaldi'.*'txt'"):
        read_transcripts(path)
    assert read_transcripts(path, "txt") == {"1": "spk1-001 hello", "2": "spk1-002 world"}
    assert read_transcripts(write(tmp_path / "digits.txt", "4 2 1\n4 3 1\n")) == {"1": "4 2 1", "2": "4 3 1"}


@pytest.mark.parametrize("name", ["hyp.trn", "an4_test.transcription"])
def test_trn_lines_are_recognised_by_name_or_pattern(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, ";; a comment\nyes (an4-1)\n\ntwo  words(an4-2)\n(an4-3)\n")
    assert read_transcripts(path) == {"an4-1": "yes", "an4-2": "two  words", "an4-3": ""}


def test_json_lines_give_id_and_text(tmp_path: Path) -> None:
    path = write(tmp_path / "hyp.jsonl", '{"id": "a", "text": "één", "score": -1}\n\n{"text": "", "id": 7}\n')
    assert read_transcripts(path) == {"a": "één", "7": ""}
    assert read_transcripts(write(tmp_path / "hyp.log", path.read_bytes()), "jsonl") == {"a": "één", "7": ""}


def test_json_lines_with_both_sides_give_the_one_that_is_asked_for(tmp_path: Path) -> None:
    nemo = '{"audio_filepath": "a/x.wav", "text": "said", "pred_text": "heard"}\n'
    ours = '{"id": "x", "text": "heard", "reference": "said", "speaker": "ann", "seconds": 1.5}\n'
    for name, content in (("nemo.json.jsonl", nemo), ("hypotheses.jsonl", ours)):
        path = write(tmp_path / name, content)
        assert read_transcripts(path, side="reference") == {"x": "said"}
        assert read_transcripts(path, side="hypothesis") == {"x": "heard"}
        with pytest.raises(ScoringError, match=r"line 1: the file holds references .* side="):
            read_transcripts(path)
    assert read_transcripts(path, side="hypothesis").speakers == {"x": "ann"}


def test_nemo_pieces_of_a_recording_are_told_apart_by_their_offset(tmp_path: Path) -> None:
    lines = [json.dumps({"audio_filepath": "/a/x.wav", "offset": offset, "text": "t"}) for offset in (0, 2.5)]
    assert list(read_transcripts(write(tmp_path / "x.jsonl", "\n".join(lines)))) == ["x", "x-2.5"]


def test_a_line_without_prediction_is_not_taken_for_its_reference(tmp_path: Path) -> None:
    lines = '{"id": 1, "text": "a", "pred_text": "b"}\n{"id": 2, "text": "a"}\n'
    with pytest.raises(ScoringError, match=r"line 2: key 'pred_text' is missing"):
        read_transcripts(write(tmp_path / "x.jsonl", lines), side="hypothesis")


def test_json_of_whisper_and_of_ours_is_one_transcript_named_by_its_file(tmp_path: Path) -> None:
    whisper = {"text": " Hello there.", "segments": [{"id": 0, "text": " Hello there."}], "language": "en"}
    assert read_transcripts(write(tmp_path / "call 7.json", json.dumps(whisper, indent=1))) == {
        "call 7": " Hello there."
    }
    del whisper["text"]
    whisper["segments"] = [{"text": "Hello"}, {"text": "there."}]
    assert read_transcripts(write(tmp_path / "x.json", json.dumps(whisper))) == {"x": "Hello there."}


def test_manifests_are_read_as_file_folder_or_compressed(tmp_path: Path) -> None:
    content = cut_line("a", "hello") + "\n" + cut_line("b", "") + "\n"
    expected = {"a": "hello", "b": ""}
    assert read_transcripts(write(tmp_path / "cuts.jsonl", content)) == expected
    assert read_transcripts(tmp_path) == expected
    assert read_transcripts(tmp_path / "cuts.jsonl", "jsonl") == expected
    compressed = write(tmp_path / "other.jsonl.gz", gzip.compress(content.encode()))
    assert read_transcripts(compressed) == expected
    spoken = write(tmp_path / "cuts.jsonl", cut_line("a", "hello", "ann") + "\n" + cut_line("b", "you") + "\n")
    assert read_transcripts(spoken).speakers == {"a": "ann"}


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
        ("x.jsonl", '{"id": null, "text": ""}\n', r"line 1: id is null; give each"),
        ("x.jsonl", '{"id": "a", "text": "\\ud800"}\n', r"line 1: text of id 'a' is not Unicode"),
        ("x.jsonl", '{"id": "a", "text": "b", "speaker": 7}\n', r"line 1: speaker of id 'a' is 7"),
        ("x.jsonl", "[" * 100_000, r"x\.jsonl, line 1: not JSON"),
        ("x.json", "[]", r"x\.json: expected a JSON object"),
        ("x.json", '{"language": "en"}', r"x\.json: neither `text` nor `segments`; found 'language'"),
        ("x.json", '{"segments": [{}]}', r"x\.json: text of a segment is None"),
        ("x.txt", b"fine\ncaf\xe9\n", r"x\.txt, line 2: not UTF-8 text .*iconv -f WINDOWS-1252 -t UTF-8 x\.txt`$"),
        ("x.txt", "one\ntw\0o\n", r"x\.txt, line 2: a NUL byte"),
        ("x.txt", "one two".encode("utf-16-le"), r"x\.txt, line 1: a NUL byte; .*UTF-16"),
        ("x.srt", "1\n00:00 --> 00:01\nhello\n", r"x\.srt: \.srt is no format to score"),
        ("x.csv", "audio,text\na.wav,b\n", r"\.csv is no format .*: `asr data import .*x\.csv --output DIR`"),
        ("x.out", '{"id": "a", "text": "b"}\n', r"x\.out: the lines look like JSON; .*'jsonl'"),
        ("x.out", "rec A 0.5 0.25 yes\nrec A 1 0.25 no\n", r"x\.out: the lines hold times; .*'ctm' or 'stm'"),
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
    with pytest.raises(ScoringError, match="'doc' is unknown; choose one of auto, txt, kaldi, trn, ctm, stm, jsonl"):
        read_transcripts(tmp_path / "x", "doc")
    with pytest.raises(ScoringError, match="must be a manifest"):
        read_transcripts(write(tmp_path / "x.trn.gz", gzip.compress(b"one (a)\n")), "trn")


def test_utf_16_with_its_mark_and_a_very_long_line_are_read(tmp_path: Path) -> None:
    assert read_transcripts(write(tmp_path / "x.txt", "één\r\ntwo\r\n".encode("utf-16"))) == {"1": "één", "2": "two"}
    assert len(read_transcripts(write(tmp_path / "y.txt", "word " * 400_000))["1"].split()) == 400_000


def test_a_pipe_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(pipe.write_text, "yes (a)\nno (b)\n")
        assert read_transcripts(pipe) == {"a": "yes", "b": "no"}


# Folders


def test_a_folder_of_texts_is_named_by_its_files(tmp_path: Path) -> None:
    write(tmp_path / "b.txt", "\ufefftwo\r\nlines\r\n")
    write(tmp_path / "a.txt", "")
    write(tmp_path / "deep" / "c d.txt", "é")
    write(tmp_path / ".hidden.txt", b"\xff")
    write(tmp_path / "notes.md", "no transcript")
    assert read_transcripts(tmp_path) == {"a": "", "b": "two lines", "c d": "é"}


@pytest.mark.parametrize("format_", ["txt", "json"])
def test_where_names_repeat_in_a_folder_their_paths_are_the_ids(tmp_path: Path, format_: str) -> None:
    for place in ("a/1", "b/1", "2.5"):
        write(tmp_path / f"{place}.{format_}", place if format_ == "txt" else json.dumps({"text": place}))
    assert read_transcripts(tmp_path) == {place: place for place in ("2.5", "a/1", "b/1")}


def test_a_folder_may_have_empty_ctm_of_recordings_without_words(tmp_path: Path) -> None:
    write(tmp_path / "a.ctm", "a A 0.5 0.25 yes\n")
    write(tmp_path / "b.ctm", "")
    assert read_transcripts(tmp_path, side="hypothesis") == {"a": "yes"}
    with pytest.raises(ScoringError, match=r"b\.ctm: holds no transcripts"):
        read_transcripts(tmp_path, side="reference")


def test_a_folder_of_several_formats_asks_which(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.txt", name)
        write(tmp_path / f"{name}.json", json.dumps({"text": name.upper()}))
    with pytest.raises(ScoringError, match=r"several formats \((2 json, 2 txt|2 txt, 2 json)\)"):
        read_transcripts(tmp_path)
    assert read_transcripts(tmp_path, "json") == {"a": "A", "b": "B"}
    with pytest.raises(ScoringError, match="no files of format stm in this folder"):
        read_transcripts(tmp_path, "stm")


def test_every_broken_file_of_a_folder_is_named(tmp_path: Path) -> None:
    for number in range(10):
        write(tmp_path / f"u{number}.txt", "fine")
    write(tmp_path / "u3.txt", b"\xff\xfe\xff")
    write(tmp_path / "u5.txt", "a\0")
    (tmp_path / "u7.txt").unlink()
    (tmp_path / "u7.txt").symlink_to("nowhere")
    write(tmp_path / "u8.TXT", "another of this name")
    with pytest.raises(ScoringError, match="4 of 11 files cannot be used") as raised:
        read_transcripts(tmp_path)
    for name in ("u3.txt", "u5.txt", "u7.txt", "'u8' stands in"):
        assert name in str(raised.value)


def test_kaldi_data_and_librispeech_folders_are_known(tmp_path: Path) -> None:
    write(tmp_path / "kaldi" / "text", "s1-a one\ns2-b two\n")
    write(tmp_path / "kaldi" / "utt2spk", "s1-a s1\ns2-b s2\n")
    read = read_transcripts(tmp_path / "kaldi")
    assert read == {"s1-a": "one", "s2-b": "two"}
    assert read.speakers == {"s1-a": "s1", "s2-b": "s2"}
    write(tmp_path / "libri" / "84" / "1" / "84-1.trans.txt", "84-1-0000 GO ON\n84-1-0001 STOP\n")
    assert read_transcripts(tmp_path / "libri") == {"84-1-0000": "GO ON", "84-1-0001": "STOP"}
    (tmp_path / "empty").mkdir()
    with pytest.raises(ScoringError, match=r"empty: no transcripts in this folder"):
        read_transcripts(tmp_path / "empty")


def test_speakers_of_kaldi(tmp_path: Path) -> None:
    assert read_speakers(write(tmp_path / "utt2spk", "a ann\nb\tbob\n")) == {"a": "ann", "b": "bob"}
    with pytest.raises(ScoringError, match="expected `id speaker` a line, found 'a ann lee'"):
        read_speakers(write(tmp_path / "utt2spk", "a ann lee\n"))


def test_a_reader_adds_nothing_to_what_score_takes(tmp_path: Path) -> None:
    read = read_transcripts(write(tmp_path / "text", "a one\n"))
    assert isinstance(read, Transcripts)
    assert isinstance(read, dict)
    assert (read.speakers, read.alternatives, read.pieces) == ({}, {}, [])


LINE = st.text(alphabet=st.sampled_from(" \t;{}/@\\()<>*\"',:.\r\0é\u2028a0") | st.characters(), max_size=30)
FIELDS = [
    "r",
    "A",
    "0",
    "1",
    "1.5",
    "*",
    "nan",
    "w",
    "<O>",
    "<ALT_BEGIN>",
    "<ALT>",
    "<ALT_END>",
    "{",
    "/",
    "}",
    "@",
    ";;",
]
TIMED = st.lists(st.sampled_from(FIELDS)).map(" ".join)
ENTRY = st.dictionaries(
    st.sampled_from(["id", "text", "reference", "pred_text", "speaker", "audio_filepath", "offset", "segments"]),
    st.none() | st.text(max_size=3) | st.integers() | st.floats() | st.lists(st.text(max_size=3), max_size=2),
).map(json.dumps)


@pytest.mark.parametrize("format_", list(FORMATS))
@given(lines=st.lists(LINE | TIMED | ENTRY, max_size=6), side=st.sampled_from(["reference", "hypothesis"]))
def test_whatever_stands_in_a_file_is_read_or_refused_with_its_name(format_: str, lines: list[str], side: Side) -> None:
    with TemporaryDirectory() as folder:
        path = write(Path(folder, "x.out"), "\n".join(lines).encode("utf-8", "surrogatepass"))
        try:
            read = read_transcripts(path, format_, side=side)
            paired = pair(read_transcripts(path, format_, side="reference"), read, common_only=True)
        except AsrError as error:
            assert "x.out" in str(error)  # noqa: PT017
        else:
            assert all(isinstance(text, str) for text in read.values())
            assert paired.references.keys() == paired.hypotheses.keys()
