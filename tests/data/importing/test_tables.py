from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.data.importing import import_data
from asr.data.manifest import Utterance, read_manifest
from asr.errors import ConfigError, ManifestError

Record = Callable[..., Path]


def table(path: Path, *rows: Sequence[str], delimiter: str = ",", encoding: str = "utf-8", end: str = "\n") -> Path:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, lineterminator=end).writerows(rows)
    path.write_bytes(out.getvalue().encode(encoding))
    return path


def imported(source: Path, **options: object) -> list[Utterance]:
    """The utterances of a source without problems."""
    result = import_data(source, source.parent / "out", overwrite=True, **options)  # type: ignore[arg-type]
    assert result.problems == []
    return list(read_manifest(result.manifest))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_delimiter_line_ends_and_unicode_encodings_are_recognised(
    tmp_path: Path, record: Record, delimiter: str, end: str, encoding: str
) -> None:
    audio = record("wav/one.wav", seconds=1.25)
    source = table(
        tmp_path / "train.csv",
        ["audio", "text", "speaker"],
        ["wav/one.wav", ' “Zwölf”, sagt er; "ja"\tjawohl ', "Jörg"],
        delimiter=delimiter,
        encoding=encoding,
        end=end,
    )
    expected = Utterance("one", audio, 1.25, 8000, '“Zwölf”, sagt er; "ja"\tjawohl', "Jörg")
    assert imported(source) == [expected]


