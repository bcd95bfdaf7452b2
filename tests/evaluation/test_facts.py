from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from asr.audio import load_audio
from asr.data.utterance import Utterance
from asr.evaluation.facts import SILENCE, SNR_RANGE, Facts, speech_level
from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from tests.conftest import Speech

RATE = 16000
CORPORA = REPOSITORY / "data" / "corpora"
SOURCES = {"an4": ("an4/wav/an4test_clstk", "*/*.wav"), "LibriSpeech": ("LibriSpeech", "**/*.flac")}


def active_power(waveform: np.ndarray) -> float:
    """Mean power of the 20 ms frames within 25 dB of the loud ones, with numpy alone."""
    powers = np.array([frame.var() for frame in np.array_split(waveform, max(1, len(waveform) // 320))])
    return float(powers[powers > np.percentile(powers, 95) / 10**2.5].mean())


def clean_speech(corpus: str, count: int) -> list[np.ndarray]:
    """Recordings whose own pauses lie 40 dB below their speech, so that added noise is all the noise there is."""
    folder, pattern = SOURCES[corpus]
    files = sorted((CORPORA / folder).glob(pattern))
    if not files:
        pytest.skip(f"{CORPORA / folder} is not there; unpack the corpus")
    found: list[np.ndarray] = []
    for file in files[:: max(1, len(files) // (6 * count))]:
        waveform = load_audio(file, RATE)[: 12 * RATE].astype(np.float64)
        pauses = np.percentile([frame.var() for frame in np.array_split(waveform, len(waveform) // 320)], 5)
        if active_power(waveform) > 1e4 * pauses > 0:
            found.append(waveform)
    assert len(found) >= count
    return found[:count]


def white(rng: np.random.Generator, samples: int, voices: list[np.ndarray]) -> np.ndarray:
    return rng.standard_normal(samples)


def pink(rng: np.random.Generator, samples: int, voices: list[np.ndarray]) -> np.ndarray:
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(np.fft.rfftfreq(samples, 1 / RATE), 20)), samples)


def babble(rng: np.random.Generator, samples: int, voices: list[np.ndarray]) -> np.ndarray:
    chosen = [voices[number] / voices[number].std() for number in rng.integers(len(voices), size=6)]
    return np.sum([np.roll(np.resize(voice, samples), rng.integers(samples)) for voice in chosen], axis=0)


Noise = Callable[[np.random.Generator, int, list[np.ndarray]], np.ndarray]


@pytest.mark.parametrize("corpus", SOURCES)
@pytest.mark.parametrize(("noise", "bias", "spread"), [(white, 2.0, 1.3), (pink, 1.3, 1.3), (babble, 1.8, 2.6)])
def test_the_snr_of_mixtures_is_found(corpus: str, noise: Noise, bias: float, spread: float) -> None:
    voices, rng = clean_speech(corpus, 12), np.random.default_rng(0)
    errors = []
    for voice in voices:
        sound = noise(rng, len(voice), voices)
        for snr in (0, 10, 20):
            mixture = voice + sound * np.sqrt(active_power(voice) / np.square(sound).mean() / 10 ** (snr / 10))
            errors.append(speech_level(mixture, RATE)[1] - snr)
    assert abs(np.mean(errors)) < bias
    assert np.std(errors) < spread


@pytest.mark.parametrize("corpus", SOURCES)
def test_loudness_is_the_level_of_the_speech_without_its_pauses(corpus: str) -> None:
    for voice in clean_speech(corpus, 6):
        level = 10 * np.log10(active_power(voice))
        padded = np.concatenate([np.zeros(3 * RATE), voice, np.zeros(3 * RATE)])
        assert speech_level(voice, RATE)[0] == pytest.approx(level, abs=0.5)
        assert speech_level(padded, RATE) == pytest.approx(speech_level(voice, RATE), abs=1.0)
        halved = speech_level(voice / 2, RATE)
        assert halved[0] == pytest.approx(speech_level(voice, RATE)[0] - 20 * np.log10(2), abs=0.1)
        assert halved[1] == pytest.approx(speech_level(voice, RATE)[1], abs=0.5)


def test_a_tone_has_its_own_level_whatever_the_offset() -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    for offset in (0.0, 0.4):
        loudness, snr = speech_level((tone + offset).astype(np.float32), RATE)
        assert loudness == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.1)
        assert snr == SNR_RANGE[0]  # it never pauses: nothing stands out


@pytest.mark.parametrize("samples", [0, 1, 100, RATE])
def test_digital_silence_and_very_short_recordings_have_values(samples: int) -> None:
    assert speech_level(np.zeros(samples, np.float32), RATE) == (SILENCE, SNR_RANGE[0])
    loudness, snr = speech_level(np.full(samples, 0.1, np.float32) * (-1) ** np.arange(samples), RATE)
    assert SILENCE <= loudness <= 0
    assert SNR_RANGE[0] <= snr <= SNR_RANGE[1]


def test_more_noise_is_a_lower_snr_at_any_rate(speech: Speech) -> None:
    found = [
        speech_level(speech.say("bad cafe each", seed=3, noise=noise), speech.rate)[1] for noise in (0.001, 0.01, 0.1)
    ]
    assert found == sorted(found, reverse=True)
    assert found[0] - found[2] > 15


def test_facts_carry_speaker_and_length(speech: Speech, tmp_path: Path) -> None:
    utterance = Utterance("one", tmp_path / "one.wav", 1.25, 8000, "bad", "fcaw")
    facts = Facts.of(utterance, speech.say("bad"), speech.rate)
    assert (facts.speaker, facts.seconds) == ("fcaw", 1.25)
    assert -40 < facts.loudness < -5
    assert 5 < facts.snr < 60
