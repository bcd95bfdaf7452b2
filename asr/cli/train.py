"""`asr train`: a configuration to a model folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from asr.cli.common import Device, Json, Threads, error_console, print_json, set_threads


def command(
    config: Annotated[Path, typer.Argument(help="YAML configuration.")],
    output: Annotated[Path, typer.Option(help="Model folder to make.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a value: section.key=value; repeatable.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the training in --output exactly.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start over where a training was before.")] = False,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Train a model; with a dev set, the epoch with the lowest dev WER is kept."""
    from asr.config import load_config

    checked = load_config(config, set_ or [])  # before the slow imports: a typo answers at once
    set_threads(threads)
    from asr.training import train

    result = train(checked, output, resume=resume, overwrite=overwrite, device=device, console=error_console())
    if os.environ.get("RANK", "0") != "0":  # under torchrun or accelerate: the first process reports
        return
    if json:
        print_json(
            {
                "model": str(result.folder),
                "best_epoch": result.best_epoch,
                "dev_wer": result.best_wer,
                "train_seconds": result.train_seconds,
                "audio_seconds_per_second": result.audio_seconds_per_second,
                "parameters": result.parameters,
            }
        )
        return
    wer = "no dev set" if result.best_wer is None else f"dev WER {result.best_wer:.2%} in epoch {result.best_epoch}"
    typer.echo(f"{result.folder}: {wer}, {result.train_seconds:.0f} s, {result.parameters / 1e6:.2f} M parameters")
