"""Speaking a text: which sentences, which voices, and a call that was cut off goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.data.manifest import read_manifest
from asr.errors import CorpusError
from recipes.english_small.speak import WORDS, pieces, speak
from recipes.english_small.synthesisers import PEOPLE, SPEED, Engine, mixture, read_voices, synthesiser

TEXT = [" ".join(f"W{line}X{n}" for n in range(length)) for line, length in enumerate((2, 4, 9, 24, 25, 60, 100))]
STYLES = {name: np.full((3, 1, 256), value, np.float32) for name, value in (("af_a", 1.0), ("bm_b", 3.0))}


class Voice:
    """A synthesiser that says a tenth of a second for each word, and counts."""

    def __init__(self, most: int = 1000):
        self.said: list[tuple[str, int]] = []
        self.most = most

    def __call__(self, text: str, rng: np.random.Generator) -> tuple[str, np.ndarray, int]:
        if len(self.said) == self.most:
            raise KeyboardInterrupt
        self.said.append((text, int(rng.integers(1000))))
        times = np.arange(2400 * len(text.split())) / 24000
        return f"voice {self.said[-1][1]}", (0.5 * np.sin(2 * np.pi * 440 * times)).astype(np.float32), 24000


def test_sentences_have_the_words_of_the_text_in_pieces_of_sensible_length() -> None:
    found = pieces(TEXT, seed=0)
    assert all(WORDS[0] <= len(sentence.split()) <= WORDS[1] for sentence in found)
    words = [word for sentence in found for word in sentence.split()]
    assert len(set(words)) == len(words)
    assert len(words) >= sum(len(line.split()) for line in TEXT) - len(TEXT) * WORDS[0]
    assert all(sentence in " | ".join(TEXT).lower() for sentence in found)
    assert pieces(TEXT, seed=0) == found
    assert pieces(TEXT, seed=1) != found


def test_a_mixture_lies_between_two_voices() -> None:
    for seed in range(20):
        name, style = mixture(STYLES, np.random.default_rng(seed))
        first, _, second = name.partition("+")
        share = float(second.rstrip("abcdefghijklmnopqrstuvwxyz_"))
        other = 4 - STYLES[first][0, 0, 0]  # 1 and 3
        assert 0 <= share <= 0.5
        np.testing.assert_allclose(style, (1 - share) * STYLES[first] + share * other, rtol=1e-6)


def test_voices_are_read_and_other_languages_left_out(tmp_path: Path) -> None:
    for name in ("af_heart", "bm_lewis", "jf_alpha"):
        np.full(510 * 256, len(name), np.float32).tofile(tmp_path / f"{name}.bin")
    found = read_voices(tmp_path)
    assert {name: style.shape for name, style in found.items()} == {
        "af_heart": (510, 1, 256),
        "bm_lewis": (510, 1, 256),
    }
    with pytest.raises(CorpusError, match="no English voices"):
        read_voices(tmp_path / "nowhere")


def test_recordings_make_the_hours_and_a_manifest(tmp_path: Path) -> None:
    sentences = pieces(TEXT, seed=0)
    voice = Voice()
    made = speak(sentences, voice, tmp_path, hours=8 / 3600, seed=0, report=lambda line: None)
    read = list(read_manifest(tmp_path))
    assert [u.text for u in read] == [said[0] for said in voice.said] == sentences[: len(made)]
    assert 8 <= sum(u.duration for u in read) < 8 + 2.8
    for utterance, (text, number) in zip(read, voice.said, strict=True):
        samples, rate = soundfile.read(utterance.audio)
        assert (rate, len(samples)) == (16000, 1600 * len(text.split()))
        assert utterance.speaker == f"voice {number}"


def test_what_was_cut_off_goes_on_and_more_hours_add_to_it(tmp_path: Path) -> None:
    sentences = pieces(TEXT, seed=0)
    with pytest.raises(KeyboardInterrupt):
        speak(sentences, Voice(most=3), tmp_path, hours=8 / 3600, seed=0)
    assert not (tmp_path / "cuts.jsonl").exists()
    rest = Voice()
    speak(sentences, rest, tmp_path, hours=8 / 3600, seed=0)
    whole = Voice()
    speak(sentences, whole, tmp_path / "whole", hours=8 / 3600, seed=0)
    assert rest.said == whole.said[3:]
    speakers = [[u.speaker for u in read_manifest(folder)] for folder in (tmp_path, tmp_path / "whole")]
    assert speakers[0] == speakers[1]
    more = Voice()
    longer = speak(sentences, more, tmp_path, hours=12 / 3600, seed=0)
    assert len(longer) == len(whole.said) + len(more.said)
    assert more.said


def test_recordings_of_another_text_are_not_taken_for_this_ones(tmp_path: Path) -> None:
    for text in ("one two three four", "five six seven eight"):
        voice = Voice()
        (made,) = speak([text], voice, tmp_path, hours=0.3 / 3600, seed=0)
        assert (made.text, [said[0] for said in voice.said]) == (text, [text])


def test_too_little_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="give more text"):
        speak(["one two three four"], Voice(), tmp_path, hours=1, seed=0)


def test_kokoro_without_voices_says_where_they_are() -> None:
    with pytest.raises(CorpusError, match="npm pack kokoro-js"):
        synthesiser(Engine.KOKORO)


@pytest.mark.parametrize("program", ["espeak-ng", "flite"])
def test_a_program_speaks_in_several_voices(program: str) -> None:
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    say = synthesiser(Engine(program.removesuffix("-ng")))
    names = set()
    for seed in range(6):
        name, waveform, rate = say("the quick brown fox", np.random.default_rng(seed))
        assert 0.5 < len(waveform) / rate < 4
        assert np.abs(waveform).max() > 0.05
        names.add(name)
    assert len(names) > 3


def test_a_program_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CorpusError, match="apt-get install flite"):
        synthesiser(Engine.FLITE)("hello", np.random.default_rng(0))


def test_hibari_keeps_its_pace_when_it_sounds_smaller() -> None:
    pytest.importorskip("hibari", reason="hibari-tts is not installed")
    keeps_its_pace(Engine.HIBARI, {"hibari": 24_000})


def test_flite_keeps_its_pace_when_it_sounds_smaller() -> None:
    if not shutil.which("flite"):
        pytest.skip("flite is not installed")
    keeps_its_pace(Engine.FLITE, dict.fromkeys(("flite-awb", "flite-rms", "flite-slt", "flite-kal16"), 16_000))


def keeps_its_pace(engine: Engine, rates: dict[str, int]) -> None:
    """The sizes that are drawn are in the rate alone, and the drawn speed in the length."""
    say = synthesiser(engine)
    text = "the quick brown fox jumps over the lazy dog and over the brook"
    paces: dict[str, list[float]] = {}
    for seed in range(8):
        rng = np.random.default_rng(seed)
        if engine is Engine.FLITE:
            rng.choice(PEOPLE)
        speed = rng.uniform(*SPEED)
        name, waveform, rate = say(text, np.random.default_rng(seed))
        voice, _, size = name.rpartition("-")
        assert rate == round(rates[voice] * float(size))
        paces.setdefault(voice, []).append(len(waveform) / rate * speed)
    assert any(len(same) > 1 for same in paces.values())
    for same in paces.values():
        assert max(same) < 1.3 * min(same)  # hibari itself varies by a tenth
