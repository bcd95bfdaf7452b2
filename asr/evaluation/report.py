"""A report to look at: one HTML file with the rates, the charts, and every utterance to read, hear and see."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.decoding.hypothesis import Word
from asr.errors import AsrError
from asr.evaluation.page import LEGEND, asset, page, tiles
from asr.evaluation.report_charts import (
    distribution,
    error_kinds,
    groups_chart,
    interval,
    largest_shown,
    percent,
    reliability_chart,
)
from asr.evaluation.report_words import words_section
from asr.files import write_text
from asr.scoring import Score, UtteranceScore
from asr.scoring.alignment import Alignment, operation
from asr.scoring.breakdown import by_label, by_value
from asr.scoring.normalisation import NORMALISATIONS

if TYPE_CHECKING:
    from asr.config import FeaturesConfig
    from asr.data.utterance import Utterance
    from asr.evaluation.calibration import Reliability
    from asr.evaluation.facts import Facts

SPEAKERS = 100
"""Speakers in the chart: of more, those with the most errors."""
TRUSTED_UTTERANCES = 30
"""With 10 utterances a 95 % percentile interval holds the true rate 86 % of the time in simulation, with 30 93 %."""


def write_report(
    path: str | Path,
    score: Score,
    *,
    title: str,
    about: Mapping[str, str],
    facts: Mapping[str, Facts] | None = None,
    words: Mapping[str, list[Word]] | None = None,
    reliability: Reliability | None = None,
    utterances: Mapping[str, Utterance] | None = None,
    features: FeaturesConfig | None = None,
    advice: Sequence[str] = (),
    audio: int = 200,
) -> None:
    """Write the report of an evaluation as one HTML file that needs no other and no network.

    Args:
        path: the file to write, whole or not at all.
        score: what is reported.
        title: of the page.
        about: facts of the evaluation by name (model, manifest, decoder ...), shown as they are.
        facts: of each utterance by its id: the report shows them and breaks the error rate down by them.
        words: of each hypothesis by its utterance's id: their times are marked in the pictures, and their mean
            confidence is shown.
        reliability: of the confidences.
        utterances: where the audio is, by id; without them there are no players and no pictures.
        features: of the pictures; the default configuration where None.
        advice: what to do next, a sentence each.
        audio: how many utterances have a player and a picture: those with the most errors.

    Raises:
        OutputError: the file cannot be written.
    """
    facts, words, utterances = facts or {}, words or {}, utterances or {}
    rows = {utterance.id: _row(utterance, score, facts, words) for utterance in score.utterances}
    worst = sorted((u for u in score.utterances if u.id in utterances), key=lambda u: -u.errors)[:audio]
    media = "".join(_media(worst, score, rows, words, utterances, features))
    data = json.dumps(list(rows.values()), ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    sections = {
        "Summary": _summary(score, about, advice),
        "Breakdown": _breakdown(score, facts, reliability),
        "Words": words_section(score),
        "Utterances": _utterances(score, len(worst) if utterances else None, bool(words)),
    }
    links = "".join(f'<a href="#{name.lower()}">{name}</a>\n' for name in sections)
    body = f'<nav aria-label="Sections">\n{links}</nav>\n' + "".join(sections.values())
    body += f'<script type="application/json" id="utterances-data">{data}</script>\n{media}'
    write_text(Path(path), page(title, body, asset("report.js"), asset("report.css")))


def _row(
    utterance: UtteranceScore, score: Score, facts: Mapping[str, Facts], words: Mapping[str, list[Word]]
) -> dict[str, Any]:
    """What the page's script is told of an utterance; what is not known is left out."""
    known = facts.get(utterance.id)
    speaker = known.speaker if known else (score.speakers or {}).get(utterance.id)
    sure = [word.confidence for word in words.get(utterance.id, []) if word.confidence is not None]
    row: dict[str, Any] = {"id": utterance.id, "text": _parts(utterance.alignment)}
    if speaker is not None:
        row["speaker"] = speaker
    numbers: dict[str, tuple[float, int]] = {}
    if known:
        numbers |= {"seconds": (known.seconds, 2), "snr": (known.snr, 1), "loudness": (known.loudness, 1)}
    if sure:
        numbers["confidence"] = (sum(sure) / len(sure), 3)
    return row | {name: round(value, digits) for name, (value, digits) in numbers.items() if math.isfinite(value)}


