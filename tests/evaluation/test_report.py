from __future__ import annotations

import base64
import io
import json
import math
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from asr.config import FeaturesConfig
from asr.data.manifest import read_manifest
from asr.data.reading import load_utterance
from asr.data.utterance import Utterance
from asr.decoding.hypothesis import Word
from asr.errors import OutputError
from asr.evaluation.calibration import reliability
from asr.evaluation.facts import Facts
from asr.evaluation.report import write_report
from asr.evaluation.report_media import LONGEST_SECONDS
from asr.scoring import Score, score
from tests.conftest import RATE, Speech
from tests.evaluation.test_page import Outline

REFERENCES = {"u1": "the cat sat", "u2": "a dog", "u3": "one two three four", "u4": ""}
HYPOTHESES = {"u1": "the hat sat", "u2": "a dog", "u3": "one three four five six", "u4": "um"}
FEATURES = FeaturesConfig(sample_rate=RATE, mels=40)


class Report(Outline):
    """A report as a browser finds it before its script runs."""

    def __init__(self, path: Path):
        self.text = path.read_text(encoding="utf-8")
        super().__init__(self.text)
        kinds = [attrs for tag, attrs in self.elements if tag == "script"]
        data = {attrs.get("id"): text for attrs, text in zip(kinds, self.scripts, strict=True) if attrs.get("id")}
        self.rows: list[dict[str, Any]] = json.loads(data.pop("utterances-data"))
        self.media = {name: base64.b64decode(text, validate=True) for name, text in data.items() if name}
        self.filters = [json.loads(attrs["data-filter"] or "") for _, attrs in self.elements if "data-filter" in attrs]


def report(folder: Path, scored: Score | None = None, **arguments: Any) -> Report:
    path = folder / "new" / "report.html"
    settings: dict[str, Any] = {"title": "A report", "about": {}, "features": FEATURES} | arguments
    write_report(path, scored or score(REFERENCES, HYPOTHESES), **settings)
    return Report(path)


@pytest.fixture
def utterances(tmp_path: Path, speech: Speech) -> dict[str, Utterance]:
    """Recordings for the four references, whatever these say."""
    corpus = speech.corpus(tmp_path / "corpus", ["bad", "bad cafe", "ab ab ab", "head"])
    return dict(zip(REFERENCES, read_manifest(corpus), strict=True))


def test_rates_and_facts_of_the_evaluation_stand_at_the_top(tmp_path: Path) -> None:
    speakers = {"u1": "anna", "u2": "bo", "u3": "anna", "u4": "bo"}
    scored = score(REFERENCES, HYPOTHESES, normalisation="basic", speakers=speakers)
    about = {"Model": "exp/<x>", "Times real time": "324"}
    words = report(tmp_path, scored, about=about, advice=["speak <up>"]).words
    assert "A report" in words
    # Of nine words one is another and one missing; three are made up.
    for expected in (
        "55.56 %",
        "75.00 %",
        "11.11 %",
        "33.33 %",
        "exp/<x>",
        "324",
        "speak <up>",
        "basic",
        "2 speakers",
        "9 reference",
    ):
        assert expected in words
    rate = scored.rates["wer"]
    assert rate.speaker_interval is not None
    for low, high in (rate.interval, rate.speaker_interval):
        assert f"{100 * low:.2f}–{100 * high:.2f}" in words
    assert "only 4 utterances" in words


def test_the_list_has_every_utterance_as_it_was_scored(tmp_path: Path) -> None:
    rows = report(tmp_path).rows
    assert [(row["id"], row["text"]) for row in rows] == [
        ("u1", ["the", ["cat", "hat"], "sat"]),
        ("u2", ["a dog"]),
        ("u3", ["one", ["two", None], "three four", [None, "five"], [None, "six"]]),
        ("u4", [[None, "um"]]),
    ]
    assert all(row.keys() == {"id", "text"} for row in rows)


def test_facts_and_confidences_are_told_where_they_are_known(tmp_path: Path) -> None:
    facts = {"u1": Facts("anna", 1.234, -20.0, 30.04), "u3": Facts(None, 2.0, -math.inf, math.nan)}
    words = {"u1": [Word("the", confidence=0.5), Word("hat", confidence=1.0), Word("sat")], "u2": []}
    found = report(tmp_path, facts=facts, words=words)
    assert {key: value for key, value in found.rows[0].items() if key != "text"} == {
        "id": "u1", "speaker": "anna", "seconds": 1.23, "loudness": -20.0, "snr": 30.0, "confidence": 0.75,
    }  # fmt: skip
    assert found.rows[1].keys() == {"id", "text"}
    assert found.rows[2].keys() == {"id", "text", "seconds"}


