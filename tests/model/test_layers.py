"""Dropout and linear layers against those of `nn`, and against what dropout has to be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asr.model.layers import Dropout, Linear, fast_linear


def drawn(p: float, shape: tuple[int, ...] = (1000, 1000), seed: int = 0) -> Tensor:
    """What dropout makes of ones."""
    torch.manual_seed(seed)
    return Dropout(p).train()(torch.ones(shape))


@pytest.mark.parametrize("p", [0.001, 0.1, 0.3, 0.5, 0.9, 0.9999])
def test_share_of_zeros_is_p_and_the_mean_is_kept(p: float) -> None:
    output = drawn(p).double()
    error = (p * (1 - p) / output.numel()) ** 0.5
    assert abs((output == 0).double().mean() - p) < 5 * error + 2**-16
    assert abs(output.mean() - 1) < 5 * error / (1 - p)
    kept = output[output != 0]
    assert (kept == kept[0]).all()
    assert kept[0] == pytest.approx(1 / (1 - p), abs=2**-16 / (1 - p) ** 2)


def test_values_are_dropped_independently() -> None:
    """Four neighbours come from one drawn number; rows, columns and neighbours must not know of each other."""
    dropped = (drawn(0.3) == 0).double().flatten() - 0.3
    for distance in (1, 2, 3, 4, 5, 8, 1000, 4000):
        correlation = (dropped[distance:] * dropped[:-distance]).mean() / (0.3 * 0.7)
        assert abs(correlation) < 5e-3, distance
    for place in range(4):
        assert abs(dropped[place::4].mean()) < 5e-3


def test_masks_follow_torchs_seed() -> None:
    assert torch.equal(drawn(0.3, seed=1), drawn(0.3, seed=1))
    assert not torch.equal(drawn(0.3, seed=1), drawn(0.3, seed=2))


@pytest.mark.parametrize("shape", [(1,), (3,), (5, 7), (2, 3, 1), (0, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_any_shape_and_type(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.rand(shape).to(dtype) + 1
    output = Dropout(0.5).train()(x)
    assert output.shape == x.shape
    assert output.dtype == dtype
    assert torch.equal(output[output != 0], 2 * x[output != 0])


def test_gradient_passes_where_the_value_did() -> None:
    x = torch.rand(50, 40).add(1).t().requires_grad_()  # not contiguous
    output = Dropout(0.4).train()(x)
    output.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(output, x * x.grad)
    assert (x.grad == 0).any()


def test_nothing_is_dropped_in_evaluation_nor_with_probability_0() -> None:
    x = torch.rand(20, 20)
    assert torch.equal(Dropout(0.9).eval()(x), x)
    assert torch.equal(Dropout(0.0).train()(x), x)


@pytest.mark.parametrize("shape", [(7, 6), (3, 5, 6), (2, 3, 5, 6), (0, 6)])
@pytest.mark.parametrize("biased", [True, False])
def test_linear_gives_the_values_and_gradients_of_torch(shape: tuple[int, ...], biased: bool) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(shape), torch.randn(6, 4).t()  # not contiguous, as a transposed matrix is
    bias = [torch.randn(4)] if biased else []
    target = torch.randn(*shape[:-1], 4)

    def run(function: object) -> list[Tensor]:
        leaves = [tensor.clone().requires_grad_() for tensor in (x, weight, *bias)]
        output = function(*leaves)  # type: ignore[operator]
        (output * target).sum().backward()
        return [output, *(leaf.grad for leaf in leaves if leaf.grad is not None)]

    for found, expected in zip(run(fast_linear), run(F.linear), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_linear_in_other_precisions_is_torchs(dtype: torch.dtype) -> None:
    x, weight, bias = (torch.randn(shape).to(dtype) for shape in ((3, 6), (4, 6), (4,)))
    assert torch.equal(fast_linear(x, weight, bias), F.linear(x, weight, bias))


def test_linear_under_autocast_is_torchs() -> None:
    layer, x = Linear(6, 4).train(), torch.randn(3, 6)
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(x)
    assert output.dtype == torch.bfloat16
    output.float().sum().backward()


def test_linear_layer_has_the_weights_of_torchs_and_evaluates_as_it_does() -> None:
    layer, reference, x = Linear(6, 4), nn.Linear(6, 4), torch.randn(3, 6)
    reference.load_state_dict(layer.state_dict())
    assert torch.equal(layer.eval()(x), reference(x))
    torch.testing.assert_close(layer.train()(x), reference(x), atol=1e-5, rtol=1e-5)
