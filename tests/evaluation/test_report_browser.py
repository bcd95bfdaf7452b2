from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asr.config import FeaturesConfig
from asr.data.manifest import read_manifest
from asr.decoding.hypothesis import Word
from asr.evaluation.calibration import reliability
from asr.evaluation.facts import Facts
from asr.evaluation.page import page as whole
from asr.evaluation.report import write_report
from asr.scoring import score
from tests.conftest import RATE, Speech

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
UTTERANCES = 130
BAD = "</p><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
ARABIC = "مرحبا بالعالم"
LONG = "rind" * 60
CONTRAST = """() => {
  const number = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = colour.map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [r, g, b, a = 1] = number(getComputedStyle(at).backgroundColor);
      if (a === 1) return [r, g, b];
      if (a > 0) throw new Error("half transparent: " + at.className);
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest("script, option")) continue;
    const style = getComputedStyle(element);
    const colour = number(element.closest("svg") ? style.fill : style.color).slice(0, 3);
    const [low, high] = [light(colour), light(behind(element))].sort((a, b) => a - b);
    found.push([(high + 0.05) / (low + 0.05), element.outerHTML.slice(0, 80)]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as api:
        opened = api.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, speech: Speech) -> Path:
    """Enough utterances for three parts of the list, four of them with audio, some with odd text."""
    folder = tmp_path_factory.mktemp("report")
    recorded = list(
        read_manifest(speech.corpus(folder / "corpus", ["bad cafe", "ab ab ab", "head fed", "beach " * 50]))
    )
    references = {f"u{number:03d}": "one two three four" for number in range(UTTERANCES)}
    hypotheses = dict(references)
    hypotheses |= {"u000": "wun too free", "u001": "one to three fore", "u002": "one three four five six seven"}
    hypotheses |= {f"u{number:03d}": "one two tree four" for number in range(100, 120)}
    references |= {"u003": f"{BAD} four", "u004": ARABIC, "u005": LONG, "u006": ""}
    hypotheses |= {"u003": f"{BAD} {BAD}", "u004": f"{ARABIC.split()[0]} العلم", "u005": LONG[1:], "u006": "um"}
    speakers = {key: f"s{index % 12:02d}" for index, key in enumerate(references)} | {"u003": BAD, "u005": LONG}
    facts = {
        key: Facts(speakers[key], 1 + index / 10, -30 + index % 7, 10 + index % 23)
        for index, key in enumerate(references)
    }
    utterances = {f"u{number:03d}": replace(row, id=f"u{number:03d}") for number, row in enumerate(recorded)}
    words = {key: [Word(text, None, None, 0.8) for text in hypotheses[key].split()] for key in references}
    words["u000"] = [Word("wun", 0.1, 0.25, 0.4), Word("too", 0.25, 0.4, 0.9), Word("free", 0.45, 0.6, 0.99)]
    write_report(
        folder / "report.html",
        score(references, hypotheses, speakers=speakers),
        title=f"exp/model on {BAD}",
        about={"Model": "exp/model", "Path": f"/{LONG}"},
        facts=facts,
        words=words,
        reliability=reliability([0.2, 0.5, 0.9], [False, True, True]),
        utterances=utterances,
        features=FeaturesConfig(sample_rate=RATE, mels=40),
    )
    return folder / "report.html"


@pytest.fixture
def visit(browser: Browser, report: Path) -> Iterator[Callable[..., Page]]:
    """`visit(color_scheme="dark", ...)` opens the report; no error in its console, no request beside it."""
    complaints: list[str] = []
    contexts = []

    def open_it(**settings: Any) -> Page:
        context = browser.new_context(**({"viewport": DESKTOP} | settings))
        contexts.append(context)
        context.set_default_timeout(10_000)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url))
        page.goto(report.as_uri())
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert [text for text in complaints if not text.startswith((report.as_uri(), "data:", "blob:"))] == []


def wait(page: Page, condition: str) -> None:
    """Until the JavaScript is true; Playwright's own waiting is stopped by the policy of the page."""
    end = time.monotonic() + 10
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(20)


def column(page: Page, name: str) -> list[str]:
    return page.locator(f"#list td[data-label='{name}']").all_inner_texts()


def test_the_worst_utterances_come_first_and_the_list_grows(visit: Callable[..., Page]) -> None:
    page = visit()
    assert column(page, "Utterance")[:2] == ["u000", "u002"]
    assert column(page, "Errors")[:2] == ["4 (3S\u00a01D)", "4 (1D\u00a03I)"]
    assert column(page, "WER")[:2] == ["100 %", "100 %"]
    assert page.locator("#count").inner_text() == f"{UTTERANCES} utterances"
    assert page.locator("#list > tbody").count() == 30
    page.locator("#more").evaluate("button => button.click()")
    assert page.locator("#list > tbody").count() >= 60
    wait(page, f"scrollTo(0, 1e6), document.querySelectorAll('#list > tbody').length === {UTTERANCES}")
    assert page.locator("#more").is_hidden()


