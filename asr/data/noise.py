"""Where noise and impulse responses come from, and how noise is added at a signal-to-noise ratio."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asr.audio import AUDIO_SUFFIXES, audio_info, load_audio
from asr.data.problems import Problem
from asr.errors import AudioError, ConfigError

PINK_LOW_HZ = 20.0
"""Pink noise begins here: down to 0 Hz, half of its power would lie below hearing and count in the ratio."""
BABBLE_TALKERS = 5
"""Enough that no word stands out, few enough to be speech still."""


class SoundFolder:
    """The audio files at any depth of a folder, their headers checked.

    Attributes:
        names: paths relative to the folder, sorted, of the files that can be used.
        problems: the others; `id` is the path.
    """

    def __init__(self, folder: str | Path, key: str):
        """Read all headers.

        Args:
            folder: where.
            key: of the configuration, for messages.

        Raises:
            ConfigError: there is no such folder, or no readable audio in it.
        """
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise ConfigError(f"{key}: {folder}: no such folder (the working directory is {Path.cwd()})")
        found = sorted(
            os.path.relpath(os.path.join(where, file), self.folder)
            for where, _, files in os.walk(self.folder, followlinks=True)
            for file in files
            if file.lower().endswith(AUDIO_SUFFIXES) and not file.startswith(".")
        )
        self._seconds: dict[str, float] = {}
        self.problems: list[Problem] = []
        for name in found:
            try:
                self._seconds[name] = audio_info(self.folder / name).seconds
            except AudioError as error:
                self.problems.append(Problem(str(self.folder / name), "unreadable audio", str(error)))
        if not found:
            raise ConfigError(f"{key}: {folder}: no audio file at any depth ({', '.join(AUDIO_SUFFIXES)})")
        if not self._seconds:
            raise ConfigError(f"{key}: none of {len(found)} files can be read; the first: {self.problems[0].message}")
        self.names = list(self._seconds)

    def stretch(self, name: str, rate: int, samples: int, random: np.random.Generator) -> np.ndarray:
        """`[samples]` at `rate` Hz from a random place of a file; a file that is too short is repeated.

        Raises:
            AudioError: the file cannot be decoded.
        """
        spare = self._seconds[name] - samples / rate
        place = random.random()
        if spare > 0:
            waveform = load_audio(self.folder / name, rate, start=place * spare, duration=samples / rate)
            return np.resize(waveform, samples)
        waveform = load_audio(self.folder / name, rate)
        return np.resize(np.roll(waveform, -int(place * len(waveform))), samples)

    def response(self, name: str, rate: int) -> np.ndarray:
        """A whole file as an impulse response, its first channel: the mean of microphones apart would be a comb filter.

        Raises:
            AudioError: the file cannot be decoded, or is silent.
        """
        waveform = load_audio(self.folder / name, rate, channel=0)
        if not waveform.any():
            raise AudioError(f"{self.folder / name}: an impulse response without a sound; take it out of the folder")
        return waveform


def white(samples: int, random: np.random.Generator) -> np.ndarray:
    """Noise of equal power at all frequencies, `[samples]`."""
    return random.standard_normal(samples, dtype=np.float32)


def pink(samples: int, rate: int, random: np.random.Generator) -> np.ndarray:
    """Noise whose power falls as 1/f, equal in every octave, from 20 Hz up, `[samples]`."""
    from scipy import fft

    size = fft.next_fast_len(max(samples, round(2 * rate / PINK_LOW_HZ)), real=True)
    frequencies = np.arange(size // 2 + 1, dtype=np.float32) * (rate / size)
    spectrum = random.standard_normal(2 * len(frequencies), dtype=np.float32).view(np.complex64)
    audible = frequencies >= PINK_LOW_HZ
    spectrum[audible] /= np.sqrt(frequencies[audible])
    spectrum[~audible] = 0
    return fft.irfft(spectrum, size)[:samples]


def babble(others: Sequence[np.ndarray], samples: int, random: np.random.Generator) -> np.ndarray:
    """Five equally loud talkers at once, `[samples]`: random stretches of other utterances, repeated where short.

    Raises:
        AudioError: there are no other utterances.
    """
    if not others:
        raise AudioError("augmentation.noise.kinds: babble needs other utterances, and none can be read")
    talkers = random.choice(len(others), min(BABBLE_TALKERS, len(others)), replace=False)
    mixture = np.zeros(samples, np.float32)
    for talker in talkers:
        waveform = others[talker]
        start = int(random.integers(len(waveform)))
        stretch = np.resize(np.roll(waveform, -start)[:samples], samples)
        rms = np.sqrt(np.square(stretch, dtype=np.float64).mean())
        mixture += stretch / np.float32(rms) if rms else stretch
    return mixture


def add_noise(waveform: np.ndarray, noise: np.ndarray, ratio: float) -> np.ndarray:
    """Add `noise` `[samples]` so that the utterance's power is `ratio` dB above it.

    Silent speech or silent noise have no ratio; then the waveform stays as it is.
    """
    speech_power, noise_power = (np.square(signal, dtype=np.float64).mean() for signal in (waveform, noise))
    if not noise_power:
        return waveform
    return waveform + noise * np.float32(np.sqrt(speech_power / noise_power) * 10 ** (-ratio / 20))
