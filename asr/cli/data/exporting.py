"""`asr data export`: a manifest for Kaldi or NeMo."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from asr.cli.common import FAILED


class Format(StrEnum):
    """Which toolkit reads it."""

    kaldi = "kaldi"
    nemo = "nemo"


def command(
    manifest: Annotated[Path, typer.Argument(help="Folder with cuts.jsonl, or the file itself.")],
    output: Annotated[Path, typer.Option(help="New folder for Kaldi, .jsonl file for NeMo.")],
    format_: Annotated[Format, typer.Option("--format", help="kaldi: a data directory. nemo: JSON lines.")],
) -> None:
    """Write a manifest in the format of another toolkit; `asr data import` reads it back.

    Notes say what the format could not keep. Unreadable recordings are left out and reported (exit status 1).
    """
    from asr.data.exporting import EXPORTERS
    from asr.data.problems import summarise

    result = EXPORTERS[format_.value](manifest, output)
    typer.echo(f"{format_.value}: {result.utterances} utterances, in {result.path}")
    for note in result.notes:
        typer.echo(f"note: {note}")
    if result.problems:
        for line in summarise(result.problems, str(manifest)):
            typer.secho(line, fg="red", err=True)
        raise typer.Exit(FAILED)
