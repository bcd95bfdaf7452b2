"""`asr lm perplexity`: how well a language model predicts text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.common import Json, print_json
from asr.cli.lm.train import Case, Units
from asr.errors import ConfigError


def command(
    model: Annotated[Path, typer.Argument(help="The language model: .arpa, .arpa.gz, .lm, .lmz, or an LSTM folder.")],
    texts: Annotated[
        list[Path], typer.Argument(help="Files with one sentence a line, or manifests, whose transcripts are taken.")
    ],
    units: Annotated[
        Units | None, typer.Option(help="What an ARPA file predicts; by default words, unless ▁ is in it.")
    ] = None,
    tokens: Annotated[
        Path | None, typer.Option(help="tokens.txt of a model folder, to split text for a model of tokens.")
    ] = None,
    case: Annotated[Case, typer.Option(help="Letter case; that of the language model.")] = Case.LOWER,
    json: Json = False,
) -> None:
    """Print the perplexity of MODEL on TEXTS, with and without the words it does not have, and how many these are."""
    from asr.data.problems import summarise
    from asr.lm.corpus import Sentences
    from asr.lm.ngram import NgramModel
    from asr.lm.perplexity import perplexity
    from asr.lm.units import splitter
    from asr.text import Tokenizer

    loaded: NgramModel | LstmLanguageModel
    if model.is_dir():
        from asr.lm.lstm import LstmLanguageModel

        loaded = LstmLanguageModel.load(model)
        if units is not None and units.value != loaded.units:
            raise ConfigError(f"--units {units.value}: {model} predicts {loaded.units}; leave the option out")
    else:
        loaded = NgramModel.load(model, units.value if units else "tokens" if tokens else None)
    if (tokens is not None) != (loaded.units == "tokens"):
        raise ConfigError(f"{model} predicts {loaded.units}: --tokens is for models of tokens, and they need it")
    sentences = Sentences(texts, splitter(loaded.units, Tokenizer.load(tokens) if tokens else None), case.value)
    found = perplexity(loaded, sentences) if isinstance(loaded, NgramModel) else loaded.measure(sentences)
    for line in summarise(sentences.problems, "text", what="sentences"):
        typer.echo(line, err=True)
    if json:
        print_json({**found.to_dict(), "units": loaded.units, "left_out": len(sentences.problems)})
        return
    typer.echo(f"perplexity {found.perplexity:.2f}, without unknown {loaded.units} {found.perplexity_known:.2f}")
    typer.echo(
        f"{found.sentences:,} sentences, {found.words:,} {loaded.units}, {found.unknown:,} unknown "
        f"({100 * found.unknown_rate:.2f} %)"
    )
