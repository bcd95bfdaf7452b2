"""An evaluation on the terminal: the rates, where the errors are, and what can be done about them."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from asr.evaluation.evaluate import Evaluation
from asr.scoring import Group, Score, format_groups, format_summary, never_recognised
from asr.scoring import advice as score_advice
from asr.scoring.advice import FEWEST_ERRORS, FEWEST_UTTERANCES, STANDS_OUT, wrote_nothing
from asr.scoring.normalisation import formatting_hint

GROUPS = 5
"""Of a kind that are shown; the speakers with the most errors first."""
SHOWN = 5
"""Characters that are named."""
REMEDIES = {
    "duration": "compare with the lengths in the training set (`asr data stats`)",
    "loudness": "compare with the levels of the training speech",
    "SNR": "train with noise (the section `augmentation`), or record closer to the mouth",
}
"""By what the group with many errors is a group of; of speakers, `asr.scoring.advice` speaks."""


def format_evaluation(evaluation: Evaluation, output: Path | None = None) -> str:
    """Lines for the terminal; `output` is the folder that `Evaluation.save` has written."""
    lines: list[str | None] = [
        f"{evaluation.model} on {evaluation.manifest}, decoder {evaluation.decoder}",
        format_summary(evaluation.score),
        *(f"\n{format_groups(kind, groups, top=GROUPS)}" for kind, groups in evaluation.groups.items()),
        "" if evaluation.groups else None,
    ]
    sure = evaluation.reliability
    if sure:
        lines.append(
            f"Confidence of {sure.words} words: ECE {sure.ece:.3f}"
            + ("" if math.isnan(sure.nce) else f", NCE {sure.nce:.3f}")
            + ("" if evaluation.calibrated else ", not calibrated")
        )
    lines.append(
        f"{evaluation.audio_seconds / 60:.1f} min of audio in {evaluation.decoding_seconds:.1f} s, "
        f"{evaluation.times_real_time:.0f} x real time"
    )
    lines += [f"-> {hint}" for hint in advice(evaluation)]
    if output:
        lines.append(f"Report to look at: {output / 'report.html'}")
    else:
        lines.append("-> see and hear each utterance: --output DIR writes a report")
    return "\n".join(line for line in lines if line is not None)


def advice(evaluation: Evaluation) -> Iterator[str]:
    """What stands out, and what can be done about it; a sentence each, the most certain first."""
    score = evaluation.score
    if evaluation.untranscribed:
        yield f"{evaluation.untranscribed} utterances without transcript were left out"
    if evaluation.untimed:
        first, reason = evaluation.untimed[0]
        yield f"{len(evaluation.untimed)} utterances have no word times and confidences; first {first}: {reason}"
    formatting = formatting_hint(score)
    if formatting:
        yield formatting
    unwritable = evaluation.unwritable
    marks = all(unicodedata.category(character)[0] in "PS" for character in unwritable)
    if unwritable and not (formatting and marks):
        named = ", ".join(f"{character!r} ({count} words)" for character, count in list(unwritable.items())[:SHOWN])
        more = f" and {len(unwritable) - SHOWN} more" if len(unwritable) > SHOWN else ""
        remedy = "`--normalise basic` takes them out" if marks else "spell them out, or train with such transcripts"
        yield f"the model cannot write {named}{more}, so that these words are always wrong: {remedy}"
        if 2 * max(unwritable.values()) > score.words:
            yield f"the transcripts are not in this model's alphabet, {evaluation.alphabet!r}; is it the right model?"
            return
    empty = [utterance for utterance in score.utterances if not utterance.reference]
    if empty:
        wrong = sum(utterance.insertions for utterance in empty)
        yield f"{len(empty)} references are empty; the {wrong} words recognised there count as insertions"
    yield from score_advice(score)
    if wrote_nothing(score):
        return  # no language model and no look at single words helps that
    for kind, remedy in REMEDIES.items():
        yield from _outstanding(kind, evaluation.groups.get(kind, []), score, remedy)
    if any(count > 1 for _, count in never_recognised(score)):
        yield "look whether the words that were never recognised are, so spelled, in the training transcripts"
    if score.errors and evaluation.decoding.lm is None and evaluation.decoding.grammar is None:
        yield "no language model was used; `asr lm train` makes one, `asr lm tune` fits it"
    if evaluation.reliability and not evaluation.calibrated:
        yield f"`asr calibrate DEV --model {evaluation.model or 'M'}` makes confidences mean what they say"


def _outstanding(kind: str, groups: Sequence[Group], whole: Score, remedy: str) -> Iterator[str]:
    found = [
        group
        for group in groups
        if len(group.score.utterances) >= FEWEST_UTTERANCES
        and group.score.wer > STANDS_OUT * whole.wer
        and group.score.wer_interval[0] > whole.wer
    ]
    if found and whole.errors >= FEWEST_ERRORS:
        errors = sum(group.score.errors for group in found) / whole.errors
        words = sum(group.score.words for group in found) / whole.words
        shares = f"{100 * errors:.0f} % of the errors and {100 * words:.0f} % of the words"
        yield f"{kind} {', '.join(group.name for group in found)}: {shares}; {remedy}"
