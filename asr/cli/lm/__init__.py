"""`asr lm`: train, judge and use language models; one small module per sub-command."""

from __future__ import annotations

import typer

from asr.cli.lm import generate, mix, perplexity, train, tune

app = typer.Typer(no_args_is_help=True, help="Train, judge and use language models.")
app.command("train", cls=train.TrainCommand)(train.command)
app.command("generate")(generate.command)
app.command("mix")(mix.command)
app.command("perplexity")(perplexity.command)
app.command("tune")(tune.command)
