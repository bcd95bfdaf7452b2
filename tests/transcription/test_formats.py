from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from asr.decoding.hypothesis import Word
from asr.errors import OutputError
from asr.files import write_text
from asr.scoring import read_transcripts
from asr.transcription.formats import FORMATS, WORD_TIMES, render
from asr.transcription.transcript import Segment, Transcript

WORDS = [Word("say", 0.5, 0.9, 0.98), Word('"hi"', 0.9, 1.25, 0.5), Word("<b>", 3661.5, 3662.0)]
TRANSCRIPT = Transcript(
    'say "hi" <b>',
    3700.0,
    [Segment(0.5, 1.25, 'say "hi"', -1.0, WORDS[:2]), Segment(3661.5, 3662.0, "<b>", -2.0, WORDS[2:])],
)
UNTIMED = Transcript("say hi", 2.0, [Segment(0.0, 2.0, "say hi", -1.0, [Word("say"), Word("hi")])])
EMPTY = Transcript("", 2.0, [Segment(0.0, 2.0, "", 0.0)])


def said(*words: Word, duration: float = 100.0) -> Transcript:
    """One segment of these words."""
    text = " ".join(word.text for word in words)
    return Transcript(text, duration, [Segment(0.0, duration, text, -1.0, list(words))])


def test_srt_numbers_the_subtitles_and_leaves_them_long_enough_to_read() -> None:
    assert render(TRANSCRIPT, "a", "srt") == (
        '1\n00:00:00,500 --> 00:00:01,333\nsay "hi"\n\n2\n01:01:01,500 --> 01:01:02,333\n<b>\n'
    )
    assert render(said(Word("-->", 0, 1)), "a", "srt") == "1\n00:00:00,000 --> 00:00:01,000\n->\n"


def test_vtt_escapes_what_would_be_markup() -> None:
    assert render(TRANSCRIPT, "a", "vtt") == (
        'WEBVTT\n\n00:00:00.500 --> 00:00:01.333\nsay "hi"\n\n01:01:01.500 --> 01:01:02.333\n&lt;b&gt;\n'
    )
    assert "\n&amp;amp; --&gt;\n" in render(said(Word("&amp;", 0, 1), Word("-->", 1, 2)), "a", "vtt")


def test_subtitles_after_a_hundred_hours() -> None:
    late = said(Word("late", 360_000.25, 360_001.5))
    assert "100:00:00,250 --> 100:00:01,500" in render(late, "a", "srt")
    assert "100:00:00.250 --> 100:00:01.500" in render(late, "a", "vtt")


def test_tsv_has_milliseconds_of_the_speech() -> None:
    assert render(TRANSCRIPT, "a", "tsv") == 'start\tend\ttext\n500\t1250\tsay "hi"\n3661500\t3662000\t<b>\n'


def test_tsv_quotes_a_text_that_begins_with_a_quotation_mark() -> None:
    text = render(said(Word('"hi', 0, 1), Word('he"', 1, 2), Word("said", 2, 3)), "a", "tsv")
    assert text == 'start\tend\ttext\n0\t3000\t"""hi he"" said"\n'


def test_ctm_has_a_line_a_word_and_the_confidence_where_known() -> None:
    assert render(TRANSCRIPT, "my file", "ctm").splitlines() == [
        "my_file 1 0.500 0.400 say 0.9800",
        'my_file 1 0.900 0.350 "hi" 0.5000',
        "my_file 1 3661.500 0.500 <b>",
    ]


def test_ctm_is_in_order_of_time_whatever_rounding_did() -> None:
    words = [Word("a", 0.1, 0.5), Word("b", 0.499, 0.499), Word("c", 0.4985, 0.9)]
    assert render(said(*words), "a", "ctm").splitlines() == [
        "a 1 0.100 0.400 a",
        "a 1 0.499 0.000 b",
        "a 1 0.499 0.401 c",
    ]


