"""`asr lm generate`: text that a language model writes by itself, which shows what it has learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.common import Device, Threads, set_threads


def command(
    model: Annotated[Path, typer.Argument(help="Folder of an LSTM language model.")],
    prompt: Annotated[str, typer.Option(help="Text to go on from, in the letter case of the model.")] = "",
    words: Annotated[int, typer.Option(min=1, help="How many words to write.")] = 50,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="Above 1 wilder, below 1 tamer, 0 always the likeliest.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed writes the same text.")] = 0,
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Print text drawn from an LSTM language model, one sentence a line."""
    set_threads(threads)
    from asr.decoding.recogniser import choose_device
    from asr.lm.lstm import LstmLanguageModel

    loaded = LstmLanguageModel.load(model, choose_device(device))
    typer.echo(loaded.generate(prompt, words, temperature, seed))