def test_words_that_go_wrong_are_counted_and_carry_their_filter(tmp_path: Path) -> None:
    found = report(tmp_path, score(REFERENCES | {"u5": "cat"}, HYPOTHESES | {"u5": "hat"}))
    assert found.filters == [
        ["sub", "cat", "hat"],
        ["del", "two", None],
        *[["ins", None, word] for word in ("five", "six", "um")],
        *[["missed", word, None] for word in ("cat", "two")],
    ]
    assert re.search(r"cathat\s*2", re.sub(r"\s+", " ", found.words))


def test_groups_are_charted_with_their_rates(tmp_path: Path) -> None:
    facts = {key: Facts(name, seconds, -20.0, 10 * seconds) for key, name, seconds in
             (("u1", "anna", 1.0), ("u2", "bo", 2.0), ("u3", "<i>", 3.0), ("u4", "bo", 4.0))}  # fmt: skip
    found = report(tmp_path, facts=facts)
    for expected in ("By speaker", "By length", "By noise", "33.3 %", "75.0 %", "<i>"):
        assert expected in found.words
    assert "By loudness" not in found.words  # all the same
    speakers = [wanted[1] for wanted in found.filters if wanted[0] == "speaker"]
    assert sorted(speakers) == ["<i>", "anna", "bo"]
    assert found.words.count("one utterance") >= 2
    whiskers = [attrs for tag, attrs in found.elements if tag == "line" and attrs.get("class") == "whisker"]
    assert len(whiskers) == 3 * 3  # the fourth length and the fourth noise have no words
    assert all(0 <= float((attrs[end] or "")[:-1]) <= 100 for attrs in whiskers for end in ("x1", "x2"))


def test_reliability_is_drawn_where_it_was_measured(tmp_path: Path) -> None:
    measured = reliability([0.1, 0.55, 0.95, 0.96], [False, True, True, True])
    found = report(tmp_path, reliability=measured)
    assert f"ECE {measured.ece:.3f}, NCE {measured.nce:.3f} over 4 words" in found.words
    middles = [(float(a["cx"] or 0), float(a["cy"] or 0)) for t, a in found.elements if t == "circle" and "r" in a]
    assert len(middles) == 3
    assert middles == sorted(middles)
    assert middles[0][1] > middles[1][1] == middles[2][1]  # none right is at the bottom, all right at the top
    all_right = reliability([0.9], [True])
    assert "NCE" not in report(tmp_path, reliability=all_right).words