def test_names_are_one_field_of_ctm_and_trn() -> None:
    for name, field in [
        ("it's (my) \t file\n🎙", "it's__my____file_🎙"),
        (";;x", "_;x"),
        ("", "_"),
        ("\udce4", "\ufffd"),
        ('a"b', 'a"b'),
    ]:
        assert render(said(Word("w", 0, 1)), name, "trn") == f"w ({field})\n"
        assert render(said(Word("w", 0, 1)), name, "ctm") == f"{field} 1 0.000 1.000 w\n"


def test_trn_keeps_parentheses_and_slashes_among_the_words() -> None:
    words = "(a) b) / @ c; ** (s_2)"
    assert render(said(*map(Word, words.split())), "a(1)", "trn") == f"{words} (a_1_)\n"


def test_what_sclite_takes_for_syntax_has_a_backslash() -> None:
    for words, line in [(";; a", r"\;; a"), ("**", r"\**"), (r"a} \b", r"a\} \\b")]:
        assert render(said(*map(Word, words.split())), "a", "trn") == f"{line} (a)\n"
    tokens = ["<alt>", "<ALT_BEGIN>", "<b>", r"\a", ";;", "{"]
    written = [
        line.split()[4] for line in render(said(*[Word(token, 0, 1) for token in tokens]), "a", "ctm").splitlines()
    ]
    assert written == [r"\<alt>", r"\<ALT_BEGIN>", "<b>", r"\\a", ";;", "{"]


def test_a_word_that_ctm_or_trn_cannot_hold_is_an_error() -> None:
    with pytest.raises(OutputError, match=r"trn cannot hold 'a \{b': '\{' begins alternatives in it; write ctm, json"):
        render(said(Word("a"), Word("{b")), "a", "trn")
    with pytest.raises(OutputError, match="ctm cannot hold the word 'new york', which has a space in it; write json"):
        render(said(Word("new york", 0, 1)), "a", "ctm")


def test_txt_has_a_line_a_segment() -> None:
    assert render(TRANSCRIPT, "a", "txt") == 'say "hi"\n<b>\n'
    assert render(EMPTY, "a", "txt") == "\n"
    assert render(Transcript("no segments", 2.0), "a", "txt") == "no segments\n"
    pause = Transcript("a b", 9.0, [Segment(0, 3, "a", -1.0), Segment(3, 6, "", -1.0), Segment(6, 9, " b\n", -1.0)])
    assert render(pause, "a", "txt") == "a\nb\n"


def test_json_and_jsonl_are_the_transcript_in_one_line() -> None:
    for format_, key in (("json", "file"), ("jsonl", "id")):
        text = render(TRANSCRIPT, "ä b.wav", format_)
        assert (text.count("\n"), text[-1]) == (1, "\n")
        assert json.loads(text) == {key: "ä b.wav", **TRANSCRIPT.to_dict()}
        assert "ä b.wav" in text


def test_json_has_no_number_that_json_lacks_and_no_text_that_utf8_lacks() -> None:
    broken = Transcript("a", 1.0, [Segment(0, 1, "a", float("-inf"))])
    with pytest.raises(OutputError, match="not finite"):
        render(broken, "a", "json")
    assert json.loads(render(EMPTY, "\udce4\n", "jsonl"))["id"] == "\ufffd\n"


def test_jsonl_trn_and_ctm_are_hypotheses_to_score(tmp_path: Path) -> None:
    words = [Word(word, 0, 1) for word in [r"(a)", r"b}", r"/", r"@", r"c;", r"<ALT>", r"\d", r"**", r"(s_2)"]]
    for leading in ("a", ";;", "**"):
        transcript = said(Word(leading, 0, 1), *words)
        for format_ in ("jsonl", "trn", "ctm"):
            files = [render(transcript, "s_1", format_), render(TRANSCRIPT, "s_2", format_)]
            write_text(tmp_path / f"all.{format_}", "".join(files))
            read = read_transcripts(tmp_path / f"all.{format_}", side="hypothesis")
            assert dict(read) == {"s_1": transcript.text, "s_2": TRANSCRIPT.text}


