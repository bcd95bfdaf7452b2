"""The charts of a report, as HTML and SVG that follow the reader's light or dark mode and need no script."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from asr.scoring import Score

if TYPE_CHECKING:
    from asr.evaluation.calibration import Reliability
    from asr.scoring.breakdown import Group

WIDTH, HEIGHT = 340, 210
"""Of a chart in SVG units, which are about CSS pixels: a phone shows it without making its text smaller."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 36, 12, 24, 36
_KINDS = (
    ("substitutions", "sub", "Substitutions"),
    ("deletions", "del", "Deletions"),
    ("insertions", "ins", "Insertions"),
)


def percent(value: float, digits: int = 1) -> str:
    """A fraction as per cent."""
    return "∞" if math.isinf(value) else f"{100 * value:.{digits}f} %"


def interval(ends: tuple[float, float], digits: int = 1) -> str:
    """Both ends in per cent, without the sign."""
    return f"{100 * ends[0]:.{digits}f}–{100 * ends[1]:.{digits}f}"


def error_kinds(score: Score) -> str:
    """How many of the errors are substitutions, deletions and insertions, and their rates."""
    rows, parts = "", ""
    for key, style, label in _KINDS:
        count, rate = getattr(score, key), score.rates[key]
        share = count / score.errors if score.errors else 0.0
        if count:
            parts += f'<span class="{style}-mark" style="flex: {count}" title="{label}: {share:.0%} of errors"></span>'
        rows += (
            f'<tr><th scope="row"><span class="swatch {style}-mark"></span>{label}</th><td class="num">{count}</td>'
            f'<td class="num">{share:.0%}</td><td class="num">{percent(rate.value)}<br>'
            f'<span class="muted small">{interval(rate.interval)}</span></td></tr>\n'
        )
    head = (
        '<thead><tr><th scope="col">Errors</th><th scope="col" class="num">Count</th><th scope="col" class="num">Share'
        '</th><th scope="col" class="num">Rate</th></tr></thead>'
    )
    return (
        f'<figure>\n<h3>Errors by kind</h3>\n<div class="stack" aria-hidden="true">{parts}</div>\n'
        f'<table class="kinds">{head}\n<tbody>\n{rows}</tbody></table>\n</figure>\n'
    )


def distribution(score: Score) -> str:
    """How many utterances have which word error rate, and in how few of them half of the errors are."""
    edges = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    counts = [0] * (len(edges) + 1)  # without error, ten bins up to 100 %, above
    for utterance in score.utterances:
        wer = utterance.wer
        counts[0 if wer == 0 else next((i for i, edge in enumerate(edges) if wer <= edge + 1e-12), len(edges))] += 1
    labels = ["0", *(f"{100 * edge:.0f}" for edge in edges[1:]), ">100"]
    step = (WIDTH - _LEFT - _RIGHT) / len(counts)
    scale = (HEIGHT - _TOP - _BOTTOM) / max(counts)
    drawn = ""
    for index, (count, label) in enumerate(zip(counts, labels, strict=True)):
        x, height = _LEFT + index * step, count * scale
        y = HEIGHT - _BOTTOM - height
        meaning = (
            "no error" if index == 0 else "over 100 %" if index == len(edges) else f"{labels[index - 1]} to {label} %"
        )
        drawn += (
            f'<g><title>{meaning}: {count} utterances</title><rect class="bar" x="{x + 1.5:.1f}" y="{y:.1f}" '
            f'width="{step - 3:.1f}" height="{height:.1f}" rx="1.5"/>'
        )
        if count:
            drawn += f'<text class="strong" x="{x + step / 2:.1f}" y="{y - 4:.1f}" text-anchor="middle">{count}</text>'
        # A bin's label stands at its upper edge, those of the first and the last bar below them.
        at, shown = (x + step / 2, True) if index in (0, len(edges)) else (x + step, index % 2 == 0 and index < 10)
        if shown:
            drawn += f'<text x="{at:.1f}" y="{HEIGHT - _BOTTOM + 14}" text-anchor="middle">{escape(label)}</text>'
        drawn += "</g>\n"
    drawn += (
        f'<line class="axis" x1="{_LEFT}" y1="{HEIGHT - _BOTTOM}" x2="{WIDTH - _RIGHT}" y2="{HEIGHT - _BOTTOM}"/>\n'
        + _axis_title("WER of the utterance, %")
    )
    perfect = counts[0] / len(score.utterances)
    text = f"{percent(perfect, 0)} of the utterances have no error."
    if score.errors:
        text += f" Half of all errors are in {_half_of_errors(score)} of {len(score.utterances)} utterances."
    return _figure("WER of utterances", text, drawn, "Number of utterances for each word error rate")


def _half_of_errors(score: Score) -> int:
    """The fewest utterances that hold at least half of all errors."""
    held = 0
    for number, errors in enumerate(sorted((u.errors for u in score.utterances), reverse=True), start=1):
        held += errors
        if 2 * held >= score.errors:
            return number
    return 0