def test_another_encoding_is_named_by_the_user(tmp_path: Path, record: Record) -> None:
    record("one.wav")
    source = table(tmp_path / "train.csv", ["audio", "text"], ["one.wav", "größe – maß"], encoding="cp1252")
    with pytest.raises(
        ManifestError, match=r"train.csv, line 2: not UTF-8 .*, or name its encoding, .* --encoding cp125"
    ):
        import_data(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert imported(source, encoding="cp1252")[0].text == "größe – maß"


def test_a_table_of_mixed_encodings_names_the_first_bad_line(tmp_path: Path, record: Record) -> None:
    record("one.wav")
    source = tmp_path / "train.csv"
    source.write_bytes(b"audio,text\none.wav," + "größe\n".encode() + b"one.wav," + "maß\n".encode("latin-1"))
    with pytest.raises(ManifestError, match=r"train.csv, line 3: not UTF-8"):
        import_data(source, tmp_path / "out")


@pytest.mark.parametrize(
    "header",
    [
        ["path", "sentence", "client_id"],
        ["FILE_NAME", " Transcription ", "Speaker_ID"],
        ["wav_filename", "transcript", "spk"],
        ["audio_filepath", "text", "speaker"],
    ],
)
def test_usual_column_names_are_known_whatever_their_case(tmp_path: Path, record: Record, header: list[str]) -> None:
    record("one.wav")
    (utterance,) = imported(table(tmp_path / "t.csv", ["n", *header], ["7", "one.wav", "hello", "eve"]))
    assert (utterance.text, utterance.speaker) == ("hello", "eve")


def test_a_needed_column_that_is_there_twice_is_refused(tmp_path: Path, record: Record) -> None:
    record("one.wav")
    for header in (["audio", "text", "audio", ""], ["Audio", "text", " audio", ""]):
        source = table(tmp_path / "t.csv", header, ["one.wav", "a", "two.wav", ""])
        with pytest.raises(ManifestError, match=r"several columns are called '[aA]udio'"):
            import_data(source, tmp_path / "out")
    assert len(imported(table(tmp_path / "t.csv", ["audio", "text", "", ""], ["one.wav", "a", "", ""]))) == 1


def test_line_ends_of_old_macs_are_named(tmp_path: Path, record: Record) -> None:
    record("one.wav")
    (tmp_path / "t.csv").write_bytes(b"audio,text\rone.wav,a\r")
    with pytest.raises(ManifestError, match="line 1: a carriage return inside the line; save the file with"):
        import_data(tmp_path / "t.csv", tmp_path / "out")
    (tmp_path / "t.csv").write_bytes(b"audio,text\none.wav,a\rb\none.wav,b\n")
    assert [p.kind for p in import_data(tmp_path / "t.csv", tmp_path / "out").problems] == ["broken row"]


def test_columns_can_be_mapped(tmp_path: Path, record: Record) -> None:
    record("one.wav")
    source = table(tmp_path / "t.csv", ["clip", "text", "Corrected Text"], ["one.wav", "helo", "hello"])
    (utterance,) = imported(source, columns={"audio": "clip", "text": "corrected text"})
    assert utterance.text == "hello"


def test_missing_columns_are_named_with_those_there_are(tmp_path: Path) -> None:
    source = table(tmp_path / "t.csv", ["audio", "words"], ["one.wav", "hello"])
    with pytest.raises(ManifestError, match=r"t.csv: no column 'text'; there are 'audio', 'words'; .*--column text="):
        import_data(source, tmp_path / "out")
    with pytest.raises(ManifestError, match="no column 'word' for --column text; there are 'audio', 'words'"):
        import_data(source, tmp_path / "out", columns={"text": "word"})
    with pytest.raises(ConfigError, match="no such column; the columns are audio, text"):
        import_data(source, tmp_path / "out", columns={"words": "text"})


def test_two_columns_that_could_be_meant_are_not_chosen_between(tmp_path: Path, record: Record) -> None:
    record("one.wav")
    source = table(tmp_path / "t.csv", ["audio", "sentence", "transcript"], ["one.wav", "a", "b"])
    with pytest.raises(ManifestError, match="'sentence' and 'transcript' could both be 'text'; choose one with"):
        import_data(source, tmp_path / "out")
    assert imported(source, columns={"text": "transcript"})[0].text == "b"
    ours = table(tmp_path / "ours.csv", ["audio", "sentence", "text"], ["one.wav", "a", "b"])
    assert imported(ours)[0].text == "b"


def test_segments_of_recordings(tmp_path: Path, record: Record) -> None:
    long = record("long.wav", seconds=10)
    source = table(
        tmp_path / "t.csv",
        ["audio", "text", "start", "end"],
        ["long.wav", "first", "0", "2.2"],
        ["long.wav", "second", "2.2", "3.3"],
        ["long.wav", "to the end", "3.3", ""],
        ["long.wav", "rounded up", "9", "10.004"],
        ["long.wav", "all", "", ""],
        ["long.wav", "all too", "0.0", "10.0"],
    )
    assert imported(source) == [
        Utterance("long-0000000", long, 2.2, 8000, "first", start=0.0, recording_samples=80000),
        Utterance("long-0002200", long, 1.1, 8000, "second", start=2.2, recording_samples=80000),
        Utterance("long-0003300", long, 6.7, 8000, "to the end", start=3.3, recording_samples=80000),
        Utterance("long-0009000", long, 1.0, 8000, "rounded up", start=9.0, recording_samples=80000),
        Utterance("long", long, 10.0, 8000, "all"),
        Utterance("long-2", long, 10.0, 8000, "all too"),
    ]


def test_channels_are_those_of_the_recording(tmp_path: Path, record: Record) -> None:
    record("call.wav", channels=2)
    record("mono.wav")
    source = table(
        tmp_path / "t.csv",
        ["audio", "text", "channel"],
        *(["call.wav", "caller", "0"], ["call.wav", "agent", "1"], ["call.wav", "both", ""], ["mono.wav", "one", "0"]),
    )
    assert [(u.id, u.channel) for u in imported(source)] == [
        ("call-c0", 0),
        ("call-c1", 1),
        ("call", None),
        ("mono", None),
    ]


def test_rows_that_cannot_be_used_are_named_and_the_rest_goes_on(tmp_path: Path, record: Record) -> None:
    record("one.wav", seconds=2)
    (tmp_path / "noise.wav").write_bytes(b"no audio at all" * 10)
    source = tmp_path / "t.csv"
    source.write_text(
        "audio,text,start,end,channel\n"
        "one.wav,fine,,,\n"
        "one.wav,too few\n"
        "one.wav,too, many,,,\n"
        "gone.wav,missing,,,\n"
        "noise.wav,unreadable,,,\n"
        "one.wav,backwards,1.5,1.0,\n"
        "one.wav,behind,1.5,2.5,\n"
        "one.wav,no number,soon,,\n"
        "one.wav,no time,nan,,\n"
        "one.wav,negative,-1,1,\n"
        "one.wav,no channel,,,1\n"
        "one.wav,half a channel,,,0.5\n"
        ",no audio,,,\n"
        "\n"
        ",,,,\n"
        'one.wav,"fine\ntoo",,,\n'
        "one.wav,last,1,2,\n"
    )
    result = import_data(source, tmp_path / "out")
    assert [u.text for u in read_manifest(result.manifest)] == ["fine", "fine\ntoo", "last"]
    assert [(p.id, p.kind) for p in result.problems] == [
        ("t.csv, line 3", "wrong number of fields"),
        ("t.csv, line 4", "wrong number of fields"),
        ("t.csv, line 5", "missing audio"),
        ("t.csv, line 6", "unreadable audio"),
        ("t.csv, line 7", "impossible times"),
        ("t.csv, line 8", "outside the recording"),
        ("t.csv, line 9", "impossible times"),
        ("t.csv, line 10", "impossible times"),
        ("t.csv, line 11", "impossible times"),
        ("t.csv, line 12", "no such channel"),
        ("t.csv, line 13", "no such channel"),
        ("t.csv, line 14", "missing audio"),
    ]
    assert str(tmp_path / "gone.wav") in result.problems[2].message
    assert "2.000 s" in result.problems[5].message


def test_a_quote_that_is_never_closed_costs_its_own_line_only(tmp_path: Path, record: Record) -> None:
    record("one.wav")
    source = tmp_path / "t.csv"
    source.write_text('audio,text\none.wav,"open\none.wav,"two\nlines"\none.wav,"said ""so"""\none.wav,"open again\n')
    result = import_data(source, tmp_path / "out")
    assert [u.text for u in read_manifest(result.manifest)] == ["two\nlines", 'said "so"']
    assert [(p.id, p.kind) for p in result.problems] == [
        ("t.csv, line 2", "broken row"),
        ("t.csv, line 6", "broken row"),
    ]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0")), min_size=1, max_size=5
    ),
    delimiter=st.sampled_from(",;\t"),
)
def test_what_csv_writes_is_read(tmp_path: Path, record: Record, texts: list[str], delimiter: str) -> None:
    record("one.wav")
    rows = [["one.wav", text] for text in texts]
    utterances = imported(table(tmp_path / "t.csv", ["audio", "text"], *rows, delimiter=delimiter))
    assert [utterance.text for utterance in utterances] == [text.strip() for text in texts]