@pytest.mark.parametrize("format_", FORMATS)
def test_white_space_and_control_characters_break_no_line(format_: str, tmp_path: Path) -> None:
    words = [
        Word("a\nb\u2028c", 0, 1),
        Word("\x00\x1b[31md\ud800\ufeff", 1, 2),
        Word(" \t\x1c", 2, 3),
        Word("e\x85", 3, 4),
    ]
    transcript = said(*[word for word in words if format_ != "ctm" or "\n" not in word.text])
    text = render(transcript, "a", format_)
    if "json" in format_:
        assert json.loads(text)["segments"][0]["words"][1]["text"] == "\x00\x1b[31md\ufffd\ufeff"
        assert len(text.split("\n")) == 2
    else:
        assert re.fullmatch("[^\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff]+", text.replace("\t", " "))
        assert "\ufffd\ufffd[31md\ufffd\ufffd" in text
        assert ("e\n" in text) or ('e"\n' in text) or "e (a)" in text
    write_text(tmp_path / "a", text)


def intervals(grid: str, tier: str) -> list[tuple[float, float, str]]:
    """The intervals of a tier of Praat's long text form, quotation marks doubled inside text."""
    part = next(part for part in grid.split("    item [") if f'name = "{tier}"' in part)
    found = re.findall(r'intervals \[\d+\]:\s+xmin = (\S+)\s+xmax = (\S+)\s+text = "((?:[^"]|"")*)"', part)
    count = re.search(r"intervals: size = (\d+)", part)
    assert count
    assert int(count[1]) == len(found)
    return [(float(start), float(end), text.replace('""', '"')) for start, end, text in found]


def test_textgrid_tiers_have_no_gaps() -> None:
    grid = render(TRANSCRIPT, "a", "TextGrid")
    assert grid.startswith('File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 3700.000\n')
    assert intervals(grid, "words") == [
        (0, 0.5, ""),
        (0.5, 0.9, "say"),
        (0.9, 1.25, '"hi"'),
        (1.25, 3661.5, ""),
        (3661.5, 3662, "<b>"),
        (3662, 3700, ""),
    ]
    assert [text for *_, text in intervals(grid, "segments")] == ["", 'say "hi"', "", "<b>", ""]


def test_textgrid_gives_every_word_a_length_and_mends_overlaps() -> None:
    words = [Word("a", 0.0, 1.0), Word("b", 1.0, 1.0), Word("c", 0.9, 2.0), Word("d", 1.5, 2.5)]
    grid = render(said(*words, duration=1.5), "a", "TextGrid")
    assert intervals(grid, "words") == [(0, 1, "a"), (1, 1.001, "b"), (1.001, 1.5, "c"), (1.5, 2.5, "d")]
    assert intervals(grid, "segments") == [(0, 1.5, "a b c d"), (1.5, 2.5, "")]


def test_without_word_times_subtitles_are_segments_and_ctm_is_an_error() -> None:
    assert render(UNTIMED, "a", "srt") == "1\n00:00:00,000 --> 00:00:02,000\nsay hi\n"
    for format_ in ("ctm", "TextGrid"):
        with pytest.raises(OutputError, match=f"{format_} needs word times, and 'say' has none"):
            render(UNTIMED, "a", format_)
        with pytest.raises(OutputError, match=f"{format_} needs word times, and 'say hi' has none"):
            render(Transcript("say hi", 2.0), "a", format_)
    assert {format_ for format_ in FORMATS if format_ in WORD_TIMES} == WORD_TIMES


@pytest.mark.parametrize("format_", FORMATS)
def test_silence_is_a_valid_file(format_: str) -> None:
    texts = {
        "txt": "\n",
        "srt": "",
        "vtt": "WEBVTT\n\n",
        "tsv": "start\tend\ttext\n",
        "ctm": "",
        "trn": "(a)\n",
    }
    text = render(EMPTY, "a", format_)
    if format_ in texts:
        assert text == texts[format_]
    elif format_ == "TextGrid":
        assert intervals(text, "words") == intervals(text, "segments") == [(0, 2, "")]
    else:
        assert json.loads(text)["text"] == ""


def test_an_unknown_format_lists_the_known_ones() -> None:
    with pytest.raises(OutputError, match=r"no transcript format 'doc'; choose of txt, json, jsonl, srt"):
        render(EMPTY, "a", "doc")
