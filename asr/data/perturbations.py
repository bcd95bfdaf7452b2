"""What augmentation does to a waveform: float32 `[samples]` in, float32 `[samples]` out, sizes as each docstring says.

Heavy libraries are imported where they are used: who perturbs speed alone pays for soxr alone.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import soundfile
import soxr

STRETCH_WINDOW = 0.032
"""Seconds of the phase vocoder's window. Longer ones smear consonants: an AN4 model with 9.7 % WER has, on speech
slowed by 0.8, 11.1 % with 32 ms, 20 % with 64 ms, and 44 % with 128 ms, which is librosa's default at 16 kHz."""
DIRECT_TO_REVERBERANT = (-6.0, 12.0)
"""dB between the direct sound and all of its reflections: from a far corner of a room to a close microphone."""
TELEPHONE_RATE = 8000
"""Hz, of ITU-T G.711 and of GSM 06.10."""
TELEPHONE_LOW_HZ = 300.0
"""Lower edge of the telephone band."""
CODEC_RATES = {
    "opus": (8000, 12000, 16000, 24000, 48000),
    "vorbis": (),
    "mp3": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    "gsm": (TELEPHONE_RATE,),
}
"""Sample rates that a codec can have, in Hz; empty: any."""
CODEC_FORMATS = {
    "opus": ("OGG", "OPUS"),
    "vorbis": ("OGG", "VORBIS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "gsm": ("RAW", "GSM610"),
    "mulaw": ("RAW", "ULAW"),
}
"""libsndfile's names."""
MP3_DELAY = 1105
"""Samples by which LAME (576) and the decoder (529) delay an MP3 whose frames are too small for LAME's gapless tag."""
BLOCK = 2**14
"""Samples handed to an encoder at a time: libvorbis keeps a whole block on the stack, and overflows it."""


def change_speed(waveform: np.ndarray, factor: float) -> np.ndarray:
    """Play `factor` times faster, tempo and pitch together (Ko et al. 2015): `[samples]` to `[samples / factor]`."""
    # 16-bit quality: what it leaves of aliasing lies below the noise of any recording, and it is twice as fast.
    return soxr.resample(waveform, factor, 1.0, quality="LQ")


def change_tempo(waveform: np.ndarray, rate: int, factor: float) -> np.ndarray:
    """Speak `factor` times faster at the same pitch (phase vocoder): `[samples]` to `[samples / factor]`."""
    import librosa

    window = _stretch_window(rate)
    return librosa.effects.time_stretch(waveform, rate=factor, n_fft=window, hop_length=window // 4)


def change_pitch(waveform: np.ndarray, rate: int, semitones: float) -> np.ndarray:
    """Raise or lower all frequencies at the same tempo (phase vocoder, then resampling); the length stays."""
    import librosa

    window = _stretch_window(rate)
    return librosa.effects.pitch_shift(waveform, sr=rate, n_steps=semitones, n_fft=window, hop_length=window // 4)


def _stretch_window(rate: int) -> int:
    return 2 ** round(math.log2(STRETCH_WINDOW * rate))


def add_silence(waveform: np.ndarray, rate: int, before: float, after: float) -> np.ndarray:
    """Zeros before and after, in seconds."""
    return np.pad(waveform, (round(before * rate), round(after * rate)))


def random_impulse_response(rate: int, seconds: float, random: np.random.Generator) -> np.ndarray:
    """A room: the direct sound as its first sample, then noise that falls by 60 dB in `seconds` (Polack 1988).

    Lhotse's FastRandomRIRGenerator draws its decay time itself, and from torch's global generator too, so that it
    neither takes one nor repeats itself.
    """
    samples = max(1, round(seconds * rate))
    decay = 10 ** (-3 * np.arange(1, samples + 1, dtype=np.float32) / samples)
    reflections = random.standard_normal(samples, dtype=np.float32) * decay
    ratio = 10 ** (random.uniform(*DIRECT_TO_REVERBERANT) / 20)
    reflections /= ratio * np.sqrt(np.square(reflections).sum())
    return np.concatenate([np.ones(1, np.float32), reflections])


def reverberate(waveform: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolve with an impulse response `[samples]`; length and RMS stay, the direct sound does not move in time."""
    from scipy.signal import fftconvolve

    direct = int(np.abs(response).argmax())
    wet = fftconvolve(waveform, response)[direct : direct + len(waveform)]
    power = _power(wet)
    return (wet * np.sqrt(_power(waveform) / power) if power else waveform).astype(np.float32)


def octaves(rate: int) -> np.ndarray:
    """Hz of the octaves that an equaliser moves at a sample rate: 62.5 Hz and its doubles below half of it."""
    return 62.5 * 2.0 ** np.arange(math.ceil(math.log2(rate / 125)))


def equalise(waveform: np.ndarray, rate: int, decibels: Sequence[float]) -> np.ndarray:
    """Each of `octaves(rate)` by so many dB, in straight lines over log frequency between them; length and RMS stay.

    The phase is left alone, so nothing moves in time. Level is left to gain.
    """
    spectrum = np.fft.rfft(waveform)
    hertz = np.fft.rfftfreq(len(waveform), 1 / rate).clip(min=1)
    gains = np.interp(np.log2(hertz), np.log2(octaves(rate)), decibels)
    heard = np.fft.irfft(spectrum * 10 ** (gains / 20), len(waveform))
    power = _power(heard)
    return (heard * np.sqrt(_power(waveform) / power) if power else waveform).astype(np.float32)


def change_gain(waveform: np.ndarray, decibels: float) -> np.ndarray:
    """Louder or softer; what exceeds full scale stays."""
    return waveform * np.float32(10 ** (decibels / 20))


def clip(waveform: np.ndarray, decibels: float) -> np.ndarray:
    """Cut off what a recording made so loud that its peak exceeds full scale by `decibels` would lose.

    Afterwards it is as loud as it was, so that every sample below the cut is unchanged: clipping teaches distortion,
    and levels are left to gain.
    """
    limit = np.abs(waveform).max() / np.float32(10 ** (decibels / 20))
    return waveform.clip(-limit, limit)


def telephone(waveform: np.ndarray, rate: int, upper_hz: float) -> np.ndarray:
    """Through a telephone line: 300 to `upper_hz` Hz, 8 kHz, 8-bit mu-law (ITU-T G.711); the length stays.

    Stop bands are 50 dB down. What exceeds full scale is cut off, as the line would.
    """
    from scipy.signal import ellip, sosfilt

    # The elliptic filter needs room below 4 kHz; above that the resampling is the upper edge.
    edges = (TELEPHONE_LOW_HZ, upper_hz) if upper_hz < 0.98 * TELEPHONE_RATE / 2 else TELEPHONE_LOW_HZ
    kind = "bandpass" if isinstance(edges, tuple) else "highpass"
    band = ellip(5, 0.5, 50, edges, kind, fs=TELEPHONE_RATE, output="sos")
    narrow = sosfilt(band, soxr.resample(waveform, rate, TELEPHONE_RATE)).astype(np.float32)
    return _fit(soxr.resample(_coded(narrow, TELEPHONE_RATE, "mulaw"), TELEPHONE_RATE, rate), len(waveform))


def codec(waveform: np.ndarray, rate: int, compression: float, name: str) -> np.ndarray:
    """Through a lossy codec (`opus`, `vorbis`, `mp3` or `gsm`) and back; the length stays, and nothing moves in time.

    `compression` 0 is the codec's best quality, 1 its smallest file; `gsm` has one bit rate, and ignores it. What
    exceeds full scale is cut off.
    """
    rates = CODEC_RATES[name]
    coding_rate = next((r for r in rates if r >= rate), rates[-1]) if rates else rate
    coded = _coded(soxr.resample(waveform, rate, coding_rate), coding_rate, name, compression)
    return _fit(soxr.resample(coded, coding_rate, rate), len(waveform))


def _coded(waveform: np.ndarray, rate: int, name: str, compression: float = 0.0) -> np.ndarray:
    container, subtype = CODEC_FORMATS[name]
    form: dict[str, Any] = {"samplerate": rate, "channels": 1, "format": container, "subtype": subtype}
    options: dict[str, Any] = {} if container == "RAW" else {"compression_level": _level(name, rate, compression)}
    if name == "mp3":
        options["bitrate_mode"] = "CONSTANT"
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", **form, **options) as encoder:
        for start in range(0, len(waveform), BLOCK):
            encoder.write(waveform[start : start + BLOCK].clip(-1, 1))
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float32", **(form if container == "RAW" else {}))
    if name == "mp3" and len(decoded) >= len(waveform) + MP3_DELAY:
        decoded = decoded[MP3_DELAY:]
    return decoded


def _level(name: str, rate: int, compression: float) -> float:
    """libsndfile's compression level, which is linear in the bit rate where what is heard goes by its logarithm."""
    if name == "vorbis":  # its levels are qualities already
        return compression
    best, worst = (256, 6) if name == "opus" else (64, 8) if rate < 16000 else (160, 8) if rate < 32000 else (320, 32)
    level = (best - best * (worst / best) ** compression) / (best - worst)
    return min(level, 0.99)  # LAME refuses 1


def _fit(waveform: np.ndarray, samples: int) -> np.ndarray:
    """Cut or lengthen the end by the few samples that resampling and whole frames make of it."""
    return np.pad(waveform[:samples], (0, max(0, samples - len(waveform))))


def _power(waveform: np.ndarray) -> float:
    return float(np.square(waveform, dtype=np.float64).mean())
