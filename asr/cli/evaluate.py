"""`asr evaluate`: the word error rate of models and decoders on manifests, and where the errors are."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.allocation import bound_kernel_cache
from asr.cli.common import (
    FAILED,
    Beam,
    DecodingThreads,
    Device,
    Grammar,
    Hotwords,
    Json,
    LexiconFile,
    Lm,
    LmWeight,
    Rescore,
    WordBonus,
    decoding_options,
    error_console,
    print_json,
    set_threads,
    tell_failures,
)
from asr.cli.score import Normalisation
from asr.errors import AsrError, ConfigError
from asr.model.folders import DEFAULT

if TYPE_CHECKING:
    from asr.evaluation import Evaluation
    from asr.evaluation.table import Row


def command(
    manifests: Annotated[
        list[Path], typer.Argument(metavar="MANIFEST...", help="Folders with cuts.jsonl, or such files.")
    ],
    models: Annotated[
        list[Path] | None,
        typer.Option(
            "--model",
            "-m",
            help="Model folder, or the name of one that comes with asr; repeat it to compare several.",
            show_default=DEFAULT,
        ),
    ] = None,
    decoders: Annotated[
        list[str] | None,
        typer.Option(
            "--decoder",
            help="own (as the model is configured; the default), greedy, or settings of beam search: "
            "beam=64,lm=words.lm ; repeat it to compare several.",
        ),
    ] = None,
    normalise: Annotated[
        Normalisation,
        typer.Option(
            "--normalise",
            "--normalize",
            help="Of both texts before they are compared. basic: lower case, no punctuation but apostrophes in words; "
            "english: whisper's normaliser (pip install whisper-normalizer).",
        ),
    ] = Normalisation.none,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for report.html, score.json, hypotheses.jsonl, alignments.txt and reliability.png; with "
            "several evaluations a folder for each."
        ),
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="Write a row for each evaluation to this .md, .csv or .json file.")
    ] = None,
    beam: Beam = None,
    lm: Lm = None,
    lm_weight: LmWeight = None,
    word_bonus: WordBonus = None,
    hotwords: Hotwords = None,
    grammar: Grammar = None,
    lexicon: LexiconFile = None,
    rescore: Rescore = None,
    confidence: Annotated[
        bool, typer.Option(help="Give each word times and a confidence, and measure these (ECE, NCE).")
    ] = True,
    skip_untranscribed: Annotated[
        bool, typer.Option("--skip-untranscribed", help="Leave out utterances without transcript.")
    ] = False,
    device: Device = "auto",
    threads: DecodingThreads = None,
    json: Json = False,
) -> None:
    """Decode manifests and print error rates with 95 % intervals, and where the errors are.

    Utterances are decoded as the manifest cuts them, while `asr transcribe` skips pauses and noise and cuts long
    recordings at decoding.window_seconds.

    Several manifests, models or decoders give one table, such as --decoder greedy --decoder
    beam=64,lm=words.lm,lm_weight=0.5 (settings that are not named have their defaults; own,beam=256 changes the
    model's own decoder).  Exit status 1 when an evaluation failed or some recordings could not be read; the others go
    on.  Under torchrun the processes share the work, and the first one prints and writes.
    """
    options = decoding_options(
        beam=beam,
        lm=lm,
        lm_weight=lm_weight,
        word_bonus=word_bonus,
        hotwords=hotwords,
        grammar=grammar,
        lexicon=lexicon,
        rescore=rescore,
    )
    if options and decoders:
        raise ConfigError(f"--{next(iter(options)).replace('_', '-')} beside --decoder: write it into the --decoder")
    bound_kernel_cache()
    set_threads(threads or 1)
    from asr.evaluation.decoders import OWN, parse_decoders
    from asr.evaluation.evaluate import check_writable
    from asr.evaluation.several import evaluate_several
    from asr.evaluation.sharing import is_main, join
    from asr.evaluation.table import by_manifest, check_format, write_table

    specs = parse_decoders(decoders) if decoders else {OWN: options}
    models = models or [Path(DEFAULT)]
    alone = len(manifests) * len(models) * len(specs) == 1
    if table:
        check_format(table)
        check_writable(table.parent)
    join(device)
    work = partial(
        evaluate_several,
        manifests,
        models,
        specs,
        output=output,
        device=device,
        threads=threads,
        normalisation=normalise.value,
        untranscribed="skip" if skip_untranscribed else "error",
        confidence=confidence,
    )
    if not is_main():
        with suppress(AsrError):  # the first process has and tells it too, as all else that becomes of the work
            deque(work(), maxlen=0)
        return
    rows: list[Row] = []
    failed = False
    try:
        with _progress(json) as progress:
            for row, result in work(progress=progress):
                if alone and isinstance(result, AsrError):
                    raise result
                failed |= _tell_failures(row, result)
                rows = by_manifest([*rows, row])
                if table:
                    write_table(table, rows)
    finally:  # what was done before an interruption is shown too
        if not alone and rows:
            _show_table(rows, output, json)
    if alone and not isinstance(result, AsrError):
        _show_summary(result, output, json)
    if failed:
        raise typer.Exit(FAILED)


@contextmanager
def _progress(hidden: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for the evaluation that is going on."""
    from rich.progress import Progress

    console = error_console()
    with Progress(console=console, transient=True, disable=hidden or not console.is_terminal) as bar:
        task = bar.add_task("decoding", total=None)
        yield lambda name, done, total: bar.update(task, description=name or "decoding", completed=done, total=total)


def _tell_failures(row: Row, result: Evaluation | AsrError) -> bool:
    """Print what went wrong; whether something did."""
    if isinstance(result, AsrError):
        typer.secho(f"error: {row.manifest}, {row.model}, {row.decoder}: {result}", fg="red", err=True)
        return True
    return tell_failures(result.manifest, result.failures, "are not in the score")


def _show_summary(result: Evaluation, output: Path | None, json: bool) -> None:
    from asr.evaluation.summary import format_evaluation

    if json:
        print_json(result.to_dict() | result.details())
    else:
        typer.echo(format_evaluation(result, output))


def _show_table(rows: Sequence[Row], output: Path | None, json: bool) -> None:
    from rich.console import Console

    from asr.evaluation.table import terminal_table

    if json:
        print_json({"evaluations": [row.to_dict() for row in rows]})
        return
    console = Console()
    (console if console.is_terminal else Console(width=160)).print(terminal_table(rows))
    if output:
        typer.echo(f"Reports: in the folders below {output}; `asr compare` says whether one of two is better")
    else:
        typer.echo("-> where the errors are, and what `asr compare` takes: --output DIR writes a folder for each")