def _parts(alignment: Alignment) -> list[str | tuple[str | None, str | None]]:
    """Runs of correct words as one string each, errors as (said, recognised)."""
    parts: list[str | tuple[str | None, str | None]] = []
    for reference, hypothesis in alignment:
        if reference is None or reference != hypothesis:
            parts.append((reference, hypothesis))
        elif parts and isinstance(parts[-1], str):
            parts[-1] += f" {reference}"
        else:
            parts.append(reference)
    return parts


def _media(
    worst: Sequence[UtteranceScore],
    score: Score,
    rows: dict[str, dict[str, Any]],
    words: Mapping[str, list[Word]],
    utterances: Mapping[str, Utterance],
    features: FeaturesConfig | None,
) -> Iterator[str]:
    """Sounds and pictures as elements that a browser leaves alone until the script asks; `rows` learn of them."""
    if not worst:
        return
    from asr.evaluation.report_media import LONGEST_SECONDS, make_media, marks

    numbers = {utterance.id: number for number, utterance in enumerate(score.utterances)}
    kinds = {"": "", "S": "sub", "I": "ins"}
    made = make_media([utterances[utterance.id] for utterance in worst], features)
    for utterance, media in zip(worst, made, strict=True):
        row = rows[utterance.id]
        if isinstance(media, AsrError):
            row["problem"] = f"No player: {media}"
            continue
        if media.cut:
            row["problem"] = f"The player and the picture end after {LONGEST_SECONDS:g} s."
        errors = [kinds[operation(*pair)] for pair in utterance.alignment if pair[1] is not None]
        shown = marks(words.get(utterance.id, []), errors, media.seconds)
        row["media"] = {"seconds": media.seconds, "marks": shown}
        number = numbers[utterance.id]
        yield f'<script type="text/plain" id="audio-{number}">{media.audio}</script>\n'
        yield f'<script type="text/plain" id="picture-{number}">{media.picture}</script>\n'


def _summary(score: Score, about: Mapping[str, str], advice: Sequence[str]) -> str:
    named = (
        ("wer", "Word error rate"),
        ("cer", "Character error rate"),
        ("ser", "Sentences with errors"),
        ("substitutions", "Substitutions per word"),
        ("deletions", "Deletions per word"),
        ("insertions", "Insertions per word"),
    )
    shown = []
    for key, label in named:
        rate = score.rates[key]
        note = interval(rate.interval, 2)
        if rate.speaker_interval is not None:
            note += f"\nspeakers {interval(rate.speaker_interval, 2)}"
        shown.append((label, percent(rate.value, 2), note))
    size = f"{_plural(score.words, 'reference word')} in {_plural(len(score.utterances), 'utterance')}"
    ranges = "The ranges are 95 % bootstrap intervals over utterances: how far other sentences could move the rate."
    if score.speaker_count:
        size += f" of {_plural(score.speaker_count, 'speaker')}"
        ranges += " Those over speakers say how far other speakers could."
    if score.errors == 0 or len(score.utterances) < TRUSTED_UTTERANCES:
        reason = "there are no errors" if score.errors == 0 else f"there are only {len(score.utterances)} utterances"
        ranges += f" They are too narrow here: {reason}."
    meaning = NORMALISATIONS[score.normalisation]
    facts = "".join(
        f'<div><dt>{escape(name)}</dt><dd dir="auto">{escape(value)}</dd></div>\n' for name, value in about.items()
    )
    hints = "".join(f'<li dir="auto">{escape(hint)}</li>\n' for hint in advice)
    return (
        f'<section id="summary" aria-label="Summary">\n{tiles(shown)}'
        f'<p class="muted small">{size}. Normalisation before the comparison: <strong>{escape(score.normalisation)}'
        f"</strong> ({escape(meaning)}). {ranges}</p>\n"
        + (f'<dl class="about">\n{facts}</dl>\n' if facts else "")
        + (f'<h3>What to look at</h3>\n<ul class="advice">\n{hints}</ul>\n' if hints else "")
        + "</section>\n"
    )


