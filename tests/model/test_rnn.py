"""Each cell against a float64 loop written from its textbook equations, and against torch's packed sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from asr.config import Config
from asr.model.acoustic import TokenClassifier
from asr.model.masking import reverse_within, valid
from asr.model.rnn import Encoder, RecurrentLayer, without_drawing

CELLS = ["rnn_tanh", "rnn_relu", "gru", "lstm"]
LENGTHS = [9, 1, 5, 12]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def weights(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: parameter.detach().double().numpy() for name, parameter in module.named_parameters()}


def textbook(cell: str, w: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """States `[frames, hidden]` of a recurrent cell that reads `x` `[frames, inputs]` from first to last, float64.

    Gates are stacked in the weights as torch documents them: i, f, g, o for the LSTM, r, z, n for the GRU.
    """
    w_xh, w_hh = w["weight_ih_l0"], w["weight_hh_l0"]
    b_x, b_hh = w["bias_ih_l0"], w["bias_hh_l0"]
    hidden = w_hh.shape[1]
    h, c = np.zeros(hidden), np.zeros(hidden)
    states = []
    for x_t in x:
        if cell == "lstm":
            i, f, g, o = np.split(w_xh @ x_t + w_hh @ h + b_x + b_hh, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        elif cell == "gru":
            (x_r, x_z, x_n), (h_r, h_z, h_n) = np.split(w_xh @ x_t + b_x, 3), np.split(w_hh @ h + b_hh, 3)
            r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
            n = np.tanh(x_n + r * h_n)
            h = (1 - z) * n + z * h
        else:
            b_h = b_x + b_hh
            a = w_hh @ h + w_xh @ x_t + b_h
            h = np.tanh(a) if cell == "rnn_tanh" else np.maximum(a, 0)
        states.append(h)
    return np.array(states)


def textbook_layer(cell: str, layer: RecurrentLayer, x: np.ndarray) -> np.ndarray:
    """States `[frames, directions * hidden]`: forwards, and beside them backwards from the last frame to the first."""
    states = textbook(cell, weights(layer.forwards), x)
    if layer.backwards is None:
        return states
    return np.hstack([states, textbook(cell, weights(layer.backwards), x[::-1])[::-1]])


def layer_norm(norm: nn.Module, x: np.ndarray) -> np.ndarray:
    w = weights(norm)
    deviation = np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return (x - x.mean(-1, keepdims=True)) / deviation * w["weight"] + w["bias"]


def linear(layer: nn.Module, x: np.ndarray) -> np.ndarray:
    w = weights(layer)
    return np.array([w["weight"] @ x_t + w["bias"] for x_t in x])


def randomised(module: nn.Module) -> Any:
    """Every parameter random: initial biases are 0 and would hide a mistake."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-0.4, 0.4)
    return module.eval()


