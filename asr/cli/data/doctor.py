"""`asr data doctor`: find what is wrong with the data before hours are spent on it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from asr.cli.common import FAILED, Json, error_console, print_json
from asr.errors import ConfigError


def command(
    train: Annotated[Path, typer.Argument(help="Manifest to train on: a folder with cuts.jsonl, or the file itself.")],
    dev: Annotated[Path | None, typer.Option(help="Manifest that chooses the best epoch.")] = None,
    test: Annotated[list[Path] | None, typer.Option(help="Manifest that measures the result; repeatable.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML configuration: sample rate, alphabet, subsampling, longest utterance.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a value: section.key=value; repeatable.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; as many as cores by default.")] = None,
    fix: Annotated[Path | None, typer.Option(help="Folder for cleaned manifests and changes.jsonl.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier repair in that folder.")] = False,
    report: Annotated[Path | None, typer.Option(help="File for every problem, one JSON object a line.")] = None,
    json: Json = False,
) -> None:
    """Check every utterance: decode its audio, compare it with its transcript.

    Errors cost utterances or make the result false; warnings are worth a look.

    The exit status is 0 when there is no error, and training can start.
    It is 1 when there is one, unless --fix could mend them all.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from asr.config import load_config
    from asr.cores import cores
    from asr.data import doctor

    checked = load_config(config or os.devnull, set_ or [])
    if fix is not None:
        doctor.check_folder(fix, overwrite)
    elif overwrite:
        raise ConfigError("--overwrite means the folder of --fix; give that, or leave it out")
    # transient: the bar leaves nothing behind, and where standard error is no terminal nothing is drawn
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=error_console(), transient=True) as bar:
        task = bar.add_task("checking", total=None)
        found = doctor.examine(
            train,
            dev,
            test or (),
            checked,
            jobs=jobs or cores(),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if report is not None:
        found.save(report)
    notes = found.notes(from_nothing=checked.training.init is None)
    if not json:
        for line in [*found.lines(), "", *notes, *([found.verdict()] if fix is None else [])]:
            typer.echo(line)
    changes = doctor.fix(found, fix, overwrite=overwrite) if fix is not None else []
    left = found.errors if fix is None else found.unmended()
    if json:
        repaired = {} if fix is None else {"changes": len(changes), "unmended": len(left)}
        print_json({**found.to_dict(), "notes": notes, **repaired})
    elif fix is not None:
        for line in doctor.summarise_changes(changes, fix):
            typer.echo(line)
        typer.echo(
            f"{len(left)} error{'s' if len(left) > 1 else ''} left to mend by hand"
            if left
            else "no errors are left: training can start"
        )
    if left:
        raise typer.Exit(FAILED)
