"""Sounds without words: what a recogniser has to hear in training to be silent about them later."""

from __future__ import annotations

import numpy as np

from asr.data import noise

KINDS = ("pause", "silence", "white", "pink", "brown", "hum", "notes", "chords", "knocks")
LOUDEST, QUIETEST = -10.0, -80.0
"""dB of full scale."""
PAUSE_SECONDS = 0.2
"""Length of the pause of a recording that is repeated: its own background noise."""
PAUSE_DEPTH = 20.0
"""dB by which a pause lies below the loudest stretch of its length: in a third of single digits that were cut without
silence, the quietest stretch is part of the word."""
BESIDE = (-50.0, -5.0)
"""dB of the utterance's own level, of sounds beside it; its own pause stays as loud as it is."""


def no_speech(waveform: np.ndarray, rate: int, random: np.random.Generator) -> np.ndarray:
    """A sound as long as `waveform` `[samples]` in which nobody speaks, float32.

    One of `KINDS`, in half of the cases with a second one below it, at a random level. `pause` is the quietest stretch
    of the recording itself, repeated.
    """
    sound = _mixture(waveform, len(waveform), rate, random)
    return sound * np.float32(10 ** (random.uniform(QUIETEST, LOUDEST) / 20))


def surround(waveform: np.ndarray, rate: int, random: np.random.Generator, seconds: tuple[float, float]) -> np.ndarray:
    """The utterance `[samples]` with such a sound before it, after it, or both, float32 `[more samples]`.

    In half of the cases its own pause where it has one, as loud as it is.

    Args:
        waveform: of the utterance.
        rate: Hz.
        random: of what is drawn.
        seconds: shortest and longest sound at one end.
    """
    before, after = (round(length * rate) for length in random.uniform(*seconds, size=2))
    match random.integers(3):
        case 0:
            before = 0
        case 1:
            after = 0
    own = random.random() < 0.5
    pause = _pause(waveform, before + after, rate, random) if own else None
    if pause is not None:
        sound = pause
    else:
        level = float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))) if len(waveform) else 0.0
        sound = _mixture(waveform, before + after, rate, random)
        sound = sound * np.float32(level * 10 ** (random.uniform(*BESIDE) / 20))
    return np.concatenate([sound[:before], waveform, sound[before:]])


def _mixture(waveform: np.ndarray, samples: int, rate: int, random: np.random.Generator) -> np.ndarray:
    """One of `KINDS` with an RMS of 1, in half of the cases with a second one 5 to 30 dB below it, `[samples]`."""
    sound = _sound(str(random.choice(KINDS)), waveform, samples, rate, random)
    if random.random() < 0.5:
        other = _sound(str(random.choice(KINDS)), waveform, samples, rate, random)
        sound = sound + other * np.float32(10 ** (-random.uniform(5, 30) / 20))
    return sound


def _sound(kind: str, waveform: np.ndarray, samples: int, rate: int, random: np.random.Generator) -> np.ndarray:
    """One kind of sound with an RMS of 1, or all zeros, `[samples]`; `waveform` for its pause."""
    match kind:
        case "pause":
            pause = _pause(waveform, samples, rate, random)
            sound = noise.pink(samples, rate, random) if pause is None else pause
        case "silence":
            return np.zeros(samples, np.float32)
        case "white":
            sound = noise.white(samples, random) * _swell(samples, rate, random)
        case "pink":
            sound = noise.pink(samples, rate, random) * _swell(samples, rate, random)
        case "brown":
            sound = _brown(samples, rate, random) * _swell(samples, rate, random)
        case "hum":
            base = random.uniform(45, 130)
            sound = np.zeros(samples, np.float32)
            for k in range(1, 6):
                sound += np.float32(random.uniform(0, 1) / k) * _tone(base * k, samples, rate, random)
        case "notes" | "chords":
            sound = _music(samples, rate, random, voices=1 if kind == "notes" else int(random.integers(2, 5)))
        case _:
            sound = _knocks(samples, rate, random)
    rms = float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))) if samples else 0.0
    return np.asarray(sound / rms if rms else sound, np.float32)


