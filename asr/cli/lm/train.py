"""`asr lm train`: an n-gram or LSTM language model from text."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from asr.cli.common import Device, Json, Threads, print_json, set_threads
from asr.errors import ConfigError

if TYPE_CHECKING:
    from asr.lm.training import NgramTraining


class Kind(StrEnum):
    """What is trained."""

    ngram = "ngram"
    lstm = "lstm"


NGRAM_ONLY = ("order", "prune")
LSTM_ONLY = (
    "validation",
    "size",
    "layers",
    "dropout",
    "adaptive",
    "epochs",
    "learning_rate",
    "seed",
    "device",
    "threads",
)


class Units(StrEnum):
    """What the model predicts."""

    words = "words"
    characters = "characters"
    tokens = "tokens"


class Case(StrEnum):
    """How text is normalised."""

    LOWER = "lower"
    UPPER = "upper"
    KEEP = "keep"


class TrainCommand(TyperCommand):
    """Takes `--prune 0 0 1` as KenLM does: all the numbers that follow belong to it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Join the numbers after `--prune` to one argument."""
        joined: list[str] = []
        for argument in args:
            if argument.isdecimal() and joined[-2:-1] == ["--prune"]:
                joined[-1] += f" {argument}"
            else:
                joined.append(argument)
        return super().parse_args(ctx, joined)


def command(
    context: typer.Context,
    texts: Annotated[
        list[Path], typer.Argument(help="Files with one sentence a line, or manifests, whose transcripts are taken.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="The model: .lm, which opens at once, .lmz, which is small, .arpa or .arpa.gz; lstm: a folder.",
        ),
    ],
    kind: Annotated[Kind, typer.Option(help="An n-gram model, or an LSTM network to rescore with and to generate.")] = (
        Kind.ngram
    ),
    order: Annotated[int, typer.Option(min=1, max=20, help="Length of the longest n-grams.")] = 3,
    units: Annotated[Units, typer.Option(help="What the model predicts; tokens needs --tokens.")] = Units.words,
    prune: Annotated[
        str,
        typer.Option(
            help="One number for each order: leave out n-grams that occur so often or more rarely. 0 0 1: without the "
            "3-grams that occur once. The last number goes for the higher orders too.",
            metavar="N...",
        ),
    ] = "0",
    vocabulary: Annotated[
        Path | None, typer.Option(help="Model the words of this file, one a line; others count as <unk>.")
    ] = None,
    limit_vocabulary: Annotated[
        int, typer.Option(min=0, help="Model only so many words, the most frequent; 0: all.")
    ] = 0,
    tokens: Annotated[Path | None, typer.Option(help="tokens.txt of a model folder, for --units tokens.")] = None,
    case: Annotated[Case, typer.Option(help="Letter case; that of the acoustic model.")] = Case.LOWER,
    validation: Annotated[
        list[Path] | None, typer.Option(help="lstm: text that chooses the best epoch; repeatable.")
    ] = None,
    size: Annotated[int, typer.Option(min=1, help="lstm: width of the embedding and of each layer.")] = 256,
    layers: Annotated[int, typer.Option(min=1, help="lstm: number of layers.")] = 1,
    dropout: Annotated[float, typer.Option(min=0.0, max=0.95, help="lstm: more on less text.")] = 0.2,
    adaptive: Annotated[
        bool, typer.Option("--adaptive", help="lstm: spend less on rare words; for tens of thousands of them.")
    ] = False,
    epochs: Annotated[int, typer.Option(min=1, help="lstm: passes over the text.")] = 8,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="lstm: Adam's at the beginning.")] = 3e-3,
    seed: Annotated[int, typer.Option(min=0, help="lstm: of weights, dropout and the order of sentences.")] = 0,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Train an n-gram model by interpolated modified Kneser-Ney smoothing, or an LSTM network."""
    foreign = NGRAM_ONLY if kind is Kind.lstm else LSTM_ONLY
    for name in foreign:
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            raise ConfigError(f"--{name.replace('_', '-')} has no meaning with --kind {kind.value}; leave it out")
    if kind is Kind.lstm:
        from asr.cli.lm import training_lstm

        set_threads(threads)
        training_lstm.train(
            texts,
            output,
            units.value,
            validation or [],
            vocabulary,
            limit_vocabulary,
            tokens,
            case.value,
            {"size": size, "layers": layers, "dropout": dropout, "adaptive": adaptive},
            {"epochs": epochs, "learning_rate": learning_rate, "seed": seed},
            device,
            json,
        )
        return
    from asr.lm.ngram import file_form
    from asr.lm.training import train_ngram

    file_form(output)  # a wrong name shows before the work
    try:
        thresholds = [int(number) for number in prune.replace(",", " ").split()]
    except ValueError:
        raise ConfigError(f"--prune {prune!r}: expected a whole number for each order, such as '0 0 1'") from None
    result = train_ngram(
        texts,
        order,
        units.value,
        thresholds,
        vocabulary=vocabulary,
        limit_vocabulary=limit_vocabulary,
        tokens=tokens,
        case=case.value,
    )
    result.model.save(output)
    _print_problems(result)
    if units is Units.words:
        _print_punctuation(result.model.words)
    if json:
        print_json(
            {
                "sentences": result.sentences,
                units.value: result.words,
                "unknown": result.unknown,
                "vocabulary": len(result.model.words),
                "ngrams": result.model.ngrams,
                "counted": result.counted,
                "discounts": [used._asdict() for used in result.discounts],
                "left_out": len(result.problems),
                "model": str(output),
            }
        )
        return
    unknown = f", {result.unknown:,} of them <unk>" if result.unknown else ""
    typer.echo(
        f"{result.sentences:,} sentences, {result.words:,} {units.value}{unknown}; "
        f"vocabulary {len(result.model.words):,}"
    )
    for length, (kept, counted) in enumerate(zip(result.model.ngrams, result.counted, strict=True), start=1):
        pruned = f" of {counted:,}" if kept < counted else ""
        shown = " ".join(f"{value:.3f}" for value in result.discounts[length - 1].values)
        typer.echo(f"{length}-grams {kept:>12,}{pruned}  discounts {shown}")
    typer.echo(f"{output}  {output.stat().st_size / 1e6:,.1f} MB")


def _print_problems(result: NgramTraining) -> None:
    from asr.data.problems import summarise

    for line in summarise(result.problems, "text", what="sentences"):
        typer.echo(line, err=True)
    orders = [str(order) for order, used in enumerate(result.discounts, start=1) if used.fallback]
    if orders:
        typer.echo(
            f"the counts of order {', '.join(orders)} are too few, or too even, to estimate discounts; "
            "fixed ones are used",
            err=True,
        )


def _print_punctuation(words: list[str]) -> None:
    """Words with a comma are others than those that most acoustic models write."""
    from asr.text import marks_around

    found = {word: marks for word in words if (marks := marks_around(word))}
    if found:
        taking_out = f"s/[{marks_around(''.join(found.values()))}]/ /g"
        typer.echo(
            f"{len(found):,} of {len(words):,} different words carry punctuation, such as {min(found)!r}: unless the "
            f"acoustic model writes it, take it out first: sed '{taking_out}' TEXT > CLEAN",
            err=True,
        )
