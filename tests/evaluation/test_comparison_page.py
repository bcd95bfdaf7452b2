"""The page of a comparison: what it says, what its script does in a browser, and that it survives what people write."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asr.errors import OutputError
from asr.evaluation import comparison_page
from asr.evaluation.comparison_page import write_comparison
from asr.scoring import score
from asr.scoring.comparison import Comparison, compare
from tests.conftest import DiskFull

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
VOID = {"meta", "input", "br", "line", "circle"}


def systems(utterances: int = 48, better: float = 0.7) -> Comparison:
    """Eight speakers; B leaves some words wrong that A has wrong, and a few others."""
    generator = np.random.default_rng(1)
    words = ["sea", "sky", "tree", "river", "stone"]
    texts = {f"u{i:02d}": list(generator.choice(words, 6)) for i in range(utterances)}
    heard: list[dict[str, str]] = []
    difficulty = generator.beta(1, 3, utterances)
    for factor in (1.0, better):
        wrong = {key: generator.random(6) < factor * hard for key, hard in zip(texts, difficulty, strict=True)}
        heard.append(
            {key: " ".join("x" if w else word for word, w in zip(texts[key], wrong[key], strict=True)) for key in texts}
        )
    references = {key: " ".join(text) for key, text in texts.items()}
    speakers = {key: f"speaker{number % 8}" for number, key in enumerate(texts)}
    return compare(*(score(references, hypotheses, speakers=speakers) for hypotheses in heard))


class Checker(HTMLParser):
    """Whether tags match, and the text of each kind of element."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.opened.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag


def written(path: Path, comparison: Comparison, **options: Any) -> str:
    write_comparison(path, comparison, title="new against old", names=("exp/old", "exp/new"), **options)
    text = path.read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(text)
    assert not checker.opened
    return text


def test_page_says_what_the_comparison_says(tmp_path: Path) -> None:
    comparison = systems()
    text = written(tmp_path / "page.html", comparison, about={"Manifest": "test"}, mind=["two were left out"])
    assert f"{100 * comparison.wer.a:.2f} %" in text
    assert f"{100 * comparison.wer.b:.2f} %" in text
    assert "exp/old" in text
    assert "8 whole speakers" in text
    assert "Note: two were left out." in text
    assert text.count('<tr data-kind="better">') == len(comparison.better)
    assert text.count('<tr data-kind="worse">') == len(comparison.worse)
    assert len(re.findall(r'<th scope="row" dir="auto">speaker\d', text)) == 8
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)


def test_markup_in_texts_ids_and_names_is_text(tmp_path: Path) -> None:
    evil = '<script>alert("1")</script>'
    references = {evil: f"{evil} one", "2": "two & three"}
    comparison = compare(
        score(references, {evil: "one", "2": "two"}, speakers={evil: evil, "2": "b"}),
        score(references, {evil: f"{evil} <b>", "2": "two & three"}, speakers={evil: evil, "2": "b"}),
    )
    path = tmp_path / "page.html"
    write_comparison(path, comparison, title=evil, names=(evil, "b"), about={evil: evil})
    text = path.read_text(encoding="utf-8")
    assert evil not in text
    assert "<b>" not in text


def test_identical_systems_and_systems_without_errors_have_a_page(tmp_path: Path) -> None:
    references = {str(number): "one two" for number in range(12)}
    perfect = score(references, references)
    text = written(tmp_path / "same.html", compare(perfect, perfect))
    assert "recognised the same words in all 12 utterances" in text
    assert "data-kind" not in text
    worse = score(references, dict.fromkeys(references, "one"))
    text = written(tmp_path / "worse.html", compare(perfect, worse))
    assert "A is better" in text
    assert "nan" not in text
    assert "inf" not in re.sub(r"<(style|script)>.*?</\1>", "", text, flags=re.DOTALL)


def test_long_lists_are_cut_and_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison_page, "UTTERANCES", 3)
    monkeypatch.setattr(comparison_page, "WORDS", 2)
    comparison = systems()
    text = written(tmp_path / "page.html", comparison)
    assert text.count("<tr data-kind=") == 3
    assert "The 3 most changed are shown." in text
    assert f"The 2 most changed of {len(comparison.words)} words." in text


def test_full_disk_leaves_nothing(tmp_path: Path, disk_full_after: DiskFull) -> None:
    with disk_full_after(500), pytest.raises(OutputError, match="cannot be written"):
        write_comparison(tmp_path / "page.html", systems(), title="t", names=("a", "b"))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


Open = Callable[..., Any]


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Opens the page of a comparison in a window; afterwards the console must be empty."""
    messages: list[str] = []
    pages = []

    def go(comparison: Comparison, **options: Any) -> Any:
        written(tmp_path / "page.html", comparison)
        page = browser.new_page(**options)
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.goto(f"file://{tmp_path}/page.html")
        pages.append(page)
        return page

    yield go
    for page in pages:
        page.close()
    assert messages == []


def test_utterances_are_filtered_and_sorted_in_the_browser(opened: Open) -> None:
    comparison = systems()
    page = opened(comparison, viewport={"width": 1200, "height": 900})
    rows = page.locator("#list tbody tr:visible")
    everything = len(comparison.better) + len(comparison.worse) + len(comparison.otherwise_wrong)
    assert rows.count() == everything
    page.select_option("#kind", "worse")
    assert rows.count() == len(comparison.worse)
    assert page.text_content("#shown") == f"{len(comparison.worse)} of {everything} shown"
    page.select_option("#kind", "")
    page.fill("#query", comparison.better[0].id)
    assert rows.count() == 1
    page.fill("#query", "")
    page.locator("th button", has_text="Errors A").click()
    errors = [int(text) for text in page.locator("#list tbody tr td:nth-child(3)").all_text_contents()]
    assert errors == sorted(errors, reverse=True)
    page.locator("th button", has_text="Fixed").click()
    fixed = [int(text) for text in page.locator("table:has(th:has-text('Broken')) tbody td.better").all_text_contents()]
    assert fixed == sorted((word.fixed for word in comparison.words), reverse=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_a_phone_in_light_and_dark(opened: Open, scheme: str) -> None:
    page = opened(systems(), viewport={"width": 360, "height": 740}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    red, green, blue = map(
        int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))[:3]
    )
    assert (red + green + blue > 384) == (scheme == "light")
    first = page.locator("#list tbody tr").first
    boxes = [cell.bounding_box() for cell in first.locator("td.text").all()]
    assert boxes[1]["y"] >= boxes[0]["y"] + boxes[0]["height"] - 1  # B stands below A
    assert all(box["x"] + box["width"] <= 360 for box in boxes)