def test_audio_root(tmp_path: Path, record: Record) -> None:
    audio = record("elsewhere/one.wav")
    (tmp_path / "tables").mkdir()
    source = table(tmp_path / "tables" / "t.csv", ["audio", "text"], ["one.wav", "a"], [str(audio), "b"])
    assert [u.audio for u in imported(source, audio_root=tmp_path / "elsewhere")] == [audio, audio]
    with pytest.raises(ConfigError, match="no such folder"):
        import_data(source, tmp_path / "out", audio_root=tmp_path / "nowhere")


def test_huggingface_folders(tmp_path: Path, record: Record) -> None:
    record("set/data/one.wav")
    (tmp_path / "set" / "metadata.csv").write_text("file_name,transcription\ndata/one.wav,hello\n")
    result = import_data(tmp_path / "set", tmp_path / "out")
    assert (result.format, [u.text for u in read_manifest(result.manifest)]) == ("huggingface", ["hello"])
    rows = [{"file_name": "data/one.wav", "text": "hello", "duration": 99.0, "tags": ["a"]}]
    (tmp_path / "set" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ManifestError, match=r"holds both metadata.csv and metadata.jsonl"):
        import_data(tmp_path / "set", tmp_path / "other")
    (utterance,) = imported(tmp_path / "set" / "metadata.jsonl")
    assert (utterance.text, utterance.duration, utterance.whole) == ("hello", 1.0, True)


def test_common_voice(tmp_path: Path, record: Record) -> None:
    audio = record("clips/common_voice_xx_1.wav")
    header = "client_id\tpath\tsentence_id\tsentence\tup_votes\n"
    for name in ("train", "dev"):
        (tmp_path / f"{name}.tsv").write_text(header + 'abc\tcommon_voice_xx_1.wav\t9\t"Ach," sagte sie. "So\t2\n')
    result = import_data(tmp_path / "train.tsv", tmp_path / "out")
    (utterance,) = read_manifest(result.manifest)
    assert (result.format, result.problems) == ("common_voice", [])
    assert (utterance.audio, utterance.text, utterance.speaker) == (audio, '"Ach," sagte sie. "So', "abc")
    with pytest.raises(ManifestError, match=r"holds dev.tsv, train.tsv; give one"):
        import_data(tmp_path, tmp_path / "other")


@pytest.mark.parametrize(("on_disk", "in_table"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_a_name_in_another_unicode_form_is_found(
    tmp_path: Path, record: Record, on_disk: Literal["NFC", "NFD"], in_table: Literal["NFC", "NFD"]
) -> None:
    audio = record(unicodedata.normalize(on_disk, "für/größe.wav"))
    name = unicodedata.normalize(in_table, "für/größe.wav")
    source = table(tmp_path / "train.csv", ["audio", "text"], [name, "hello"])
    (utterance,) = imported(source)
    assert (utterance.audio, utterance.audio.is_file()) == (audio, True)
