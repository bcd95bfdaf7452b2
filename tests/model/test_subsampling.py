from __future__ import annotations

import numpy as np
import pytest
import torch

from asr.config import SubsamplingConfig
from asr.model.subsampling import ConvSubsampling, StackSubsampling, subsampling


def layer(kind: str, factor: int, mels: int = 10, size: int = 6, depth: int = 0) -> ConvSubsampling | StackSubsampling:
    torch.manual_seed(0)
    config = SubsamplingConfig.model_validate({"kind": kind, "factor": factor, "channels": 3, "depth": depth})
    return subsampling(config, mels, size).eval()


FACTORS = [("conv", 2), ("conv", 4), ("conv", 8), *(("stack", factor) for factor in (1, 2, 3, 4, 6, 8))]


@pytest.mark.parametrize(("kind", "factor"), FACTORS)
def test_frames_become_the_ceiling_of_frames_by_factor(kind: str, factor: int) -> None:
    module = layer(kind, factor)
    lengths = torch.arange(40)
    output, subsampled = module(torch.randn(40, 39, 10), lengths)
    assert subsampled.tolist() == [-(-length // factor) for length in range(40)]
    assert output.shape == (40, -(-39 // factor), 6)


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("frames", [1, 5, 24])
def test_stacking_puts_neighbours_side_by_side_and_fills_up_with_zeros(factor: int, frames: int) -> None:
    module = layer("stack", factor)
    x = torch.randn(1, frames, 10)
    filled = np.zeros((-(-frames // factor) * factor, 10))
    filled[:frames] = x[0].numpy()
    stacked = filled.reshape(-1, factor * 10)
    weight, bias = module.project.weight.detach().double().numpy(), module.project.bias.detach().double().numpy()
    np.testing.assert_allclose(
        module(x, torch.tensor([frames]))[0][0].detach().numpy(), stacked @ weight.T + bias, atol=1e-5
    )


def convolve(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int = 2) -> np.ndarray:
    """`[channels, time, bins]` through a 3x3 convolution that sees 0 outside, and a ReLU; float64."""
    _, time, bins = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    output = np.empty((len(weight), -(-time // stride), -(-bins // stride)))
    for t, f in np.ndindex(output.shape[1:]):
        patch = padded[:, stride * t : stride * t + 3, stride * f : stride * f + 3]
        output[:, t, f] = (weight * patch).sum((1, 2, 3)) + bias
    return np.maximum(output, 0)


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("frames", [1, 2, 13])
@pytest.mark.parametrize(("mels", "depth"), [(8, 0), (11, 0), (11, 2)])
def test_convolutions_compute_what_a_loop_computes(factor: int, frames: int, mels: int, depth: int) -> None:
    module = layer("conv", factor, mels, depth=depth)
    assert isinstance(module, ConvSubsampling)
    x = torch.randn(1, frames, mels)
    expected = x.double().numpy()
    for convolution in (*module.convolutions, *module.deeper):
        weight, bias = (one.detach().double().numpy() for one in (convolution.weight, convolution.bias))
        deeper = convolution in list(module.deeper)
        expected = convolve(expected, weight, bias, 1 if deeper else 2) + (expected if deeper else 0)
    flat = expected.transpose(1, 0, 2).reshape(expected.shape[1], -1)
    weight, bias = module.project.weight.detach().double().numpy(), module.project.bias.detach().double().numpy()
    np.testing.assert_allclose(
        module(x, torch.tensor([frames]))[0][0].detach().numpy(), flat @ weight.T + bias, atol=1e-5
    )


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_gradients_are_those_of_masked_convolutions_written_plainly(factor: int) -> None:
    """The layer works in place and leaves a mask out of the graph; here every step makes a new tensor."""
    module = layer("conv", factor).train()
    assert isinstance(module, ConvSubsampling)
    lengths = torch.tensor([29, 1, 16])
    x, target = torch.randn(3, 29, 10), torch.randn(3, -(-29 // factor), 6)

    def gradients(output: torch.Tensor) -> list[torch.Tensor]:
        module.zero_grad()
        (output * target).sum().backward()
        return [parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None]

    found = gradients(module(x, lengths)[0])
    plain, inside = x[:, None], lengths
    for convolution in module.convolutions:
        plain = plain * (torch.arange(plain.shape[2]) < inside[:, None])[:, None, :, None]
        plain, inside = torch.relu(convolution(plain)), (inside + 1) // 2
    plain = plain * (torch.arange(plain.shape[2]) < inside[:, None])[:, None, :, None]
    expected = gradients(module.project(plain.transpose(1, 2).flatten(2)))
    assert len(found) == len(expected) == 2 * len(module.convolutions) + 2
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_features_are_left_alone() -> None:
    x = torch.randn(2, 13, 10)
    before = x.clone()
    layer("conv", 4)(x, torch.tensor([13, 5]))
    assert torch.equal(x, before)
