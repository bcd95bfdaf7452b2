from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from asr.config import Config, parse_config
from asr.data.augment import Augmenter
from asr.data.manifest import read_manifest, write_manifest
from asr.data.reading import load_utterance
from asr.data.utterance import Utterance
from asr.errors import AsrError, ManifestError
from asr.evaluation.listening import listening_page
from tests.conftest import RATE, Speech, recording_console

VOID = {"meta", "img", "link", "br", "input"}
AUGMENTATION: dict[str, Any] = {
    "speed": {"range": [0.8, 0.8]},
    "silence": {"probability": 0.5},
    "noise": {"kinds": ["babble", "pink"]},
    "gain": {"range": [2.0, 2.0]},
}


@dataclass
class Figure:
    """One version of an utterance on the page."""

    caption: str = ""
    audio: tuple[np.ndarray, int] = field(default_factory=lambda: (np.empty(0), 0))
    picture: Image.Image = field(default_factory=Image.Image)
    alt: str = ""


class Page(HTMLParser):
    """What a browser would find: every element closed, nothing fetched."""

    def __init__(self, path: Path):
        super().__init__()
        self.open: list[str] = []
        self.figures: list[Figure] = []
        self.headings: list[str] = []
        self.texts: list[str] = []
        self.words = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        assert tag not in ("script", "link", "iframe", "object")
        for name in ("src", "href"):
            assert (values.get(name) or "data:").startswith("data:")
        if tag not in VOID:
            self.open.append(tag)
        if tag == "figure":
            self.figures.append(Figure())
        if tag == "h2":
            self.headings.append("")
        if tag == "p" and values.get("class") == "text":
            self.texts.append("")
        if tag in ("audio", "img"):
            kind, data = re.fullmatch(r"data:([a-z/]+);base64,(.*)", values["src"] or "").groups()  # type: ignore[union-attr]
            file = io.BytesIO(base64.b64decode(data, validate=True))
            if tag == "audio":
                assert kind == "audio/flac"
                assert "controls" in values
                assert values["aria-label"]
                self.figures[-1].audio = soundfile.read(file)
            else:
                assert kind == "image/png"
                self.figures[-1].picture = Image.open(file, formats=["PNG"])
                self.figures[-1].alt = values["alt"] or ""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data
        if self.open and self.open[-1] in ("figcaption", "strong"):
            self.figures[-1].caption += data
        if self.open and self.open[-1] == "h2":
            self.headings[-1] += data
        if self.open and self.open[-1] == "p" and self.texts and not self.texts[-1]:
            self.texts[-1] = data


def config(**sections: Any) -> Config:
    spec_augment = {"time_masks_per_second": 2.0, "frequency_masks": 1}
    off = {"speed": None, "spec_augment": spec_augment}
    return parse_config({"features": {"sample_rate": RATE}, "augmentation": off | AUGMENTATION} | sections)


@pytest.fixture
def corpus(tmp_path: Path, speech: Speech) -> Path:
    return speech.corpus(tmp_path / "corpus", speech.sentences(8, seed=3))


def test_page_has_players_and_pictures_of_what_training_hears(corpus: Path, tmp_path: Path) -> None:
    settings = config(training={"seed": 7})
    output = listening_page(corpus, settings, tmp_path / "new" / "page.html", utterances=2, versions=3)
    assert output == tmp_path / "new" / "page.html"
    page = Page(output)
    utterances = {utterance.id: utterance for utterance in read_manifest(corpus)}
    assert len(page.headings) == len(set(page.headings)) == 2
    assert page.texts == [utterances[id].text for id in page.headings]
    assert len(page.figures) == 2 * 4
    augmenter = Augmenter(settings.augmentation, RATE, seed=7, babble=list)
    for row, id in enumerate(page.headings):
        original = load_utterance(utterances[id], RATE)
        shown = page.figures[4 * row : 4 * row + 4]
        assert shown[0].caption.startswith("Original")
        assert shown[0].audio[1] == RATE
        np.testing.assert_allclose(shown[0].audio[0], original, atol=1e-4)
        for epoch, figure in enumerate(shown[1:]):
            steps = augmenter.draw(epoch, id)
            assert figure.caption.startswith(f"Epoch {epoch + 1}")
            assert figure.caption.endswith(", ".join(map(str, steps)))
            assert figure.alt.endswith(", ".join(map(str, steps)))
            silence = sum(round(RATE * end) for step in steps if step.kind == "silence" for end in step.strengths)
            assert len(figure.audio[0]) == round(len(original) / 0.8) + silence
            if "pink" in figure.caption:  # babble comes from other utterances here than in training
                augmented = augmenter(original, epoch=epoch, id=id)
                np.testing.assert_allclose(figure.audio[0], augmented, atol=1e-4)
    assert any("pink" in figure.caption for figure in page.figures)
    assert any("babble" in figure.caption for figure in page.figures)


