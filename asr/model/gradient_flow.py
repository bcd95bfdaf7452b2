"""How far back in time a recurrent cell carries a gradient, exactly and frame by frame, and how its gates stand.

The state s_t is what a cell hands from frame t to frame t+1: h_t; for the LSTM (h_t, c_t). Backpropagation through time
takes an error e_t at the output h_t back over k frames by a product of Jacobians, one a frame:

    gradient for s_{t-k}:  e_t  (d h_t / d s_{t-1})  (d s_{t-1} / d s_{t-2})  ...  (d s_{t-k+1} / d s_{t-k})
    gradient for x_{t-k}:  the same, then  (d s_{t-k} / d x_{t-k})

The norm falls or grows about exponentially in k, and with it what frame t-k can learn from the error at frame t: the
vanishing and the exploding gradient (Hochreiter 1991; Bengio, Simard and Frasconi 1994; Pascanu, Mikolov and Bengio
2013). In the LSTM, c_{t-1} reaches c_t times the forget gate, so the units whose gate stands open keep the error
(Hochreiter and Schmidhuber 1997; Gers, Schmidhuber and Cummins 2000); h_{t-1} reaches h_t of the GRU times the update
gate (Cho et al. 2014).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

State = tuple[Tensor, ...]
"""h, or h and c, each `[n, hidden]`."""


def step(cell: nn.RNNBase, x: Tensor, state: State) -> State:
    """One frame of `n` recurrences beside each other: inputs `[n, inputs]` and the states before to those after."""
    weights = cell.all_weights[0]
    if isinstance(cell, nn.LSTM):
        return torch.lstm_cell(x, state, *weights)
    if isinstance(cell, nn.GRU):
        return (torch.gru_cell(x, state[0], *weights),)
    function = torch.rnn_relu_cell if cell.nonlinearity == "relu" else torch.rnn_tanh_cell
    return (function(x, state[0], *weights),)


@torch.no_grad()
def run(cell: nn.RNNBase, x: Tensor) -> State:
    """States `[frames + 1, hidden]` over inputs `[frames, inputs]`; number t stands before frame t, the first is 0."""
    state: State = tuple(x.new_zeros(1, cell.hidden_size) for _ in range(2 if isinstance(cell, nn.LSTM) else 1))
    passed = [state]
    for frame in x:
        state = step(cell, frame[None], state)
        passed.append(state)
    return tuple(torch.cat(part) for part in zip(*passed, strict=True))


@dataclass(frozen=True)
class Carried:
    """Norms of errors on their way back, `[lags, errors]`, from lag 0; NaN where t-k is before the first frame.

    Attributes:
        state: of the gradient with respect to s_{t-k}.
        inputs: of the gradient with respect to x_{t-k}, the layer's input at frame t-k.
    """

    state: Tensor
    inputs: Tensor


def carry(cell: nn.RNNBase, x: Tensor, states: State, frames: Tensor, errors: Tensor, lags: int) -> Carried:
    """Take errors at the outputs of some frames back in time through the recurrence of one cell.

    With the states known, frames do not wait for each other: all errors go back one frame at a time together.

    Args:
        cell: one direction of one layer.
        x: its inputs `[frames, inputs]`.
        states: `run(cell, x)`.
        frames: the frame t of each error, `[errors]`.
        errors: gradients with respect to h_t, `[errors, hidden]`.
        lags: k goes from 0 to `lags - 1`.
    """
    norms = errors.new_full((2, lags, len(errors)), torch.nan)
    which = torch.arange(len(errors))
    gradient: State = (errors, *(torch.zeros_like(errors) for _ in states[1:]))
    for lag in range(lags):
        inside = frames[which] >= lag
        which, gradient = which[inside], tuple(part[inside] for part in gradient)
        if not len(which):
            break
        at = frames[which] - lag
        before = [part[at].requires_grad_() for part in (x, *states)]
        with torch.enable_grad():
            after = step(cell, before[0], tuple(before[1:]))
        norms[0, lag, which] = torch.cat(gradient, dim=-1).norm(dim=-1)
        inputs, *rest = torch.autograd.grad(after, before, gradient)
        norms[1, lag, which] = inputs.norm(dim=-1)
        gradient = tuple(rest)
    return Carried(*norms)


@torch.no_grad()
def gates(cell: nn.RNNBase, x: Tensor, states: State) -> dict[str, Tensor]:
    """How far the gates of each frame and unit stand open, 0 to 1, `[frames, hidden]`; `states` is `run(cell, x)`.

    LSTM: forget (the share of c_{t-1} that is kept), input, output. GRU: update (the share of h_{t-1} that is kept),
    reset. Without gates: slope, the derivative of the nonlinearity, which stands in their place.
    """
    w_x, w_h, b_x, b_h = cell.all_weights[0]
    sums = x @ w_x.T + b_x + states[0][:-1] @ w_h.T + b_h
    if isinstance(cell, nn.LSTM):
        i, f, _, o = sums.sigmoid().chunk(4, dim=-1)
        return {"forget": f, "input": i, "output": o}
    if isinstance(cell, nn.GRU):
        r, z, _ = sums.sigmoid().chunk(3, dim=-1)
        return {"update": z, "reset": r}
    h = states[0][1:]
    return {"slope": (h > 0).to(h) if cell.nonlinearity == "relu" else 1 - h.square()}
