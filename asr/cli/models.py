"""`asr models`: the models that come with the package."""

from __future__ import annotations

import typer

from asr.cli.common import Json, print_json
from asr.model.folders import CARD, CONFIG, DEFAULT, bundled_models


def command(json: Json = False) -> None:
    """List the models that come with asr; `--model NAME` uses one, `asr info NAME` tells all about it."""
    import yaml

    rows = []
    for name, folder in bundled_models().items():
        tree = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
        card = (folder / CARD).read_text(encoding="utf-8").splitlines()
        size = sum(path.stat().st_size for path in folder.iterdir())
        row = {
            "name": name,
            "about": next((line for line in card if line and not line.startswith("#")), ""),
            "units": tree["text"]["units"],
            "megabytes": round(size / 1e6, 1),
            "default": name == DEFAULT,
            "folder": str(folder),
        }
        rows.append(row)
    if json:
        print_json({"models": rows})
        return
    for row in rows:
        default = ", used when no --model is given" if row["default"] else ""
        typer.echo(f"{row['name']}  {row['about']} {row['megabytes']} MB{default}")
        typer.echo(f"    {row['folder']}")
    if not rows:
        typer.echo("none: this installation came without asr/models", err=True)
