"""`asr data listen`: a page to hear and see what augmentation does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.common import error_console
from asr.files import shown


def command(
    manifest: Annotated[Path, typer.Argument(help="Folder with cuts.jsonl, or the file itself.")],
    config: Annotated[Path, typer.Option(help="YAML configuration with the augmentation.")],
    output: Annotated[Path, typer.Option(help="HTML file to write.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a value: section.key=value; repeatable.")
    ] = None,
    utterances: Annotated[int, typer.Option(min=1, help="How many to show.")] = 5,
    versions: Annotated[int, typer.Option(min=1, help="Augmented versions of each: the first epochs.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Another seed chooses other utterances.")] = 0,
) -> None:
    """Write a page with players and log-mel pictures of a few utterances, as they are and augmented.

    The augmented versions are what a training with this configuration hears in its first epochs.
    """
    from asr.config import load_config

    checked = load_config(config, set_ or [])  # before the slow imports: a typo answers at once
    from asr.evaluation.listening import listening_page

    listening_page(
        manifest, checked, output, utterances=utterances, versions=versions, seed=seed, console=error_console()
    )
    typer.echo(f"{shown(output)}: {output.stat().st_size / 1e6:.1f} MB, open it in a browser")
