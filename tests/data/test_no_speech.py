from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from asr.config import AugmentationConfig, NoSpeechConfig
from asr.data.augment import Augmenter
from asr.data.examples import Example
from asr.data.loading import SpeechDataset, collate
from asr.data.no_speech import KINDS, LOUDEST, QUIETEST, _sound, no_speech
from asr.data.utterance import Utterance

RATE = 8000


def config(probability: float) -> AugmentationConfig:
    return AugmentationConfig(speed=None, no_speech=NoSpeechConfig(probability=probability))


def speech(seconds: float = 2.0) -> np.ndarray:
    """A tone with a pause in its middle, in faint noise."""
    time = np.arange(round(seconds * RATE)) / RATE
    tone = 0.3 * np.sin(2 * np.pi * 440 * time) * (np.abs(time - seconds / 2) > 0.25)
    return (tone + np.random.default_rng(0).normal(0, 0.001, len(time))).astype(np.float32)


@pytest.mark.parametrize("samples", [1, 2, 7, 100, 1600, 24_001])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_finite_and_as_long_as_what_it_replaces(kind: str, samples: int) -> None:
    waveform = speech(4.0)[:samples]
    for seed in range(30):
        sound = _sound(kind, waveform, RATE, np.random.default_rng(seed))
        assert sound.shape == waveform.shape
        assert np.isfinite(sound).all()
        assert kind != "silence" or not sound.any()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "silence"])
def test_what_sounds_has_a_power_of_one(kind: str) -> None:
    sound = _sound(kind, speech(), RATE, np.random.default_rng(2))
    assert np.sqrt(np.mean(np.square(sound, dtype=np.float64))) == pytest.approx(1, rel=1e-3)


def test_the_pause_holds_nothing_of_the_speech() -> None:
    waveform = speech()
    sound = _sound("pause", waveform, RATE, np.random.default_rng(3))
    power = np.square(np.abs(np.fft.rfft(sound)))
    tone = round(440 * len(sound) / RATE)
    assert power[tone - 5 : tone + 6].sum() < 0.05 * power.sum()


def test_levels_are_those_promised() -> None:
    levels = []
    for seed in range(200):
        sound = no_speech(speech(), RATE, np.random.default_rng(seed))
        if sound.any():
            levels.append(10 * np.log10(np.mean(np.square(sound, dtype=np.float64))))
    assert QUIETEST - 31 < min(levels) < -40
    assert -20 < max(levels) < LOUDEST + 3


def test_the_configured_share_is_replaced_the_same_in_every_process() -> None:
    augmenter, again = (Augmenter(config(0.2), RATE, seed=5) for _ in range(2))
    waveform, replaced = speech(0.5), 0
    for number in range(300):
        sound = augmenter.no_speech(waveform, epoch=1, id=f"u{number}")
        same = again.no_speech(waveform, epoch=1, id=f"u{number}")
        if sound is None:
            assert same is None
            continue
        assert same is not None
        np.testing.assert_array_equal(sound, same)
        replaced += 1
    assert 40 <= replaced <= 80


def test_other_augmentation_of_utterances_that_keep_their_words_stays_as_it_was() -> None:
    alone = Augmenter(AugmentationConfig(), RATE, seed=5)
    beside = Augmenter(AugmentationConfig(no_speech=NoSpeechConfig(probability=0.5)), RATE, seed=5)
    for number in range(20):
        assert alone.draw(3, f"u{number}") == beside.draw(3, f"u{number}")


def test_replaced_utterances_have_no_tokens(tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "a.wav", speech(), RATE)
    examples = [Example(Utterance(f"u{n}", tmp_path / "a.wav", 2.0, RATE, "a"), [1, 2], 2.0) for n in range(40)]
    dataset = SpeechDataset(examples, RATE, Augmenter(config(0.5), RATE, seed=1))
    loaded = [dataset[0, n] for n in range(40)]
    batch = collate(loaded)
    wordless = [item for item in loaded if not item.tokens]
    assert 10 <= len(wordless) <= 30
    assert sorted(batch.token_lengths.tolist()) == [0] * len(wordless) + [2] * (40 - len(wordless))
    assert collate(wordless).tokens.shape == (len(wordless), 0)


def test_off_by_default() -> None:
    assert Augmenter(AugmentationConfig(), RATE).no_speech(speech(), epoch=0, id="u") is None
