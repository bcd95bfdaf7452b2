"""`asr data shard`: pack a manifest and its audio into Lhotse Shar."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.common import FAILED, error_console


def command(
    manifest: Annotated[Path, typer.Argument(help="Manifest, or with --index a folder of shards.")],
    output: Annotated[Path, typer.Option(help="Folder for shards.json and shar/, without shards or a manifest.")],
    size: Annotated[int, typer.Option(min=1, help="Utterances in a shard.")] = 1000,
    format_: Annotated[
        str, typer.Option("--format", help="flac, wav (both keep 16 bits exactly), opus or mp3.")
    ] = "flac",
    sample_rate: Annotated[
        int | None, typer.Option(min=1000, help="Resample to it, Hz; each recording keeps its own by default.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the order of the utterances.")] = 0,
    in_order: Annotated[bool, typer.Option("--in-order", help="Keep the manifest's order; trains worse.")] = False,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; as many as cores by default.")] = None,
    index: Annotated[
        bool, typer.Option("--index", help="Only write shards.json, which a URL needs, for shards below --output.")
    ] = False,
) -> None:
    """Pack a manifest and its audio into tar files (Lhotse Shar), to be read from a disk or a URL."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from asr.cores import cores
    from asr.data.problems import summarise
    from asr.data.shard_writing import index_shards, write_shards

    console = error_console()
    if index:
        sharded = index_shards(manifest, output)
    else:
        bar = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*bar, console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("shards", total=None)
            sharded = write_shards(
                manifest,
                output,
                size=size,
                format=format_,
                sample_rate=sample_rate,
                seed=None if in_order else seed,
                jobs=jobs or cores(),
                progress=lambda done, total: progress.update(task, completed=done, total=total),
            )
    for line in summarise(sharded.problems, str(manifest)):
        console.print(line, highlight=False, markup=False, soft_wrap=True, style="yellow")
    utterances = sum(shard.utterances for shard in sharded.shards)
    hours = sum(shard.seconds for shard in sharded.shards) / 3600
    typer.echo(f"{sharded.folder}: {len(sharded.shards)} shards, {utterances} utterances, {hours:.2f} h")
    if sharded.problems:
        raise typer.Exit(FAILED)
