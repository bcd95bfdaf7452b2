"""A comparison of two systems in words and on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from asr.scoring.alignment import Alignment
from asr.scoring.comparison import RATE_NAMES, Changed, Comparison, Difference
from asr.scoring.normalisation import formatting_hint
from asr.scoring.subsets import FEWEST_BLOCKS

SHOWN = 3
"""Utterances that became better, and as many that became worse, shown in full on the terminal.
Twice as many words."""
_MILLION = 1_000_000


def verdict(comparison: Comparison) -> str:
    """What was found, in a sentence or two for anyone: `headline` and `outlook`."""
    return " ".join(filter(None, (headline(comparison), outlook(comparison))))


def headline(comparison: Comparison) -> str:
    """Which system is better, or that it could not be shown."""
    utterances = len(comparison.utterances)
    if all(pair.a.hypothesis == pair.b.hypothesis for pair in comparison.utterances):
        return f"No difference: A and B recognised the same words in all {count(utterances, 'utterance')}."
    wer, p = comparison.wer, p_text(comparison.p_value)
    if comparison.significant:
        here = f" on these {_speakers(comparison)} speakers" if _too_few_speakers(comparison) else ""
        winner = "B" if wer.value < 0 else "A"
        return f"{winner} is better{here}: {_gain(wer)}, WER {percent(wer.b)} against {percent(wer.a)}, {p}."
    if comparison.units < FEWEST_BLOCKS:
        return (
            f"No difference could be shown: {count(utterances, 'utterance')} cannot show one, "
            f"at least {FEWEST_BLOCKS} are needed."
        )
    if not comparison.standard_error:
        return "No difference: A and B make as many errors in every utterance, though not the same ones."
    return f"No difference could be shown ({p})."


def outlook(comparison: Comparison) -> str:
    """Where no difference could be shown, what it would take; else nothing."""
    if comparison.significant or comparison.units < FEWEST_BLOCKS or not comparison.standard_error:
        return ""
    assert comparison.detectable is not None
    here = f"This set shows differences of {100 * comparison.detectable:.2f} points or more, 4 times in 5"
    needed = comparison.utterances_needed
    if needed is None:
        return f"{here}; both make as many errors."
    if needed > _MILLION:
        amount = "more than a million utterances"
    else:
        digits = max(0, len(str(needed)) - 2)
        needed = -(-needed // 10**digits) * 10**digits
        amount = f"about {needed:,} utterances"
        if comparison.unit == "speaker":
            amount += f" from {-(-needed * comparison.units // len(comparison.utterances)):,} speakers"
    return f"{here}; one of {100 * abs(comparison.wer.value):.2f} points, as seen here, takes {amount}."


def notes(comparison: Comparison, names: tuple[str, str] = ("A", "B")) -> Iterator[str]:
    """What whoever reads the figures should know, a sentence each; `names` are those of the systems."""
    for name, score in zip(names, (comparison.a, comparison.b), strict=True):
        if hint := formatting_hint(score):  # first: a difference of writing alone is none of recognition
            yield f"{name}: {hint}"
    if _too_few_speakers(comparison):
        speakers = _speakers(comparison)
        voices = "1 speaker is" if speakers == 1 else f"{speakers} speakers are"
        yield (
            f"{voices} too few to resample ({FEWEST_BLOCKS} are needed): utterances were, so the figures are about "
            f"{'this speaker' if speakers == 1 else 'these speakers'} alone; of systems that are equal over all "
            "speakers, 11 to 22 % seemed to differ in simulation"
        )
    elif comparison.speakers is None:
        yield (
            "speakers are not known, so utterances were resampled as if each were independent: with many utterances of "
            "one speaker, differences seem surer than they are"
        )
    reworded = sum(pair.a.reference != pair.b.reference for pair in comparison.utterances)
    if reworded:
        yield (
            f"{count(reworded, 'utterance')} with alternatives in the reference were scored against the one that fits "
            "each system best; their words are not among those fixed and broken"
        )


def format_comparison(comparison: Comparison, names: tuple[str, str] = ("A", "B")) -> str:
    """Lines for the terminal; `names` are those of the systems."""
    wer = comparison.wer
    size = f"{count(len(comparison.utterances), 'utterance')}, {count(comparison.a.words, 'word')}"
    if comparison.speakers:
        size += f", {count(_speakers(comparison), 'speaker')}"
    lines = [
        *(
            f"{letter}: {name}  WER {percent(rate)} {bracket(interval)}"
            for letter, name, rate, interval in zip("AB", names, (wer.a, wer.b), comparison.wer_intervals, strict=True)
        ),
        f"{size}, normalisation {comparison.a.normalisation}",
        "",
        verdict(comparison),
        f"Probability that B is better: {probability(comparison.probability_of_improvement)} ({method(comparison)})",
        "",
        *_table(comparison),
        "",
        *_changes(comparison),
    ]
    for title, words in (
        ("Fixed most often", [(word.fixed, word.broken, "broken", word.word) for word in comparison.words]),
        ("Broken most often", [(word.broken, word.fixed, "fixed", word.word) for word in comparison.words]),
    ):
        most = sorted((entry for entry in words if entry[0]), key=lambda entry: -entry[0])[: 2 * SHOWN]
        if most:
            shown = (f"{word} {often}" + (f" ({other} {also})" if other else "") for often, other, also, word in most)
            lines.append(f"{title}: " + ", ".join(shown))
    for title, pairs in (("Most improved", comparison.better), ("Most harmed", comparison.worse)):
        if pairs:
            lines += ["", f"{title}:"]
            for pair in pairs[:SHOWN]:
                lines += _utterance(pair, comparison.speakers)
    lines += [f"-> {note}" for note in notes(comparison, names)]
    return "\n".join(lines)


def method(comparison: Comparison) -> str:
    """How the intervals and the p-value came about."""
    resampled = (
        f"{comparison.units} whole speakers" if comparison.unit == "speaker" else f"{comparison.units} utterances"
    )
    return f"paired bootstrap over {resampled}, {p_text(comparison.p_value)}"


def p_text(p: float) -> str:
    """A p-value for people, never as 0."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def probability(share: float) -> str:
    """A probability in per cent, never as 0 or 100."""
    return "< 0.1 %" if share < 0.001 else "> 99.9 %" if share > 0.999 else f"{100 * share:.1f} %"


