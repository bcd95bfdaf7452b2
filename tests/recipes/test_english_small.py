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
from recipes.english_small.synthesisers import SPEED, Engine, espeak, hibari, mixture, read_voices, synthesiser

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


def test_espeak_speaks_in_several_voices() -> None:
    if not shutil.which("espeak-ng"):
        pytest.skip("espeak-ng is not installed")
    say = espeak()
    names = set()
    for seed in range(6):
        name, waveform, rate = say("the quick brown fox", np.random.default_rng(seed))
        assert 0.5 < len(waveform) / rate < 4
        assert np.abs(waveform).max() > 0.05
        names.add(name)
    assert len(names) > 3


def test_hibari_keeps_its_pace_when_it_sounds_smaller() -> None:
    pytest.importorskip("hibari", reason="hibari-tts is not installed")
    say = hibari()
    text = "the quick brown fox jumps over the lazy dog and over the brook"
    paces = []
    for seed in range(4):
        speed = np.random.default_rng(seed).uniform(*SPEED)  # the first that is drawn
        name, waveform, rate = say(text, np.random.default_rng(seed))
        assert rate == round(24000 * float(name.removeprefix("hibari-")))
        paces.append(len(waveform) / rate * speed)
    assert max(paces) < 1.3 * min(paces)  # the voice itself varies by a tenth
