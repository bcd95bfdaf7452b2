"""`asr compare`: two systems on the same utterances, and whether their difference can be chance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.common import (
    FAILED,
    Beam,
    Device,
    Grammar,
    Hotwords,
    Json,
    LexiconFile,
    Lm,
    LmWeight,
    Rescore,
    Threads,
    WordBonus,
    decoding_options,
    error_console,
    print_json,
    set_threads,
)
from asr.cli.score import Format, Normalisation
from asr.files import shown


def command(
    a: Annotated[
        Path,
        typer.Argument(
            metavar="A", help="The old system: a folder that `asr evaluate --output` wrote, transcripts, or a model."
        ),
    ],
    b: Annotated[Path, typer.Argument(metavar="B", help="The new system, likewise.")],
    reference: Annotated[
        Path | None, typer.Option(help="What was said, for transcripts: a file, a folder or a manifest.")
    ] = None,
    manifest: Annotated[Path | None, typer.Option(help="What model folders are to decode.")] = None,
    format_: Annotated[
        Format,
        typer.Option(
            "--format", "--hypothesis-format", help="Of transcripts: txt, kaldi, trn, ctm, jsonl, json. auto looks."
        ),
    ] = Format.auto,
    reference_format: Annotated[
        Format, typer.Option("--reference-format", help="Of the references, stm beside the others.")
    ] = Format.auto,
    normalise: Annotated[
        Normalisation,
        typer.Option(
            "--normalise",
            "--normalize",
            help="none: case and punctuation count; basic: lower case, no punctuation but apostrophes in words; "
            "english: whisper's normaliser (pip install whisper-normalizer).",
        ),
    ] = Normalisation.none,
    missing_as_empty: Annotated[
        bool, typer.Option("--missing-as-empty", help="Count a reference without hypothesis as all deleted.")
    ] = False,
    common_only: Annotated[
        bool, typer.Option("--common-only", help="Leave out utterances that only one has, which is an error otherwise.")
    ] = False,
    utt2spk: Annotated[Path | None, typer.Option(help="Kaldi's list of `id speaker`.")] = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    output: Annotated[Path | None, typer.Option(help="Write an HTML page to look at to this file.")] = None,
    beam: Beam = None,
    lm: Lm = None,
    lm_weight: LmWeight = None,
    word_bonus: WordBonus = None,
    hotwords: Hotwords = None,
    grammar: Grammar = None,
    lexicon: LexiconFile = None,
    rescore: Rescore = None,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Compare system B with system A: by how much their error rates differ, and whether that can be chance.

    Differences are B - A, so below zero B is better.  Intervals and p-value come from a paired bootstrap over whole
    speakers; over utterances where speakers are not known, or fewer than 5.  Exit status 1 when some recordings could
    not be read.
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
    set_threads(threads)
    from rich.progress import Progress

    from asr.evaluation.systems import compare_systems
    from asr.files import check_not_read
    from asr.scoring.comparison_report import format_comparison, notes, verdict
    from asr.scoring.transcripts import files_read

    if output:
        read = [file for path in (a, b, reference, manifest) if path for file in files_read(path)]
        check_not_read(output, [*read, utt2spk])
    with Progress(console=error_console(), transient=True, disable=json) as bar:
        task = bar.add_task("reading", total=None)
        found = compare_systems(
            a,
            b,
            reference=reference,
            manifest=manifest,
            format=format_.value,
            reference_format=reference_format.value,
            normalisation=normalise.value,
            missing="empty" if missing_as_empty else "error",
            common_only=common_only,
            utt2spk=utt2spk,
            decoding=options,
            device=device,
            threads=threads,
            seed=seed,
            progress=lambda name, done, total: bar.update(task, description=name, completed=done, total=total),
        )
    names = (shown(a), shown(b))
    if output:
        from asr.evaluation.comparison_page import write_comparison

        about = {"Manifest": manifest, "References": reference}
        write_comparison(
            output,
            found.comparison,
            title=f"{names[1]} against {names[0]}",
            names=names,
            about={name: shown(path) for name, path in about.items() if path},
            mind=found.notes,
        )
    if json:
        told = {"verdict": verdict(found.comparison), "notes": [*notes(found.comparison, names), *found.notes]}
        print_json({"a": names[0], "b": names[1], **told, **found.comparison.to_dict()})
    else:
        typer.echo("\n".join([format_comparison(found.comparison, names), *(f"-> {note}" for note in found.notes)]))
        typer.echo(
            f"Page to look at: {shown(output)}" if output else "-> see every utterance that changed: --output PAGE.html"
        )
    for identifier, reason in found.failures:
        typer.secho(f"error: {identifier}: {reason}", fg="red", err=True)
    if found.failures:
        typer.secho(f"{len(found.failures)} utterances could not be read and are not compared", fg="red", err=True)
        raise typer.Exit(FAILED)
