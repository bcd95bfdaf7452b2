from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from asr.config import AugmentationConfig, NoSpeechConfig
from asr.data.augment import Augmenter
from asr.data.examples import Example
from asr.data.loading import SpeechDataset, collate
from asr.data.no_speech import KINDS, LOUDEST, QUIETEST, _pause, _sound, no_speech, surround
from asr.data.utterance import Utterance

RATE = 8000


def config(probability: float) -> AugmentationConfig:
    return AugmentationConfig(speed=None, no_speech=NoSpeechConfig(probability=probability, beside=0))


def speech(seconds: float = 2.0) -> np.ndarray:
    """A tone with a pause in its middle, in faint noise."""
    time = np.arange(round(seconds * RATE)) / RATE
    tone = 0.3 * np.sin(2 * np.pi * 440 * time) * (np.abs(time - seconds / 2) > 0.25)
    return (tone + np.random.default_rng(0).normal(0, 0.001, len(time))).astype(np.float32)


def power(sound: np.ndarray) -> float:
    return float(np.mean(np.square(sound, dtype=np.float64)))


@pytest.mark.parametrize("samples", [1, 2, 7, 100, 1600, 24_001])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_finite_and_as_long_as_asked(kind: str, samples: int) -> None:
    for seed in range(30):
        for waveform in (speech(4.0)[:samples], speech(0.1)):
            sound = _sound(kind, waveform, samples, RATE, np.random.default_rng(seed))
            assert sound.shape == (samples,)
            assert sound.dtype == np.float32
            assert np.isfinite(sound).all()
            assert kind != "silence" or not sound.any()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "silence"])
def test_what_sounds_has_a_power_of_one(kind: str) -> None:
    sound = _sound(kind, speech(), 2 * RATE, RATE, np.random.default_rng(2))
    assert power(sound) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize(("kind", "octave"), [("white", 0.0), ("pink", -3.0), ("brown", -6.0)])
def test_noise_falls_as_its_colour_says(kind: str, octave: float) -> None:
    spectrum = np.mean(
        [
            np.square(np.abs(np.fft.rfft(_sound(kind, speech(), 2 * RATE, RATE, np.random.default_rng(seed)))))
            for seed in range(10)
        ],
        axis=0,
    )
    bands = [spectrum[2 * low : 4 * low].mean() for low in (600, 1200)]  # bins of 0.5 Hz
    assert 10 * np.log10(bands[1] / bands[0]) == pytest.approx(octave, abs=1)


def test_the_pause_is_the_background_of_the_recording_and_nothing_of_its_speech() -> None:
    sound = _pause(speech(), 3 * RATE, RATE, np.random.default_rng(3))
    assert sound is not None
    assert len(sound) == 3 * RATE
    assert np.sqrt(power(sound)) == pytest.approx(0.001, rel=0.1)  # as loud as in the recording
    tenths = np.sqrt([power(tenth) for tenth in sound.reshape(-1, RATE // 40)])
    assert tenths.min() > 0.7 * tenths.max()  # no gaps where it is joined
    spectrum = np.square(np.abs(np.fft.rfft(sound)))
    assert spectrum[3 * 440 - 5 : 3 * 440 + 6].sum() < 0.05 * spectrum.sum()


@pytest.mark.parametrize("seconds", [0.05, 0.2, 0.25, 2.0])
def test_speech_without_a_pause_is_never_taken_for_one(seconds: float) -> None:
    time = np.arange(round(seconds * RATE)) / RATE
    word = (0.3 * np.sin(2 * np.pi * 440 * time) * (1 + 0.5 * np.sin(2 * np.pi * 3 * time))).astype(np.float32)
    assert _pause(word, RATE, RATE, np.random.default_rng(0)) is None
    spectrum = np.square(np.abs(np.fft.rfft(_sound("pause", word, RATE, RATE, np.random.default_rng(0)))))
    assert spectrum[430:450].sum() < 0.2 * spectrum.sum()  # noise takes its place


def test_sounds_beside_leave_the_utterance_as_it_is() -> None:
    waveform, ends = speech(), []
    for seed in range(200):
        result = surround(waveform, RATE, np.random.default_rng(seed), (0.2, 1.0))
        assert result.dtype == np.float32
        assert np.isfinite(result).all()
        before = next(
            start for start in range(len(result)) if np.array_equal(result[start : start + len(waveform)], waveform)
        )
        ends.append((before / RATE, (len(result) - before - len(waveform)) / RATE))
        outside = np.concatenate([result[:before], result[before + len(waveform) :]])
        assert power(outside) <= power(waveform)
    assert {(bool(before), bool(after)) for before, after in ends} == {(True, True), (True, False), (False, True)}
    lengths = np.array([end for pair in ends for end in pair if end])
    assert 0.2 - 1e-3 <= lengths.min() < 0.25
    assert 0.95 < lengths.max() <= 1.0 + 1e-3


def test_levels_are_those_promised() -> None:
    levels = []
    for seed in range(200):
        sound = no_speech(speech(), RATE, np.random.default_rng(seed))
        if sound.any():
            levels.append(10 * np.log10(power(sound)))
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
    among = Augmenter(AugmentationConfig(no_speech=NoSpeechConfig(probability=0.5, beside=0)), RATE, seed=5)
    beside = Augmenter(AugmentationConfig(no_speech=NoSpeechConfig(beside=1)), RATE, seed=5)
    for number in range(20):
        id = f"u{number}"
        assert alone.draw(3, id) == among.draw(3, id) == beside.draw(3, id)
        np.testing.assert_array_equal(alone(speech(), epoch=3, id=id), among(speech(), epoch=3, id=id))


def test_the_configured_share_has_sounds_beside_it() -> None:
    augmenter = Augmenter(
        AugmentationConfig(speed=None, no_speech=NoSpeechConfig(probability=0, beside=0.3, seconds=(0.5, 0.5))), RATE
    )
    lengths = [len(augmenter(speech(), epoch=2, id=f"u{number}")) / RATE for number in range(300)]
    assert set(lengths) == {2.0, 2.5, 3.0}
    assert 65 <= sum(length > 2 for length in lengths) <= 115
    assert lengths == [len(augmenter(speech(), epoch=2, id=f"u{number}")) / RATE for number in range(300)]


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