def _pause(waveform: np.ndarray, samples: int, rate: int, random: np.random.Generator) -> np.ndarray | None:
    """The quietest stretch of the recording, joined to itself with cross-fades, `[samples]`; None: it has no pause."""
    length = round(PAUSE_SECONDS * rate)
    starts = np.arange(0, len(waveform) - length + 1, max(1, length // 4))
    if len(starts) < 2:
        return None
    energy = np.concatenate([[0.0], np.cumsum(np.square(waveform, dtype=np.float64))])
    energies = energy[starts + length] - energy[starts]
    if energies.min() > energies.max() * 10 ** (-PAUSE_DEPTH / 10):
        return None
    start = int(starts[energies.argmin()])
    piece = waveform[start : start + length].astype(np.float32)
    sound, fade = np.zeros(samples + 2 * length, np.float32), np.sqrt(np.hanning(length)).astype(np.float32)
    for place in range(0, samples + length, length // 2):
        sound[place : place + length] += np.roll(piece, int(random.integers(length))) * fade
    return sound[length // 2 : length // 2 + samples]


def _brown(samples: int, rate: int, random: np.random.Generator) -> np.ndarray:
    """Rumble: noise whose power falls by 6 dB an octave above a random edge, `[samples]`."""
    from scipy.signal import lfilter

    pole = np.exp(-2 * np.pi * random.uniform(30, 300) / rate)
    return np.asarray(lfilter([1.0], [1.0, -pole], noise.white(samples, random)), np.float32)


def _swell(samples: int, rate: int, random: np.random.Generator) -> np.ndarray:
    """A slow change of level by up to 6 dB each way."""
    time = np.arange(samples, dtype=np.float32) / rate
    change = random.uniform(0, 6) * np.sin(2 * np.pi * random.uniform(0.05, 1.0) * time + random.uniform(0, 6))
    return np.asarray(10 ** (change / 20), np.float32)


def _tone(hz: float, samples: int, rate: int, random: np.random.Generator) -> np.ndarray:
    """A sine, silent where the rate cannot carry it."""
    if hz >= rate / 2:
        return np.zeros(samples, np.float32)
    phase = 2 * np.pi * hz * np.arange(samples) / rate + random.uniform(0, 2 * np.pi)
    return np.sin(phase).astype(np.float32)


def _music(samples: int, rate: int, random: np.random.Generator, voices: int) -> np.ndarray:
    """Notes of random pitch, length, timbre and decay, some with vibrato."""
    sound, place = np.zeros(samples, np.float32), 0
    harmonics = int(random.integers(1, 7))
    while place < samples:
        length = min(samples - place, round(random.uniform(0.08, 1.2) * rate) + 1)
        time = np.arange(length) / rate
        envelope = np.minimum(1, time / random.uniform(0.003, 0.1)) * np.exp(-time * random.uniform(0, 8))
        for _ in range(voices):
            base = 55 * 2 ** (random.integers(0, 60) / 12)
            wobble = random.uniform(0, 0.02) * np.sin(2 * np.pi * random.uniform(3, 8) * time)
            for k in range(1, harmonics + 1):
                if base * k * 1.03 < rate / 2:
                    sound[place : place + length] += (
                        envelope * np.sin(2 * np.pi * base * k * (time + wobble / (2 * np.pi))) / k
                    )
        place += length if random.random() < 0.8 else round(length * 1.5)
    return sound


def _knocks(samples: int, rate: int, random: np.random.Generator) -> np.ndarray:
    """Bursts of noise that die away, one to eight a second, regular or not, dull or sharp."""
    sound, beat = np.zeros(samples, np.float32), random.uniform(0.12, 1.0)
    place, regular = random.uniform(0, beat), random.random() < 0.5
    while place * rate < samples:
        start = int(place * rate)
        length = min(samples - start, round(0.25 * rate))
        time = np.arange(length) / rate
        burst = noise.white(length, random)
        if random.random() < 0.5:  # dull
            burst = np.convolve(burst, np.hanning(max(3, round(0.002 * rate))), mode="same")[:length]
        sound[start : start + length] += burst * np.exp(-time * random.uniform(15, 120)) * random.uniform(0.3, 1)
        place += beat if regular else random.uniform(0.3, 1.7) * beat
    return sound