@pytest.mark.parametrize(
    "name", ["Utterance", "Speaker", "Seconds", "Words", "WER", "Errors", "SNR, dB", "Loudness, dBFS", "Confidence"]
)
def test_every_column_sorts_both_ways(visit: Callable[..., Page], name: str) -> None:
    page = visit()
    head = page.locator("#list thead th").filter(has=page.get_by_role("button", name=name, exact=True))

    def values() -> list[Any]:
        texts = [text.replace("−", "-").replace("∞", "inf") for text in column(page, name)]
        if name in ("Utterance", "Speaker"):
            return [text.strip() for text in texts]
        return [float(re.split(r"[ (%]", text)[0]) for text in texts if text]

    orders = []
    for _ in range(2):
        head.get_by_role("button").click()
        found, order = values(), head.get_attribute("aria-sort")
        orders.append(order)
        if name == "Speaker":
            found = [speaker for speaker in found if re.fullmatch(r"s\d\d", speaker)]
        assert found == sorted(found, reverse=order == "descending")
    assert sorted(map(str, orders)) == ["ascending", "descending"]
    assert page.locator("#list th[aria-sort]").count() == 1


def test_text_and_errors_filter(visit: Callable[..., Page]) -> None:
    page = visit()
    search = page.get_by_role("searchbox")
    counts = {"U00": 10, "wun too": 1, "s07": 11, ARABIC.split()[1]: 1, "one to three": 1, "zz": 0}
    for query, ids in counts.items():
        search.fill(query)
        found = column(page, "Utterance")
        assert len(found) == ids, query
        assert page.locator("#count").inner_text() == f"{ids} of {UTTERANCES} utterances"
    search.fill("")
    page.get_by_label("only with errors").check()
    assert len(column(page, "Utterance")) == 3 + 20 + 4
    assert "0" not in column(page, "Errors")
    search.fill("u1")
    assert len(column(page, "Utterance")) == 20


def test_a_confusion_and_a_speaker_filter_when_clicked(visit: Callable[..., Page]) -> None:
    page = visit()
    page.locator(".words button.filter").filter(has_text="tree").press("Enter")
    assert column(page, "Utterance") == [f"u{number}" for number in range(100, 120)]
    chip = page.locator("#chip")
    assert "three → tree" in chip.inner_text()
    assert chip.evaluate("chip => chip === document.activeElement")
    chip.press("Enter")
    assert page.locator("#count").inner_text() == f"{UTTERANCES} utterances"
    page.get_by_role("button", name="fore", exact=False).first.click()
    assert column(page, "Utterance") == ["u001"]
    page.get_by_role("button", name="s01", exact=True).click()
    assert set(column(page, "Speaker")) == {"s01"}


def test_tables_of_the_summary_sort(visit: Callable[..., Page]) -> None:
    page = visit()
    table = page.get_by_role("region", name="By speaker").locator("table")
    for key, name in ((0, "Speaker"), (1, "Words"), (2, "WER")):
        for order in ("first", "second"):
            table.get_by_role("button", name=name, exact=True).click()
            texts = table.locator(f"tbody tr > :nth-child({key + 1})").evaluate_all(
                "all => all.map(e => e.dataset.value)"
            )
            found = [text for text in texts if re.fullmatch(r"s\d\d", text)] if key == 0 else list(map(float, texts))
            assert found == sorted(found, reverse=(key == 0) == (order == "second"))


def test_the_play_button_plays_and_words_and_slider_seek(visit: Callable[..., Page]) -> None:
    page = visit()
    body = page.locator("#list > tbody").filter(has_text="u000")
    assert body.locator("img").evaluate("image => image.decode().then(() => image.naturalHeight)") == 40
    seconds = float(body.locator("input[type=range]").get_attribute("max") or 0)
    body.get_by_role("button", name="Play u000").press("Space")
    wait(page, "document.getElementById('player').currentTime > 0.1")
    player = page.locator("#player")
    assert player.evaluate("player => player.duration") == pytest.approx(seconds, abs=0.15)
    assert body.get_by_role("button", name="Pause u000").count() == 1
    body.get_by_role("button", name="Pause u000").click()
    assert player.evaluate("player => player.paused")
    body.get_by_role("button", name="Play from free").click()
    assert player.evaluate("player => player.currentTime") >= 0.44
    wait(page, "document.getElementById('player').ended")
    assert body.get_by_role("button", name="Play u000").count() == 1
    body.locator("input[type=range]").fill("0.2")
    assert player.evaluate("player => player.currentTime") == pytest.approx(0.2, abs=0.01)
    page.get_by_role("button", name="Play u002").click()
    wait(page, "!player.paused && player.currentTime > 0")
    assert page.get_by_role("button", name="Pause").count() == 1


