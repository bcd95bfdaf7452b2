"""The `asr` command: one small module per sub-command, none of which imports torch before it runs."""

from __future__ import annotations

import sys

import typer

from asr.cli import evaluate, info, prepare, score, train, transcribe
from asr.cli.common import FAILED, INTERRUPTED, USAGE
from asr.errors import AsrError, ConfigError, Interrupted
from asr.version import __version__

app = typer.Typer(
    name="asr",
    help="Train, run and score bidirectional-LSTM CTC speech recognisers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("prepare")(prepare.command)
app.command("train")(train.command)
app.command("transcribe")(transcribe.command)
app.command("evaluate")(evaluate.command)
app.command("score")(score.command)
app.command("info")(info.command)


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
    """Run the command line. Exit status 0: done, 1: something failed, 2: wrong usage, 130: interrupted."""
    try:
        app()
    except AsrError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        status = {ConfigError: USAGE, Interrupted: INTERRUPTED}
        sys.exit(status.get(type(error), FAILED))
    except KeyboardInterrupt:
        typer.secho("interrupted", fg="red", err=True)
        sys.exit(INTERRUPTED)
