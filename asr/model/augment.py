"""SpecAugment on batches of features, with masks that know each utterance's length."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from asr.config import FeaturesConfig, SpecAugmentConfig


def spec_augment(features: Tensor, lengths: Tensor, config: SpecAugmentConfig, source: FeaturesConfig) -> Tensor:
    """Mask bands and stretches of `features` `[batch, frames, mels]` with 0, the mean (Park et al. 2019).

    Each utterance draws its own masks from torch's global generator: `frequency_masks` bands, and time masks in
    proportion to its length, as in later large-scale recipes (Park et al. 2020).
    """
    batch, frames, mels = features.shape
    device = features.device
    if config.frequency_masks and config.frequency_width:
        shape = (batch, config.frequency_masks)
        width = (torch.rand(shape, device=device) * (int(config.frequency_width * mels) + 1)).floor()
        start = (torch.rand(shape, device=device) * (mels - width + 1)).floor()
        features = features * ~_covered(start, width, mels)[:, None, :]
    frames_per_second = 1000 / source.hop_ms
    seconds = lengths / frames_per_second
    count = (seconds * config.time_masks_per_second).ceil()
    most = math.ceil(frames / frames_per_second * config.time_masks_per_second)
    if most and config.time_width_ms:
        shape = (batch, most)
        # No mask may hide more than a fifth of a short utterance.
        widest = (lengths * 0.2).clamp(max=config.time_width_ms / source.hop_ms)[:, None]
        width = (torch.rand(shape, device=device) * (widest.floor() + 1)).floor()
        width = width * (torch.arange(most, device=device) < count[:, None])
        start = (torch.rand(shape, device=device) * (lengths[:, None] - width + 1)).floor()
        features = features * ~_covered(start, width, frames)[:, :, None]
    return features


def _covered(start: Tensor, width: Tensor, size: int) -> Tensor:
    """`[batch, size]`: positions inside any of the masks `start`, `width` `[batch, masks]`."""
    positions = torch.arange(size, device=start.device)
    low, high = start[..., None], (start + width)[..., None]
    return ((positions >= low) & (positions < high)).any(1)