def test_sounds_without_words_are_heard_and_named(corpus: Path, tmp_path: Path) -> None:
    off = {"noise": None, "speed": None, "silence": None}
    sounds = {"probability": 0.5, "beside": 1.0, "seconds": [0.5, 0.5]}
    settings = config(augmentation=AUGMENTATION | off | {"no_speech": sounds})
    page = Page(listening_page(corpus, settings, tmp_path / "a.html", utterances=4, versions=4))
    captions = [figure.caption for figure in page.figures if not figure.caption.startswith("Original")]
    replaced = [caption for caption in captions if "replaced by a sound without words" in caption]
    beside = [caption for caption in captions if "sounds without words beside it" in caption]
    assert 4 <= len(replaced) <= 12
    assert len(replaced) + len(beside) == len(captions) == 16
    for caption in beside:
        assert "beside it 0.50 s" in caption or "beside it 1.00 s" in caption
    text = (tmp_path / "a.html").read_text()
    assert "<td>0.5 to 0.5 s before, after, or both</td>" in text


def grey_share(picture: Image.Image) -> float:
    pixels = np.asarray(picture.convert("RGBA"))
    grey = (pixels == (128, 128, 128, 255)).all(axis=-1)
    return float(grey.mean())


def test_masks_of_spec_augment_are_grey_and_originals_have_none(corpus: Path, tmp_path: Path) -> None:
    page = Page(listening_page(corpus, config(), tmp_path / "a.html", utterances=3, versions=2))
    shares = [grey_share(figure.picture) for figure in page.figures]
    originals, masked = shares[::3], shares[1::3] + shares[2::3]
    assert max(originals) < 0.02  # the axis labels
    assert min(masked) > max(originals)
    assert np.mean(masked) > 0.1
    without = config(augmentation=AUGMENTATION | {"spec_augment": None})
    page = Page(listening_page(corpus, without, tmp_path / "b.html", utterances=3, versions=2))
    assert max(grey_share(figure.picture) for figure in page.figures) < 0.02
    assert "SpecAugment" not in page.words


