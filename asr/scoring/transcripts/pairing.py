"""Two transcripts side by side: which hypothesis answers which reference, and what is said of those without."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import Literal

from asr.errors import ScoringError
from asr.scoring.normalisation import normaliser
from asr.scoring.transcripts.alternatives import best_reading
from asr.scoring.transcripts.model import Transcripts
from asr.scoring.transcripts.timed import by_recording, into_segments

_LISTED = 5


@dataclass(frozen=True)
class Paired:
    """References and hypotheses with the same ids, ready for `asr.scoring.score`."""

    references: dict[str, str]
    hypotheses: dict[str, str]
    """In the order of the references; "" where a missing one counts as empty."""
    speakers: dict[str, str] | None
    """Of every utterance; None unless all are known."""
    missing: int = 0
    """References without hypothesis that count as deleted."""
    references_left_out: int = 0
    """Without hypothesis."""
    hypotheses_left_out: int = 0
    """Without reference."""
    notes: list[str] = field(default_factory=list)
    """What whoever reads the error rate should know, a line each."""


def pair(
    references: Transcripts,
    hypotheses: Transcripts,
    *,
    missing: Literal["error", "empty"] = "error",
    common_only: bool = False,
    normalisation: str = "none",
    speakers: Mapping[str, str] | None = None,
) -> Paired:
    """Find each reference's hypothesis.

    By id; and beyond that: the words of a ctm go to the segments of an stm by their times (`into_segments`); where an
    stm or ctm shares no id with the other side, its words are put together by recording; a single text and another
    are a pair whatever their ids if either has none of its own. Of a reference's alternatives the best is chosen.
    Where the hypotheses are an empty file, every reference counts as deleted.

    Args:
        references: what was said.
        hypotheses: what was recognised.
        missing: what a reference without hypothesis is: an error, or an empty hypothesis.
        common_only: leave out utterances that only one side has, unless `missing` says otherwise.
        normalisation: under which the best of several alternatives is chosen; the texts are left as they are.
        speakers: of utterances by id, rather than those that the transcripts tell.

    Raises:
        ScoringError: the ids differ, or have nothing in common; an utterance has no speaker in the list of speakers.
    """
    if hypotheses.alternatives:
        raise ScoringError(f"{hypotheses.source}: hypotheses have alternatives; keep one of each")
    notes = []
    references, hypotheses = _with_blank_end(references, hypotheses), _with_blank_end(hypotheses, references)
    texts: dict[str, str] = hypotheses
    if hypotheses.silent and not hypotheses:
        texts = dict.fromkeys(references, "")
        notes.append(f"{hypotheses.source} holds no words: every reference counts as deleted")
    elif references.kind == "stm" and hypotheses.kind == "ctm":
        texts, ignored = into_segments(references, hypotheses)
        if ignored:
            notes.append(f"{_count(ignored, 'hypothesis word')} in stretches that are not to be scored were left out")
    elif references.keys().isdisjoint(hypotheses):
        references, hypotheses = _joined(references), _joined(hypotheses)
        texts = hypotheses
    if len(references) == len(texts) == 1 and not (references.named and hypotheses.named):
        texts = dict(zip(references, texts.values(), strict=True))

    if references.keys().isdisjoint(texts):
        raise ScoringError(
            f"{references.source} and {hypotheses.source}: no id is on both sides ({_listed(references, 2)} against "
            f"{_listed(texts, 2)}){_hint(references, hypotheses)}; give both the same ids, or name the format"
        )
    absent = [identifier for identifier in references if identifier not in texts]
    extra = [identifier for identifier in texts if identifier not in references]
    if not common_only:
        _check_ids(references, hypotheses, len(texts), [] if missing == "empty" else absent, extra)
    kept = [identifier for identifier in references if missing == "empty" or identifier in texts]
    left_out = 0 if missing == "empty" else len(absent)
    if left_out:
        notes.append(f"{_count(left_out, 'reference')} without hypothesis left out: {_listed(absent)}")
    elif absent:
        notes.append(f"{_count(len(absent), 'reference')} without hypothesis counted as deleted: {_listed(absent)}")
    if extra:
        notes.append(f"{_count(len(extra), 'hypothesis')} without reference left out: {_listed(extra)}")

    chosen = {identifier: references[identifier] for identifier in kept}
    normalise = normaliser(normalisation)
    for identifier in references.alternatives.keys() & chosen.keys():
        words = references.alternatives[identifier]
        chosen[identifier] = " ".join(best_reading(words, texts.get(identifier, ""), normalise))
    return Paired(
        chosen,
        {identifier: texts.get(identifier, "") for identifier in kept},
        _speakers(kept, speakers, {**hypotheses.speakers, **references.speakers}, notes),
        missing=len(absent) - left_out,
        references_left_out=left_out,
        hypotheses_left_out=len(extra),
        notes=notes,
    )


def _with_blank_end(transcripts: Transcripts, other: Transcripts) -> Transcripts:
    """The transcripts with those of their last blank lines for which the other side has a text."""
    wanted = [identifier for identifier in transcripts.blank_end if identifier in other]
    if not wanted:
        return transcripts
    longer = copy(transcripts)
    longer.update(dict.fromkeys(wanted, ""))
    return longer


def _joined(transcripts: Transcripts) -> Transcripts:
    return by_recording(transcripts.source, transcripts.pieces) if transcripts.kind == "stm" else transcripts


def _check_ids(
    references: Transcripts, hypotheses: Transcripts, count: int, absent: list[str], extra: list[str]
) -> None:
    problems = [
        f"{len(ids)} of {total} {side} ({_listed(ids)})"
        for ids, total, side in (
            (absent, len(references), "references have no hypothesis"),
            (extra, count, "hypotheses have no reference"),
        )
        if ids
    ]
    if not problems:
        return
    remedies = ["--common-only leaves them out"]
    if absent:
        remedies.insert(0, "--missing-as-empty counts a missing hypothesis as all deleted")
    hint = _hint(references, hypotheses)
    if hypotheses.kind == "ctm" and not extra:
        hint = " (a ctm has no line for an utterance in which nothing was recognised)"
    raise ScoringError(
        f"{references.source} and {hypotheses.source}: the ids differ: {' and '.join(problems)}{hint}; "
        + ", ".join(remedies)
    )


def _hint(references: Transcripts, hypotheses: Transcripts) -> str:
    named = references.named and hypotheses.named
    return "" if named else " (the ids of a txt are its line numbers, that of a json is its name)"


def _speakers(
    kept: list[str], asked: Mapping[str, str] | None, told: Mapping[str, str], notes: list[str]
) -> dict[str, str] | None:
    known = told if asked is None else asked
    unknown = [identifier for identifier in kept if identifier not in known]
    if not unknown:
        return {identifier: known[identifier] for identifier in kept}
    if asked is not None:
        raise ScoringError(f"{_count(len(unknown), 'utterance')} have no speaker in the list given: {_listed(unknown)}")
    if len(unknown) < len(kept):
        notes.append(
            f"{_count(len(unknown), 'utterance')} of {len(kept)} have no speaker, so nothing is said of speakers"
        )
    return None


def _listed(ids: Iterable[str], shown: int = _LISTED) -> str:
    ids = list(ids)
    return ", ".join(map(repr, ids[:shown])) + (", ..." if len(ids) > shown else "")


def _count(number: int, noun: str) -> str:
    plural = "hypotheses" if noun == "hypothesis" else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"
