"""Dropout and linear layers as `nn` has them, but faster on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Dropout(nn.Dropout):
    """`nn.Dropout`, whose CPU kernel draws 64 bits for each value; here four values share them.

    The share of zeros is therefore a multiple of 2^-16, and the rest is scaled by exactly that share: no bias.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Values of `x`, each 0 or scaled, in training."""
        if not (self.training and self.p and x.device.type == "cpu"):
            return super().forward(x)
        kept = min(max(round((1 - self.p) * 2**16), 1), 2**16 - 1)
        drawn = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        mask = (drawn[: x.numel()].view(x.shape) < kept - 2**15) * (2**16 / kept)
        return x * mask.to(x.dtype)


class Linear(nn.Linear):
    """`nn.Linear`, trained with `fast_linear`; what is evaluated is plain."""

    def forward(self, x: Tensor) -> Tensor:
        """`[..., inputs]` to `[..., outputs]`."""
        return fast_linear(x, self.weight, self.bias) if self.training else super().forward(x)


def fast_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear`, in float32 on a CPU by oneDNN: torch asks MKL, which leaves half of an AMD processor unused."""
    plain = x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu")
    if plain or not x.numel() or not torch.backends.mkldnn.is_available():
        return F.linear(x, weight, bias)
    return F.linear(x.to_mkldnn(), weight, bias).to_dense()
