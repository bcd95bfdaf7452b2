"""How many frames a waveform gives, from the configuration alone: checking a corpus needs no model, and no torch."""

from __future__ import annotations

from asr.config import Config, FeaturesConfig


def hop_samples(features: FeaturesConfig) -> int:
    """Samples from one feature frame to the next."""
    return round(features.hop_ms * features.sample_rate / 1000)


def feature_frames(samples: int, features: FeaturesConfig) -> int:
    """Feature frames of a waveform of so many samples; none for an empty one."""
    return 1 + samples // hop_samples(features) if samples > 0 else 0


def output_frames(samples: int, config: Config) -> int:
    """Frames of log-probs for a waveform of so many samples: feature frames over the subsampling, rounded up."""
    return -(-feature_frames(samples, config.features) // config.model.subsampling.factor)


def samples_for(frames: int, config: Config) -> int:
    """The fewest samples that give so many frames of log-probs."""
    return max(1, (frames - 1) * config.model.subsampling.factor * hop_samples(config.features)) if frames else 0
