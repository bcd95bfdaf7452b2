"""`asr prepare`: a known corpus to manifests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.common import parse_options
from asr.errors import ConfigError
from asr.files import shown

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


def _list(asked: bool) -> None:
    if asked:
        from asr.data.corpora import CORPORA

        table = _table("name", "language", ">hours", ">download", "licence", "title")
        for corpus in CORPORA.values():
            hours = f"{corpus.hours:.1f}" if corpus.hours >= 1 else f"{corpus.hours:.2f}"
            cells = _cells(corpus.name, corpus.language, hours, corpus.size, corpus.licence, corpus.title)
            table.add_row(*cells)
        _print(table)
        raise typer.Exit


def command(
    corpus: Annotated[str, typer.Argument(help="Name of the corpus; --list shows them.")],
    output: Annotated[Path | None, typer.Option(help="Folder for the manifests; data/CORPUS by default.")] = None,
    source: Annotated[Path | None, typer.Option(help="The unpacked corpus, in its official layout.")] = None,
    download: Annotated[
        bool,
        typer.Option("--download", help="Fetch the official archives to OUTPUT/download; goes on where it stopped."),
    ] = False,
    option: Annotated[list[str] | None, typer.Option("--option", help="key=value for this corpus; repeatable.")] = None,
    list_: Annotated[bool, typer.Option("--list", callback=_list, is_eager=True, help="List the corpora.")] = False,
) -> None:
    """Write the manifests of a corpus that you have (--source) or that is to be fetched (--download)."""
    from asr.data.corpora import find, prepare

    info = find(corpus)
    output = output or Path("data") / corpus
    if (source is not None) == download:
        raise ConfigError(
            f"{corpus}: give {'only one' if download else 'one'} of --source DIR, the unpacked corpus that you have, "
            f"and --download, which fetches the official archives ({info.size} in all; licence: {info.licence}) to "
            f"{output / 'download'}"
        )
    manifests = prepare(corpus, source=source, output=output, **parse_options(option or []))
    _print(_parts_table(manifests))


def _parts_table(manifests: Mapping[str, Path]) -> Table:
    """Utterances, hours and speakers of each manifest, read one utterance at a time."""
    from asr.data.manifest import read_manifest

    table = _table("part", ">utterances", ">hours", ">speakers", "manifest")
    for part, path in manifests.items():
        count, seconds, speakers = 0, 0.0, set()
        for utterance in read_manifest(path):
            count += 1
            seconds += utterance.duration
            speakers.add(utterance.speaker)
        speakers.discard(None)
        table.add_row(*_cells(part, str(count), f"{seconds / 3600:.2f}", str(len(speakers)), shown(path)))
    return table


def _table(*columns: str) -> Table:
    """An empty table without lines; `>` before a column's name sets it to the right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name.removeprefix(">"), justify="right" if name.startswith(">") else "left", overflow="fold")
    return table


def _cells(*values: str) -> list[Text]:
    """Rich would take brackets in plain strings for markup."""
    from rich.text import Text

    return [Text(value) for value in values]


def _print(table: Table) -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:  # a file or another program: one row a line
        console = Console(width=1000)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        typer.echo(line.rstrip())
