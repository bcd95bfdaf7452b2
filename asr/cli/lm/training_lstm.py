"""The part of `asr lm train` that trains an LSTM language model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from asr.cli.common import print_json
from asr.errors import ConfigError
from asr.files import shown

if TYPE_CHECKING:
    from asr.lm.corpus import Case
    from asr.lm.lstm_training import Epoch
    from asr.lm.units import Units


def train(
    texts: list[Path],
    output: Path,
    units: Units,
    validation: list[Path],
    vocabulary: Path | None,
    limit_vocabulary: int,
    tokens: Path | None,
    case: Case,
    network: dict[str, Any],
    training: dict[str, Any],
    device: str,
    json: bool,
) -> None:
    """Train, printing the perplexities of every epoch to standard error, and write the folder `output`.

    Args:
        network: values of `asr.lm.lstm.LstmConfig`.
        training: values of `asr.lm.lstm_training.LstmTraining`.
        texts, output, units, validation, vocabulary, limit_vocabulary, tokens, case, device, json: the options of the
            command.
    """
    from asr.data.problems import summarise
    from asr.decoding.recogniser import choose_device
    from asr.lm.corpus import Sentences, read_vocabulary
    from asr.lm.lstm import LstmConfig
    from asr.lm.lstm_training import LstmTraining, train_lstm
    from asr.lm.units import splitter
    from asr.text import Tokenizer, normalise

    if output.suffix in (".arpa", ".gz", ".lm"):
        raise ConfigError(f"--output {output}: an LSTM language model is a folder; leave the ending out")
    if output.exists() and not output.is_dir():
        raise ConfigError(f"--output {output}: is a file; an LSTM language model is a folder")
    if (tokens is not None) != (units == "tokens"):
        raise ConfigError("--units tokens and --tokens (tokens.txt of a model folder) need each other")
    chosen = choose_device(device)
    tokenizer = Tokenizer.load(tokens) if tokens else None
    split = splitter(units, tokenizer)
    sources = [Sentences(texts, split, case), Sentences(validation, split, case)]
    words = [normalise(word, case) for word in read_vocabulary(vocabulary)] if vocabulary else None
    limit = {"most_words": limit_vocabulary} if limit_vocabulary else {}
    epochs: list[Epoch] = []

    def report(epoch: Epoch) -> None:
        epochs.append(epoch)
        held_out = f", validation {epoch.perplexity:.2f}" if epoch.perplexity is not None else ""
        mark = "  best so far" if epoch.best and held_out else ""
        typer.echo(
            f"epoch {epoch.number}: perplexity {epoch.train_perplexity:.2f} in training{held_out}, "
            f"{epoch.seconds:.0f} s{mark}",
            err=True,
        )

    held_out = list(sources[1]) if validation else []
    model = train_lstm(
        sources[0],
        LstmConfig(units=units, **network),
        LstmTraining(**training, **limit),
        validation=held_out,
        words=words,
        tokenizer=tokenizer,
        device=chosen,
        output=output,
        report=report,
    )
    problems = [problem for source in sources for problem in source.problems]
    for line in summarise(problems, "text", what="sentences"):
        typer.echo(line, err=True)
    best = min((epoch for epoch in epochs if epoch.best), key=lambda epoch: epoch.perplexity or -epoch.number)
    parameters = sum(parameter.numel() for parameter in model.network.parameters())
    if json:
        print_json(
            {
                "vocabulary": len(model.words),
                "parameters": parameters,
                "best_epoch": best.number,
                "perplexity": best.perplexity,
                "train_perplexity": best.train_perplexity,
                "seconds": epochs[-1].seconds,
                "left_out": len(problems),
                "model": shown(output),
            }
        )
        return
    found = f", perplexity {best.perplexity:.2f} (epoch {best.number})" if best.perplexity is not None else ""
    typer.echo(f"{shown(output)}  vocabulary {len(model.words):,}, {parameters:,} parameters{found}")
