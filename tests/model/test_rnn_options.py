"""Weight drop, projections, residual connections and intermediate outputs, against the equations written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from asr.config import Config, ModelConfig, parse_config
from asr.errors import ConfigError
from asr.model.acoustic import AcousticModel, TokenClassifier
from asr.model.rnn import Encoder, RecurrentLayer
from tests.model.test_padding import check
from tests.model.test_rnn import CELLS, LENGTHS, layer_norm, linear, randomised, textbook, textbook_layer, weights

OPTIONS: list[dict[str, Any]] = [
    {"weight_drop": 0.4},
    {"projection": 6},
    {"residual": True},
    {"projection": 5, "residual": True},
    {"intermediate": [1, 2], "self_conditioning": True},
]


def configuration(**model: Any) -> Config:
    sizes = {"layers": 3, "hidden": 5, "dropout": 0.0, "subsampling": {"kind": "stack", "factor": 1}}
    return parse_config({"features": {"mels": 8}, "model": sizes | model})


def model_config(**model: Any) -> ModelConfig:
    return configuration(**model).model


@pytest.mark.parametrize("bidirectional", [False, True], ids=["forwards", "both directions"])
@pytest.mark.parametrize("cell", CELLS)
def test_training_runs_on_weights_dropped_by_torchs_generator_alike_in_every_frame(
    cell: str, bidirectional: bool
) -> None:
    layer = randomised(RecurrentLayer(cell, 6, 5, bidirectional, weight_drop=0.4)).train()
    x = torch.randn(1, 9, 6)
    torch.manual_seed(3)
    output = layer(x, torch.tensor([9]))
    torch.manual_seed(3)
    both = [(layer.forwards, 1), (layer.backwards, -1)][: 2 if bidirectional else 1]
    expected = []
    for direction, step in both:
        w = weights(direction)
        w["weight_hh_l0"] = F.dropout(direction.weight_hh_l0.detach(), 0.4).double().numpy()
        assert 0 < (w["weight_hh_l0"] == 0).mean() < 1
        expected.append(textbook(cell, w, x[0].double().numpy()[::step])[::step])
    np.testing.assert_allclose(output[0].detach().numpy(), np.hstack(expected), atol=1e-5)


def test_weights_are_whole_in_evaluation() -> None:
    layer = randomised(RecurrentLayer("lstm", 6, 5, True, weight_drop=0.4))
    x = torch.randn(1, 9, 6)
    expected = textbook_layer("lstm", layer, x[0].double().numpy())
    np.testing.assert_allclose(layer(x, torch.tensor([9]))[0].detach().numpy(), expected, atol=1e-5)


def test_dropped_weights_get_no_gradient_and_the_others_a_scaled_one() -> None:
    layer = randomised(RecurrentLayer("lstm", 6, 5, False, weight_drop=0.4)).train()
    x = torch.randn(2, 9, 6)
    torch.manual_seed(3)
    layer(x, torch.tensor([9, 9])).square().sum().backward()
    torch.manual_seed(3)
    kept = F.dropout(torch.ones(20, 5), 0.4)
    plain = randomised(RecurrentLayer("lstm", 6, 5, False))
    plain.load_state_dict(layer.state_dict())
    with torch.no_grad():
        plain.forwards.weight_hh_l0.mul_(kept)
    plain(x, torch.tensor([9, 9])).square().sum().backward()
    torch.testing.assert_close(layer.forwards.weight_hh_l0.grad, plain.forwards.weight_hh_l0.grad * kept)


def test_weight_drop_stays_on_the_fused_kernel() -> None:
    layer = RecurrentLayer("lstm", 16, 32, True, weight_drop=0.4).train()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        layer(torch.randn(4, 20, 16), torch.full((4,), 20)).sum().backward()
    counts = {event.key: event.count for event in seen.key_averages()}
    assert counts.get("aten::mkldnn_rnn_layer") == 2
    assert counts.get("aten::mkldnn_rnn_layer_backward") == 2


@pytest.mark.parametrize("projection", [None, 5, 7], ids=lambda width: f"projection {width}")
@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
def test_encoder_projects_and_adds_its_input_where_widths_are_equal(projection: int | None, residual: bool) -> None:
    encoder = randomised(Encoder(model_config(projection=projection, residual=residual), 5))
    x = torch.randn(len(LENGTHS), max(LENGTHS), 5)
    output = encoder(x, torch.tensor(LENGTHS))
    assert output.shape[-1] == encoder.size == (projection or 10)
    for row, length in enumerate(LENGTHS):
        h = x[row, :length].double().numpy()
        for number in range(3):
            y = textbook_layer("lstm", encoder.layers[number], h)
            if projection:
                y = linear(encoder.projections[number], y)
            y = layer_norm(encoder.norms[number], y)
            equal = number > 0 or projection == 5
            h = h + y if residual and equal else y
        np.testing.assert_allclose(output[row, :length].detach().numpy(), h, atol=1e-5)


def test_without_options_a_model_has_the_weights_it_always_had() -> None:
    names = {name.split(".")[0] for name in Encoder(model_config(), 5).state_dict()}
    assert names == {"layers", "norms"}


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("lengths", [[1], [3, 1, 17], [23, 64, 5, 1, 31]], ids=str)
def test_padding_cannot_change_a_result(options: dict[str, Any], lengths: list[int]) -> None:
    check(TokenClassifier(configuration(**options), 7).eval(), 8, lengths)


def softmax(y: np.ndarray) -> np.ndarray:
    e = np.exp(y - y.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("conditioning", [False, True], ids=["losses alone", "self-conditioned"])
def test_training_also_gives_the_heads_view_of_the_layers_named(conditioning: bool) -> None:
    """log softmax of the one head after layers 1 and 2; with conditioning, W_c softmax + b_c joins the next input."""
    config = configuration(intermediate=[1, 2], self_conditioning=conditioning)
    classifier = randomised(TokenClassifier(config, tokens=4)).train()
    features, lengths = torch.randn(len(LENGTHS), max(LENGTHS), 8), torch.tensor(LENGTHS)
    log_probs, frames = classifier(features, lengths)
    assert frames.tolist() == LENGTHS * 3
    final, *early = log_probs.detach().unflatten(0, (3, len(LENGTHS))).numpy()
    assert classifier.conditioning is None or conditioning
    for row, length in enumerate(LENGTHS):
        h = linear(classifier.subsampling.project, features[row, :length].double().numpy())
        h = layer_norm(classifier.norm, h)
        for number, (layer, norm) in enumerate(zip(classifier.encoder.layers, classifier.encoder.norms, strict=True)):
            h = layer_norm(norm, textbook_layer("lstm", layer, h))
            found = [*early, final][number][row, :length]
            np.testing.assert_allclose(np.exp(found), softmax(linear(classifier.head, h)), atol=1e-5)
            if conditioning and number < 2:
                h = h + linear(classifier.conditioning, softmax(linear(classifier.head, h)))
    classifier.eval()
    alone, frames = classifier(features, lengths)
    assert frames.tolist() == LENGTHS
    np.testing.assert_allclose(alone.detach().numpy(), final, atol=1e-6)


def test_views_are_masked_copies_behind_each_other() -> None:
    config = configuration(intermediate=[1])
    model = AcousticModel(config, 5).train()
    waveforms, lengths = 0.1 * torch.randn(3, 8000), torch.tensor([8000, 4000, 161])
    same, frames = model(waveforms, lengths, None, 2)
    assert same.shape[0] == len(frames) == 2 * 2 * 3
    torch.testing.assert_close(*same.unflatten(0, (2, 2, 3)).unbind(1))
    different, _ = model(waveforms, lengths, config.augmentation.spec_augment, 2)
    one, other = different[:6].chunk(2)
    assert not torch.allclose(one, other, atol=1e-3)
    alone, _ = model.eval()(waveforms, lengths)
    torch.testing.assert_close(alone, same[:3])


def count(config: Config) -> int:
    return sum(parameter.numel() for parameter in Encoder(config.model, 5).parameters())


def test_projection_makes_later_layers_smaller() -> None:
    assert count(configuration(projection=2)) < count(configuration())


def gradients_reach(model: AcousticModel) -> list[Tensor | None]:
    log_probs, _ = model(0.1 * torch.randn(2, 4000), torch.tensor([4000, 2000]))
    log_probs.square().sum().backward()
    return [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_weight_is_trained(options: dict[str, Any]) -> None:
    """Distributed training waits for the gradient of each."""
    assert all(gradient is not None for gradient in gradients_reach(AcousticModel(configuration(**options), 5)))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"intermediate": [3]}, "below the last of 3 layers"),
        ({"intermediate": [0]}, "below the last of 3 layers"),
        ({"self_conditioning": True}, "needs layers in intermediate"),
        ({"intermediate": [1], "head": "attention"}, "need head: ctc"),
    ],
)
def test_options_that_cannot_be_are_explained(model: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        configuration(**model)
