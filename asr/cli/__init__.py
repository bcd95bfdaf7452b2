"""The `asr` command: one small module per sub-command, none of which imports torch before it runs."""

from __future__ import annotations

import typer

from asr.cli import (
    align,
    calibrate,
    compare,
    data,
    diagnose,
    evaluate,
    explain,
    info,
    lexicon,
    lm,
    models,
    pack,
    prepare,
    score,
    train,
    transcribe,
)
from asr.cli.common import run
from asr.version import __version__

app = typer.Typer(
    name="asr",
    help="Train, run and score bidirectional-LSTM CTC speech recognisers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("prepare")(prepare.command)
app.add_typer(data.app, name="data")
app.command("train")(train.command)
app.command("transcribe")(transcribe.command)
app.command("align")(align.command)
app.command("calibrate")(calibrate.command)
app.command("evaluate")(evaluate.command)
app.command("compare")(compare.command)
app.command("explain")(explain.command)
app.add_typer(diagnose.app, name="diagnose")
app.add_typer(lm.app, name="lm")
app.command("lexicon")(lexicon.command)
app.command("score")(score.command)
app.command("info")(info.command)
app.command("models")(models.command)
app.command("pack")(pack.command)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"asr {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main() -> None:
    """The console script."""
    run(app)
