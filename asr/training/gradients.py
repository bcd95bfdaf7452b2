"""How much of the loss at frame t reaches frame t-k: measured per layer, on speech, for initial and trained weights.

Two shares are measured for every lag k (`asr.model.gradient_flow` has the equations), both 1 at k = 0:

- **loss**: e_t is the gradient of the CTC loss with respect to the layer's output at frame t, which comes down from
  the layers above. It goes back through the layer's own recurrence to the layer's input x_{t-k}. These are the terms of
  the sum over t and k that backpropagation through time computes (Pascanu, Mikolov and Bengio 2013, equation 4), and
  what W_x learns from. Every e_t counts the same: it is scaled to norm 1 first.
- **state**: e_t is a random direction, uniform on the unit sphere, and the norm is that of the gradient for the state
  s_{t-k}: how large the Jacobian d h_t / d s_{t-k} is, whatever the loss. (The mean square over directions would be
  its squared Frobenius norm divided by the number of units.)

Share(k) is the mean norm at lag k divided by the mean norm at lag 0, over the same frames: those that have k frames
before them in their direction. The backward direction counts from the end of the utterance, and both are pooled.
Everything after the features is computed in float64, without dropout, an utterance at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asr.errors import ConfigError
from asr.model.acoustic import AcousticModel
from asr.model.gradient_flow import carry, gates, run

LAGS = (0, 1, 2, 5, 10, 20, 50, 100)
"""Frames after subsampling that the tables show; all up to the last are measured."""
FRAMES = 16
"""Frames of each utterance at which an error begins its way, evenly spaced from the first to the last."""
OPEN = 0.9
"""A gate above this keeps half of what it lets through for 6 frames or more."""

Shares = list[float | None]
"""By lag in frames, from 0; None where nothing could be measured."""
Spoken = tuple[Tensor, Tensor]
"""Waveform `[samples]` and token ids `[labels]`."""


@dataclass(frozen=True)
class LayerFlow:
    """What was measured in one layer.

    Attributes:
        cell: the recurrent cell.
        layer: its number, 1 the lowest.
        frame_seconds: from one frame to the next.
        loss: share of the gradient of the loss that reaches the layer's input k frames before, k = 0, 1, 2, ...; None
            where no utterance is long enough, or where no gradient arrives at all.
        state: the same for the Jacobian of the state.
        gates: of each kind of gate its mean, and the share of frames and units in which it is above 0.9.
    """

    cell: str
    layer: int
    frame_seconds: float
    loss: Shares
    state: Shares
    gates: dict[str, tuple[float, float]]

    def to_dict(self) -> dict[str, Any]:
        """All of it ready for JSON, shares at `LAGS`."""
        measures: dict[str, Any] = {}
        for name, shares in (("loss", self.loss), ("state", self.state)):
            half, hundredth = below(shares, 0.5), below(shares, 0.01)
            measures[name] = {
                "share": {str(lag): shares[lag] for lag in LAGS},
                "half_life_frames": half,
                "half_life_seconds": None if half is None else half * self.frame_seconds,
                "hundredth_frames": hundredth,
                "hundredth_seconds": None if hundredth is None else hundredth * self.frame_seconds,
            }
        opened = {name: {"mean": mean, "above_0.9": above} for name, (mean, above) in self.gates.items()}
        about = {"cell": self.cell, "layer": self.layer, "frame_seconds": self.frame_seconds}
        return {**about, **measures, "gates": opened}


def below(shares: Sequence[float | None], level: float) -> float | None:
    """The lag in frames at which the share first falls below `level`, exponential between frames; None: it does not."""
    previous = math.inf
    for lag, share in enumerate(shares):
        if share is None:
            return None
        if share < level:
            return lag - 1 + math.log(previous / level) / math.log(previous / share) if share > 0 else float(lag)
        previous = share
    return None


def measure(model: AcousticModel, speech: Sequence[Spoken]) -> list[LayerFlow]:
    """Measure every recurrent layer of `model` over these utterances; its classifier is turned to float64.

    Raises:
        ConfigError: it has no recurrent layer, or no CTC loss.
    """
    if model.config.model.head != "ctc":
        raise ConfigError("gradients are those of the CTC loss; this model has model.head: attention")
    model.eval()
    classifier = model.classifier.double()
    cells = {name: module for name, module in classifier.named_modules() if isinstance(module, nn.RNNBase)}
    layers = {name: _Sums() for name in dict.fromkeys(name.rpartition(".")[0] for name in cells)}
    if not layers:
        raise ConfigError("the model has no recurrent layer, and so no gradient that goes back in time; try model.cell")
    generator = torch.Generator().manual_seed(0)
    for waveform, tokens in speech:
        heard = _errors(model, cells, waveform, tokens)
        for name, (x, errors) in heard.items():
            layers[name.rpartition(".")[0]].add(cells[name], x, errors, generator)
    step = model.frame_seconds
    return [sums.flow(model.config.model.cell, number, step) for number, sums in enumerate(layers.values(), start=1)]


def _errors(
    model: AcousticModel, cells: dict[str, nn.RNNBase], waveform: Tensor, tokens: Tensor
) -> dict[str, tuple[Tensor, Tensor]]:
    """Of each cell its inputs `[frames, inputs]`, and the gradients of the loss for its outputs `[frames, hidden]`."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda _, inputs, output: seen.update({name: (inputs[0], output[0])})

    hooks = [cell.register_forward_hook(keep(name)) for name, cell in cells.items()]
    hooks.append(model.classifier.head.register_forward_hook(keep("head")))
    try:
        with torch.no_grad():
            features, lengths = model.features(waveform[None], torch.tensor([len(waveform)]))
        _, lengths = model.classifier(features.double(), lengths)
    finally:
        for hook in hooks:
            hook.remove()
    # Not the model's own log-probs, which are float32: where it is sure, nothing would be left of the error.
    log_probs = seen.pop("head")[1].log_softmax(-1)
    loss = F.ctc_loss(log_probs, tokens, lengths, torch.tensor([len(tokens)]), reduction="sum")
    errors = torch.autograd.grad(loss, [output for _, output in seen.values()])
    return {name: (x[0].detach(), error[0]) for (name, (x, _)), error in zip(seen.items(), errors, strict=True)}