def _breakdown(score: Score, facts: Mapping[str, Facts], reliability: Reliability | None) -> str:
    charts = error_kinds(score) + distribution(score) + (reliability_chart(reliability) if reliability else "")
    groups = "".join(_group_charts(score, facts))
    return (
        '<section>\n<h2 id="breakdown">Where the errors are</h2>\n'
        f'<div class="charts">\n{charts}</div>\n'
        + (f'<div class="charts wide">\n{groups}</div>\n' if groups else "")
        + "</section>\n"
    )


def _group_charts(score: Score, facts: Mapping[str, Facts]) -> Iterator[str]:
    """One chart for each fact that is known of utterances and differs among them."""
    known = [utterance.id for utterance in score.utterances if utterance.id in facts]
    speakers: Mapping[str, str] = {id: speaker for id in known if (speaker := facts[id].speaker) is not None}
    speakers = speakers or score.speakers or {}
    if speakers:
        found = by_label(score, speakers)
        text = "With 95 % intervals; the dashed line is the whole set. A name shows the speaker's utterances."
        if len(found) > SPEAKERS:
            text = f"The {SPEAKERS} of {len(found)} speakers with the most errors. {text}"
            most = sorted(found, key=lambda group: -group.score.errors)[:SPEAKERS]
            found = sorted(most, key=lambda group: -group.score.wer)
        yield groups_chart("By speaker", text, found, score.wer, largest_shown(found, score.wer), speakers=True)
    charts = []
    for title, name, unit, text in (
        ("By length", "seconds", "s", "Groups of equally many utterances, from short to long."),
        ("By noise", "snr", "dB", "Signal-to-noise ratio, estimated; from noisy to quiet."),
        ("By loudness", "loudness", "dBFS", "Level of the speech, from soft to loud."),
    ):
        values = {id: float(value) for id in known if math.isfinite(value := getattr(facts[id], name))}
        if len(set(values.values())) > 1:
            charts.append((title, text, by_value(score, values, unit)))
    largest = largest_shown([group for _, _, groups in charts for group in groups], score.wer)
    for title, text, groups in charts:
        yield groups_chart(title, text, groups, score.wer, largest)


def _utterances(score: Score, heard: int | None, timed: bool) -> str:
    """The frame of the list, which the page's script fills.

    Args:
        score: of the utterances.
        heard: how many have a player; None where there was no audio.
        timed: whether the words' times are known.
    """
    if heard is None:
        players = "The audio was not given, so there are no players."
    elif heard < len(score.utterances):
        players = f"Players and pictures are there for the {heard} utterances with the most errors."
    else:
        players = "Each has a player and a picture of its log-mel energies."
    if heard and timed:
        players += " Below a picture are the recognised words; the longer its bar, the surer the recogniser."
    return (
        '<section>\n<h2 id="utterances">Utterances</h2>\n'
        f'<p class="muted small">{players} {LEGEND}.</p>\n'
        "<noscript><p>The list of utterances needs JavaScript.</p></noscript>\n"
        '<div class="tools" role="search">\n'
        '<input type="search" id="query" dir="auto" autocomplete="off" placeholder="Search text, id or speaker" '
        'aria-label="Search text, id or speaker">\n'
        '<label><input type="checkbox" id="wrong"> only with errors</label>\n'
        '<label class="sorting">sort by <select id="key"></select></label>\n'
        '<button type="button" class="sorting" id="direction"></button>\n'
        '<button type="button" id="chip" title="Show all again" hidden></button>\n'
        '<span id="count" class="muted small" role="status"></span>\n</div>\n'
        '<table class="utterances" id="list"></table>\n'
        '<button type="button" id="more" hidden></button>\n<audio id="player" hidden></audio>\n</section>\n'
    )


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
