from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.signal

from asr.audio import load_audio
from asr.transcription.speech import levels, may_be_speech, pause_level, powers

RATE = 16000
CORPORA = Path(__file__).resolve().parents[2] / "data" / "corpora"


def steady(kind: str, seconds: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    samples = round(seconds * RATE)
    white = rng.standard_normal(samples)
    if kind == "hum":
        time = np.arange(samples) / RATE
        return np.sin(2 * np.pi * 50 * time) + 0.3 * np.sin(2 * np.pi * 150 * time) + 0.001 * white
    shape = {"white": [1.0], "pink": [1.0, -0.95], "brown": [1.0, -0.995]}[kind]
    return scipy.signal.lfilter([1.0], shape, white)


@pytest.mark.parametrize("kind", ["white", "pink", "brown", "hum"])
@pytest.mark.parametrize("level", [-80, -40, -10])
@pytest.mark.parametrize("seconds", [2.0, 7.3, 30.0])
def test_steady_sound_is_not_speech_at_any_level(kind: str, level: float, seconds: float) -> None:
    sound = steady(kind, seconds, 1)
    sound = sound / np.sqrt(np.mean(sound**2)) * 10 ** (level / 20)
    assert not may_be_speech(sound.astype(np.float32), RATE)


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.5, 60.0])
def test_digital_silence_is_not_speech(seconds: float) -> None:
    assert not may_be_speech(np.zeros(round(seconds * RATE), np.float32), RATE)


def test_what_is_too_short_for_a_word_is_not_speech() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 1023).astype(np.float32)  # a sample less than 64 ms
    for samples in (1, 160, 1023):
        assert not may_be_speech(noise[:samples], RATE)


@pytest.mark.skipif(not CORPORA.is_dir(), reason="the corpora are not unpacked in data/corpora")
@pytest.mark.parametrize("snr", [None, 20, 10, 5])
@pytest.mark.parametrize("pattern", ["an4/**/*.wav", "fsdd/**/*.wav", "LibriSpeech/dev-clean/**/*.flac"])
def test_real_speech_is_speech_even_in_noise(pattern: str, snr: float | None) -> None:
    found = sorted(CORPORA.glob(pattern))[::40][:40]
    if not found:
        pytest.skip(f"no {pattern} in data/corpora")
    rng = np.random.default_rng(0)
    for path in found:
        speech = load_audio(path, RATE)
        if snr is not None:
            power = float(np.mean(np.square(speech))) / 10 ** (snr / 10)
            speech = speech + rng.normal(0, np.sqrt(power), len(speech)).astype(np.float32)
        assert may_be_speech(speech, RATE), path


def test_one_word_in_half_a_minute_of_noise_is_speech() -> None:
    rng = np.random.default_rng(0)
    sound = rng.normal(0, 0.003, 30 * RATE)
    time = np.arange(RATE // 2) / RATE
    word = np.sin(2 * np.pi * 700 * time) * np.hanning(len(time)) + np.sin(2 * np.pi * 2000 * time) * np.hanning(
        len(time)
    )
    sound[17 * RATE : 17 * RATE + len(word)] += 0.1 * word
    assert may_be_speech(sound.astype(np.float32), RATE)
    assert not may_be_speech(np.concatenate([sound[: 16 * RATE], sound[19 * RATE :]]).astype(np.float32), RATE)


@pytest.mark.parametrize("rate", [8000, 11025, 44100])
def test_other_rates_are_judged_alike(rate: int) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, 5 * rate)
    assert not may_be_speech(noise.astype(np.float32), rate)
    time = np.arange(len(noise)) / rate
    assert may_be_speech((noise * (0.02 + np.maximum(0, np.sin(2 * np.pi * 4 * time)))).astype(np.float32), rate)


def test_the_level_is_that_of_the_pre_emphasised_signal_and_does_not_depend_on_blocks() -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, 1000).astype(np.float32)
    emphasised = sound - 0.97 * np.concatenate([[0.0], sound[:-1]])
    expected = np.square(emphasised).reshape(-1, 10).mean(1)
    np.testing.assert_allclose(powers(sound, 10, 0.0), expected, rtol=1e-4)
    parts = [powers(sound[:400], 10, 0.0), powers(sound[400:], 10, float(sound[399]))]
    np.testing.assert_allclose(np.concatenate(parts), expected, rtol=1e-4)
    assert levels(np.full(20, 0.01))[10] == pytest.approx(-20)


def test_the_pause_level_lies_above_the_noise_and_far_below_the_speech() -> None:
    rng = np.random.default_rng(0)
    pauses, speech = rng.normal(-50, 1, 1000), rng.uniform(-50, -18, 2000)
    assert -49 < pause_level(np.concatenate([pauses, speech])) < -43


def test_where_all_is_alike_only_digital_silence_is_a_pause() -> None:
    assert pause_level(np.random.default_rng(0).normal(-30, 1, 3000)) == -90


def test_digital_silence_between_recordings_is_not_taken_for_their_noise() -> None:
    rng = np.random.default_rng(0)
    silence, noise, speech = np.full(1000, -110.0), rng.normal(-55, 1, 500), rng.normal(-25, 4, 1500)
    assert pause_level(np.concatenate([silence, noise, speech])) > -55
