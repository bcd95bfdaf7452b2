"""What cells carry back in time, against explicit products of Jacobians derived by hand, and against autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from asr.model.gradient_flow import State, carry, gates, run
from asr.model.rnn import RecurrentLayer

CELLS = ["rnn_tanh", "rnn_relu", "gru", "lstm"]
INPUTS, HIDDEN, FRAMES = 4, 5, 12
AT = torch.tensor([11, 3, 0, 7, 11])


def random_cell(name: str) -> nn.RNNBase:
    torch.manual_seed(2)
    cell = RecurrentLayer(name, INPUTS, HIDDEN, bidirectional=False).forwards.double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.uniform_(-0.8, 0.8)
    return cell


def random_case(name: str) -> tuple[nn.RNNBase, Tensor, State, Tensor]:
    cell = random_cell(name)
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(FRAMES, INPUTS, generator=generator, dtype=torch.float64)
    errors = torch.randn(len(AT), HIDDEN, generator=generator, dtype=torch.float64)
    return cell, x, run(cell, x), errors


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


class Textbook:
    """A cell in float64 NumPy: states s_t, and the Jacobians d s_t / d s_{t-1} and d s_t / d x_t of every frame.

    The state is h; of the LSTM h and below it c. Rows of a Jacobian are what is derived, columns what by.
    """

    def __init__(self, name: str, cell: nn.RNNBase, x: np.ndarray):
        self.w_x, self.w_h, self.b_x, self.b_h = (p.detach().numpy() for p in cell.all_weights[0])
        self.states = [np.zeros(HIDDEN * (2 if name == "lstm" else 1))]
        self.by_state: list[np.ndarray] = []
        self.by_input: list[np.ndarray] = []
        self.gates: list[dict[str, np.ndarray]] = []
        step = {"lstm": self.lstm, "gru": self.gru}.get(name)
        for x_t in x:
            if step:
                step(x_t, self.states[-1])
            else:
                self.plain(name, x_t, self.states[-1])

    def plain(self, name: str, x: np.ndarray, h: np.ndarray) -> None:
        a = self.w_x @ x + self.w_h @ h + self.b_x + self.b_h
        new = np.tanh(a) if name == "rnn_tanh" else np.maximum(a, 0)
        slope = 1 - np.tanh(a) ** 2 if name == "rnn_tanh" else (a > 0).astype(float)
        self.states.append(new)
        self.by_state.append(np.diag(slope) @ self.w_h)
        self.by_input.append(np.diag(slope) @ self.w_x)
        self.gates.append({"slope": slope})

    def lstm(self, x: np.ndarray, state: np.ndarray) -> None:
        h, c = np.split(state, 2)
        i, f, g, o = np.split(self.w_x @ x + self.w_h @ h + self.b_x + self.b_h, 4)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        new = f * c + i * g
        self.states.append(np.concatenate([o * np.tanh(new), new]))
        slopes = {"i": g * i * (1 - i), "f": c * f * (1 - f), "g": i * (1 - g**2)}
        jacobians = []
        for weights in (self.w_h, self.w_x):
            w = dict(zip("ifgo", np.split(weights, 4), strict=True))
            c_by = sum(np.diag(slope) @ w[gate] for gate, slope in slopes.items())
            h_by = np.diag(np.tanh(new) * o * (1 - o)) @ w["o"] + np.diag(o * (1 - np.tanh(new) ** 2)) @ c_by
            jacobians.append(np.vstack([h_by, c_by]))
        by_c = np.vstack([np.diag(o * (1 - np.tanh(new) ** 2) * f), np.diag(f)])
        self.by_state.append(np.hstack([jacobians[0], by_c]))
        self.by_input.append(jacobians[1])
        self.gates.append({"forget": f, "input": i, "output": o})

    def gru(self, x: np.ndarray, h: np.ndarray) -> None:
        (x_r, x_z, x_n), (h_r, h_z, h_n) = np.split(self.w_x @ x + self.b_x, 3), np.split(self.w_h @ h + self.b_h, 3)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        n = np.tanh(x_n + r * h_n)
        self.states.append((1 - z) * n + z * h)
        (w_r, w_z, w_n), (r_r, r_z, r_n) = np.split(self.w_x, 3), np.split(self.w_h, 3)
        d_z, d_n = np.diag((h - n) * z * (1 - z)), np.diag((1 - z) * (1 - n**2))
        d_r = np.diag(h_n * r * (1 - r))
        self.by_state.append(np.diag(z) + d_z @ r_z + d_n @ (np.diag(r) @ r_n + d_r @ r_r))
        self.by_input.append(d_z @ w_z + d_n @ (w_n + d_r @ w_r))
        self.gates.append({"update": z, "reset": r})

    def norms(self, frame: int, error: np.ndarray, lag: int) -> tuple[float, float]:
        """Norm of the error for the state, and for the input, `lag` frames before `frame`."""
        product = np.eye(len(self.states[0]))
        for t in range(frame, frame - lag, -1):
            product = product @ self.by_state[t]
        carried = error @ product[:HIDDEN]
        return float(np.linalg.norm(carried)), float(np.linalg.norm(carried @ self.by_input[frame - lag]))


@pytest.mark.parametrize("name", CELLS)
def test_norms_are_those_of_explicit_products_of_jacobians(name: str) -> None:
    cell, x, states, errors = random_case(name)
    textbook = Textbook(name, cell, x.numpy())
    carried = carry(cell, x, states, AT, errors, FRAMES + 2)
    assert carried.state.shape == carried.inputs.shape == (FRAMES + 2, len(AT))
    for number, (frame, error) in enumerate(zip(AT.tolist(), errors.numpy(), strict=True)):
        for lag in range(FRAMES + 2):
            found = carried.state[lag, number].item(), carried.inputs[lag, number].item()
            if lag > frame:  # the utterance had not begun
                assert np.isnan(found).all()
            else:
                np.testing.assert_allclose(found, textbook.norms(frame, error, lag), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", CELLS)
def test_states_and_gates_are_the_textbooks(name: str) -> None:
    cell, x, states, _ = random_case(name)
    textbook = Textbook(name, cell, x.numpy())
    np.testing.assert_allclose(torch.cat(states, dim=-1).numpy(), textbook.states, atol=1e-12)
    np.testing.assert_allclose(states[0][1:], cell(x[None])[0][0].detach(), atol=1e-12)
    found = gates(cell, x, states)
    assert set(found) == set(textbook.gates[0])
    for gate, values in found.items():
        np.testing.assert_allclose(values, [frame[gate] for frame in textbook.gates], atol=1e-12)


@pytest.mark.parametrize("name", CELLS)
def test_gradients_for_the_inputs_are_those_that_autograd_takes_through_torchs_layer(name: str) -> None:
    cell, x, states, errors = random_case(name)
    carried = carry(cell, x, states, AT, errors, FRAMES)
    for number, frame in enumerate(AT.tolist()):
        inputs = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(cell(inputs[None])[0][0, frame] @ errors[number], inputs)
        expected = gradient[: frame + 1].flip(0).norm(dim=-1)
        torch.testing.assert_close(carried.inputs[: frame + 1, number], expected, rtol=1e-9, atol=1e-14)


def test_an_open_forget_gate_keeps_the_error_and_a_closed_one_loses_it() -> None:
    # Without recurrent weights the error runs through c alone, and each frame takes the forget gate's part of it.
    cell, x, _, errors = random_case("lstm")
    kept = []
    for bias in (20.0, 0.0, -20.0):
        with torch.no_grad():
            cell.all_weights[0][0].zero_()  # the input gate and the forget gate are the same in every frame
            cell.all_weights[0][1].zero_()
            cell.all_weights[0][2][HIDDEN : 2 * HIDDEN] = bias
            cell.all_weights[0][3][HIDDEN : 2 * HIDDEN] = 0
        state = carry(cell, x, run(cell, x), AT[:1], errors[:1], FRAMES).state[:, 0]
        kept.append((state[11] / state[1]).item())
    np.testing.assert_allclose(kept, [1, 0.5**10, 0], rtol=1e-6, atol=1e-12)


def test_a_recurrence_below_one_vanishes_and_one_above_explodes() -> None:
    # Positive inputs keep every unit of the ReLU cell active: its Jacobian is W_hh itself.
    cell, _, _, errors = random_case("rnn_relu")
    for scale in (0.5, 1.0, 2.0):
        with torch.no_grad():
            w_x, w_h, *biases = cell.all_weights[0]
            w_x.fill_(0.1)
            w_h.copy_(scale * torch.eye(HIDDEN))
            for bias in biases:
                bias.zero_()
        x = torch.ones(FRAMES, INPUTS, dtype=torch.float64)
        carried = carry(cell, x, run(cell, x), AT[:1], errors[:1], FRAMES)
        for norms in (carried.state[:, 0], carried.inputs[:, 0]):
            torch.testing.assert_close(norms / norms[0], scale ** torch.arange(FRAMES, dtype=torch.float64))
