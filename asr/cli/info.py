"""`asr info`: what a model folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.common import Json, print_json
from asr.model.folders import CARD, WEIGHTS, find_model


def command(
    model: Annotated[Path, typer.Argument(help="Model folder, or the name of one that comes with asr.")],
    json: Json = False,
) -> None:
    """Check a model folder and describe it."""
    from asr.model.checkpoint import load_folder

    folder = find_model(model)
    acoustic, tokenizer = load_folder(folder)
    config = acoustic.config
    facts = {
        "model": str(model),
        "parameters": acoustic.parameter_count,
        "megabytes": round((folder / WEIGHTS).stat().st_size / 1e6, 2),
        "encoder": config.model.encoder,
        **({"cell": config.model.cell} if config.model.encoder == "rnn" else {}),
        "layers": config.model.layers,
        "hidden": config.model.hidden,
        "bidirectional": config.model.bidirectional,
        "head": config.model.head,
        "sample_rate": config.features.sample_rate,
        "frame_seconds": acoustic.frame_seconds,
        "units": tokenizer.units,
        "tokens": tokenizer.tokens,
    }
    if json:
        print_json(facts)
        return
    for name, value in facts.items():
        typer.echo(f"{name:14} {' '.join(value) if isinstance(value, list) else value}")
    if (folder / CARD).is_file():
        typer.echo("\n" + (folder / CARD).read_text(encoding="utf-8").rstrip())
