"""`asr evaluate`: the word error rate of a model on a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from asr.transcription import Transcriber


def command(
    manifest: Annotated[Path, typer.Argument(help="Folder with cuts.jsonl, or the file itself.")],
    model: Annotated[Path, typer.Option(help="Model folder.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder for score.json, hypotheses.jsonl and alignments.txt.")
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
        bool,
        typer.Option("--confidence", help="Also measure confidences (ECE, NCE), with --output in reliability.png."),
    ] = False,
    device: Device = "auto",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Decode a manifest and print WER, CER and sentence errors with 95 % intervals.

    Exit status 1 when some recordings could not be read.
    """
    set_threads(threads)
    from rich.progress import Progress

    from asr.evaluation import evaluate
    from asr.scoring import format_summary
    from asr.transcription import load_model

    decoding = decoding_options(
        beam=beam,
        lm=lm,
        lm_weight=lm_weight,
        word_bonus=word_bonus,
        hotwords=hotwords,
        grammar=grammar,
        lexicon=lexicon,
        rescore=rescore,
    )
    recogniser = load_model(model, device=device, decoding=decoding, threads=threads)
    with Progress(console=error_console(), transient=True, disable=json) as bar:
        task = bar.add_task("decoding", total=None)
        result = evaluate(
            recogniser,
            manifest,
            output=output,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    for identifier, reason in result.failures:
        typer.secho(f"error: {identifier}: {reason}", fg="red", err=True)
    sure = _calibration(recogniser, model, manifest, output) if confidence else {}
    if json:
        print_json(result.to_dict() | sure)
    else:
        typer.echo(format_summary(result.score))
        speed = result.audio_seconds / result.decoding_seconds
        typer.echo(
            f"{result.audio_seconds / 60:.1f} min of audio in {result.decoding_seconds:.1f} s, {speed:.0f} x real time"
        )
        if sure:
            typer.echo(
                f"confidence of {sure['words_with_confidence']} words: ECE {sure['ece']:.3f}, NCE {sure['nce']:.3f}"
            )
        if output:
            typer.echo(f"alignments, worst first: {output / 'alignments.txt'}")
    if result.failures:
        typer.secho(f"{len(result.failures)} utterances could not be read and are not in the score", fg="red", err=True)
        raise typer.Exit(FAILED)


def _calibration(recogniser: Transcriber, model: Path, manifest: Path, output: Path | None) -> dict[str, float]:
    from asr.decoding.confidence import Calibration
    from asr.evaluation.calibration import measure_calibration, reliability_diagram

    measured = measure_calibration(recogniser, manifest, Calibration.load(model))
    if output:
        reliability_diagram(measured, output / "reliability.png", str(manifest))
    return {"words_with_confidence": measured.words, "ece": measured.ece, "nce": measured.nce}
