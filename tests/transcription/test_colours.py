from __future__ import annotations

import io
import re

import pytest
from rich.color import Color
from rich.console import Console
from rich.style import Style

from asr.decoding.hypothesis import Word
from asr.transcription.colours import LEVELS, coloured, legend
from asr.transcription.transcript import Segment, Transcript

WORDS = [Word("sure", 0, 1, 0.95), Word("fair", 1, 2, 0.7), Word("poor", 2, 3, 0.69), Word("bad", 3, 4, 0.0)]
TRANSCRIPT = Transcript(
    "sure fair poor bad no idea",
    6.0,
    [Segment(0, 4, "sure fair poor bad", -1.0, WORDS), Segment(4, 6, "no idea", -1.0, [Word("no"), Word("idea")])],
)


def printed(**options: object) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=20, **options)  # type: ignore[arg-type]
    console.print(coloured(TRANSCRIPT), soft_wrap=True)
    return stream.getvalue()


def styles(text: str) -> list[tuple[str, str]]:
    return re.findall(r"\x1b\[([\d;]+)m(\w+)\x1b\[0m", text)


def test_words_are_coloured_by_confidence_and_unsure_ones_underlined() -> None:
    text = printed(force_terminal=True, color_system="256")
    assert styles(text) == [
        ("38;5;28", "sure"),
        ("38;5;100", "fair"),
        ("4;38;5;130", "poor"),
        ("1;4;38;5;160", "bad"),
    ]
    assert text.endswith("\nno idea\n")


def test_no_color_leaves_the_underlines_and_a_file_gets_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed() == "sure fair poor bad\nno idea\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert styles(printed(force_terminal=True, color_system="256")) == [("4", "poor"), ("1;4", "bad")]


def test_confidences_at_the_edges_have_a_level() -> None:
    for value, level in [(1.0, 0), (0.9, 0), (0.8999, 1), (0.5, 2), (0.4999, 3), (-0.1, 3), (float("nan"), 3)]:
        segment = Segment(0, 1, "w", 0.0, [Word("w", 0, 1, value)])
        (span,) = coloured(Transcript("w", 1.0, [segment])).spans
        assert span.style == LEVELS[level][1]


def test_no_words_no_segments_and_escape_sequences() -> None:
    assert coloured(Transcript("", 1.0, [Segment(0, 1, "", 0.0)])).plain == ""
    assert coloured(Transcript("just text", 1.0)).plain == "just text"
    assert coloured(Transcript("as text", 1.0, [Segment(0, 1, "as text", 0.0)])).plain == "as text"
    hostile = Segment(0, 1, "x", 0.0, [Word("\x1b]0;title\x07", 0, 1, 1.0), Word("[bold]a", 1, 2, 1.0)])
    assert coloured(Transcript("x", 1.0, [hostile])).plain == "�]0;title� [bold]a"


def test_the_legend_shows_each_level_in_its_colour() -> None:
    text = legend()
    assert text.plain == "confidence:  0.9 and more  0.7 to 0.9  0.5 to 0.7  below 0.5"
    assert [span.style for span in text.spans if span.style] == [style for _, style in LEVELS]


def test_each_colour_can_be_read_on_black_and_on_white() -> None:
    for _, style in LEVELS:
        colour = Style.parse(style).color
        assert isinstance(colour, Color)
        linear = [
            value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4
            for value in colour.get_truecolor().normalized
        ]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]  # of WCAG 2
        assert (luminance + 0.05) / 0.05 > 3.8
        assert 1.05 / (luminance + 0.05) > 3.8
