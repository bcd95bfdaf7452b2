"""A comparison of two systems to look at: one HTML file with the verdict, the rates, words, speakers and utterances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from asr.evaluation.page import LEGEND, alignment_html, asset, page, tiles
from asr.files import write_text
from asr.scoring.comparison import RATE_NAMES, Changed, Comparison
from asr.scoring.comparison_report import (
    bracket,
    count,
    headline,
    method,
    notes,
    outlook,
    p_text,
    percent,
    points,
    probability,
)

UTTERANCES = 1000
"""Shown: of more that differ, those that changed most."""
WORDS = 200
"""Rows of the table of words."""


def write_comparison(
    path: str | Path,
    comparison: Comparison,
    *,
    title: str,
    names: tuple[str, str],
    about: Mapping[str, str] | None = None,
    mind: Sequence[str] = (),
) -> None:
    """Write a comparison as one HTML file that needs no other and no network.

    Args:
        path: the file to write, whole or not at all.
        comparison: what is shown.
        title: of the page.
        names: of the systems.
        about: other facts by name, shown as they are.
        mind: what to mind beside what the comparison itself says, a sentence each.

    Raises:
        OutputError: the file cannot be written.
    """
    body = (
        _summary(comparison, {"A": names[0], "B": names[1], **(about or {})}, [*notes(comparison, names), *mind])
        + _rates(comparison)
        + _speakers_and_words(comparison)
        + _utterances(comparison)
    )
    write_text(Path(path), page(title, body, asset("comparison.js"), asset("comparison.css")))


def _summary(comparison: Comparison, about: Mapping[str, str], mind: Sequence[str]) -> str:
    wer = comparison.wer
    interval_a, interval_b = comparison.wer_intervals
    relative = "" if wer.relative is None else f"{100 * wer.relative:+.1f} % relative"
    shown = tiles(
        [
            ("WER of A", percent(wer.a), bracket(interval_a)),
            ("WER of B", percent(wer.b), bracket(interval_b)),
            (
                "B − A, percentage points",
                _minus(points(wer.value)),
                _minus(", ".join(filter(None, (bracket(wer.interval, signed=True), relative)))),
            ),
            ("Probability that B is better", probability(comparison.probability_of_improvement), _p(comparison)),
        ]
    )
    facts = "".join(
        f'<div><dt>{escape(name)}</dt><dd dir="auto">{escape(value)}</dd></div>\n' for name, value in about.items()
    )
    further = f"<p>{escape(told)}</p>\n" if (told := outlook(comparison)) else ""
    minded = "".join(f"<p>Note: {escape(note)}.</p>\n" for note in mind)
    return (
        f'<p class="verdict" id="verdict">{escape(headline(comparison))}</p>\n{further}{minded}{shown}'
        f'<p class="muted small">{count(len(comparison.utterances), "utterance")} with '
        f"{count(comparison.a.words, 'reference word')}. Normalisation “{escape(comparison.a.normalisation)}”. In "
        f"brackets, 95 % intervals; the difference is tested with a {escape(method(comparison))}: each "
        f"{comparison.unit} counts double or not at all.</p>\n"
        f'<dl class="about">\n{facts}</dl>\n'
    )


def _p(comparison: Comparison) -> str:
    return p_text(comparison.p_value) + (", significant" if comparison.significant else ", not significant")


def _rates(comparison: Comparison) -> str:
    """The table of rates with their differences drawn on one scale."""
    ends = [end for rate in comparison.rates.values() for end in (rate.value, *(rate.interval or ()))]
    reach = max(map(abs, ends)) or 1.0
    rows = ""
    for name, label in RATE_NAMES.items():
        rate = comparison.rates[name]
        plot = '<line class="zero" x1="50%" x2="50%" y1="0" y2="100%"/>'
        if rate.interval is not None:
            low, high = rate.interval
            plot += f'<line class="whisker" x1="{_at(low, reach)}" x2="{_at(high, reach)}" y1="50%" y2="50%"/>'
        plot += f'<circle class="dot" cx="{_at(rate.value, reach)}" cy="50%" r="5"/>'
        relative = "" if rate.relative is None else f"{100 * rate.relative:+.1f} %"
        rows += (
            f'<tr><th scope="row">{label}</th>'
            + "".join(
                f'<td class="num">{percent(value)}<span class="interval">{count(errors, "error")}</span></td>'
                for value, errors in zip((rate.a, rate.b), rate.errors, strict=True)
            )
            + _difference(points(rate.value), bracket(rate.interval, signed=True))
            + _difference(relative, bracket(rate.relative_interval, signed=True, digits=1))
            + f'<td class="plot"><svg aria-hidden="true">{plot}</svg></td></tr>\n'
        )
    return (
        '<section>\n<h2>Error rates</h2>\n<div class="scroll" tabindex="0" role="region" aria-label="Error rates">\n'
        '<table class="rates">\n<thead><tr><th scope="col"><span class="hidden">Rate</span></th>'
        '<th scope="col" class="num">A</th><th scope="col" class="num">B</th>'
        '<th scope="col" class="num">B − A, points</th><th scope="col" class="num">Relative</th>'
        '<th scope="col" class="plot"><span class="sides"><span>← B better</span><span>A better →</span></span></th>'
        f"</tr></thead>\n<tbody>\n{rows}</tbody></table>\n</div>\n"
        '<p class="muted small">Substitutions, deletions and insertions are per reference word.</p>\n</section>\n'
    )


def _difference(value: str, ends: str) -> str:
    return f'<td class="num">{_minus(value)}<span class="interval">{_minus(ends)}</span></td>'


def _minus(text: str) -> str:
    """Numbers with the sign that is as wide as a plus."""
    return text.replace("-", "−")


def _at(value: float, reach: float) -> str:
    """Where a difference is across the plot, zero in the middle."""
    return f"{50 + 46 * value / reach:.2f}%"


def _speakers_and_words(comparison: Comparison) -> str:
    parts = [part for part in (_speakers(comparison), _words(comparison)) if part]
    return f'<section class="two">\n{"".join(parts)}</section>\n' if parts else ""


@dataclass
class _Speaker:
    utterances: int = 0
    words: int = 0
    words_b: int = 0
    a: int = 0
    b: int = 0


def _speakers(comparison: Comparison) -> str:
    if not comparison.speakers:
        return ""
    found: dict[str, _Speaker] = {}
    for pair in comparison.utterances:
        speaker = found.setdefault(comparison.speakers[pair.id], _Speaker())
        speaker.utterances += 1
        speaker.words += pair.a.words
        speaker.words_b += pair.b.words
        speaker.a += pair.a.errors
        speaker.b += pair.b.errors
    rows = ""
    for name, speaker in sorted(found.items(), key=lambda item: item[1].b - item[1].a):
        rows += (
            f'<tr><th scope="row" dir="auto">{escape(name)}</th><td class="num">{speaker.utterances}</td>'
            f"{_rate(speaker.a, speaker.words)}{_rate(speaker.b, speaker.words_b)}{_change(speaker.b - speaker.a)}"
            "</tr>\n"
        )
    heads = ("Utterances", "WER of A", "WER of B", "Errors, B − A")
    return _card("Speakers", "", "Speaker", heads, rows)


def _rate(errors: int, words: int) -> str:
    if not words:
        return '<td class="num" data-value=""></td>'
    return f'<td class="num" data-value="{errors / words:.6f}">{100 * errors / words:.1f} %</td>'


def _change(change: int) -> str:
    style = " better" if change < 0 else " worse" if change > 0 else ""
    return f'<td class="num{style}" data-value="{change}">{_minus(f"{change:+d}") if change else "0"}</td>'


def _words(comparison: Comparison) -> str:
    words = comparison.words
    if not words:
        return ""
    rows = ""
    for word in words[:WORDS]:
        rows += (
            f'<tr><th scope="row" dir="auto">{escape(word.word)}</th><td class="num">{word.said}</td>'
            f'<td class="num">{word.wrong_a}</td><td class="num">{word.wrong_b}</td>'
            f'<td class="num better">{word.fixed}</td><td class="num worse">{word.broken}</td></tr>\n'
        )
    text = "Fixed: wrong in A and right in B; broken: the other way round."
    if len(words) > WORDS:
        text += f" The {WORDS} most changed of {len(words)} words."
    return _card("Words fixed and broken", text, "Word", ("Said", "Wrong in A", "Wrong in B", "Fixed", "Broken"), rows)


def _card(title: str, text: str, first: str, heads: tuple[str, ...], rows: str) -> str:
    columns = "".join(f'<th scope="col" class="num">{head}</th>' for head in heads)
    return (
        f"<div>\n<h2>{title}</h2>\n"
        + (f'<p class="muted small">{text}</p>\n' if text else "")
        + f'<div class="scroll" tabindex="0" role="region" aria-label="{title}">\n<table class="sortable">\n'
        f'<thead><tr><th scope="col">{first}</th>{columns}</tr></thead>\n<tbody>\n{rows}</tbody></table>\n</div>\n'
        "</div>\n"
    )


def _utterances(comparison: Comparison) -> str:
    better, worse, other = len(comparison.better), len(comparison.worse), len(comparison.otherwise_wrong)
    same = len(comparison.utterances) - better - worse
    text = f"{better} better in B, {worse} worse, {same} with as many errors, {other} of which with other words."
    pairs = sorted([*comparison.better, *comparison.worse], key=lambda pair: -abs(pair.change))
    pairs += comparison.otherwise_wrong
    head = f'<section>\n<h2 id="utterances">Utterances</h2>\n<p>{text}</p>\n'
    if not pairs:
        return head + "</section>\n"
    if len(pairs) > UTTERANCES:
        head += f'<p class="muted small">The {UTTERANCES} most changed are shown.</p>\n'
    kinds = (("better", "better in B"), ("worse", "worse in B"), ("other", "other words, as many errors"))
    options = "".join(f'<option value="{value}">{label}</option>' for value, label in kinds)
    rows = "".join(_rows(pairs[:UTTERANCES], comparison.speakers))
    return (
        f'{head}<p class="muted small">{LEGEND}.</p>\n<div class="tools" role="search">\n'
        '<input type="search" id="query" dir="auto" autocomplete="off" placeholder="Search text, id or speaker" '
        'aria-label="Search text, id or speaker">\n'
        f'<select id="kind" aria-label="Which utterances"><option value="">all that differ</option>{options}</select>\n'
        '<span id="shown" class="muted small" role="status"></span>\n</div>\n'
        '<table class="sortable utterances" id="list">\n<thead><tr><th scope="col">Utterance</th>'
        '<th scope="col" class="num">Words</th><th scope="col" class="num">Errors A</th>'
        '<th scope="col" class="num">Errors B</th><th scope="col" class="num">B − A</th>'
        '<th scope="col" class="text fixed">A</th><th scope="col" class="text fixed">B</th></tr></thead>\n'
        f"<tbody>\n{rows}</tbody></table>\n</section>\n"
    )


def _rows(pairs: list[Changed], speakers: Mapping[str, str] | None) -> Iterator[str]:
    for pair in pairs:
        kind = "better" if pair.change < 0 else "worse" if pair.change > 0 else "other"
        speaker = f'<span class="interval">{escape(speakers[pair.id])}</span>' if speakers else ""
        change = _change(pair.change).replace("<td", '<td data-label="B − A"', 1)
        yield (
            f'<tr data-kind="{kind}"><td class="id" data-value="{escape(pair.id)}">{escape(pair.id)}{speaker}</td>'
            f'<td class="num" data-label="words" data-value="{pair.a.words}">{pair.a.words}</td>'
            f'<td class="num" data-label="errors A" data-value="{pair.a.errors}">{pair.a.errors}</td>'
            f'<td class="num" data-label="B" data-value="{pair.b.errors}">{pair.b.errors}</td>{change}'
            f'<td class="text" data-label="A" dir="auto">{alignment_html(pair.a.alignment)}</td>'
            f'<td class="text" data-label="B" dir="auto">{alignment_html(pair.b.alignment)}</td></tr>\n'
        )
