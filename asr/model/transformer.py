"""A Transformer encoder: self-attention over the whole utterance, to compare recurrent layers with.

Each layer, of width d and with LayerNorm before each block (Xiong et al. 2020):

    q, k, v = W LayerNorm(x)                       split into heads of d / heads values
    x = x + W_o softmax(q_s . k_t / sqrt(d / heads)) v         s, t frames, q and k turned by their positions
    x = x + W_2 relu(W_1 LayerNorm(x))

Positions are rotary (Su et al. 2021): only the distance of two frames counts, so that no length is a new one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asr.config import ModelConfig
from asr.model.layers import Dropout, Linear
from asr.model.masking import valid
from asr.model.rnn import Listener

SLOWEST = 10_000.0
"""Frames, over 2 pi, in which the slowest pair of values turns once; the fastest turns by one radian a frame."""


def rotated(x: Tensor) -> Tensor:
    """Turn value i and value i + size / 2 of `x` `[..., frames, size]` as a pair by frame * SLOWEST^(-2 i / size)."""
    frames, size = x.shape[-2:]
    speeds = SLOWEST ** (-torch.arange(0, size, 2, device=x.device) / size)
    angles = torch.arange(frames, device=x.device)[:, None] * speeds
    a, b = x.float().chunk(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).type_as(x)


class TransformerLayer(nn.Module):
    """Self-attention and feed-forward block, `[batch, frames, size]` to the same."""

    def __init__(self, size: int, heads: int, feedforward: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(size)
        self.project = Linear(size, 3 * size)
        self.merge = Linear(size, size)
        self.feedforward_norm = nn.LayerNorm(size)
        self.expand = Linear(size, feedforward)
        self.contract = Linear(feedforward, size)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`mask` `[batch, 1, 1, frames]` is true where a frame may be looked at."""
        projected = self.project(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))
        q, k, v = projected.permute(2, 0, 3, 1, 4)
        dropout = self.dropout.p if self.training else 0.0
        heard = F.scaled_dot_product_attention(rotated(q), rotated(k), v, attn_mask=mask, dropout_p=dropout)
        x = x + self.dropout(self.merge(heard.transpose(1, 2).flatten(2)))
        inner = self.dropout(F.relu(self.expand(self.feedforward_norm(x))))
        return x + self.dropout(self.contract(inner))


class TransformerEncoder(nn.Module):
    """A stack of such layers with a LayerNorm behind the last, or behind an inner one that a head listens to.

    Frames of the padding are never looked at, so they cannot reach a result. What stands in the padding of the result
    is meaningless.
    """

    def __init__(self, config: ModelConfig, size: int):
        super().__init__()
        self.layers = nn.ModuleList(
            TransformerLayer(size, config.heads, config.feedforward, config.dropout) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(size)
        self.dropout = Dropout(config.dropout)
        self.intermediate = frozenset(config.intermediate)
        self.size = size

    def forward(self, x: Tensor, lengths: Tensor, listener: Listener | None = None) -> Tensor:
        """`[batch, frames, size]` to the same."""
        mask = valid(lengths, x.shape[1])[:, None, None]
        for number, layer in enumerate(self.layers, 1):
            x = layer(x, mask)
            told = listener(self.dropout(self.norm(x))) if listener and number in self.intermediate else None
            x = x if told is None else x + told
        return self.dropout(self.norm(x))
