"""The Transformer encoder against float64 loops written from its equations, and the contract about padding."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from asr.config import Config, parse_config
from asr.errors import ConfigError
from asr.model.acoustic import AcousticModel, TokenClassifier
from asr.model.transformer import TransformerEncoder, TransformerLayer, rotated
from tests.model.test_padding import FRAMES, SAMPLES, check
from tests.model.test_rnn import LENGTHS, layer_norm, linear, randomised


def configuration(**model: Any) -> Config:
    sizes = {"encoder": "transformer", "layers": 2, "hidden": 12, "heads": 3, "feedforward": 20}
    subsampling = {"subsampling": {"channels": 4}}
    return parse_config({"features": {"mels": 16}, "model": sizes | subsampling | model})


def textbook_layer(layer: TransformerLayer, x: np.ndarray) -> np.ndarray:
    """One utterance `[frames, size]` through a layer, head by head and frame by frame."""
    frames, size = x.shape
    width = size // layer.heads
    q, k, v = np.split(linear(layer.project, layer_norm(layer.attention_norm, x)), 3, axis=1)
    heard = np.zeros_like(x)
    for head in range(layer.heads):
        part = slice(head * width, (head + 1) * width)
        for s in range(frames):
            scores = np.array([turned(q[s, part], s) @ turned(k[t, part], t) for t in range(frames)])
            weights = np.exp(scores / math.sqrt(width))
            heard[s, part] = weights / weights.sum() @ v[:, part]
    x = x + linear(layer.merge, heard)
    return x + linear(layer.contract, np.maximum(linear(layer.expand, layer_norm(layer.feedforward_norm, x)), 0))


def turned(x: np.ndarray, frame: int) -> np.ndarray:
    """Pairs of values as complex numbers, multiplied by e^(i frame speed)."""
    half = len(x) // 2
    speeds = 10000.0 ** (-np.arange(half) / half)
    z = (x[:half] + 1j * x[half:]) * np.exp(1j * frame * speeds)
    return np.concatenate([z.real, z.imag])


def test_encoder_computes_the_textbook_equations() -> None:
    encoder = randomised(TransformerEncoder(configuration().model, 12))
    x, lengths = torch.randn(len(LENGTHS), max(LENGTHS), 12), torch.tensor(LENGTHS)
    output = encoder(x, lengths)
    for row, length in enumerate(LENGTHS):
        h = x[row, :length].double().numpy()
        for layer in encoder.layers:
            h = textbook_layer(layer, h)
        np.testing.assert_allclose(output[row, :length].detach().numpy(), layer_norm(encoder.norm, h), atol=1e-4)


def test_scores_depend_on_the_distance_of_two_frames_alone() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 8).expand(2, 40, 8)
    scores = rotated(q) @ rotated(k).T
    for distance in (-7, 0, 1, 20):
        diagonal = scores.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-4, rtol=1e-4)
    assert scores.diagonal(1)[0] != pytest.approx(scores.diagonal(-1)[0].item(), abs=1e-2)


@pytest.mark.parametrize("lengths", FRAMES, ids=str)
@pytest.mark.parametrize("conditioning", [False, True], ids=["plain", "self-conditioned"])
def test_padding_cannot_change_a_result(lengths: list[int], conditioning: bool) -> None:
    config = configuration(intermediate=[1], self_conditioning=conditioning)
    check(TransformerEncoder(config.model, 12).eval(), 12, lengths)
    check(TokenClassifier(config, 7).eval(), 16, lengths)


@pytest.mark.parametrize("lengths", SAMPLES, ids=str)
def test_padding_cannot_change_what_the_whole_model_gives(lengths: list[int]) -> None:
    check(AcousticModel(configuration(), 7).eval(), None, lengths, scale=0.1)


def test_gradients_do_not_depend_on_the_padding_and_a_row_without_frames_does_no_harm() -> None:
    torch.manual_seed(0)
    encoder = TransformerEncoder(configuration(dropout=0.0).model, 12)
    x, lengths = torch.randn(3, 9, 12), torch.tensor([9, 4, 0])

    def gradients(x: torch.Tensor, lengths: torch.Tensor) -> list[torch.Tensor | None]:
        encoder.zero_grad()
        output = encoder(x, lengths)
        sum(row[:length, 0].sum() for row, length in zip(output, lengths, strict=True)).backward()
        return [parameter.grad for parameter in encoder.parameters()]

    together = gradients(x, lengths)
    longer = gradients(torch.nn.functional.pad(x[:2], (0, 0, 0, 5), value=30.0), lengths[:2])
    for one, other in zip(together, longer, strict=True):
        assert one is not None
        assert torch.isfinite(one).all()
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_dropout_follows_torchs_generator_and_acts_in_training_only() -> None:
    encoder = TransformerEncoder(configuration(dropout=0.5).model, 12)
    x, lengths = torch.randn(2, 5, 12), torch.tensor([5, 3])
    outputs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        outputs.append(encoder(x, lengths))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    encoder.eval()
    assert torch.equal(encoder(x, lengths), encoder(x, lengths))


def test_half_precision_stays_close() -> None:
    model = AcousticModel(configuration(), 7).eval()
    waveforms, lengths = 0.1 * torch.randn(2, 8000), torch.tensor([8000, 4000])
    with torch.no_grad():
        expected, _ = model(waveforms, lengths)
        with torch.autocast("cpu", torch.bfloat16):
            log_probs, _ = model(waveforms, lengths)
    assert log_probs.dtype == torch.float32
    torch.testing.assert_close(log_probs[0], expected[0], atol=0.1, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_gpu_gives_the_log_probs_of_the_cpu() -> None:
    model = AcousticModel(configuration(), 7).eval()
    waveforms, lengths = 0.1 * torch.randn(2, 8000), torch.tensor([8000, 4000])
    with torch.no_grad():
        expected, frames = model(waveforms, lengths)
        log_probs, _ = model.cuda()(waveforms.cuda(), lengths.cuda())
    for row, other, length in zip(log_probs.cpu(), expected, frames, strict=True):
        torch.testing.assert_close(row[:length], other[:length], atol=1e-2, rtol=0)  # TF32


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"hidden": 10, "heads": 4}, "hidden 10 must be an even number for each of 4 heads"),
        ({"hidden": 12, "heads": 4}, "hidden 12 must be an even number for each of 4 heads"),
        ({"weight_drop": 0.2}, "weight_drop is an option of encoder: rnn"),
        ({"projection": 8}, "projection is an option of encoder: rnn"),
        ({"cell": "gru"}, "cell is an option of encoder: rnn"),
        ({"residual": True}, "residual is an option of encoder: rnn"),
        ({"bidirectional": False}, "needs encoder: rnn"),
    ],
)
def test_options_that_it_does_not_have_are_explained(model: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        configuration(**model)
