"""Recurrent layers of four cells in one or two directions, without PackedSequence.

The equations, in the names of the tests that check them (float64 loops written from these lines):

    rnn_tanh, rnn_relu   h_t = f(W_xh x_t + W_hh h_{t-1} + b_h)                       (Elman 1990)
    lstm                 i, f, g, o = gates of W x_t + R h_{t-1} + b
                         c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g),  h_t = sigmoid(o) tanh(c_t)
    gru                  n = tanh(W_n x_t + b_n + sigmoid(r) (R_n h_{t-1} + c_n)),
                         h_t = (1 - sigmoid(z)) n + sigmoid(z) h_{t-1}

torch keeps b_h as two vectors that are only ever added; `b_h = bias_ih + bias_hh`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from asr.config import ModelConfig
from asr.model.layers import Dropout, Linear
from asr.model.masking import reverse_within

Listener = Callable[[Tensor], Tensor | None]
"""Called behind each layer of `model.intermediate` with what a head there would see; what it returns, if anything, is
added to what the next layer reads."""


def _cell(name: str, inputs: int, hidden: int) -> nn.RNNBase:
    if name == "lstm":
        return nn.LSTM(inputs, hidden, batch_first=True)
    if name == "gru":
        return nn.GRU(inputs, hidden, batch_first=True)
    return nn.RNN(inputs, hidden, batch_first=True, nonlinearity=name.removeprefix("rnn_"))


_drawn: ContextVar[bool] = ContextVar("drawn", default=True)


@contextmanager
def without_drawing() -> Iterator[None]:
    """Within, recurrent layers are made without `initialise`, for weights that are about to be read from a file.

    Drawing orthogonal matrices takes longer than all else there is to opening a model.
    """
    token = _drawn.set(False)
    try:
        yield
    finally:
        _drawn.reset(token)


class RecurrentLayer(nn.Module):
    """One recurrent layer: `[batch, frames, inputs]` to `[batch, frames, directions * hidden]`.

    The backward direction is a second forward cell that reads the utterance reversed within its length, so padding
    always comes after the last real frame and cannot reach it. Packing gives the same numbers but falls off the fused
    CPU kernel, which is several times faster.
    """

    def __init__(self, cell: str, inputs: int, hidden: int, bidirectional: bool, weight_drop: float = 0.0):
        super().__init__()
        self.forwards = _cell(cell, inputs, hidden)
        self.backwards = _cell(cell, inputs, hidden) if bidirectional else None
        self.size = hidden * (2 if bidirectional else 1)
        self.weight_drop = weight_drop
        if weight_drop:  # cuDNN copies weights into one buffer at each call then, and would tell every user
            warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")
        for direction in filter(None, (self.forwards, self.backwards)):
            if _drawn.get():
                initialise(direction)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Run both directions; what stands in the padding of the result is meaningless."""
        output = self._states(self.forwards, x)
        if self.backwards is None:
            return output
        reverse = self._states(self.backwards, reverse_within(x, lengths))
        both = output, reverse_within(reverse, lengths)
        return torch.cat([one.transpose(0, 1) for one in both], dim=-1).transpose(0, 1)

    def _states(self, cell: nn.RNNBase, x: Tensor) -> Tensor:
        """One direction, in training with part of the recurrent weights dropped for the whole batch."""
        if not (self.training and self.weight_drop):
            return cell(x)[0]
        dropped = F.dropout(cell.get_parameter("weight_hh_l0"), self.weight_drop)
        return functional_call(cell, {"weight_hh_l0": dropped}, (x,))[0]


@torch.no_grad()
def initialise(cell: nn.RNNBase) -> None:
    """Glorot inputs, orthogonal recurrence (Saxe et al. 2014), zero biases, forget gates open (Jozefowicz et al. 2015).

    The ReLU cell starts at the identity instead (Le et al. 2015), or its state explodes.
    """
    hidden = cell.hidden_size
    for name, parameter in cell.named_parameters():
        if name.startswith("weight"):
            for gate in parameter.split(hidden):  # each gate is a matrix of its own
                if name.startswith("weight_ih"):
                    nn.init.xavier_uniform_(gate)
                elif getattr(cell, "nonlinearity", None) == "relu":
                    nn.init.eye_(gate)
                else:
                    nn.init.orthogonal_(gate)
        else:
            parameter.zero_()
            if isinstance(cell, nn.LSTM) and name.startswith("bias_ih"):
                parameter[hidden : 2 * hidden] = 1.0


class Encoder(nn.Module):
    """A stack of recurrent layers, each `dropout -> recurrence -> projection -> LayerNorm`, its input added at will.

    LayerNorm sees one frame at a time: unlike BatchNorm it cannot let padding or the rest of the batch into a result.
    """

    def __init__(self, config: ModelConfig, inputs: int):
        super().__init__()
        self.layers = nn.ModuleList()
        self.projections = nn.ModuleList()
        self.norms = nn.ModuleList()
        for _ in range(config.layers):
            layer = RecurrentLayer(config.cell, inputs, config.hidden, config.bidirectional, config.weight_drop)
            self.layers.append(layer)
            inputs = config.projection or layer.size
            self.projections.append(Linear(layer.size, inputs) if config.projection else nn.Identity())
            self.norms.append(nn.LayerNorm(inputs))
        self.dropout = Dropout(config.dropout)
        self.residual, self.intermediate = config.residual, frozenset(config.intermediate)
        self.size = inputs

    def forward(self, x: Tensor, lengths: Tensor, listener: Listener | None = None) -> Tensor:
        """`[batch, frames, inputs]` to `[batch, frames, size]`."""
        # Frame by frame in memory, as the recurrent kernels read and write: they then copy nothing.
        x = x.transpose(0, 1).contiguous()
        for number, (layer, project, norm) in enumerate(zip(self.layers, self.projections, self.norms, strict=True), 1):
            y = norm(project(layer(self.dropout(x).transpose(0, 1), lengths).transpose(0, 1)))
            x = x + y if self.residual and x.shape == y.shape else y
            told = listener(self.dropout(x).transpose(0, 1)) if listener and number in self.intermediate else None
            x = x if told is None else x + told.transpose(0, 1)
        return self.dropout(x).transpose(0, 1)
