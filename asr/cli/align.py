"""`asr align`: when each word of a known transcript was said."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from asr.cli.common import Device, Model, Threads, set_threads
from asr.files import shown
from asr.model.folders import DEFAULT, find_model


class Format(StrEnum):
    """What is written."""

    json = "json"
    ctm = "ctm"
    srt = "srt"
    vtt = "vtt"
    tsv = "tsv"
    textgrid = "TextGrid"


def command(
    audio: Annotated[Path, typer.Argument(help="Recording of any format that libsndfile reads, of any length.")],
    text: Annotated[Path, typer.Argument(help="File of all that is said, in UTF-8; each line becomes a segment.")],
    model: Model = Path(DEFAULT),
    format_: Annotated[
        Format, typer.Option("--format", help="json has segments and words with confidences.")
    ] = Format.json,
    output: Annotated[Path | None, typer.Option(help="File to write instead of printing.")] = None,
    lexicon: Annotated[
        Path | None,
        typer.Option("--lexicon", help="Pronunciations that `asr lexicon` wrote, beside those of a model of phones."),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Align a transcript with its recording: start, end and confidence of each word.

    The text must be what is said, from beginning to end; words of low confidence show where it is not.  Punctuation
    that the model does not write is dropped; figures and symbols have to be spelled out.
    """
    set_threads(threads)
    from asr.decoding.confidence import Calibration
    from asr.decoding.recogniser import Recogniser
    from asr.files import write_text
    from asr.transcription.aligning import align_recording
    from asr.transcription.formats import render

    recogniser = Recogniser.load(model, device)
    transcript = align_recording(recogniser, audio, text, Calibration.load(find_model(model)), lexicon=lexicon)
    name = shown(audio) if format_ is Format.json else shown(Path(audio.stem))
    rendered = render(transcript, name, format_.value)
    if output is None:
        typer.echo(rendered, nl=False)
    else:
        write_text(output, rendered)
