"""`asr data merge`: several manifests to one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    manifests: Annotated[list[Path], typer.Argument(help="Folders with cuts.jsonl, or the files.")],
    output: Annotated[Path, typer.Option(help="Folder for the new cuts.jsonl.")],
    prefix: Annotated[
        bool, typer.Option("--prefix", help="Put the name of its folder before each id, where ids repeat.")
    ] = False,
    prefix_speakers: Annotated[
        bool,
        typer.Option("--prefix-speakers", help="The same for speakers, where equal names are different people."),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a manifest that is there.")] = False,
) -> None:
    """Join manifests, in the order given. Audio stays where it is."""
    from asr.cli.data.stats import length
    from asr.data.selecting import merge

    result = merge(manifests, output, prefix=prefix, prefix_speakers=prefix_speakers, overwrite=overwrite)
    for source in result.sources:
        name = f"{source.path} as {source.label}-..." if prefix else source.path
        typer.echo(f"{source.utterances:7} utterances {length(source.seconds):>10}  {name}")
    typer.echo(f"{result.utterances:7} utterances {length(result.seconds):>10}  written to {result.path}")
    shared = result.shared_speakers
    if shared:
        more = f" and {len(shared) - 5} more" if len(shared) > 5 else ""
        typer.echo(
            f"{len(shared)} speakers are in several of the manifests ({', '.join(shared[:5])}{more}); if equal names "
            "are different people, use --prefix-speakers"
        )
