"""A score for human eyes: the summary on the terminal and the file of alignments."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path

from asr.errors import ScoringError
from asr.files import replacing
from asr.scoring.alignment import operation
from asr.scoring.error_rates import Score, UtteranceScore

# With 10 utterances a 95 % percentile interval holds the true rate 86 % of the time in simulation, with 30 93 %.
_TRUSTED_UTTERANCES = 30


def format_summary(score: Score, *, top: int = 5) -> str:
    """A few lines for the terminal: rates with their 95 % intervals, and the `top` errors of each kind."""
    wer_low, wer_high = score.wer_interval
    cer_low, cer_high = score.cer_interval
    utterances = _plural(len(score.utterances), "utterance")
    lines = [
        f"WER {100 * score.wer:.2f} % [{100 * wer_low:.2f}, {100 * wer_high:.2f}]  "
        f"(S {score.substitutions}, D {score.deletions}, I {score.insertions} "
        f"of {_plural(score.words, 'word')}, {utterances})",
        f"CER {100 * score.cer:.2f} % [{100 * cer_low:.2f}, {100 * cer_high:.2f}]  "
        f"(of {_plural(score.characters, 'character')})",
        f"Sentence errors {100 * score.sentence_error_rate:.2f} %  ({score.wrong_sentences} of {utterances})",
    ]
    if score.errors == 0 or len(score.utterances) < _TRUSTED_UTTERANCES:
        reason = "no errors" if score.errors == 0 else f"only {utterances}"
        lines.append(f"The intervals are too narrow: {reason}")
    confusions = score.confusions
    for title, entries in (
        ("Substituted", [(f"{r} -> {h}", count) for (r, h), count in confusions.substitutions.most_common(top)]),
        ("Deleted", confusions.deletions.most_common(top)),
        ("Inserted", confusions.insertions.most_common(top)),
    ):
        if entries:
            lines.append(f"{title}: " + ", ".join(f"{words} ({count})" for words, count in entries))
    return "\n".join(lines)


def write_alignments(path: str | Path, score: Score) -> None:
    """Write every utterance with its words aligned in columns, most errors first; atomically.

    Each utterance takes a line with its id and counts, then the lines REF, HYP and OPS.  Stars fill the gap of a
    deleted or inserted word; OPS marks substitutions, deletions and insertions with S, D and I.

    Raises:
        ScoringError: the file cannot be written; then nothing is left behind.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial, partial.open("w", encoding="utf-8", errors="backslashreplace") as out:
            for utterance in sorted(score.utterances, key=lambda utterance: -utterance.errors):
                out.writelines(f"{line}\n" for line in _alignment_lines(utterance))
    except OSError as error:
        raise ScoringError(
            f"{path}: the alignments cannot be written ({error.strerror or error}); choose a folder with room and "
            "write permission"
        ) from error


def _alignment_lines(utterance: UtteranceScore) -> Iterator[str]:
    yield (
        f"{utterance.id}: {_plural(utterance.errors, 'error')} in {_plural(utterance.words, 'word')} "
        f"(S {utterance.substitutions}, D {utterance.deletions}, I {utterance.insertions})"
    )
    rows: tuple[list[str], ...] = ([], [], [])
    for reference, hypothesis in utterance.alignment:
        width = max(_columns(reference or ""), _columns(hypothesis or ""))
        cells = (
            "*" * width if reference is None else reference,
            "*" * width if hypothesis is None else hypothesis,
            operation(reference, hypothesis),
        )
        for row, cell in zip(rows, cells, strict=True):
            row.append(cell + " " * (width - _columns(cell)))
    for label, row in zip(("REF:", "HYP:", "OPS:"), rows, strict=True):
        yield " ".join([label, *row]).rstrip()
    yield ""


def _columns(word: str) -> int:
    """Terminal columns a word takes: accents that combine take none, wide East Asian characters two."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in word
    )


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
