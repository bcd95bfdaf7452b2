"""Time subsampling before the recurrent layers: masked convolutions, or stacked frames."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from asr.config import SubsamplingConfig
from asr.model.layers import Linear
from asr.model.masking import valid


class ConvSubsampling(nn.Module):
    """Stride-2 3x3 convolutions over time and frequency, each halving both (as in Wang et al. 2020, ESPnet).

    `depth` more follow that keep both, with residual connections (He et al. 2016).

    `[batch, frames, mels]` to `[batch, ceil(frames / factor), size]`. Padding is set to 0 around every convolution,
    which is what a convolution itself assumes past the end, so it cannot change a result.
    """

    def __init__(self, config: SubsamplingConfig, mels: int, size: int):
        super().__init__()
        self.factor = config.factor
        channels = [1, *[config.channels] * (config.factor.bit_length() - 1)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1) for before, after in pairwise(channels)
        )
        self.deeper = nn.ModuleList(
            nn.Conv2d(config.channels, config.channels, kernel_size=3, padding=1) for _ in range(config.depth)
        )
        bins = mels
        for _ in self.convolutions:
            bins = (bins + 1) // 2
        self.project = Linear(config.channels * bins, size)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features `[batch, frames, mels]` and lengths `[batch]`, both subsampled."""
        x = x[:, None] * _inside(x[:, None], lengths)
        for convolution in self.convolutions:
            x, lengths = convolution(x), (lengths + 1) // 2
            # In place: these are the largest tensors of the model.
            with torch.no_grad():  # the ReLU passes no gradient on where it gives 0
                x.mul_(_inside(x, lengths))
            x.relu_()
        for convolution in self.deeper:
            x = x + convolution(x).relu() * _inside(x, lengths)
        return self.project(x.transpose(1, 2).flatten(2)), lengths


def _inside(x: Tensor, lengths: Tensor) -> Tensor:
    """Mask `[batch, 1, frames, 1]` of `x` `[batch, channels, frames, bins]`, 1 inside the utterances, in its dtype."""
    return valid(lengths, x.shape[2])[:, None, :, None].to(x.dtype)


class StackSubsampling(nn.Module):
    """`factor` neighbouring frames side by side, then a linear layer; the last group is filled up with 0."""

    def __init__(self, config: SubsamplingConfig, mels: int, size: int):
        super().__init__()
        self.factor = config.factor
        self.project = Linear(config.factor * mels, size)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features `[batch, frames, mels]` and lengths `[batch]`, both subsampled."""
        x = x * valid(lengths, x.shape[1])[..., None]
        x = nn.functional.pad(x, (0, 0, 0, -x.shape[1] % self.factor))
        return self.project(x.unflatten(1, (-1, self.factor)).flatten(2)), -(-lengths // self.factor)


def subsampling(config: SubsamplingConfig, mels: int, size: int) -> ConvSubsampling | StackSubsampling:
    """The layer that `config.kind` names, from `mels` bins to `size` values a frame."""
    return (ConvSubsampling if config.kind == "conv" else StackSubsampling)(config, mels, size)