@pytest.mark.parametrize("bidirectional", [False, True], ids=["forwards", "both directions"])
@pytest.mark.parametrize("cell", CELLS)
def test_layer_computes_the_textbook_equations(cell: str, bidirectional: bool) -> None:
    layer = randomised(RecurrentLayer(cell, 6, 5, bidirectional))
    x = torch.randn(len(LENGTHS), max(LENGTHS), 6)
    output = layer(x, torch.tensor(LENGTHS))
    assert output.shape == (4, 12, 10 if bidirectional else 5)
    for row, length in enumerate(LENGTHS):
        expected = textbook_layer(cell, layer, x[row, :length].double().numpy())
        np.testing.assert_allclose(output[row, :length].detach().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("bidirectional", [False, True], ids=["forwards", "both directions"])
@pytest.mark.parametrize("cell", CELLS)
def test_whole_classifier_computes_the_textbook_equations(cell: str, bidirectional: bool) -> None:
    """y_t = W_hy h_t + b_y over two recurrent layers, each followed by layer normalisation."""
    config = Config.model_validate(
        {
            "features": {"mels": 8},
            "model": {
                "cell": cell,
                "bidirectional": bidirectional,
                "layers": 2,
                "hidden": 5,
                "subsampling": {"kind": "stack", "factor": 1},
            },
        }
    )
    classifier = randomised(TokenClassifier(config, tokens=4))
    features = torch.randn(len(LENGTHS), max(LENGTHS), 8)
    log_probs, lengths = classifier(features, torch.tensor(LENGTHS))
    assert lengths.tolist() == LENGTHS
    for row, length in enumerate(LENGTHS):
        x = linear(classifier.subsampling.project, features[row, :length].double().numpy())
        h = layer_norm(classifier.norm, x)
        for layer, norm in zip(classifier.encoder.layers, classifier.encoder.norms, strict=True):
            h = layer_norm(norm, textbook_layer(cell, layer, h))
        y = linear(classifier.head, h)
        expected = y - np.log(np.exp(y).sum(-1, keepdims=True))
        np.testing.assert_allclose(log_probs[row, :length].detach().numpy(), expected, atol=1e-5)


def packed_reference(cell: str, inputs: int, hidden: int, layer: RecurrentLayer) -> nn.RNNBase:
    """torch's own bidirectional module with the weights of `layer`."""
    kinds: dict[str, Any] = {"lstm": nn.LSTM, "gru": nn.GRU}
    extra = {} if cell in kinds else {"nonlinearity": cell.removeprefix("rnn_")}
    reference = kinds.get(cell, nn.RNN)(inputs, hidden, batch_first=True, bidirectional=True, **extra)
    assert layer.backwards is not None
    state = layer.forwards.state_dict()
    state |= {f"{name}_reverse": tensor for name, tensor in layer.backwards.state_dict().items()}
    reference.load_state_dict(state)
    return reference


@pytest.mark.parametrize("cell", CELLS)
def test_outputs_and_gradients_are_those_of_torchs_packed_sequences(cell: str) -> None:
    layer = randomised(RecurrentLayer(cell, 6, 5, True))
    reference = packed_reference(cell, 6, 5, layer)
    lengths = torch.tensor(LENGTHS)
    inside = valid(lengths, 12)[..., None]
    inputs = [torch.randn(4, 12, 6, generator=torch.Generator().manual_seed(3)).requires_grad_() for _ in range(2)]
    target = torch.randn(4, 12, 10)

    output = layer(inputs[0], lengths) * inside
    packed = pack_padded_sequence(inputs[1], lengths, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(reference(packed)[0], batch_first=True)
    torch.testing.assert_close(output, expected, atol=1e-6, rtol=0)

    (output * target).sum().backward()
    (expected * target).sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, atol=1e-5, rtol=1e-5)
    assert (inputs[0].grad * ~inside == 0).all()  # type: ignore[operator]
    gradients = dict(reference.named_parameters())
    for direction, suffix in ((layer.forwards, ""), (layer.backwards, "_reverse")):
        for name, parameter in direction.named_parameters():
            torch.testing.assert_close(parameter.grad, gradients[name + suffix].grad, atol=1e-5, rtol=1e-5)


def test_encoder_stacks_layers_and_reports_its_width() -> None:
    config = Config.model_validate({"model": {"layers": 3, "hidden": 7, "bidirectional": True}}).model
    encoder = Encoder(config, 11)
    assert [dict(layer.named_parameters())["forwards.weight_ih_l0"].shape[1] for layer in encoder.layers] == [
        11,
        14,
        14,
    ]
    assert encoder.size == 14
    assert encoder(torch.randn(2, 4, 11), torch.tensor([4, 2])).shape == (2, 4, 14)


def test_dropout_acts_in_training_only() -> None:
    config = Config.model_validate({"model": {"layers": 1, "hidden": 7, "dropout": 0.5}}).model
    encoder, x, lengths = Encoder(config, 11), torch.randn(2, 4, 11), torch.tensor([4, 2])
    assert not torch.equal(encoder(x, lengths), encoder(x, lengths))
    encoder.eval()
    assert torch.equal(encoder(x, lengths), encoder(x, lengths))


def gates(weight: Tensor, hidden: int) -> list[Tensor]:
    return list(weight.detach().double().split(hidden))


@pytest.mark.parametrize("cell", CELLS)
def test_initial_weights_are_as_documented(cell: str) -> None:
    hidden = 16
    layer = RecurrentLayer(cell, 20, hidden, True)
    assert layer.backwards is not None
    identity = torch.eye(hidden, dtype=torch.float64)
    for direction in (layer.forwards, layer.backwards):
        parameters = dict(direction.named_parameters())
        for gate in gates(parameters["weight_hh_l0"], hidden):
            torch.testing.assert_close(gate @ gate.T, identity, atol=1e-5, rtol=0)
            if cell == "rnn_relu":
                torch.testing.assert_close(gate, identity)
        bound = (6 / (20 + hidden)) ** 0.5
        for gate in gates(parameters["weight_ih_l0"], hidden):
            assert 0.8 * bound < gate.abs().max() <= bound
        bias = (parameters["bias_ih_l0"] + parameters["bias_hh_l0"]).detach()
        expected = torch.zeros_like(bias)
        if cell == "lstm":
            expected[hidden : 2 * hidden] = 1  # the forget gates
        assert torch.equal(bias, expected)
    states = layer.forwards.state_dict(), layer.backwards.state_dict()
    assert not torch.equal(states[0]["weight_ih_l0"], states[1]["weight_ih_l0"])


def test_reversal_stays_within_each_length_and_undoes_itself() -> None:
    x = torch.arange(10).reshape(2, 5)
    lengths = torch.tensor([5, 3])
    assert reverse_within(x, lengths).tolist() == [[4, 3, 2, 1, 0], [7, 6, 5, 8, 9]]
    deep = torch.randn(3, 5, 2, 2)
    ragged = torch.tensor([0, 1, 4])
    assert torch.equal(reverse_within(reverse_within(deep, ragged), ragged), deep)


def test_gradient_of_a_reversal_is_reversed_too() -> None:
    x, lengths = torch.randn(3, 5, 4, requires_grad=True), torch.tensor([5, 0, 3])
    target = torch.randn(3, 5, 4)
    (reverse_within(x, lengths) * target).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, reverse_within(target, lengths))


