"""`asr score`: word error rate of one set of transcripts against another, whatever recogniser wrote them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asr.cli.common import Json, print_json
from asr.errors import ConfigError
from asr.files import shown

if TYPE_CHECKING:
    from asr.scoring import Score
    from asr.scoring.breakdown import Group
    from asr.scoring.transcripts import Paired


class Format(StrEnum):
    """How transcripts are laid out, `asr.scoring.transcripts.FORMATS`."""

    auto = "auto"
    txt = "txt"
    kaldi = "kaldi"
    trn = "trn"
    ctm = "ctm"
    stm = "stm"
    jsonl = "jsonl"
    json = "json"


class Normalisation(StrEnum):
    """What texts go through before they are compared, `asr.scoring.normalisation.NORMALISATIONS`."""

    none = "none"
    basic = "basic"
    english = "english"


def command(
    reference: Annotated[Path, typer.Argument(help="What was said: a file, a folder or a manifest.")],
    hypothesis: Annotated[Path, typer.Argument(help="What the recogniser heard; it may be in another format.")],
    format_: Annotated[
        Format,
        typer.Option(
            "--format",
            help="Of both: txt (a sentence a line, or a folder of files named by id), kaldi (id text), trn, ctm, "
            "stm (references), jsonl (id and text; NeMo's; manifests), json (whisper's). auto looks.",
        ),
    ] = Format.auto,
    reference_format: Annotated[
        Format | None, typer.Option("--reference-format", help="Of the references alone.")
    ] = None,
    hypothesis_format: Annotated[
        Format | None, typer.Option("--hypothesis-format", help="Of the hypotheses alone.")
    ] = None,
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
        bool,
        typer.Option(
            "--common-only",
            help="Leave out utterances that only one side has; with --missing-as-empty, only hypotheses without "
            "reference.",
        ),
    ] = False,
    utt2spk: Annotated[Path | None, typer.Option(help="Kaldi's list of `id speaker`.")] = None,
    by_speaker: Annotated[bool, typer.Option("--by-speaker", help="Also print a line for each speaker.")] = False,
    output: Annotated[Path | None, typer.Option(help="Write the alignments, worst first, to this file.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML page to look at to this file.")] = None,
    json: Json = False,
) -> None:
    """Print WER, CER and sentence errors of HYPOTHESIS against REFERENCE, with 95 % intervals.

    Text is compared as it stands, so case and punctuation count, unless --normalise says otherwise.  Words of a ctm go
    to the segments of an stm as in NIST's sclite.
    """
    from asr.files import check_not_read
    from asr.scoring import advice, format_summary, score, write_alignments
    from asr.scoring.breakdown import by_label
    from asr.scoring.normalisation import formatting_hint, normaliser
    from asr.scoring.report import format_groups
    from asr.scoring.transcripts import files_read, pair, read_speakers, read_transcripts

    for target, option in ((output, "--output"), (report, "--report")):
        if target:
            check_not_read(target, [*files_read(reference), *files_read(hypothesis), utt2spk], option)
    normaliser(normalise.value)  # raises before much is read
    references = read_transcripts(reference, (reference_format or format_).value, side="reference")
    hypotheses = read_transcripts(hypothesis, (hypothesis_format or format_).value, side="hypothesis")
    paired = pair(
        references,
        hypotheses,
        missing="empty" if missing_as_empty else "error",
        common_only=common_only,
        normalisation=normalise.value,
        speakers=read_speakers(utt2spk) if utt2spk else None,
    )
    result = score(paired.references, paired.hypotheses, normalisation=normalise.value, speakers=paired.speakers)
    if by_speaker and not result.speakers:
        raise ConfigError("--by-speaker: not every utterance has a speaker; give a list with --utt2spk")
    if output:
        write_alignments(output, result)
    formatting = formatting_hint(result)  # what else stands out is to be seen only without it
    hints = [*paired.notes, *_empty(result), *([formatting] if formatting else advice(result))]
    if report:
        from asr.evaluation.report import write_report

        write_report(
            report,
            result,
            title=f"{hypothesis.name} against {reference.name}",
            about=_about(reference, hypothesis),
            advice=hints,
        )
    groups = by_label(result, result.speakers or {}) if by_speaker else []
    if json:
        print_json(_json(result, paired, groups))
        return
    typer.echo(format_summary(result))
    if groups:
        typer.echo(format_groups("Speaker", groups, top=len(groups)))
    for line in hints:
        typer.echo(f"-> {line}")


def _about(reference: Path, hypothesis: Path) -> dict[str, str]:
    return {"References": shown(reference), "Hypotheses": shown(hypothesis)}


def _json(result: Score, paired: Paired, groups: list[Group]) -> dict[str, Any]:
    counts = {
        "missing_hypotheses": paired.missing,
        "references_left_out": paired.references_left_out,
        "hypotheses_left_out": paired.hypotheses_left_out,
    }
    speakers = {"speakers": {group.name: group.score.to_dict() for group in groups}} if groups else {}
    return result.to_dict() | counts | speakers


def _empty(result: Score) -> list[str]:
    empty = [utterance for utterance in result.utterances if not utterance.reference]
    words = sum(utterance.insertions for utterance in empty)
    said = f"references without a word: {len(empty)}; the {words} words recognised there count as insertions"
    return [said] if empty else []
