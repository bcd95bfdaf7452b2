"""SpecAugment on batches of features, with masks that know each utterance's length, and warped frequencies."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from asr.config import FeaturesConfig, SpecAugmentConfig


def spec_augment(features: Tensor, lengths: Tensor, config: SpecAugmentConfig, source: FeaturesConfig) -> Tensor:
    """Mask bands and stretches of `features` `[batch, frames, mels]` with their mean (Park et al. 2019).

    Each utterance draws its own masks from torch's global generator: `frequency_masks` bands, and time masks in
    proportion to its length, as in later large-scale recipes (Park et al. 2020). Before them `frequency_warp` stretches
    its frequencies by a factor of its own, the logarithm drawn evenly.
    """
    batch, frames, mels = features.shape
    device = features.device
    if config.frequency_warp:
        limit = math.log(1 + config.frequency_warp)
        features = warp_frequencies(features, ((2 * torch.rand(batch, device=device) - 1) * limit).exp(), source)
    fill = torch.zeros(1, device=device)
    if source.normalisation == "none":  # 0 would be louder than anything; padding frames are 0 and count nothing
        fill = features.sum((1, 2), keepdim=True) / (lengths.clamp(min=1) * mels)[:, None, None]
    if config.frequency_masks and config.frequency_width:
        shape = (batch, config.frequency_masks)
        width = (torch.rand(shape, device=device) * (int(config.frequency_width * mels) + 1)).floor()
        start = (torch.rand(shape, device=device) * (mels - width + 1)).floor()
        features = torch.where(_covered(start, width, mels)[:, None, :], fill, features)
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
        features = torch.where(_covered(start, width, frames)[:, :, None], fill, features)
    return features


def warp_frequencies(features: Tensor, factors: Tensor, source: FeaturesConfig) -> Tensor:
    """Vocal tract length perturbation of features `[batch, frames, mels]` by `factors` `[batch]`.

    What was at frequency `factor * f` comes to f, up to where that would leave the band; from there on in a straight
    line to its upper edge (Jaitly and Hinton 2013, whose 4800 of 8000 Hz are 0.6 of the band). Between mel bins the
    features are interpolated, which instead of new filters serves normalised ones too.
    """
    mels, high = features.shape[2], source.high_hz if source.high_hz is not None else source.sample_rate / 2
    bottom, top = hz_to_mel(torch.tensor([source.low_hz, high])).tolist()
    step = (top - bottom) / (mels + 1)
    hz = mel_to_hz(bottom + step * torch.arange(1, mels + 1, device=features.device))
    factors = factors[:, None]
    edge = 0.6 * high * factors.clamp(max=1)
    knee = edge / factors
    read = torch.where(hz <= knee, hz * factors, high - (high - edge) / (high - knee) * (high - hz))
    place = ((hz_to_mel(read) - bottom) / step - 1).clamp(0, mels - 1)
    below = place.floor().clamp(max=max(0, mels - 2))
    share = (place - below)[:, None]
    lower = below.long()[:, None].expand_as(features)
    return torch.lerp(features.gather(2, lower), features.gather(2, (lower + 1).clamp(max=mels - 1)), share)


def hz_to_mel(hz: Tensor) -> Tensor:
    """Slaney's mel scale, of the filters in `LogMel`: linear up to 1000 Hz, logarithmic above."""
    return torch.where(hz < 1000, hz * 3 / 200, 15 + 27 / math.log(6.4) * (hz.clamp(min=1) / 1000).log())


def mel_to_hz(mel: Tensor) -> Tensor:
    """The inverse of `hz_to_mel`."""
    return torch.where(mel < 15, mel * 200 / 3, 1000 * ((mel - 15) * math.log(6.4) / 27).exp())


def _covered(start: Tensor, width: Tensor, size: int) -> Tensor:
    """`[batch, size]`: positions inside any of the masks `start`, `width` `[batch, masks]`."""
    positions = torch.arange(size, device=start.device)
    low, high = start[..., None], (start + width)[..., None]
    return ((positions >= low) & (positions < high)).any(1)
