"""`asr evaluate`: the word error rate of a model on a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.common import FAILED, Device, Json, Threads, error_console, print_json, set_threads


def command(
    manifest: Annotated[Path, typer.Argument(help="Folder with cuts.jsonl, or the file itself.")],
    model: Annotated[Path, typer.Option(help="Model folder.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder for score.json, hypotheses.jsonl and alignments.txt.")
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Decode a manifest and print WER, CER and sentence errors with 95 % intervals.

    Exit status 1 when some recordings could not be read.
    """
    set_threads(threads)
    from rich.progress import Progress

    from asr.evaluation import evaluate
    from asr.scoring import format_summary
    from asr.transcription import load_model

    recogniser = load_model(model, device=device)
    with Progress(console=error_console(), transient=True, disable=json) as bar:
        task = bar.add_task("decoding", total=None)
        result = evaluate(
            recogniser,
            manifest,
            output=output,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    for identifier, reason in result.failures:
        typer.secho(f"error: {identifier}: {reason}", fg="red", err=True)
    if json:
        print_json(result.to_dict())
    else:
        typer.echo(format_summary(result.score))
        speed = result.audio_seconds / result.decoding_seconds
        typer.echo(
            f"{result.audio_seconds / 60:.1f} min of audio in {result.decoding_seconds:.1f} s, {speed:.0f} x real time"
        )
        if output:
            typer.echo(f"alignments, worst first: {output / 'alignments.txt'}")
    if result.failures:
        typer.secho(f"{len(result.failures)} utterances could not be read and are not in the score", fg="red", err=True)
        raise typer.Exit(FAILED)
