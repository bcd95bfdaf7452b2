"""`asr data stats`: what is in a manifest, as a table, numbers and a picture."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asr.cli.common import Json, print_json

if TYPE_CHECKING:
    from rich.columns import Columns
    from rich.table import Table

    from asr.data.statistics import Statistics

TOP_WORDS = 15
COMMON_CHARACTERS, RARE_CHARACTERS = 80, 20
"""Of a larger alphabet the most and the least frequent are shown: the rare ones are often mistakes."""


def command(
    manifests: Annotated[list[Path], typer.Argument(help="Folders with cuts.jsonl, or the files.")],
    output: Annotated[Path | None, typer.Option(help="Folder for statistics.json and statistics.png.")] = None,
    json: Json = False,
) -> None:
    """Count utterances, hours, speakers, words and characters; no audio is opened."""
    from asr.data.statistics import save_statistics, statistics

    found = statistics(manifests)
    saved = save_statistics(found, output) if output else []
    if json:
        print_json(found.to_dict())
        return
    from rich.console import Console

    console = Console(markup=False, highlight=False, emoji=False)
    for table in (_manifests(found), _spreads(found), _facts(found)):
        console.print(table)
        console.print()
    for path in saved:
        console.print(str(path), soft_wrap=True)


def length(seconds: float) -> str:
    """Minutes up to two hours, then hours."""
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:,.2f} h"


def _manifests(found: Statistics) -> Table:
    table = _table("", ">utterances", ">length", ">speakers")
    for manifest in found.manifests:
        table.add_row(
            str(manifest.path), f"{manifest.utterances:,}", length(manifest.seconds), f"{manifest.speakers:,}"
        )
    if len(found.manifests) > 1:
        speakers = f"{len(found.speaker_seconds):,}"
        table.add_row("together", f"{len(found.durations):,}", length(found.seconds), speakers)
    return table


def _spreads(found: Statistics) -> Table:
    from asr.data.statistics import PERCENTILES

    numbers = found.to_dict(top=0)
    heads = [{"min": "min", "p50": "median", "max": "max"}.get(name, f"{name[1:]} %") for name in PERCENTILES]
    table = _table("", *(f">{head}" for head in heads), ">mean")
    for label, key in (
        ("seconds", "seconds"),
        ("characters per second", "characters_per_second"),
        ("words per second", "words_per_second"),
        ("minutes per speaker", "minutes_per_speaker"),
    ):
        if numbers[key] is not None:
            table.add_row(label, *(f"{value:.2f}" for value in numbers[key].values()))
    return table


def _facts(found: Statistics) -> Table:
    from asr.data.statistics import ranked

    table = _table("", "")
    rows: list[tuple[str, str | Columns]] = [
        ("shortest", _ids(found.shortest, "s")),
        ("longest", _ids(found.longest, "s")),
    ]
    if found.words:
        words = ranked(found.words)[:TOP_WORDS]
        rows += [
            ("slowest", _ids(found.slowest, "characters/s")),
            ("fastest", _ids(found.fastest, "characters/s")),
            ("words", f"{found.words.total():,}, {len(found.words):,} different"),
            ("most frequent", _grid([f"{word} {count:,}" for word, count in words])),
        ]
    if found.characters:
        rows.append((f"{len(found.characters):,} characters", _alphabet(ranked(found.characters))))
    rows += [
        ("sample rates", ", ".join(f"{rate} Hz {count:,}" for rate, count in ranked(found.sample_rates))),
        ("audio files", ", ".join(f"{kind} {count:,}" for kind, count in ranked(found.formats))),
    ]
    for label, count in (
        ("no transcript", found.without_text),
        ("empty transcript", found.empty_texts),
        ("no speaker", found.without_speaker),
    ):
        if count:
            rows.append((label, f"{count:,} utterances"))
    for row in rows:
        table.add_row(*row)
    return table


def _table(*columns: str) -> Table:
    """A table without lines; columns that begin with > are set to the right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=any(columns), header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(
            column.lstrip(">"),
            justify="right" if column.startswith(">") else "left",
            no_wrap=column.startswith(">"),
            overflow="fold",
            style="bold" if number == 0 else None,
        )
    return table


def _ids(extremes: list[tuple[str, float]], unit: str) -> str:
    return "\n".join(f"{value:.2f} {unit}  {identifier}" for identifier, value in extremes)


def _grid(items: list[str]) -> Columns:
    """Items side by side, as many as the terminal has room for."""
    from rich.columns import Columns

    return Columns(items, padding=(0, 2))


def _alphabet(counts: list[tuple[Any, int]]) -> Columns:
    shown = [f"{character_name(character)} {count:,}" for character, count in counts]
    hidden = len(shown) - COMMON_CHARACTERS - RARE_CHARACTERS
    if hidden > 0:
        shown[COMMON_CHARACTERS:-RARE_CHARACTERS] = [f"... {hidden:,} more ..."]
    return _grid(shown)


def character_name(character: str) -> str:
    """A character so that it can be told from those that look alike: plain, `é U+00E9`, or `U+200B` unseen."""
    code = f"U+{ord(character):04X}"
    if character == " ":
        return "space"
    if not character.isprintable() or unicodedata.combining(character):
        return code
    return character if character.isascii() else f"{character} {code}"
