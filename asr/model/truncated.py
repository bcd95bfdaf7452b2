"""Truncated backpropagation through time: unidirectional models on recordings too long for the memory.

The recurrence goes over pieces of K frames. The state is carried from piece to piece, and so the log-probs are those of
the whole recording; the gradient is cut where pieces meet (Williams and Peng 1990; Sutskever 2013). CTC has no gradient
for any frame before it has the log-probs of all, hence two passes:

1. forwards without a graph, which keeps the state at each border and the log-probs;
2. given the gradient for the log-probs, each piece once more from its stored state, with a graph, and backwards through
   this piece alone.

So the memory is that of one piece, besides features, log-probs and what CTC itself takes; the price is one more forward
pass. Convolutions before the recurrence look across the borders, and their gradient is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from asr.errors import ConfigError

if TYPE_CHECKING:
    from asr.model.acoustic import TokenClassifier

States = list[Any]
"""What each recurrent layer hands on: a tensor, of LSTMs a pair of them, or None before the first frame."""


def truncated_log_probs(
    classifier: TokenClassifier, features: Tensor, lengths: Tensor, every: int
) -> tuple[Tensor, Tensor]:
    """What `classifier(features, lengths)` gives, with gradients for its weights that are cut every `every` frames.

    With `every` not below the number of frames after subsampling this is full backpropagation through time. Dropout
    draws other masks than the classifier called as a whole, and the same ones in both passes.

    Args:
        classifier: a unidirectional model.
        features: `[batch, frames, mels]`; no gradient is computed for them.
        lengths: in feature frames, `[batch]`.
        every: frames of the recurrence, after subsampling, between cuts of the gradient.

    Returns:
        Log-probs `[batch, frames, tokens]`, lengths `[batch]` in subsampled frames.

    Raises:
        ConfigError: the model is bidirectional; its backward state comes from the end of the recording.
    """
    if any(layer.backwards is not None for layer in classifier.encoder.layers):
        raise ConfigError("truncated backpropagation through time needs a model with `model.bidirectional: false`")
    parameters = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    pieces = _Pieces(classifier, features.detach(), lengths, every, parameters)
    return _Truncated.apply(pieces, *parameters), -(-lengths // classifier.subsampling.factor)


class _Truncated(torch.autograd.Function):
    """The two passes as one operation, so that the gradient of each weight arrives once, as DDP wants it."""

    @staticmethod
    def forward(ctx: Any, pieces: _Pieces, *parameters: Tensor) -> Tensor:
        ctx.pieces = pieces
        return pieces.forward()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return None, *ctx.pieces.backward(gradients[0])


class _Pieces:
    """The pieces of one batch, and the state before each."""

    def __init__(
        self, classifier: TokenClassifier, features: Tensor, lengths: Tensor, every: int, parameters: Sequence[Tensor]
    ):
        self.classifier, self.features, self.lengths, self.parameters = classifier, features, lengths, parameters
        frames = -(-features.shape[1] // classifier.subsampling.factor)
        self.pieces = [(first, min(first + every, frames)) for first in range(0, frames, every)]
        self.before: list[States] = []
        self.seed = int(torch.randint(2**62, ()))
        device = features.device.type
        dtype, enabled = torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
        self.autocast = partial(torch.autocast, device, dtype=dtype, enabled=enabled)  # backwards comes outside of it

    def forward(self) -> Tensor:
        states: States = [None] * len(self.classifier.encoder.layers)
        log_probs = []
        for number in range(len(self.pieces)):
            self.before.append(states)
            found, states = self._run(number)
            log_probs.append(found)
        return torch.cat(log_probs, dim=1)

    def backward(self, gradient: Tensor) -> list[Tensor]:
        totals = [torch.zeros_like(parameter) for parameter in self.parameters]
        for number, (first, last) in enumerate(self.pieces):
            with torch.enable_grad():
                log_probs, _ = self._run(number)
            parts = torch.autograd.grad(log_probs, self.parameters, gradient[:, first:last])
            for total, part in zip(totals, parts, strict=True):
                total += part
        return totals

    def _run(self, number: int) -> tuple[Tensor, States]:
        """Log-probs of one piece and the states after it."""
        first, last = self.pieces[number]
        devices = [self.features.device] if self.features.is_cuda else []
        with torch.random.fork_rng(devices), self.autocast():
            torch.manual_seed(self.seed + number)
            x = self.classifier.norm(self._subsampled(first, last)).transpose(0, 1).contiguous()  # as `Encoder` does
            encoder: Any = self.classifier.encoder
            states = []
            for layer, norm, before in zip(encoder.layers, encoder.norms, self.before[number], strict=True):
                x, after = layer.forwards(encoder.dropout(x).transpose(0, 1), before)
                x = norm(x.transpose(0, 1))
                states.append(after)
            return self.classifier.head(encoder.dropout(x).transpose(0, 1)).float().log_softmax(-1), states

    def _subsampled(self, first: int, last: int) -> Tensor:
        """Frames `first` to `last` of the subsampled recording.

        Convolutions of stride 2 and width 3 reach less than one subsampled frame to the left, and to the right none
        beyond the frame itself: one frame more is computed, and dropped.
        """
        start, factor = max(0, first - 1), self.classifier.subsampling.factor
        features = self.features[:, start * factor : last * factor]
        x, _ = self.classifier.subsampling(features, (self.lengths - start * factor).clamp(min=0))
        return x[:, first - start :]
