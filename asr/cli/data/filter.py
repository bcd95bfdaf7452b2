"""`asr data filter`: the utterances of a manifest that keep some rules, or a random sample of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    manifest: Annotated[Path, typer.Argument(help="Folder with cuts.jsonl, or the file itself.")],
    output: Annotated[Path, typer.Option(help="Folder for the new cuts.jsonl.")],
    min_seconds: Annotated[float | None, typer.Option(help="Drop shorter utterances.")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Drop longer utterances.")] = None,
    min_words: Annotated[int | None, typer.Option(help="Drop shorter transcripts; 1 drops empty ones.")] = None,
    max_words: Annotated[int | None, typer.Option(help="Drop longer transcripts.")] = None,
    speakers: Annotated[str | None, typer.Option(help="Keep these speakers alone: a,b,c.")] = None,
    exclude_speakers: Annotated[str | None, typer.Option(help="Drop these speakers: a,b,c.")] = None,
    text: Annotated[
        str | None, typer.Option(help="Keep transcripts in which this regular expression is found.")
    ] = None,
    exclude_text: Annotated[str | None, typer.Option(help="Drop transcripts in which it is found.")] = None,
    ids: Annotated[Path | None, typer.Option(help="Keep the ids in this file, one a line.")] = None,
    exclude_ids: Annotated[Path | None, typer.Option(help="Drop the ids in this file.")] = None,
    sample: Annotated[int | None, typer.Option(help="Then draw this many utterances at random.")] = None,
    hours: Annotated[float | None, typer.Option(help="Then draw this many hours at random.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed draws others.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a manifest that is there.")] = False,
) -> None:
    """Keep the utterances that all the rules given allow, in their order.

    Say how many each rule dropped: the first, in the order above, that an utterance breaks. Regular expressions are
    Python's, and see the transcript as it stands; (?i) at the beginning takes capitals as small letters.
    """
    from asr.cli.data.stats import length
    from asr.data.selecting import Rules, filter_manifest, option, read_ids

    rules = Rules(
        min_seconds=min_seconds,
        max_seconds=max_seconds,
        min_words=min_words,
        max_words=max_words,
        speakers=_names(speakers),
        exclude_speakers=_names(exclude_speakers),
        text=text,
        exclude_text=exclude_text,
        ids=read_ids(ids) if ids else None,
        exclude_ids=read_ids(exclude_ids) if exclude_ids else None,
    )
    result = filter_manifest(manifest, output, rules, sample=sample, hours=hours, seed=seed, overwrite=overwrite)
    typer.echo(
        f"kept {result.utterances} of {result.of_utterances} utterances, {length(result.seconds)} of "
        f"{length(result.of_seconds)}: {result.path}"
    )
    for rule, count in result.dropped.items():
        typer.echo(f"{count:7} dropped by {option(rule)}")
    for rule, names in result.unknown.items():
        kind = "speakers" if rule.endswith("speakers") else "ids"
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        typer.secho(
            f"{option(rule)}: {len(names)} {kind} are not in the manifest: {', '.join(names[:5])}{more}",
            fg="yellow",
            err=True,
        )


def _names(listed: str | None) -> frozenset[str] | None:
    return None if listed is None else frozenset(name.strip() for name in listed.split(",")) - {""}