def percent(rate: float) -> str:
    """A fraction as per cent."""
    return f"{100 * rate:.2f} %"


def points(value: float) -> str:
    """A difference of rates in percentage points, with its sign."""
    return f"{100 * value:+.2f}"


def bracket(interval: tuple[float, float] | None, *, signed: bool = False, digits: int = 2) -> str:
    """Both ends of an interval in per cent, or nothing where there are none."""
    if interval is None:
        return ""
    sign = "+" if signed else ""
    return "[" + ", ".join(f"{100 * end:{sign}.{digits}f}" for end in interval) + "]"


def count(number: int, noun: str) -> str:
    """`3 words`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def three_rows(a: Alignment, b: Alignment) -> list[tuple[str | None, str | None, str | None]]:
    """(reference, A, B) from the alignments of A and of B to one reference; insertions stand side by side."""
    rows: list[tuple[str | None, str | None, str | None]] = []
    groups = (list(_by_reference(a)), list(_by_reference(b)))
    for (inserted_a, word, heard_a), (inserted_b, _, heard_b) in zip(*groups, strict=True):
        for index in range(max(len(inserted_a), len(inserted_b))):
            rows.append((None, _at(inserted_a, index), _at(inserted_b, index)))
        if word is not None:
            rows.append((word, heard_a, heard_b))
    return rows


def _by_reference(alignment: Alignment) -> Iterator[tuple[list[str | None], str | None, str | None]]:
    """(words inserted before it, reference word, what was heard); the last one is the end, without a word."""
    inserted: list[str | None] = []
    for word, heard in alignment:
        if word is None:
            inserted.append(heard)
        else:
            yield inserted, word, heard
            inserted = []
    yield inserted, None, None


def _at(words: list[str | None], index: int) -> str | None:
    return words[index] if index < len(words) else None


def _too_few_speakers(comparison: Comparison) -> bool:
    return comparison.speakers is not None and comparison.unit == "utterance"


def _speakers(comparison: Comparison) -> int:
    known: Mapping[str, str] = comparison.speakers or {}
    return len({known[pair.id] for pair in comparison.utterances if pair.id in known})


def _gain(wer: Difference) -> str:
    """The difference as what B gains or loses."""
    more = "fewer" if wer.value < 0 else "more"
    if wer.relative is None:
        return f"{wer.errors[1]} errors instead of none"
    ends = wer.relative_interval
    if ends is not None and wer.value < 0:
        ends = (-ends[1], -ends[0])
    return f"B makes {100 * abs(wer.relative):.1f} % {more} errors {bracket(ends, digits=1)}".rstrip()


def _table(comparison: Comparison) -> Iterator[str]:
    """The rates of both, aligned."""
    rows = [("", "A", "", "B", "", "B - A", "points", "relative", "")]
    for name, label in RATE_NAMES.items():
        rate = comparison.rates[name]
        relative = "" if rate.relative is None else f"{100 * rate.relative:+.1f} %"
        rows.append(
            (
                label,
                percent(rate.a),
                f"({rate.errors[0]})",
                percent(rate.b),
                f"({rate.errors[1]})",
                points(rate.value),
                bracket(rate.interval, signed=True),
                relative,
                bracket(rate.relative_interval, signed=True, digits=1),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if index in (0, 2, 4, 6, 8) else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield " ".join(cells).rstrip()


def _changes(comparison: Comparison) -> Iterator[str]:
    better, worse = len(comparison.better), len(comparison.worse)
    same, other = len(comparison.utterances) - better - worse, len(comparison.otherwise_wrong)
    yield (
        f"Utterances: {better} better in B, {worse} worse, {same} with as many errors"
        + (f", {other} of which with other words" if other else "")
    )
    if comparison.speakers:
        change: dict[str, int] = {}
        for pair in comparison.utterances:
            speaker = comparison.speakers[pair.id]
            change[speaker] = change.get(speaker, 0) + pair.change
        better, worse = (sum(sign * value > 0 for value in change.values()) for sign in (-1, 1))
        yield f"Speakers: {better} better in B, {worse} worse, {len(change) - better - worse} with as many errors"


def _utterance(pair: Changed, speakers: Mapping[str, str] | None) -> Iterator[str]:
    speaker = f" (speaker {speakers[pair.id]})" if speakers else ""
    yield f"  {pair.id}{speaker}: {pair.a.errors} -> {pair.b.errors} of {count(pair.a.words, 'word')} wrong"
    if pair.a.reference != pair.b.reference:
        yield from (
            f"    {label} {text}".rstrip()
            for label, text in zip("AB", (pair.a.hypothesis, pair.b.hypothesis), strict=True)
        )
        return
    from rich.cells import cell_len

    rows: tuple[list[str], ...] = ([], [], [])
    for words in three_rows(pair.a.alignment, pair.b.alignment):
        width = max(cell_len(word or "") for word in words)
        for row, word in zip(rows, words, strict=True):
            row.append("*" * width if word is None else word + " " * (width - cell_len(word)))
    for label, row in zip(("REF:", "A:  ", "B:  "), rows, strict=True):
        yield " ".join(["   ", label, *row]).rstrip()
