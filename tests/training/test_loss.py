from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from asr.training.loss import ctc_loss

CASES = [
    (frames, tokens, labels)
    for frames, tokens, labels in [
        (1, 2, []),
        (1, 3, [2]),
        (3, 2, [1]),
        (3, 3, [1, 1]),
        (4, 3, [1, 2]),
        (5, 4, [3, 3, 1]),
        (6, 4, [1, 2, 3]),
        (6, 3, [2, 2, 2]),
        (6, 4, [1, 2, 1, 2, 1, 2]),
        (6, 4, []),
    ]
]


def emits(path: tuple[int, ...]) -> list[int]:
    return [token for token, _ in itertools.groupby(path) if token != 0]


def brute_force(log_probs: Tensor, labels: list[int]) -> float:
    """-log of the summed probability of every path `[frames]` that merges to `labels`, float64."""
    frames, tokens = log_probs.shape
    rows = log_probs.double().tolist()
    total = math.fsum(
        math.exp(math.fsum(row[token] for row, token in zip(rows, path, strict=True)))
        for path in itertools.product(range(tokens), repeat=frames)
        if emits(path) == labels
    )
    return -math.log(total) if total else math.inf


def random_log_probs(*shape: int, seed: int = 0) -> Tensor:
    return (2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))).log_softmax(-1)


def single(log_probs: Tensor, labels: list[int]) -> Tensor:
    tokens = torch.tensor([labels], dtype=torch.long).reshape(1, len(labels))
    return ctc_loss(log_probs[None], torch.tensor([len(log_probs)]), tokens, torch.tensor([len(labels)]))[0]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("frames", "tokens", "labels"), CASES)
def test_loss_is_the_sum_over_all_alignments(frames: int, tokens: int, labels: list[int], seed: int) -> None:
    log_probs = random_log_probs(frames, tokens, seed=seed)
    assert single(log_probs, labels).item() == pytest.approx(brute_force(log_probs, labels), rel=1e-5)


def test_gradient_is_that_of_the_sum_over_all_alignments() -> None:
    logits = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    leaf = logits.float().requires_grad_()
    single(leaf.log_softmax(-1), [1, 2]).backward()
    assert leaf.grad is not None
    step = 1e-5
    for place in itertools.product(range(4), range(3)):
        up, down = logits.clone(), logits.clone()
        up[place] += step
        down[place] -= step
        slope = (brute_force(up.log_softmax(-1), [1, 2]) - brute_force(down.log_softmax(-1), [1, 2])) / (2 * step)
        assert leaf.grad[place].item() == pytest.approx(slope, abs=1e-4)


@pytest.mark.parametrize("garbage", [0, 3, 999])
def test_ragged_batch_is_each_utterance_by_itself(garbage: int) -> None:
    labels = [[1, 1], [3, 2, 1], [], [2]]
    lengths = [5, 6, 2, 1]
    log_probs = random_log_probs(4, 6, 4)
    tokens = torch.full((4, 3), garbage)
    for row, wanted in zip(tokens, labels, strict=True):
        row[: len(wanted)] = torch.tensor(wanted, dtype=torch.long)
    expected = [brute_force(row[:n], wanted) for row, n, wanted in zip(log_probs, lengths, labels, strict=True)]
    for row, length in zip(log_probs, lengths, strict=True):
        row[length:] = 50.0
    losses = ctc_loss(log_probs, torch.tensor(lengths), tokens, torch.tensor([len(wanted) for wanted in labels]))
    assert losses.shape == (4,)
    assert losses.tolist() == pytest.approx(expected, rel=1e-5)


def test_loss_is_float32_whatever_the_autocast() -> None:
    log_probs = random_log_probs(2, 6, 4)
    arguments = torch.tensor([6, 5]), torch.tensor([[1, 1], [3, 2]]), torch.tensor([2, 2])
    expected = ctc_loss(log_probs, *arguments)
    with torch.autocast("cpu", torch.bfloat16):
        losses = ctc_loss(log_probs, *arguments)
        from_half = ctc_loss(log_probs.bfloat16(), *arguments)
    assert losses.dtype == from_half.dtype == torch.float32
    assert torch.equal(losses, expected)
    assert torch.equal(from_half, ctc_loss(log_probs.bfloat16().float(), *arguments))


@pytest.mark.parametrize(("frames", "labels"), [(1, [1, 2]), (2, [1, 1]), (4, [2, 2, 2]), (3, [1, 2, 3, 1])])
def test_too_few_frames_for_labels_and_repeats_give_infinity(frames: int, labels: list[int]) -> None:
    log_probs = random_log_probs(frames, 4)
    assert brute_force(log_probs, labels) == math.inf
    assert single(log_probs, labels).item() == math.inf


def test_infinity_of_one_utterance_leaves_the_others_alone() -> None:
    log_probs = random_log_probs(2, 5, 4)
    losses = ctc_loss(log_probs, torch.tensor([2, 5]), torch.tensor([[1, 1], [1, 1]]), torch.tensor([2, 2]))
    assert losses[0].item() == math.inf
    assert losses[1].item() == pytest.approx(brute_force(log_probs[1], [1, 1]), rel=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_gpu_gives_the_loss_and_gradient_of_the_cpu() -> None:
    lengths, tokens, sizes = torch.tensor([6, 4]), torch.tensor([[1, 1, 3], [2, 0, 0]]), torch.tensor([3, 1])
    losses, gradients = [], []
    for device in ("cpu", "cuda"):
        logits = random_log_probs(2, 6, 4).to(device).requires_grad_()
        loss = ctc_loss(logits.log_softmax(-1), lengths.to(device), tokens.to(device), sizes.to(device))
        loss.sum().backward()
        assert logits.grad is not None
        losses.append(loss.detach().cpu())
        gradients.append(logits.grad.cpu())
    torch.testing.assert_close(losses[1], losses[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-5, rtol=1e-5)