class _Sums:
    """Norms and gates of one layer, added up over utterances, frames and directions."""

    def __init__(self) -> None:
        size = (LAGS[-1] + 1,)
        self.loss, self.state = torch.zeros(2, *size).double(), torch.zeros(2, *size).double()  # at lag k; at lag 0
        self.gates: dict[str, Tensor] = {}
        self.values = 0

    def add(self, cell: nn.RNNBase, x: Tensor, errors: Tensor, generator: torch.Generator) -> None:
        """One direction of one utterance."""
        states = run(cell, x)
        frames = torch.linspace(0, len(x) - 1, min(FRAMES, len(x))).round().long()
        directions = torch.randn(len(frames), cell.hidden_size, generator=generator, dtype=x.dtype)
        starts = torch.cat([F.normalize(errors[frames], dim=-1), F.normalize(directions, dim=-1)])
        carried = carry(cell, x, states, frames.repeat(2), starts, LAGS[-1] + 1)
        _add(self.loss, carried.inputs[:, : len(frames)])
        _add(self.state, carried.state[:, len(frames) :])
        for name, values in gates(cell, x, states).items():
            both = torch.stack([values.sum(), (values > OPEN).sum()])
            self.gates[name] = self.gates.get(name, 0) + both
        self.values += len(x) * cell.hidden_size

    def flow(self, cell: str, layer: int, frame_seconds: float) -> LayerFlow:
        """The means."""
        loss, state = ([a / b if b > 0 else None for a, b in sums.T.tolist()] for sums in (self.loss, self.state))
        opened = {
            name: (float(sums[0]) / self.values, float(sums[1]) / self.values) for name, sums in self.gates.items()
        }
        return LayerFlow(cell, layer, frame_seconds, loss, state, opened)


def _add(sums: Tensor, norms: Tensor) -> None:
    sums[0] += norms.nan_to_num(0).sum(1)
    sums[1] += (norms[:1] * ~norms.isnan()).sum(1)
