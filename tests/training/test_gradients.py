"""The shares of gradients that layers carry back, against autograd through the whole model and against known decays."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asr.config import Config
from asr.errors import ConfigError
from asr.model.acoustic import AcousticModel
from asr.training.gradients import FRAMES, LAGS, below, measure
from asr.training.gradients_picture import gradients_picture

if TYPE_CHECKING:
    pass

CELLS = ["rnn_tanh", "rnn_relu", "gru", "lstm"]
SPOKEN = [(9600, [1, 2, 3, 2]), (4000, [3, 1])]
"""Samples and labels: 31 and 13 frames of 40 ms."""


@pytest.fixture
def spoken() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(0.1 * torch.randn(n, generator=generator), torch.tensor(tokens)) for n, tokens in SPOKEN]


@pytest.fixture
def make_model(small_config: Callable[..., Config]) -> Callable[..., AcousticModel]:
    def make(cell: str, **model: Any) -> AcousticModel:
        torch.manual_seed(1)
        return AcousticModel(small_config(model={"cell": cell, "layers": 2, "hidden": 6} | model), tokens=5).eval()

    return make


def expected_shares(model: AcousticModel, spoken: list[tuple[Tensor, Tensor]]) -> list[list[float]]:
    """Of each layer the shares of the loss by lag: every error by itself, through torch's own layers, with autograd."""
    classifier = model.classifier.double()
    layers: Any = classifier.encoder.layers
    sums = [np.zeros((2, LAGS[-1] + 1)) for _ in layers]
    for waveform, tokens in spoken:
        features, lengths = model.features(waveform[None], torch.tensor([len(waveform)]))
        x, frames = classifier.subsampling(features.double(), lengths)
        x = classifier.norm(x)
        inputs, outputs = [], []
        for layer, norm in zip(layers, classifier.encoder.norms, strict=True):
            inputs.append(x.detach())
            outputs.append(layer(x, frames))
            x = norm(outputs[-1])
        log_probs = classifier.head(x).log_softmax(-1).transpose(0, 1)
        loss = F.ctc_loss(log_probs, tokens[None], frames, torch.tensor([len(tokens)]), reduction="sum")
        for layer, x, errors, total in zip(layers, inputs, torch.autograd.grad(loss, outputs), sums, strict=True):
            count = x.shape[1]
            at = np.round(np.linspace(0, count - 1, min(FRAMES, count))).astype(int)
            for direction, part in (
                (layer.forwards, errors[0].chunk(2, -1)[0]),
                (layer.backwards, errors[0].chunk(2, -1)[1]),
            ):
                flipped = direction is layer.backwards
                heard = (x.flip(1) if flipped else x).clone().requires_grad_()
                part = part.flip(0) if flipped else part
                for frame in at:
                    error = part[frame] / part[frame].norm()
                    (gradient,) = torch.autograd.grad(direction(heard)[0][0, frame] @ error, heard)
                    norms = gradient[0, : frame + 1].flip(0).norm(dim=-1).numpy()
                    total[0, : frame + 1] += norms
                    total[1, : frame + 1] += norms[0]
    with np.errstate(invalid="ignore"):
        return [(total[0] / total[1]).tolist() for total in sums]


@pytest.mark.parametrize("cell", CELLS)
def test_shares_are_those_of_every_error_taken_back_alone(
    cell: str, make_model: Callable[..., AcousticModel], spoken: list[tuple[Tensor, Tensor]]
) -> None:
    expected = expected_shares(make_model(cell), spoken)
    found = measure(make_model(cell), spoken)
    assert [flow.layer for flow in found] == [1, 2]
    for flow, shares in zip(found, expected, strict=True):
        assert flow.cell == cell
        assert flow.frame_seconds == pytest.approx(0.04)
        known = [share for share in flow.loss if share is not None]
        assert len(known) == 31  # the longer utterance has no more
        np.testing.assert_allclose(known, shares[:31], rtol=1e-6)
        assert flow.loss[0] == flow.state[0] == 1


def test_a_model_that_conditions_itself_is_measured_too(
    make_model: Callable[..., AcousticModel], spoken: list[tuple[Tensor, Tensor]]
) -> None:
    found = measure(make_model("gru", intermediate=[1], self_conditioning=True), spoken)
    assert [flow.layer for flow in found] == [1, 2]
    assert all(0 < (flow.loss[1] or 0) < 2 for flow in found)


