"""`asr pack`: a trained model to hand on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.common import Json, print_json


def command(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The new folder.")],
    exact: Annotated[
        bool, typer.Option("--exact", help="Keep weights and language model as they are, not in their small forms.")
    ] = False,
    json: Json = False,
) -> None:
    """Copy a trained model with all that it decodes with, without checkpoints and logs."""
    from asr.decoding.packing import pack

    size = pack(model, output, exact=exact)
    if json:
        print_json({"model": str(output), "bytes": size})
    else:
        typer.echo(f"{output}  {size / 1e6:.1f} MB")