def reliability_chart(measured: Reliability) -> str:
    """Share of right words over confidence: dots on the diagonal are confidences that can be believed."""
    width, height = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM

    def at(confidence: float, share: float) -> tuple[float, float]:
        return _LEFT + confidence * width, _TOP + (1 - share) * height

    drawn = ""
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = at(tick, tick)
        drawn += (
            f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{WIDTH - _RIGHT}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{100 * tick:.0f}</text>'
            f'<text x="{x:.1f}" y="{HEIGHT - _BOTTOM + 14}" text-anchor="middle">{tick:g}</text>\n'
        )
    (x1, y1), (x2, y2) = at(0, 0), at(1, 1)
    drawn += f'<line class="all" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>\n'
    most = max(measured.counts)
    for count, confidence, accuracy in zip(measured.counts, measured.confidence, measured.accuracy, strict=True):
        if count:
            x, y = at(confidence, accuracy)
            drawn += (
                f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="{3 + 7 * math.sqrt(count / most):.1f}">'
                f"<title>{count} words: "
                f"mean confidence {confidence:.2f}, {percent(accuracy)} of them right</title></circle>\n"
            )
    drawn += _axis_title("confidence of the word") + '<text x="0" y="10">right, %</text>\n'
    entropy = "" if math.isnan(measured.nce) else f", NCE {measured.nce:.3f}"
    text = (
        f"ECE {measured.ece:.3f}{entropy} over {measured.words} words. On the dashed line, confidence is the share of "
        "right words; larger dots are more words."
    )
    return _figure("Confidence", text, drawn, "Share of right words for each confidence")


def _axis_title(name: str) -> str:
    return f'<text x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{name}</text>\n'


def _figure(title: str, text: str, drawn: str, name: str) -> str:
    return (
        f'<figure>\n<h3>{title}</h3>\n<p class="muted small">{text}</p>\n'
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}">\n{drawn}</svg>\n</figure>\n'
    )


def groups_chart(
    title: str, text: str, groups: Sequence[Group], overall: float, largest: float, *, speakers: bool = False
) -> str:
    """The word error rate of each group with its interval; the dashed line is that of the whole set.

    Args:
        title: of the chart.
        text: below the title.
        groups: in the order of the chart's rows.
        overall: the rate of the whole set.
        largest: rate that the scale must hold, so that charts can share one: see `largest_shown`.
        speakers: whether a name is a button that shows the utterances of that speaker.
    """
    top, step = _scale(largest)
    ticks = [index * step for index in range(round(top / step) + 1)]
    lines = "".join(
        f'<line class="grid" x1="{_at(tick, top)}" x2="{_at(tick, top)}" y1="0" y2="100%"/>' for tick in ticks
    )
    lines += f'<line class="all" x1="{_at(overall, top)}" x2="{_at(overall, top)}" y1="0" y2="100%"/>'
    labels = "".join(
        f'<text x="{_at(tick, top)}" y="80%" text-anchor="middle">{100 * tick:.0f}</text>'
        for tick in ticks[:: 1 if len(ticks) < 5 else 2]
    )
    rows = ""
    for number, group in enumerate(groups):
        wer, (low, high) = group.score.wer, group.score.wer_interval
        # Nothing varies within one utterance, so that its interval says nothing.
        spread = interval((low, high)) if len(group.score.utterances) > 1 else "one utterance"
        name = escape(group.name)
        if speakers:
            wanted = escape(json.dumps(["speaker", group.name]))
            label = escape(f"speaker {group.name}")
            name = f'<button type="button" class="filter" data-filter="{wanted}" data-label="{label}">{name}</button>'
        rows += (
            f'<tr><th scope="row" dir="auto" data-value="{escape(group.name) if speakers else number}">{name}</th>'
            f'<td class="num" data-value="{group.score.words}">{group.score.words}</td>'
            f'<td class="num" data-value="{wer:.6f}">{percent(wer)}<span class="interval">'
            f'{spread}</span></td><td class="plot"><svg aria-hidden="true">{lines}'
            f'<line class="whisker" x1="{_at(low, top)}" x2="{_at(high, top)}" y1="50%" y2="50%"/>'
            f'<circle class="dot" cx="{_at(wer, top)}" cy="50%" r="5"/></svg></td></tr>\n'
        )
    head = (
        f'<thead><tr><th scope="col">{"Speaker" if speakers else "Group"}</th><th scope="col" class="num">Words</th>'
        '<th scope="col" class="num">WER</th><th scope="col" class="plot fixed"><span class="hidden">Chart</span>'
        f'<svg aria-hidden="true">{labels}</svg></th></tr></thead>'
    )
    return (
        f'<div class="card">\n<h3>{escape(title)}</h3>\n<p class="muted small">{escape(text)}</p>\n'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(title)}">\n'
        f'<table class="sortable groups">\n{head}\n<tbody>\n{rows}</tbody></table>\n</div>\n</div>\n'
    )


def largest_shown(groups: Iterable[Group], overall: float) -> float:
    """The rate that a chart of these groups must hold: the highest end of an interval.

    It is at most 100 % or what holds `overall`, so that one odd group does not squeeze the others.
    """
    highest = max([overall, *(group.score.wer_interval[1] for group in groups)])
    return min(highest, max(1.0, 1.2 * overall))


def _at(value: float, top: float) -> str:
    """Where a rate is across the plot; the margins leave room for dots and labels."""
    return f"{4 + 88 * min(value, top) / top:.2f}%"


def _scale(largest: float) -> tuple[float, float]:
    """The end of an axis from 0 that holds `largest`, and the distance of its ticks: 2 to 5 of them."""
    largest = max(largest, 0.01)
    unit = 10 ** math.floor(math.log10(largest))
    step = next(unit * factor for factor in (0.2, 0.5, 1, 2, 5) if largest <= 5 * unit * factor + 1e-12)
    return math.ceil(largest / step - 1e-9) * step, step
