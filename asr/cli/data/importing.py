"""`asr data import`: your own recordings to a manifest."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from asr.cli.common import FAILED, error_console
from asr.errors import ConfigError


class Format(StrEnum):
    """How the recordings and their transcripts are kept."""

    auto = "auto"
    table = "table"
    nemo = "nemo"
    kaldi = "kaldi"
    huggingface = "huggingface"
    common_voice = "common_voice"
    text_files = "text_files"
    librispeech = "librispeech"


def command(
    source: Annotated[Path, typer.Argument(help="A table, a JSON lines file, or a folder of recordings.")],
    output: Annotated[Path, typer.Option(help="Folder for cuts.jsonl, or a .jsonl or .jsonl.gz file.")],
    format_: Annotated[Format, typer.Option("--format", help="auto looks at what is there.")] = Format.auto,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", help="OURS=THEIRS names a column or JSON key, as text=sentence; repeatable."),
    ] = None,
    audio_root: Annotated[
        Path | None, typer.Option(help="Folder that relative audio paths start from; that of the table by default.")
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Of text that is neither UTF-8 nor UTF-16, such as cp1252.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a manifest that is there.")] = False,
) -> None:
    """Write a manifest of recordings and their transcripts; the recordings stay where they are.

    \b
    table         CSV or TSV: audio,text[,speaker,start,end,id,channel]
    nemo          JSON lines: audio_filepath, text[, duration, offset, speaker]
    kaldi         a folder with wav.scp, text[, segments, utt2spk]
    huggingface   a folder of audio with metadata.csv or metadata.jsonl
    common_voice  a TSV of Common Voice beside its folder clips
    text_files    a folder of audio, each with a .txt of the same name
    librispeech   a folder of audio with *.trans.txt files

    What cannot be used is reported, and the rest is imported (exit status 1).
    """
    columns = _columns(column or [])
    from rich.progress import Progress

    from asr.data.importing import import_data
    from asr.data.problems import summarise

    console = error_console()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("importing", total=None)
        result = import_data(
            source,
            output,
            format=format_.value,
            columns=columns,
            audio_root=audio_root,
            encoding=encoding,
            overwrite=overwrite,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    typer.echo(f"{result.format}: {result.utterances} utterances, {result.seconds / 60:.1f} min, in {result.manifest}")
    if result.without_text:
        typer.echo(f"{result.without_text} of them have an empty transcript")
    if result.unused_columns:
        names = ", ".join(map(repr, result.unused_columns))
        typer.echo(
            f"no utterance has a speaker; columns that were not used: {names}. Name that of the speakers with "
            "--column speaker=NAME",
            err=True,
        )
    if result.problems:
        for line in summarise(result.problems, str(source)):
            typer.secho(line, fg="red", err=True)
        raise typer.Exit(FAILED)


def _columns(pairs: list[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for pair in pairs:
        ours, _, theirs = pair.partition("=")
        if not ours or not theirs:
            raise ConfigError(f"--column {pair}: expected OURS=THEIRS, such as text=sentence")
        if columns.setdefault(ours, theirs) != theirs:
            raise ConfigError(f"--column {ours} is given twice, {columns[ours]} and {theirs}")
    return columns
