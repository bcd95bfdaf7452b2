"""`asr train`: a configuration to a model folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.allocation import bound_kernel_cache
from asr.cli.common import Device, Json, Threads, error_console, print_json, set_threads
from asr.errors import ConfigError

if TYPE_CHECKING:
    from asr.config import Config


def command(
    config: Annotated[Path, typer.Argument(help="YAML configuration.")],
    output: Annotated[Path | None, typer.Option(help="Model folder to make; --probe needs none.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a value: section.key=value; repeatable.")
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(help="Fine-tune: model whose weights to start from, a folder or en-small (training.init)."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the training in --output exactly.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start over where a training was before.")] = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="Train nothing; find the largest data.batch_seconds that fits into memory.")
    ] = False,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Train a model; with a dev set, the epoch with the lowest dev WER is kept."""
    from asr.config import load_config

    if output is None and not probe:
        raise ConfigError("--output is missing: name the model folder to make")
    overrides = [*([f"training.init={init}"] if init else []), *(set_ or [])]
    checked = load_config(config, overrides)  # before the slow imports: a typo answers at once
    bound_kernel_cache()
    set_threads(threads)
    if output is None or probe:
        _probe(checked, device, json)
        return
    from asr.training import train
    from asr.training.advice import learnt_little, left_behind

    result = train(checked, output, resume=resume, overwrite=overwrite, device=device, console=error_console())
    if os.environ.get("RANK", "0") != "0":  # under torchrun or accelerate: the first process reports
        return
    hints = [*learnt_little(checked, result.best_wer), *left_behind(checked, result.folder)]
    if json:
        print_json(
            {
                "model": str(result.folder),
                "best_epoch": result.best_epoch,
                "dev_wer": result.best_wer,
                "train_seconds": result.train_seconds,
                "audio_seconds_per_second": result.audio_seconds_per_second,
                "parameters": result.parameters,
                "advice": hints,
            }
        )
        return
    wer = "no dev set" if result.best_wer is None else f"dev WER {result.best_wer:.2%} in epoch {result.best_epoch}"
    typer.echo(f"{result.folder}: {wer}, {result.train_seconds:.0f} s, {result.parameters / 1e6:.2f} M parameters")
    for line in hints:
        typer.secho(line, fg="yellow", err=True)


def _probe(config: Config, device: str, json: bool) -> None:
    """The largest batch that fits, as a table and as lines for the configuration."""
    from dataclasses import asdict

    from asr.training.probe import probe

    result = probe(config, device=device, console=error_console())
    if json:
        print_json(asdict(result))
        return
    typer.echo(f"{result.summary}\n\n{result.paste}")
