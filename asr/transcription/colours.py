"""A transcript for the terminal, each word coloured by how sure the model is of it."""

from __future__ import annotations

from rich.text import Text

from asr.transcription.subtitles import one_line, segments_of
from asr.transcription.transcript import Transcript

LEVELS = ((0.9, "color(28)"), (0.7, "color(100)"), (0.5, "underline color(130)"), (0.0, "bold underline color(160)"))
"""The least confidence of each level and how its words look: green, olive, orange and red of the 256 colours.

Each has a contrast of at least 3.8 both with black and with white. The unsure half is underlined, for those who cannot
tell red from green and for terminals without colours (with `NO_COLOR` rich leaves the underlines).
"""


def coloured(transcript: Transcript) -> Text:
    """The transcript, a line a segment; words without confidence are not coloured.

    Print it with `soft_wrap=True` to leave the breaking of long lines to the terminal.
    """
    lines = []
    for segment in segments_of(transcript):
        words = [Text(text, _style(word.confidence)) for word in segment.words if (text := one_line(word.text))]
        line = Text(" ").join(words) if words else Text(one_line(segment.text))
        if line:
            lines.append(line)
    return Text("\n").join(lines)


def legend() -> Text:
    """What the colours mean, in a line."""
    parts = [Text("confidence:")]
    above: float | None = None
    for least, style in LEVELS:
        span = f"{least:g} and more" if above is None else f"{least:g} to {above:g}" if least else f"below {above:g}"
        parts.append(Text(span, style))
        above = least
    return Text("  ").join(parts)


def _style(confidence: float | None) -> str:
    if confidence is None:
        return ""
    return next(style for least, style in LEVELS if confidence >= least or least == 0)
