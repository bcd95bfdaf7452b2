"""`asr prepare`: a known corpus to manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.common import parse_options


def _list(asked: bool) -> None:
    if asked:
        from asr.data.corpora import CORPORA

        for corpus in CORPORA.values():
            typer.echo(
                f"{corpus.name:10} {corpus.language:10} {corpus.hours:6.2f} h {corpus.megabytes:6} MB  ", nl=False
            )
            typer.echo(f"{corpus.licence}\n{'':10} {corpus.title}")
        raise typer.Exit


def command(
    corpus: Annotated[str, typer.Argument(help="Name of the corpus; --list shows them.")],
    output: Annotated[Path | None, typer.Option(help="Folder for the manifests; data/CORPUS by default.")] = None,
    source: Annotated[
        Path | None, typer.Option(help="The corpus in its official layout; downloaded when not given.")
    ] = None,
    option: Annotated[list[str] | None, typer.Option("--option", help="key=value for this corpus; repeatable.")] = None,
    list_: Annotated[bool, typer.Option("--list", callback=_list, is_eager=True, help="List the corpora.")] = False,
) -> None:
    """Write the manifests of a corpus, downloading it when no --source is given."""
    from asr.data.corpora import prepare
    from asr.data.manifest import read_manifest

    manifests = prepare(corpus, source=source, output=output or Path("data") / corpus, **parse_options(option or []))
    for part, path in manifests.items():
        utterances = list(read_manifest(path))
        minutes = sum(utterance.duration for utterance in utterances) / 60
        typer.echo(f"{part:14} {len(utterances):6} utterances {minutes:8.1f} min  {path}")
