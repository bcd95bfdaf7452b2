"""Lengths travel with every padded tensor: the mask that keeps padding out of every result."""

from __future__ import annotations

import torch
from torch import Tensor


def valid(lengths: Tensor, size: int) -> Tensor:
    """Mask `[batch, size]`, true where a position is inside its utterance. `lengths` is `[batch]`."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def reverse_within(x: Tensor, lengths: Tensor) -> Tensor:
    """Reverse `x` `[batch, frames, ...]` within each length; padding stays where it is, at the end.

    The result lies frame by frame in memory, and is fastest made from what does: rows are then copied whole.
    """
    batch, frames = x.shape[:2]
    positions = torch.arange(frames, device=x.device)[:, None]
    last = lengths - 1
    index = torch.where(positions <= last, last - positions, positions) * batch + torch.arange(batch, device=x.device)
    rows = x.transpose(0, 1).flatten(0, 1).index_select(0, index.flatten())
    return rows.unflatten(0, (frames, batch)).transpose(0, 1)
