from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

from asr.evaluation.page import LEGEND, alignment_html, page, tiles

VOID = {"meta", "img", "link", "br", "input"}


class Outline(HTMLParser):
    """The elements of a document, each closed, and what its text says outside scripts and styles."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.scripts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif not self.open or self.open[-1] != "style":
            self.words += data

    def policy(self) -> str:
        (found,) = [
            attrs["content"] for _, attrs in self.elements if attrs.get("http-equiv") == "Content-Security-Policy"
        ]
        return found or ""


def test_the_title_is_escaped_and_the_body_stands_as_it_is() -> None:
    outline = Outline(page("a <b> & c", "<p>text</p>\n"))
    assert outline.words.split() == ["a", "<b>", "&", "c", "a", "<b>", "&", "c", "text"]
    assert [tag for tag, _ in outline.elements if tag in ("h1", "p", "b")] == ["h1", "p"]
    assert ("html", {"lang": "en"}) in outline.elements


def test_nothing_is_fetched_and_only_the_given_scripts_run() -> None:
    table = '<table class="sortable"><thead><tr><th>x</th></tr></thead><tbody></tbody></table>'
    document = page("t", table, "console.log('é');", "p { color: red; }")
    outline = Outline(document)
    assert not re.search(r"https?:|@import|url\(", document)
    sources = outline.policy().split("script-src ")[1].split()
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in outline.scripts]
    assert sources == [f"'sha256-{digest}'" for digest in digests]
    assert len(sources) == 2
    assert outline.policy().startswith("default-src 'none'; ")
    assert "p { color: red; }" in document


def test_a_page_without_script_or_sortable_table_runs_none() -> None:
    outline = Outline(page("t", "<p>text</p>"))
    assert outline.scripts == []
    assert outline.policy().endswith("script-src 'none'")


def test_bytes_that_are_no_text_do_not_stop_a_page() -> None:
    assert "a?b" in page("a\udc80b", "").encode("utf-8").decode()


def test_errors_are_marked_with_what_was_said_and_recognised() -> None:
    pairs = (("<the>", "<the>"), ("cat", "hat"), ("sat", None), (None, "&"))
    assert alignment_html(pairs) == (
        '&lt;the&gt; <span class="sub"><del>cat</del><ins>hat</ins></span> '
        '<span class="del"><del>sat</del></span> <span class="ins"><ins>&amp;</ins></span>'
    )
    assert alignment_html(()) == ""
    kinds = [attrs["class"] for tag, attrs in Outline(LEGEND).elements if tag == "span"]
    assert kinds == ["sub", "del", "ins"]


def test_tiles_are_escaped() -> None:
    outline = Outline(tiles([("<a>", "1 %", "0 to 2"), ("b", "2 %", "")]))
    assert outline.words.split() == ["<a>", "1", "%", "0", "to", "2", "b", "2", "%"]