@pytest.mark.parametrize("cell", CELLS)
def test_order_in_memory_does_not_matter(cell: str) -> None:
    layer, lengths = randomised(RecurrentLayer(cell, 6, 5, True)), torch.tensor(LENGTHS)
    x = torch.randn(4, 12, 6)
    frame_by_frame = x.transpose(0, 1).contiguous().transpose(0, 1)
    assert torch.equal(layer(frame_by_frame, lengths), layer(x, lengths))
    assert reverse_within(x, lengths).transpose(0, 1).is_contiguous()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("cell", CELLS)
def test_gpu_gives_the_states_of_the_cpu(cell: str) -> None:
    layer = randomised(RecurrentLayer(cell, 6, 5, True))
    x, lengths = torch.randn(4, 12, 6), torch.tensor(LENGTHS)
    expected = layer(x, lengths) * valid(lengths, 12)[..., None]
    output = layer.cuda()(x.cuda(), lengths.cuda()).cpu() * valid(lengths, 12)[..., None]
    torch.testing.assert_close(output, expected, atol=5e-3, rtol=0)  # cuDNN may use TF32


def test_weights_that_a_file_brings_are_not_drawn() -> None:
    with without_drawing():
        undrawn = RecurrentLayer("lstm", 8, 8, bidirectional=True)
    drawn = RecurrentLayer("lstm", 8, 8, bidirectional=True)
    for layer, orthogonal in ((undrawn, False), (drawn, True)):
        gate = layer.forwards.get_parameter("weight_hh_l0")[:8].double()
        assert torch.allclose(gate @ gate.T, torch.eye(8, dtype=torch.float64), atol=1e-5) == orthogonal
