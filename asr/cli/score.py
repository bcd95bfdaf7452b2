"""`asr score`: word error rate of one text file against another, whatever recogniser wrote it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from asr.cli.common import Json, print_json


class Format(StrEnum):
    """How a transcript file is laid out."""

    auto = "auto"
    plain = "plain"
    kaldi = "kaldi"
    trn = "trn"
    jsonl = "jsonl"


def command(
    reference: Annotated[Path, typer.Argument(help="Transcripts, a manifest among them.")],
    hypothesis: Annotated[Path, typer.Argument(help="What the recogniser heard.")],
    format_: Annotated[
        Format, typer.Option("--format", help="plain (a sentence a line), kaldi (id text), trn, jsonl.")
    ] = Format.auto,
    missing_as_empty: Annotated[
        bool, typer.Option("--missing-as-empty", help="Count a reference without hypothesis as all deleted.")
    ] = False,
    output: Annotated[Path | None, typer.Option(help="Write the alignments, worst first, to this file.")] = None,
    json: Json = False,
) -> None:
    """Print WER, CER and sentence errors of HYPOTHESIS against REFERENCE, with 95 % intervals.

    Text is compared as it stands: case and punctuation count.
    """
    from asr.scoring import format_summary, read_transcripts, score, write_alignments

    references = read_transcripts(reference, format_.value)
    hypotheses = read_transcripts(hypothesis, format_.value)
    result = score(references, hypotheses, missing="empty" if missing_as_empty else "error")
    if output:
        write_alignments(output, result)
    if json:
        print_json(result.to_dict())
    else:
        typer.echo(format_summary(result))
