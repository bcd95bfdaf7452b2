"""`asr data split`: one manifest to training, development and test set."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.errors import ConfigError

if TYPE_CHECKING:
    from asr.data.splitting import SplitResult


class By(StrEnum):
    """What is kept whole."""

    auto = "auto"
    speaker = "speaker"
    sentence = "sentence"
    utterance = "utterance"


def command(
    manifest: Annotated[Path, typer.Argument(help="Folder with cuts.jsonl, or the file itself.")],
    output: Annotated[Path, typer.Option(help="Folder for train/, dev/ and test/ with a cuts.jsonl each.")],
    dev: Annotated[float, typer.Option(min=0, max=1, help="Share of the audio for dev; 0: no dev set.")] = 0.1,
    test: Annotated[float, typer.Option(min=0, max=1, help="Share of the audio for test; 0: no test set.")] = 0.1,
    by: Annotated[
        By,
        typer.Option(
            help="What goes to one part as a whole: all utterances of a speaker, or all of the same sentence. "
            "auto: speaker, or sentence where no utterance names a speaker."
        ),
    ] = By.auto,
    drop_shared_sentences: Annotated[
        bool,
        typer.Option("--drop-shared-sentences", help="Leave out of train the sentences that dev or test has too."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Another seed gives another split.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the parts of an earlier split.")] = False,
) -> None:
    """Split a manifest so that no speaker is in two parts; the rest of the audio is for train.

    The same manifest and seed give the same split, whatever the order of the lines.
    """
    if not 0 < dev + test < 1:
        raise ConfigError(
            f"--dev {dev:g} and --test {test:g} must sum to more than 0 and less than 1; train is the rest"
        )
    from asr.data.splitting import split

    shares = {"train": 1 - dev - test, "dev": dev, "test": test}
    result = split(
        manifest,
        output,
        shares={name: share for name, share in shares.items() if share},
        by=by.value,
        drop_shared_sentences=drop_shared_sentences,
        seed=seed,
        overwrite=overwrite,
    )
    _print(result, chosen=by is not By.auto)


def _print(result: SplitResult, chosen: bool) -> None:
    from asr.cli.data.stats import length

    if result.by == "sentence" and not chosen:
        typer.echo("no utterance names a speaker, so the parts may share speakers: split by sentence")
    else:
        typer.echo(f"split by {result.by}")
    for part in result.parts:
        typer.echo(
            f"{part.name:6} {part.utterances:7} utterances {length(part.seconds):>10} {part.speakers:5} speakers "
            f"{100 * part.share:6.1f} % ({100 * part.asked:.3g} % asked)  {part.path}"
        )
    train = result.parts[0].name
    if result.by == "speaker" and result.without_speaker:
        typer.echo(
            f"{result.without_speaker} utterances name no speaker; they are all in {train}, and who speaks them may be "
            "in another part too"
        )
    for part in result.parts[1:]:
        if part.shared_speakers:
            typer.echo(f"{part.name}: {part.shared_speakers} of {part.speakers} speakers are in {train} too")
        if part.shared_sentences:
            typer.echo(
                f"{part.name}: {part.shared_sentences} of {part.utterances} utterances have a sentence that is "
                f"in {train} too; --drop-shared-sentences takes such sentences out of {train}"
            )
    if result.left_out:
        typer.echo(
            f"{train}: {result.left_out} utterances ({length(result.left_out_seconds)}) left out because another part "
            "has their sentence"
        )
