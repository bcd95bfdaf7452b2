"""`asr pack`: a trained model to hand on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.common import Json, print_json


def command(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The new folder.")],
    float32: Annotated[
        bool, typer.Option("--float32", help="Keep the weights as they are; half precision takes half the room.")
    ] = False,
    json: Json = False,
) -> None:
    """Copy a trained model with all that it decodes with, without checkpoints and logs."""
    import torch

    from asr.model.packing import pack

    size = pack(model, output, precision=torch.float32 if float32 else torch.float16)
    if json:
        print_json({"model": str(output), "bytes": size})
    else:
        typer.echo(f"{output}  {size / 1e6:.1f} MB")