def test_pictures_of_an_utterance_share_a_time_axis(corpus: Path, tmp_path: Path) -> None:
    only_speed = config(augmentation={"speed": {"range": [0.5, 0.5]}, "spec_augment": None})
    original, slow = Page(listening_page(corpus, only_speed, tmp_path / "a.html", utterances=1, versions=1)).figures

    def width(picture: Image.Image) -> int:
        upper = np.asarray(picture.convert("RGBA"))[picture.height // 3]  # a line through the features
        return int((upper[:, 3] == 255).sum())

    assert original.picture.size == slow.picture.size
    assert width(slow.picture) == pytest.approx(2 * width(original.picture), rel=0.05)


def test_page_is_the_same_again_and_another_seed_chooses_others(corpus: Path, tmp_path: Path) -> None:
    pages = [
        listening_page(corpus, config(), tmp_path / f"{number}.html", utterances=3, versions=1, seed=seed)
        for number, seed in enumerate((0, 0, 1, 2))
    ]
    assert pages[0].read_bytes() == pages[1].read_bytes()
    assert len({tuple(Page(page).headings) for page in pages}) == 3


def test_text_is_shown_as_it_is_written(corpus: Path, tmp_path: Path) -> None:
    text = '"<script>alert(1)</script>" שלום'
    first = replace(next(read_manifest(corpus)), id="<b>id</b>&amp;", text=text, speaker="<i>")
    write_manifest(corpus / "cuts.jsonl", [first])
    page = Page(listening_page(corpus, config(), tmp_path / "<u>.html", utterances=3, versions=1))
    assert page.headings == ["<b>id</b>&amp;"]
    assert page.texts == [text]
    assert "speaker <i>" in page.words
    write_manifest(corpus / "cuts.jsonl", [replace(first, text=None)])
    assert Page(listening_page(corpus, config(), tmp_path / "b.html")).texts == ["no transcript"]


def test_unreadable_utterances_are_replaced_and_named(corpus: Path, tmp_path: Path) -> None:
    good = {utterance.id for utterance in list(read_manifest(corpus))[:3]}
    for utterance in read_manifest(corpus):
        if utterance.id not in good:
            utterance.audio.write_bytes(b"RIFF")
    (tmp_path / "noise").mkdir()
    soundfile.write(tmp_path / "noise" / "hum.wav", np.ones(100) * 0.1, RATE)
    (tmp_path / "noise" / "bad.wav").write_bytes(b"")
    console, printed = recording_console()
    settings = config(augmentation={"noise": {"folder": str(tmp_path / "noise")}})
    page = Page(listening_page(corpus, settings, tmp_path / "a.html", utterances=3, versions=1, console=console))
    assert set(page.headings) == good
    assert re.search(r"\d utterances left out, unreadable audio", printed())
    assert re.search(r"not used: .*noise/bad\.wav: empty file", printed())
    assert "noise hum.wav" in page.words
    for utterance in read_manifest(corpus):
        utterance.audio.unlink()
    with pytest.raises(ManifestError, match=r"none of 8 recordings can be read; first: .*no such file"):
        listening_page(corpus, config(), tmp_path / "b.html")
    assert not (tmp_path / "b.html").exists()


def test_loud_versions_are_played_softer_and_say_so(corpus: Path, tmp_path: Path) -> None:
    loud = config(augmentation={"speed": None, "gain": {"range": [40.0, 40.0]}})
    original, louder = Page(listening_page(corpus, loud, tmp_path / "a.html", utterances=1, versions=1)).figures
    peak = 100 * np.abs(original.audio[0]).max()
    assert f"played {20 * np.log10(peak):.1f} dB softer" in louder.caption
    assert "softer" not in original.caption
    assert np.abs(louder.audio[0]).max() == pytest.approx(1, abs=1e-3)
    assert np.corrcoef(original.audio[0], louder.audio[0])[0, 1] > 0.999  # not clipped


def test_configuration_stands_above(corpus: Path, tmp_path: Path) -> None:
    words = Page(listening_page(corpus, config(), tmp_path / "a.html", utterances=1, versions=1)).words
    for expected in ("speed100%0.8 to 0.8 times as fast", "silence50%0 to 0.5 s", "babble or pink, 5 to 25 dB"):
        assert expected in words
    off = config(augmentation={"speed": None, "spec_augment": None})
    page = Page(listening_page(corpus, off, tmp_path / "b.html", utterances=1, versions=1))
    assert "No augmentation is configured." in page.words
    assert "nothing done to the waveform" in page.figures[1].caption


def test_global_normalisation_and_one_utterance_can_be_shown(corpus: Path, tmp_path: Path) -> None:
    write_manifest(corpus / "cuts.jsonl", [next(read_manifest(corpus))])  # babble has only the utterance itself
    settings = config(features={"sample_rate": RATE, "normalisation": "global"})
    assert len(Page(listening_page(corpus, settings, tmp_path / "a.html", versions=2)).figures) == 3


def test_empty_manifest_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "cuts.jsonl").write_text("")
    with pytest.raises(ManifestError, match=re.escape(str(tmp_path))):
        listening_page(tmp_path, config(), tmp_path / "a.html")


def test_page_that_cannot_be_written_leaves_nothing(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AsrError, match=r"page\.html: cannot be written"):
        listening_page(corpus, config(), tmp_path / "file" / "page.html")
    (tmp_path / "taken").mkdir()
    with pytest.raises(AsrError, match="taken: is a folder; name a file"):
        listening_page(corpus, config(), tmp_path / "taken", utterances=1, versions=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "file", "taken"]


def test_utterances_are_read_from_segments(corpus: Path, tmp_path: Path) -> None:
    whole = next(read_manifest(corpus))
    samples = soundfile.info(whole.audio).frames
    part = Utterance("part", whole.audio, 0.25, RATE, "x", start=0.125, recording_samples=samples)
    write_manifest(corpus / "cuts.jsonl", [part])
    original = Page(listening_page(corpus, config(), tmp_path / "a.html", versions=1)).figures[0]
    expected, _ = soundfile.read(whole.audio, start=RATE // 8, frames=RATE // 4)
    np.testing.assert_allclose(original.audio[0], expected, atol=1e-4)
