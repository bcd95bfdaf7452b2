"""A score for human eyes: the summary and the groups on the terminal, and the file of alignments."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from asr.errors import ScoringError
from asr.files import replacing
from asr.scoring.alignment import operation
from asr.scoring.breakdown import Group, never_recognised
from asr.scoring.error_rates import Score, UtteranceScore
from asr.scoring.normalisation import NORMALISATIONS

TRUSTED = 30
"""Utterances, or speakers, with fewer than which intervals are too narrow: with 10, 95 % percentile intervals hold the
true rate 86 to 90 % of the time in simulation, with 30 about 93 %."""
_LABELS = {
    "wer": "WER",
    "cer": "CER",
    "ser": "Sentence errors",
    "substitutions": "Substitutions",
    "deletions": "Deletions",
    "insertions": "Insertions",
}


def format_summary(score: Score, *, top: int = 5) -> str:
    """Lines for the terminal: rates with their intervals, what to think of these, and the `top` errors of each kind."""
    return "\n".join([*_rate_lines(score), *_notes(score), *_error_lines(score, top)])


def _rate_lines(score: Score) -> list[str]:
    words, utterances = _plural(score.words, "word"), _plural(len(score.utterances), "utterance")
    wrong_characters = sum(utterance.character_errors for utterance in score.utterances)
    counts = {
        "wer": f"{score.errors} of {words}",
        "cer": f"{wrong_characters} of {_plural(score.characters, 'character')}",
        "ser": f"{score.wrong_sentences} of {utterances}",
        "substitutions": str(score.substitutions),
        "deletions": str(score.deletions),
        "insertions": str(score.insertions),
    }
    labels = _right_aligned(list(_LABELS.values()))
    columns = [
        [
            f"{label} {100 * score.rates[name].value:.2f} % {_interval(score.rates[name].interval)}"
            for label, name in zip(labels, _LABELS, strict=True)
        ]
    ]
    over_speakers = [rate.speaker_interval for rate in score.rates.values()]
    if None not in over_speakers:
        columns.append([f"speakers {_interval(ends)}" for ends in over_speakers if ends])
    columns.append([counts[name] for name in _LABELS])
    return ["   ".join(cells).rstrip() for cells in zip(*map(_left_aligned, columns), strict=True)]


def _notes(score: Score) -> Iterator[str]:
    """What the intervals are, whether they can be trusted, and what was compared."""
    utterances, speakers = len(score.utterances), score.speaker_count
    if speakers in (None, 1):
        yield "95 % bootstrap intervals over utterances"
    else:
        known = f"these {speakers} speakers"
        yield f"95 % bootstrap intervals over utterances (for {known}) and over speakers (for others like them)"
    if score.errors == 0:
        bound = 100 * (1 - 0.05 ** (1 / utterances))
        yield f"They are too narrow: no errors; up to {bound:.1f} % of such sentences may have some"
    elif utterances < TRUSTED:
        yield f"They are too narrow: only {_plural(utterances, 'utterance')}"
    if speakers == 1:
        yield "There is one speaker: the intervals say nothing of others"
    elif speakers is not None and speakers < TRUSTED and score.errors:
        yield f"Those over speakers are too narrow: only {_plural(speakers, 'speaker')}"
    yield f"Normalisation {score.normalisation}: {NORMALISATIONS[score.normalisation]}"


def _error_lines(score: Score, top: int) -> Iterator[str]:
    confusions = score.confusions
    worst = sorted((u for u in score.utterances if u.errors), key=lambda u: (-u.errors, u.words))
    for title, entries in (
        ("Substituted", [(f"{r} -> {h}", str(n)) for (r, h), n in confusions.substitutions.most_common()]),
        ("Deleted", [(word, str(count)) for word, count in confusions.deletions.most_common()]),
        ("Inserted", [(word, str(count)) for word, count in confusions.insertions.most_common()]),
        ("Never recognised", [(word, str(count)) for word, count in never_recognised(score)]),
        ("Worst utterances", [(u.id, f"{u.errors} in {_plural(u.words, 'word')}") for u in worst]),
    ):
        if entries and top > 0:
            more = f" and {len(entries) - top} more" if len(entries) > top else ""
            yield f"{title}: " + ", ".join(f"{words} ({count})" for words, count in entries[:top]) + more


def format_groups(title: str, groups: Sequence[Group], *, top: int = 20) -> str:
    """A table for the terminal with a line for each of the first `top` groups: sizes, WER with its interval, errors."""
    shown = groups[:top]
    rows: list[tuple[str, ...]] = [(title, "utterances", "words", "WER", "95 % interval", "S", "D", "I")]
    for group in shown:
        score = group.score
        sizes, errors = (len(score.utterances), score.words), (score.substitutions, score.deletions, score.insertions)
        rate, interval = f"{100 * score.wer:.2f} %", _interval(score.wer_interval)
        rows.append((group.name, *map(str, sizes), rate, interval, *map(str, errors)))
    columns = list(zip(*rows, strict=True))
    aligned = [_left_aligned(columns[0]), *(_right_aligned(column) for column in columns[1:])]
    lines = ["  ".join(cells) for cells in zip(*aligned, strict=True)]
    return "\n".join(lines + ([f"... {len(groups) - top} more"] if len(groups) > top else []))


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


def _left_aligned(cells: Sequence[str]) -> list[str]:
    width = max(map(_columns, cells))
    return [cell + " " * (width - _columns(cell)) for cell in cells]


def _right_aligned(cells: Sequence[str]) -> list[str]:
    width = max(map(len, cells))
    return [cell.rjust(width) for cell in cells]


def _columns(word: str) -> int:
    """Terminal columns a word takes: accents that combine take none, wide East Asian characters two."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in word
    )


def _interval(ends: tuple[float, float]) -> str:
    return f"[{100 * ends[0]:.2f}, {100 * ends[1]:.2f}]"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
