"""Log-mel features in NumPy: what `asr.model.features` computes, one waveform at a time and without torch."""

from __future__ import annotations

import numpy as np

from asr.config import FeaturesConfig
from asr.frames import hop_samples

BREAK_HZ, HZ_PER_MEL = 1000.0, 200 / 3
"""Slaney's scale (Auditory Toolbox 1998) is linear up to the first, of which a mel is so many Hz."""
LOG_STEP = np.log(6.4) / 27
"""Above it, a mel more is so much more of log Hz."""


class NumpyLogMel:
    """A waveform `[samples]` to normalised features `[frames, mels]`, float32.

    Args:
        config: the section `features`.
        mean, deviation: `[mels]`, of the training set, where the configuration needs them.
    """

    def __init__(self, config: FeaturesConfig, mean: np.ndarray | None = None, deviation: np.ndarray | None = None):
        self.config = config
        self.mean = np.zeros(config.mels, np.float32) if mean is None else mean
        self.deviation = np.ones(config.mels, np.float32) if deviation is None else deviation
        self.hop = hop_samples(config)
        size = round(config.window_ms * config.sample_rate / 1000)
        self.fft_size = 2 ** (size - 1).bit_length()
        self.window = np.hanning(size + 1)[:-1].astype(np.float32)  # periodic, as spectra are
        self.filters = mel_filters(config, self.fft_size)

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """Features of `waveform` in [-1, 1]; `[0, mels]` of an empty one."""
        if not len(waveform):
            return np.zeros((0, self.config.mels), np.float32)
        features = self.log_mel(waveform)
        if self.config.normalisation == "utterance":
            expected = self.mean - features[0]
            features -= features[:1].copy()  # as in LogMel: then equal values have exactly the mean 0
            prior = np.float32(self.config.prior_frames)
            count = np.float32(len(features)) + prior
            mean = (features.sum(0) + prior * expected) / count
            features -= mean
            spread = prior * (np.square(self.deviation) + np.square(expected - mean))
            features /= np.sqrt((np.square(features).sum(0) + spread) / count) + np.float32(1e-5)
        elif self.config.normalisation == "global":
            features = (features - self.mean) / (self.deviation + np.float32(1e-5))
        return features

    def log_mel(self, waveform: np.ndarray) -> np.ndarray:
        """Natural log of the mel energies, not normalised, `[frames, mels]`."""
        samples = waveform.astype(np.float32)
        samples[1:] -= np.float32(self.config.preemphasis) * waveform[:-1]
        size = len(self.window)
        before = self.fft_size // 2 - (self.fft_size - size) // 2  # the middle of the transform is on sample t * hop
        padded = np.pad(samples, (before, size))
        frames = np.lib.stride_tricks.sliding_window_view(padded, size)[: len(samples) + 1 : self.hop]
        spectrum = np.fft.rfft(frames * self.window, self.fft_size)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        mel = power @ self.filters
        floor = self.config.log_floor
        if self.config.dynamic_range is not None:
            floor = max(floor, float(mel.mean()) * 10 ** (-self.config.dynamic_range / 10))
        return np.log(np.maximum(mel, np.float32(floor)))


def mel_filters(config: FeaturesConfig, fft_size: int) -> np.ndarray:
    """Triangles of equal area on Slaney's mel scale, `[fft_size // 2 + 1, mels]`, as librosa's `filters.mel`."""
    high = config.high_hz if config.high_hz is not None else config.sample_rate / 2
    mels = np.linspace(_mel(config.low_hz), _mel(high), config.mels + 2)
    linear = mels * HZ_PER_MEL
    above = mels > _mel(BREAK_HZ)
    corners = np.where(above, BREAK_HZ * np.exp(LOG_STEP * (mels - _mel(BREAK_HZ))), linear)
    bins = np.arange(fft_size // 2 + 1)[:, None] * (config.sample_rate / fft_size)
    width = np.diff(corners)
    rising = (bins - corners[:-2]) / width[:-1]
    falling = (corners[2:] - bins) / width[1:]
    area = 2 / (corners[2:] - corners[:-2])
    return (np.minimum(rising, falling).clip(0) * area).astype(np.float32)


def _mel(hz: float) -> float:
    if hz <= BREAK_HZ:
        return hz / HZ_PER_MEL
    return float(BREAK_HZ / HZ_PER_MEL + np.log(hz / BREAK_HZ) / LOG_STEP)
