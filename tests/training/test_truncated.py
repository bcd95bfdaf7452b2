"""Truncated backpropagation through time, against one graph whose states are detached every K frames."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asr.config import parse_config
from asr.errors import ConfigError
from asr.model.acoustic import TokenClassifier
from asr.model.truncated import truncated_log_probs
from asr.training.loss import ctc_loss

CELLS = ["rnn_tanh", "rnn_relu", "gru", "lstm"]
SUBSAMPLINGS = [("conv", 2), ("conv", 4), ("conv", 8), ("stack", 1), ("stack", 3)]
LENGTHS = [93, 41, 64]
"""Feature frames."""


def classifier(cell: str = "lstm", kind: str = "conv", factor: int = 4, **model: Any) -> TokenClassifier:
    """A small unidirectional model in float64 but for its log-probs, every parameter random."""
    torch.manual_seed(3)
    sizes = {"cell": cell, "layers": 2, "hidden": 7, "bidirectional": False, "dropout": 0.0}
    subsampling = {"kind": kind, "factor": factor, "channels": 3}
    config = parse_config({"features": {"mels": 10}, "model": sizes | {"subsampling": subsampling} | model})
    made = TokenClassifier(config, tokens=5)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.uniform_(-0.4, 0.4)
    return made.double()


def batch(longest: int = max(LENGTHS)) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(len(LENGTHS), longest, 10, generator=generator, dtype=torch.float64)
    tokens = torch.randint(1, 5, (len(LENGTHS), 4), generator=generator)
    return features, torch.tensor(LENGTHS), tokens, torch.tensor([4, 2, 3])


def truncated_backward(
    model: TokenClassifier, features: Tensor, lengths: Tensor, tokens: Tensor, token_lengths: Tensor, every: int
) -> Tensor:
    """CTC losses after `.backward()`, cut every `every` frames."""
    log_probs, frames = truncated_log_probs(model, features, lengths, every)
    losses = ctc_loss(log_probs, frames, tokens, token_lengths)
    losses.sum().backward()
    return losses.detach()


def gradients(model: nn.Module) -> dict[str, Tensor]:
    found = {}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        found[name] = parameter.grad
    return found


def reference(
    model: TokenClassifier, features: Tensor, lengths: Tensor, tokens: Tensor, token_lengths: Tensor, every: int | None
) -> Tensor:
    """CTC losses after `.backward()`: one graph, a frame at a time, states detached every `every` frames."""
    x, frames = model.subsampling(features, lengths)
    x = model.norm(x)
    for layer, norm in zip(model.encoder.layers, model.encoder.norms, strict=True):
        state: Any = None
        outputs = []
        for number, frame in enumerate(x.split(1, dim=1)):
            if every is not None and number and number % every == 0:
                state = tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()
            output, state = layer.forwards(frame, state)
            outputs.append(output)
        x = norm(torch.cat(outputs, dim=1))
    log_probs = model.head(x).float().log_softmax(-1).transpose(0, 1)
    losses = F.ctc_loss(log_probs, tokens, frames, token_lengths, reduction="none")
    losses.sum().backward()
    return losses.detach()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("kind", "factor"), SUBSAMPLINGS)
@pytest.mark.parametrize("every", [1, 4, 11, 1000])
def test_gradients_are_those_of_states_detached_every_so_many_frames(
    cell: str, kind: str, factor: int, every: int
) -> None:
    model = classifier(cell, kind, factor)
    expected = copy.deepcopy(model)
    losses = reference(expected, *batch(), every=every)
    torch.testing.assert_close(truncated_backward(model, *batch(), every=every), losses, atol=1e-5, rtol=1e-6)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, gradients(expected)[name], atol=1e-6, rtol=1e-6, msg=name)


@pytest.mark.parametrize("cell", CELLS)
def test_pieces_as_long_as_the_recording_are_full_backpropagation_and_shorter_ones_are_not(cell: str) -> None:
    features, lengths, tokens, token_lengths = batch()
    full = classifier(cell)
    log_probs, frames = full(features, lengths)
    losses = F.ctc_loss(log_probs.transpose(0, 1), tokens, frames, token_lengths, reduction="none")
    losses.sum().backward()
    exact, cut = classifier(cell), classifier(cell)
    found = truncated_backward(exact, *batch(), every=log_probs.shape[1])
    torch.testing.assert_close(found, losses.detach(), atol=1e-6, rtol=1e-6)
    for name, gradient in gradients(exact).items():
        torch.testing.assert_close(gradient, gradients(full)[name], atol=1e-6, rtol=1e-6, msg=name)
    torch.testing.assert_close(truncated_backward(cut, *batch(), every=3), losses.detach(), atol=1e-6, rtol=1e-6)
    name = "encoder.layers.0.forwards.weight_hh_l0"
    assert (gradients(cut)[name] - gradients(full)[name]).norm() > 1e-3 * gradients(full)[name].norm()


@pytest.mark.parametrize("kind", ["conv", "stack"])
def test_log_probs_and_lengths_are_the_classifiers(kind: str) -> None:
    model = classifier("gru", kind)
    features, lengths, _, _ = batch(longest=97)  # padding beyond the longest, and no multiple of the factor
    expected, frames = model(features, lengths)
    found, found_frames = truncated_log_probs(model, features, lengths, 5)
    assert torch.equal(found_frames, frames)
    for row, length in enumerate(frames.tolist()):
        torch.testing.assert_close(found[row, :length], expected[row, :length], atol=1e-6, rtol=0)


def test_autocast_is_the_same_in_both_passes() -> None:
    features, lengths, _, _ = batch()
    full, found = classifier("gru").float(), classifier("gru").float()

    def backward(model: TokenClassifier, every: int | None) -> dict[str, Tensor]:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inputs = features.float(), lengths
            log_probs, _ = model(*inputs) if every is None else truncated_log_probs(model, *inputs, every)
        assert log_probs.dtype == torch.float32
        log_probs.square().sum().backward()
        return gradients(model)

    expected = backward(full, None)
    for name, gradient in backward(found, 1000).items():
        torch.testing.assert_close(gradient, expected[name], msg=name)


@pytest.mark.parametrize("cell", CELLS)
def test_the_fused_kernels_of_float32_give_the_same(cell: str) -> None:
    features, lengths, tokens, token_lengths = batch()
    exact, fused = classifier(cell, hidden=32), classifier(cell, hidden=32).float()
    reference(exact, *batch(), every=6)
    truncated_backward(fused, features.float(), lengths, tokens, token_lengths, every=6)
    for name, gradient in gradients(exact).items():
        found = gradients(fused)[name].double()
        assert (found - gradient).norm() < 1e-4 * gradient.norm(), name


def test_a_scaled_loss_and_earlier_gradients_are_kept_as_autograd_keeps_them() -> None:
    features, lengths, tokens, token_lengths = batch()
    once, twice = classifier(), classifier()
    truncated_backward(once, *batch(), every=6)
    for _ in range(2):
        log_probs, frames = truncated_log_probs(twice, features, lengths, 6)
        losses = F.ctc_loss(log_probs.transpose(0, 1), tokens, frames, token_lengths, reduction="none")
        (1.5 * losses.sum()).backward()
    for name, gradient in gradients(once).items():
        torch.testing.assert_close(gradients(twice)[name], 3 * gradient, atol=1e-6, rtol=1e-6)


def test_dropout_draws_the_same_masks_in_both_passes_and_others_the_next_time() -> None:
    # The loss is from the first pass and its gradient from the second: differences of the one must give the other.
    model = classifier(dropout=0.5).train()
    features, lengths, _, _ = batch()
    weight = model.head.bias

    def objective(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return truncated_log_probs(model, features, lengths, 6)[0].square().sum()

    (gradient,) = torch.autograd.grad(objective(1), weight)
    differences = []
    for number in range(len(weight)):
        values = []
        for change in (1e-3, -1e-3):
            with torch.no_grad():
                weight[number] += change
                values.append(float(objective(1)))
                weight[number] -= change
        differences.append((values[0] - values[1]) / 2e-3)
    torch.testing.assert_close(torch.tensor(differences), gradient.float(), rtol=5e-3, atol=0.5)
    assert objective(1) == objective(1)
    assert objective(1) != objective(2)


def test_without_gradients_there_is_no_graph() -> None:
    model = classifier().eval()
    features, lengths, _, _ = batch()
    with torch.inference_mode():
        found, _ = truncated_log_probs(model, features, lengths, 4)
    assert not found.requires_grad


def test_bidirectional_models_are_refused() -> None:
    model = classifier(bidirectional=True)
    with pytest.raises(ConfigError, match="bidirectional: false"):
        truncated_backward(model, *batch(), every=4)


class Sizes(torch.autograd.graph.saved_tensors_hooks):
    """Counts the bytes that a graph keeps at any one time."""

    def __init__(self) -> None:
        self.now = self.most = 0
        super().__init__(self._pack, lambda kept: kept.tensor)

    def _pack(self, tensor: Tensor) -> Any:
        return _Kept(tensor, self)


class _Kept:
    def __init__(self, tensor: Tensor, sizes: Sizes):
        self.tensor, self.sizes = tensor, sizes
        sizes.now += tensor.nbytes
        sizes.most = max(sizes.most, sizes.now)

    def __del__(self) -> None:
        self.sizes.now -= self.tensor.nbytes


def most_kept(seconds: int, every: int) -> int:
    model = classifier("gru", hidden=16)
    frames = 100 * seconds
    features = torch.randn(1, frames, 10, dtype=torch.float64)
    sizes = Sizes()
    with sizes:
        log_probs, _ = truncated_log_probs(model, features, torch.tensor([frames]), every)
        log_probs.square().sum().backward()
    return sizes.most


def test_what_the_graph_keeps_does_not_grow_with_the_recording() -> None:
    assert most_kept(8, every=25) < 1.1 * most_kept(2, every=25)
    assert most_kept(8, every=10_000) > 3 * most_kept(2, every=10_000)
