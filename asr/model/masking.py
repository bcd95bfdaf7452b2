"""Lengths travel with every padded tensor: the mask that keeps padding out of every result."""

from __future__ import annotations

import torch
from torch import Tensor


def valid(lengths: Tensor, size: int) -> Tensor:
    """Mask `[batch, size]`, true where a position is inside its utterance. `lengths` is `[batch]`."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def reverse_within(x: Tensor, lengths: Tensor) -> Tensor:
    """Reverse `x` `[batch, frames, ...]` within each length; padding stays where it is, at the end."""
    frames = torch.arange(x.shape[1], device=x.device)
    last = lengths[:, None] - 1
    index = torch.where(frames <= last, last - frames, frames)
    return x.gather(1, index.reshape(*index.shape, *(1,) * (x.dim() - 2)).expand_as(x))