@pytest.mark.parametrize("scale", [0.9, 1.1])
def test_a_known_decay_is_found_in_shares_and_half_lives(
    scale: float, make_model: Callable[..., AcousticModel], spoken: list[tuple[Tensor, Tensor]]
) -> None:
    model = make_model("rnn_relu", bidirectional=False)
    with torch.no_grad():
        for layer in model.classifier.encoder.layers:
            w_x, w_h, b_x, _ = layer.forwards.all_weights[0]
            w_x.mul_(0.01)
            w_h.copy_(scale * torch.eye(6))
            b_x.fill_(1)  # every unit is active, always
    for flow in measure(model, spoken):
        for shares in (flow.loss, flow.state):
            np.testing.assert_allclose(np.array(shares[:31], float), scale ** np.arange(31), rtol=1e-5)
        assert flow.gates == {"slope": (1, 1)}
        half = flow.to_dict()["state"]
        if scale < 1:
            assert half["half_life_frames"] == pytest.approx(math.log(0.5) / math.log(0.9), rel=1e-5)
            assert half["half_life_seconds"] == pytest.approx(0.04 * math.log(0.5) / math.log(0.9), rel=1e-5)
        else:
            assert half["half_life_frames"] is None


@pytest.mark.parametrize(
    ("shares", "level", "lag"),
    [
        ([1.0, 0.5, 0.25], 0.5, 1 + 0.0),
        ([1.0, 0.25], 0.5, 0.5),
        ([1.0, 0.8, 0.2], 0.4, 1.5),
        ([1.0, 3.0, 0.75, 0.1], 0.5, 2 + math.log(1.5) / math.log(7.5)),
        ([1.0, 0.6, 0.0], 0.5, 2.0),
        ([1.0, 0.9, None], 0.5, None),
        ([1.0, 0.9], 0.5, None),
        ([None], 0.5, None),
    ],
)
def test_the_lag_at_which_a_share_falls_below_a_level(shares: list[float], level: float, lag: float | None) -> None:
    assert below(shares, level) == (None if lag is None else pytest.approx(lag))


def test_gates_are_averaged_over_frames_units_and_directions(
    make_model: Callable[..., AcousticModel], spoken: list[tuple[Tensor, Tensor]]
) -> None:
    model = make_model("lstm")
    layer: Any = model.classifier.encoder.layers[0]
    with torch.no_grad():
        for direction, bias in ((layer.forwards, 3.0), (layer.backwards, -1.0)):
            w_x, w_h, b_x, b_h = direction.all_weights[0]
            for parameter in (w_x, w_h, b_h):
                parameter.zero_()
            b_x.copy_(torch.tensor([bias, 0.0, 5.0, 0.5]).repeat_interleave(6))  # i, f, g, o
    found = measure(model, spoken)[0].gates
    sigmoid = [1 / (1 + math.exp(-value)) for value in (3.0, -1.0, 0.5)]
    assert found["forget"] == pytest.approx((0.5, 0))
    assert found["input"] == pytest.approx(((sigmoid[0] + sigmoid[1]) / 2, 0.5))
    assert found["output"] == pytest.approx((sigmoid[2], 0))


def test_where_no_gradient_arrives_there_is_no_share(
    make_model: Callable[..., AcousticModel], spoken: list[tuple[Tensor, Tensor]], tmp_path: Path
) -> None:
    model = make_model("rnn_relu")
    with torch.no_grad():
        for layer in model.classifier.encoder.layers:
            for direction in (layer.forwards, layer.backwards):
                direction.all_weights[0][2].fill_(-100)  # every unit is dead
    flows = measure(model, spoken)
    assert all(share is None for flow in flows for share in flow.loss)
    assert all(flow.state[0] == 1 for flow in flows)
    assert all(share == 0 for flow in flows for share in flow.state[1:31])
    gradients_picture({"dead": flows}, tmp_path / "dead.png")


def test_a_model_without_recurrence_is_refused(
    make_model: Callable[..., AcousticModel], spoken: list[tuple[Tensor, Tensor]]
) -> None:
    model = make_model("gru")
    model.classifier.encoder = nn.Identity()
    with pytest.raises(ConfigError, match="no recurrent layer"):
        measure(model, spoken)


def test_a_model_without_ctc_is_refused(spoken: list[tuple[Tensor, Tensor]]) -> None:
    config = Config.model_validate({"model": {"head": "attention", "hidden": 8, "layers": 1}})
    with pytest.raises(ConfigError, match="head: attention"):
        measure(AcousticModel(config, 5), spoken)
