from __future__ import annotations

import json
import re

import pytest

from asr.decoding.hypothesis import Word
from asr.errors import OutputError
from asr.transcription.formats import CUE_CHARACTERS, FORMATS, cues, render
from asr.transcription.transcript import Segment, Transcript

WORDS = [Word("say", 0.5, 0.9, 0.98), Word('"hi"', 0.9, 1.25, 0.5), Word("<b>", 3661.5, 3662.0)]
TRANSCRIPT = Transcript(
    'say "hi" <b>',
    3700.0,
    [Segment(0.5, 1.25, 'say "hi"', -1.0, WORDS[:2]), Segment(3661.5, 3662.0, "<b>", -2.0, WORDS[2:])],
)
UNTIMED = Transcript("say hi", 2.0, [Segment(0.0, 2.0, "say hi", -1.0, [Word("say"), Word("hi")])])
EMPTY = Transcript("", 2.0, [Segment(0.0, 2.0, "", 0.0)])


def test_srt() -> None:
    assert render(TRANSCRIPT, "a", "srt") == (
        '1\n00:00:00,500 --> 00:00:01,250\nsay "hi"\n\n2\n01:01:01,500 --> 01:01:02,000\n<b>\n'
    )


def test_vtt_escapes_what_would_be_markup() -> None:
    assert render(TRANSCRIPT, "a", "vtt") == (
        'WEBVTT\n\n00:00:00.500 --> 00:00:01.250\nsay "hi"\n\n01:01:01.500 --> 01:01:02.000\n&lt;b&gt;\n'
    )


def test_tsv_has_milliseconds() -> None:
    assert render(TRANSCRIPT, "a", "tsv") == 'start\tend\ttext\n500\t1250\tsay "hi"\n3661500\t3662000\t<b>\n'


def test_ctm_has_a_line_a_word_and_the_confidence_where_known() -> None:
    assert render(TRANSCRIPT, "my file", "ctm").splitlines() == [
        "my_file 1 0.500 0.400 say 0.9800",
        'my_file 1 0.900 0.350 "hi" 0.5000',
        "my_file 1 3661.500 0.500 <b>",
    ]


def test_txt_trn_and_json() -> None:
    assert render(TRANSCRIPT, "a", "txt") == 'say "hi" <b>\n'
    assert render(TRANSCRIPT, "a(1)", "trn") == 'say "hi" <b> (a_1_)\n'
    row = json.loads(render(TRANSCRIPT, "a.wav", "json"))
    assert row == {"file": "a.wav", **TRANSCRIPT.to_dict()}


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


def test_textgrid_leaves_out_words_of_no_length_and_mends_overlaps() -> None:
    words = [Word("a", 0.0, 1.0), Word("b", 1.0, 1.0), Word("c", 0.9, 2.0)]
    grid = render(Transcript("a b c", 1.5, [Segment(0, 2.0, "a b c", 0.0, words)]), "a", "TextGrid")
    assert intervals(grid, "words") == [(0, 1, "a"), (1, 2, "c")]


def test_long_segments_become_several_subtitles() -> None:
    words = [Word(f"word{i:02d}", 0.5 * i, 0.5 * i + 0.4) for i in range(60)]
    segment = Segment(0, 30, " ".join(word.text for word in words), 0.0, words)
    found = list(cues(Transcript(segment.text, 30, [segment])))
    assert " ".join(cue.text for cue in found) == segment.text
    assert all(len(cue.text) <= CUE_CHARACTERS and cue.end - cue.start <= 7 for cue in found)
    assert len(found) <= 7
    pause = [Word("before", 0, 1), Word("after", 2.5, 3)]
    assert [cue.text for cue in cues(Transcript("", 3, [Segment(0, 3, "", 0.0, pause)]))] == ["before", "after"]
    endless = [Word("w" * 200, 0, 20)]
    assert [cue.end for cue in cues(Transcript("", 20, [Segment(0, 20, "w", 0.0, endless)]))] == [20]


def test_without_word_times_subtitles_are_segments_and_ctm_is_an_error() -> None:
    assert render(UNTIMED, "a", "srt") == "1\n00:00:00,000 --> 00:00:02,000\nsay hi\n"
    for format_ in ("ctm", "TextGrid"):
        with pytest.raises(OutputError, match=f"{format_} needs word times, and 'say' has none"):
            render(UNTIMED, "a", format_)


@pytest.mark.parametrize("format_", FORMATS)
def test_silence_is_a_valid_file(format_: str) -> None:
    text = render(EMPTY, "a", format_)
    assert "None" not in text
    if format_ == "TextGrid":
        assert intervals(text, "words") == [(0, 2, "")]


def test_an_unknown_format_lists_the_known_ones() -> None:
    with pytest.raises(OutputError, match=r"no transcript format 'doc'; choose of txt, json, srt"):
        render(EMPTY, "a", "doc")
