"""`asr lm mix`: one n-gram model of several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.common import Json, print_json
from asr.cli.lm.train import Case
from asr.errors import ConfigError


def command(
    models: Annotated[
        list[Path], typer.Argument(help="Two or more n-gram models of the same units: .lm, .lmz, .arpa, .arpa.gz.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The mixture: .lm, .lmz, which is small, .arpa or .arpa.gz.")
    ],
    dev: Annotated[
        list[Path] | None,
        typer.Option(help="Text that it is meant for, or a manifest; the weights are fitted to it. Repeatable."),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Or the weights themselves: '0.7 0.3'.", metavar="W...")] = None,
    tokens: Annotated[
        Path | None, typer.Option(help="tokens.txt of a model folder, to split text for models of tokens.")
    ] = None,
    case: Annotated[Case, typer.Option(help="Letter case of the text; that of the models.")] = Case.LOWER,
    json: Json = False,
) -> None:
    """Mix n-gram models: one of a little text of your domain with one of much other text."""
    from asr.data.problems import Problem, summarise
    from asr.files import check_not_read
    from asr.lm.corpus import Sentences
    from asr.lm.mixing import fitted_weights, mix
    from asr.lm.ngram import NgramModel, file_form
    from asr.lm.perplexity import perplexity
    from asr.lm.units import splitter
    from asr.text import Tokenizer

    file_form(output)  # a wrong name shows before the work
    check_not_read(output, [*models, *(dev or []), tokens])
    if (dev is None) == (weights is None):
        raise ConfigError("give --dev, text that the weights are fitted to, or --weights, and not both")
    loaded = [NgramModel.load(path, "tokens" if tokens else None) for path in models]
    problems: list[Problem] = []
    found: dict[str, float] = {}
    if dev is not None:
        split = splitter(loaded[0].units, Tokenizer.load(tokens) if tokens else None)
        sentences = Sentences(dev, split, case.value)
        shares = fitted_weights(loaded, sentences)
        problems = list(sentences.problems)
    else:
        try:
            given = [float(weight) for weight in (weights or "").replace(",", " ").split()]
        except ValueError:
            raise ConfigError(f"--weights {weights!r}: expected a number for each model, such as '0.7 0.3'") from None
        shares = [weight / sum(given) for weight in given] if sum(given) > 0 else given
    mixed = mix(loaded, shares)
    mixed.save(output)
    if dev is not None:
        for name, model in (*zip(map(str, models), loaded, strict=True), (str(output), mixed)):
            found[name] = perplexity(model, Sentences(dev, split, case.value)).perplexity
    for line in summarise(problems, "text", what="sentences"):
        typer.echo(line, err=True)
    if json:
        kinds = {"weights": shares, "ngrams": mixed.ngrams, "perplexities": found, "model": str(output)}
        print_json({**kinds, "vocabulary": len(mixed.words), "left_out": len(problems)})
        return
    for path, share in zip(models, shares, strict=True):
        said = f"  perplexity {found[str(path)]:.2f}" if found else ""
        typer.echo(f"{path}  weight {share:.3f}{said}")
    counts = " + ".join(f"{count:,}" for count in mixed.ngrams)
    said = f"  perplexity {found[str(output)]:.2f}" if found else ""
    typer.echo(f"{output}  {counts} n-grams, {output.stat().st_size / 1e6:,.1f} MB{said}")
