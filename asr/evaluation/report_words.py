"""The words that go wrong, as tables of a report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape

from asr.evaluation.page import LEGEND, alignment_html
from asr.scoring import Score
from asr.scoring.breakdown import never_recognised

WORDS = 50
"""Rows in each table."""
Row = tuple[str, list[str | None], int]
"""HTML of an error, the filter that finds it, how often it happened."""


def words_section(score: Score) -> str:
    """The section with the words that were taken for others, left out, made up, and never recognised.

    A word is a button that carries the filter for the page's script: what kind of error, the word said, the word
    recognised.
    """
    confusions = score.confusions
    tables: tuple[tuple[str, str, list[Row]], ...] = (
        (
            "Substituted",
            "Said, and recognised instead.",
            [(alignment_html((pair,)), ["sub", *pair], n) for pair, n in confusions.substitutions.most_common()],
        ),
        (
            "Deleted",
            "Said, and left out.",
            [(alignment_html(((w, None),)), ["del", w, None], n) for w, n in confusions.deletions.most_common()],
        ),
        (
            "Inserted",
            "Recognised where nobody said them.",
            [(alignment_html(((None, w),)), ["ins", None, w], n) for w, n in confusions.insertions.most_common()],
        ),
        (
            "Never recognised",
            "Wrong each time they were said.",
            [(escape(word), ["missed", word, None], n) for word, n in never_recognised(score)],
        ),
    )
    cards = "".join(_word_table(title, text, rows) for title, text, rows in tables)
    return (
        '<section>\n<h2 id="words">Words that go wrong</h2>\n'
        f'<p class="muted small">A click on a word shows the utterances that have the error. {LEGEND}.</p>\n'
        f'<div class="words">\n{cards}</div>\n</section>\n'
    )


def _word_table(title: str, text: str, rows: Sequence[Row]) -> str:
    """One table; `rows` are the most frequent first."""
    if not rows:
        return f'<div class="card">\n<h3>{title}</h3>\n<p class="muted small">None.</p>\n</div>\n'
    if len(rows) > WORDS:
        text += f" The {WORDS} most frequent of {len(rows)}."
    lines = ""
    for shown, wanted, count in rows[:WORDS]:
        label = f"{title.lower()}: {' → '.join(word for word in wanted[1:] if word is not None)}"
        lines += (
            f'<tr><td dir="auto" data-value="{escape(" ".join(word for word in wanted[1:] if word))}">'
            f'<button type="button" class="filter" data-filter="{escape(json.dumps(wanted, ensure_ascii=False))}" '
            f'data-label="{escape(label)}">{shown}</button></td><td class="num">{count}</td></tr>\n'
        )
    return (
        f'<div class="card">\n<h3>{title}</h3>\n<p class="muted small">{text}</p>\n'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{title}">\n<table class="sortable">\n'
        '<thead><tr><th scope="col">Word</th><th scope="col" class="num">Times</th></tr></thead>\n'
        f"<tbody>\n{lines}</tbody></table>\n</div>\n</div>\n"
    )
