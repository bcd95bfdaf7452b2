"""What every HTML page shares: one file that needs no other, its colours in light and dark, and sortable tables."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from functools import cache
from html import escape
from importlib.resources import files

from asr.scoring.alignment import Alignment, operation

LEGEND = (
    '<span class="sub"><del>said</del><ins>recognised</ins></span> substitution, '
    '<span class="del"><del>said</del></span> deletion, <span class="ins"><ins>recognised</ins></span> insertion'
)
"""What the marks of `alignment_html` mean."""
_CLASSES = {"S": "sub", "D": "del", "I": "ins"}


def page(title: str, body: str, script: str = "", style: str = "") -> str:
    """A whole HTML document: works offline, asks the network for nothing, follows the reader's light or dark mode.

    `<table class="sortable">` with a `<thead>` gets headers that sort by click or key; a cell is sorted by its
    `data-value`, else by its text; a header of class `fixed` stays as it is. See `assets/page.css` for the other
    classes: `scroll` around a wide table, `num` for cells of numbers, `tiles` of `tile` with `label`, `value` and
    `note`, `muted`, `small`, `better`, `worse`.

    The document's policy runs the given script and no other, so handlers in attributes (`onclick=...`) do nothing.

    Args:
        title: plain text, escaped here; the heading and the window's title.
        body: HTML that follows the heading. Text in it must have been escaped by the caller.
        script: JavaScript, run once the body is there.
        style: CSS of this page alone.
    """
    scripts = ([asset("page.js")] if '<table class="sortable' in body else []) + ([script] if script else [])
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    policy = (
        "default-src 'none'; img-src data:; media-src data: blob:; style-src 'unsafe-inline'; "
        f"script-src {hashes or repr('none')}"
    )
    document = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{asset('page.css')}{style}</style>\n</head>\n<body>\n"
        f'<h1 dir="auto">{escape(title)}</h1>\n{body}'
        + "".join(f"<script>{text}</script>\n" for text in scripts)
        + "</body>\n</html>\n"
    )
    # Names of files may hold bytes that are no text.
    return document.encode("utf-8", "replace").decode("utf-8")


def alignment_html(alignment: Alignment) -> str:
    """Words of an aligned utterance, the errors marked: see `LEGEND`. Put it into an element with `dir="auto"`."""
    return " ".join(_pair(reference, hypothesis) for reference, hypothesis in alignment)


def _pair(reference: str | None, hypothesis: str | None) -> str:
    kind = operation(reference, hypothesis)
    if not kind:
        return escape(reference or "")
    said = "" if reference is None else f"<del>{escape(reference)}</del>"
    recognised = "" if hypothesis is None else f"<ins>{escape(hypothesis)}</ins>"
    return f'<span class="{_CLASSES[kind]}">{said}{recognised}</span>'


def tiles(entries: Iterable[tuple[str, str, str]]) -> str:
    """Large numbers side by side, from plain (label, value, note)."""
    parts = [
        f'<div class="tile"><span class="label">{escape(label)}</span> <span class="value">{escape(value)}</span> '
        f'<span class="note">{escape(note)}</span></div>\n'
        for label, value, note in entries
    ]
    return f'<div class="tiles">\n{"".join(parts)}</div>\n'


@cache
def asset(name: str) -> str:
    """The text of a file in `assets/`."""
    return (files("asr.evaluation") / "assets" / name).read_text(encoding="utf-8")
