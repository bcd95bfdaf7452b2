"""`asr transcribe`: audio files to text."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from asr.cli.common import (
    FAILED,
    Beam,
    Device,
    Grammar,
    Hotwords,
    LexiconFile,
    Lm,
    LmWeight,
    Rescore,
    Threads,
    WordBonus,
    decoding_options,
    set_threads,
    shown,
)
from asr.errors import AsrError, ConfigError, OutputError
from asr.files import write_text


class Format(StrEnum):
    """What is written for each recording."""

    txt = "txt"
    json = "json"


def command(
    files: Annotated[list[Path], typer.Argument(help="Audio files of any format that libsndfile reads.")],
    model: Annotated[Path, typer.Option(help="Model folder.")],
    format_: Annotated[Format, typer.Option("--format", help="txt, or json with segments.")] = Format.txt,
    output_dir: Annotated[
        Path | None, typer.Option(help="Write NAME.txt or NAME.json for each file here instead of printing.")
    ] = None,
    beam: Beam = None,
    lm: Lm = None,
    lm_weight: LmWeight = None,
    word_bonus: WordBonus = None,
    hotwords: Hotwords = None,
    grammar: Grammar = None,
    lexicon: LexiconFile = None,
    rescore: Rescore = None,
    nbest: Annotated[int | None, typer.Option(min=1, help="Texts for each segment, in the json.")] = None,
    word_times: Annotated[
        bool, typer.Option("--word-times", help="Start, end and confidence of each word, in the json.")
    ] = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Print the words of recordings. A file that cannot be read is reported, and the others go on (exit status 1)."""
    if format_ is Format.txt and (nbest or word_times):
        raise ConfigError("--nbest and --word-times are written in the json alone; add --format json")
    targets = _targets(files, output_dir, format_) if output_dir else None
    set_threads(threads)
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
        nbest=nbest,
        word_times=word_times or None,
    )
    recogniser = load_model(model, device=device, decoding=decoding, threads=threads)
    failures = 0
    for index, result in enumerate(recogniser.transcribe_many(files)):
        if isinstance(result, AsrError):
            failures += 1
            typer.secho(f"error: {result}", fg="red", err=True)
            continue
        text = result.text
        if format_ is Format.json:
            text = json.dumps({"file": shown(files[index]), **result.to_dict()}, ensure_ascii=False)
        if targets:
            try:
                write_text(targets[index], text + "\n")
            except OutputError as error:  # the next one may be shorter
                failures += 1
                typer.secho(f"error: {error}", fg="red", err=True)
        elif format_ is Format.txt and len(files) > 1:
            typer.echo(f"{shown(files[index])}: {text}")
        else:
            typer.echo(text)
    if failures:
        typer.secho(f"{failures} of {len(files)} files failed", fg="red", err=True)
        raise typer.Exit(FAILED)


def _targets(files: list[Path], folder: Path, format_: Format) -> list[Path]:
    """The output path of each file; `ConfigError` when two would be written to the same place."""
    targets = [folder / f"{file.stem}.{format_.value}" for file in files]
    taken: dict[Path, Path] = {}
    for file, target in zip(files, targets, strict=True):
        if taken.setdefault(target, file) != file:
            raise ConfigError(f"{taken[target]} and {file} would both be written to {target}; use two --output-dir")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--output-dir {folder}: {error.strerror}") from None
    return targets