def test_players_and_pictures_are_of_the_audio(tmp_path: Path, utterances: dict[str, Utterance]) -> None:
    found = report(tmp_path, utterances=utterances)
    assert found.media.keys() == {f"{kind}-{number}" for kind in ("audio", "picture") for number in range(4)}
    assert "Each has a player" in found.words
    for number, utterance in enumerate(utterances.values()):
        original = load_utterance(utterance, 16000)
        audio = found.media[f"audio-{number}"]
        assert soundfile.info(io.BytesIO(audio)).format == "MP3"
        played, rate = soundfile.read(io.BytesIO(audio))
        assert rate == 16000
        assert len(played) == pytest.approx(len(original), abs=2)
        length = min(len(played), len(original))
        assert np.corrcoef(played[:length], original[:length])[0, 1] > 0.98
        assert found.rows[number]["media"]["seconds"] == pytest.approx(utterance.duration, abs=1e-3)
        picture = Image.open(io.BytesIO(found.media[f"picture-{number}"]), formats=["WEBP"])
        assert picture.size == (1 + round(utterance.duration * RATE) // 80, 40)
        assert np.asarray(picture).std() > 20


def test_only_the_worst_utterances_can_be_heard(tmp_path: Path, utterances: dict[str, Utterance]) -> None:
    found = report(tmp_path, utterances=utterances, audio=2)
    assert found.media.keys() == {"audio-0", "picture-0", "audio-2", "picture-2"}  # one and three errors
    assert ["media" in row for row in found.rows] == [True, False, True, False]
    assert "for the 2 utterances with the most errors" in found.words
    silent = report(tmp_path, utterances=utterances, audio=0)
    assert silent.media == {}
    assert "for the 0 utterances" in silent.words
    assert "no players" in report(tmp_path).words


def test_recognised_words_are_marked_with_their_times_and_errors(
    tmp_path: Path, utterances: dict[str, Utterance]
) -> None:
    length = utterances["u1"].duration
    words = [Word("the", 0.1, 0.2, 0.9), Word("hat", 0.2, length + 1), Word("sat", length + 1, length + 2, 0.3)]
    found = report(tmp_path, utterances=utterances, words={"u1": words, "u2": [Word("a"), Word("dog")]})
    assert found.rows[0]["media"]["marks"] == [
        ["the", 0.1, 0.2, 0.9, ""],
        ["hat", 0.2, round(length, 2), None, "sub"],
    ]
    assert found.rows[1]["media"]["marks"] == []
    # Where the normalisation changed the number of words, none can be told to be wrong.
    scored = score(REFERENCES | {"u1": "cannot"}, HYPOTHESES | {"u1": "can"})
    found = report(tmp_path, scored, utterances=utterances, words={"u1": words[:2]})
    assert [mark[-1] for mark in found.rows[0]["media"]["marks"]] == ["", ""]


def test_unreadable_audio_is_named_and_the_rest_is_shown(tmp_path: Path, utterances: dict[str, Utterance]) -> None:
    utterances["u1"].audio.write_bytes(b"RIFF")
    utterances["u2"] = replace(utterances["u2"], audio=tmp_path / "gone.wav")
    found = report(tmp_path, utterances=utterances)
    assert found.media.keys() == {"audio-2", "picture-2", "audio-3", "picture-3"}
    assert "No player: " in found.rows[0]["problem"]
    assert "gone.wav" in found.rows[1]["problem"]


def test_long_and_short_recordings(tmp_path: Path, utterances: dict[str, Utterance]) -> None:
    rng = np.random.default_rng(0)
    for name, seconds in (("u1", LONGEST_SECONDS + 2), ("u2", 0.004)):
        soundfile.write(tmp_path / f"{name}.wav", rng.normal(0, 0.1, round(seconds * RATE)), RATE)
        utterances[name] = Utterance(name, tmp_path / f"{name}.wav", seconds, RATE, "")
    soundfile.write(tmp_path / "u3.wav", np.zeros(RATE), RATE)
    utterances["u3"] = Utterance("u3", tmp_path / "u3.wav", 1.0, RATE, "")
    found = report(tmp_path, utterances=utterances)
    assert "end after 60 s" in found.rows[0]["problem"]
    assert found.rows[0]["media"]["seconds"] == LONGEST_SECONDS
    assert soundfile.info(io.BytesIO(found.media["audio-0"])).duration == pytest.approx(LONGEST_SECONDS, abs=0.1)
    assert Image.open(io.BytesIO(found.media["picture-0"])).width <= 2000
    assert len(found.media) == 8


def test_text_is_inert(tmp_path: Path) -> None:
    bad = "</script><script>alert(1)</script>"
    found = report(tmp_path, score({bad: f"x {bad}"}, {bad: "<img/src=x> y"}), title=bad, about={bad: bad},
                   facts={bad: Facts(bad, 1.0, -20.0, 20.0)})  # fmt: skip
    assert [attrs for tag, attrs in found.elements if tag in ("img", "script")][1:] == [{}, {}]
    assert found.rows[0]["id"] == bad
    assert found.rows[0]["speaker"] == bad
    assert "alert(1)" not in "".join(found.scripts[1:])


def test_a_perfect_score_has_a_report(tmp_path: Path) -> None:
    found = report(tmp_path, score({"a": "one", "b": ""}, {"a": "one", "b": ""}))
    assert "100 % of the utterances have no error." in found.words
    assert found.words.count("None.") == 4
    assert found.rows[1]["text"] == []


def test_many_words_and_speakers_are_cut_and_say_so(tmp_path: Path) -> None:
    references = {f"u{number:03d}": f"w{number} x" for number in range(120)}
    speakers = {key: f"speaker {key}" for key in references}
    found = report(tmp_path, score(references, dict.fromkeys(references, "x"), speakers=speakers))
    assert "The 100 of 120 speakers" in found.words
    assert "The 50 most frequent of 120." in found.words
    assert [wanted[0] for wanted in found.filters].count("speaker") == 100


def test_a_report_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, disk_full_after: Callable[[int], AbstractContextManager[None]]
) -> None:
    with disk_full_after(1000), pytest.raises(OutputError, match=r"report\.html: cannot be written"):
        report(tmp_path)
    assert list((tmp_path / "new").iterdir()) == []