def test_words_stand_below_their_time(visit: Callable[..., Page]) -> None:
    page = visit()
    body = page.locator("#list > tbody").filter(has_text="u000")
    picture = body.locator(".picture").bounding_box()
    seconds = float(body.locator("input[type=range]").get_attribute("max") or 0)
    assert picture
    marks = (("wun", 0.1, 0.25), ("too", 0.25, 0.4), ("free", 0.45, 0.6))
    for (text, start, end), mark in zip(marks, body.locator(".marks button").all(), strict=True):
        box = mark.bounding_box()
        assert box
        assert mark.inner_text() == text
        assert box["x"] - picture["x"] == pytest.approx(start / seconds * picture["width"], abs=1)
        assert box["width"] == pytest.approx((end - start) / seconds * picture["width"], abs=1)


def test_a_long_picture_scrolls_along_with_the_sound(visit: Callable[..., Page]) -> None:
    page = visit()
    page.get_by_role("searchbox").fill("u003")
    timeline = page.locator(".timeline")
    assert timeline.evaluate("e => e.scrollWidth > e.clientWidth && e.scrollLeft === 0")
    seconds = float(page.locator("input[type=range]").get_attribute("max") or 0)
    page.locator("input[type=range]").fill(str(seconds - 2))
    page.get_by_role("button", name="Play u003").click()
    wait(page, "document.querySelector('.timeline').scrollLeft > 0")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(visit: Callable[..., Page], scheme: str) -> None:
    page = visit(color_scheme=scheme)
    page.locator("button.filter").first.click()
    found = page.evaluate(CONTRAST)
    assert len(found) > 200
    assert [entry for entry in found if entry[0] < 4.5] == []
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", back))) > 384) == (scheme == "light")


@pytest.mark.parametrize("viewport", [PHONE, {"width": 740, "height": 900}, DESKTOP])
def test_nothing_is_wider_than_the_screen(visit: Callable[..., Page], viewport: dict[str, int]) -> None:
    page = visit(viewport=viewport)
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    wide = page.evaluate(
        """() => [...document.querySelectorAll("body *")]
          .filter((e) => e.checkVisibility() && !e.closest(".scroll, .hidden, .track, svg"))
          .filter((e) => e.getBoundingClientRect().right > innerWidth + 0.5)
          .map((e) => e.outerHTML.slice(0, 90))"""
    )
    assert wide == []


def test_a_phone_sorts_without_the_headers(visit: Callable[..., Page]) -> None:
    page = visit(viewport=PHONE, has_touch=True, is_mobile=True)
    page.get_by_label("sort by").select_option("SNR, dB")
    values = [float(text) for text in column(page, "SNR, dB")]
    assert values == sorted(values, reverse=True)
    page.get_by_role("button", name="largest first").tap()
    values = [float(text) for text in column(page, "SNR, dB")]
    assert values == sorted(values)


def test_text_is_inert_and_shown_as_it_is(visit: Callable[..., Page]) -> None:
    page = visit()
    assert page.title() == f"exp/model on {BAD}"
    assert page.locator("h1").inner_text() == f"exp/model on {BAD}"
    page.get_by_role("searchbox").fill("u003")
    text = page.locator("#list tbody p").first.inner_text()
    assert text.startswith(BAD)
    assert column(page, "Speaker") == [BAD]
    assert page.locator("img[src=x]").count() == 0


def test_markup_that_was_not_escaped_cannot_run_a_script(browser: Browser, tmp_path: Path) -> None:
    bad = "<script>document.title = 'taken'</script><b onclick=\"document.title = 'taken'\">b</b><img src='http://x/y'>"
    (tmp_path / "page.html").write_text(whole("safe", bad, "document.body.id = 'ran';"))
    page = browser.new_page()
    requests: list[str] = []
    page.on("requestfinished", lambda request: requests.append(request.url))
    page.goto((tmp_path / "page.html").as_uri())
    page.locator("b").click()
    assert page.locator("body#ran").count() == 1
    assert page.title() == "safe"
    assert [url for url in requests if url.startswith("http")] == []
    page.close()


def test_right_to_left_text_is_laid_out_so(visit: Callable[..., Page]) -> None:
    page = visit()
    page.get_by_role("searchbox").fill("u004")
    text = page.locator("#list tbody p").first
    assert text.evaluate("p => getComputedStyle(p).direction") == "rtl"
    said, recognised = (text.locator(tag).bounding_box() for tag in ("del", "ins"))
    assert said
    assert recognised
    assert recognised["x"] < said["x"]


def test_it_prints_without_its_controls(visit: Callable[..., Page]) -> None:
    page = visit(color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    for hidden in ("nav", ".tools", "#more", ".controls"):
        assert page.locator(hidden).first.is_hidden()
    assert page.locator("#list tbody p").first.is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf()[:4] == b"%PDF"
