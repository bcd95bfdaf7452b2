"""What training minimises, against the formulas of the papers written out."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from asr.config import Config, parse_config
from asr.data.loading import Batch
from asr.errors import ConfigError
from asr.training.loss import ctc_loss
from asr.training.objective import consistency, divided_by_prior, objective, views

LENGTHS = [6, 4, 1]
LABELS = [[1, 2], [2, 2], []]


def batch() -> Batch:
    tokens = torch.zeros(3, 2, dtype=torch.long)
    for row, labels in enumerate(LABELS):
        tokens[row, : len(labels)] = torch.tensor(labels, dtype=torch.long)
    sizes = torch.tensor([len(labels) for labels in LABELS])
    return Batch(["a", "b", "c"], torch.zeros(3, 1), torch.ones(3), tokens, sizes)


def log_probs(copies: int = 1, seed: int = 0) -> Tensor:
    scores = torch.randn(copies * 3, 6, 4, generator=torch.Generator().manual_seed(seed))
    return (2 * scores).log_softmax(-1)


def configuration(**training: Any) -> Config:
    return parse_config({"training": training})


def found(values: Tensor, config: Config) -> Tensor:
    copies = len(values) // 3
    one = batch()
    return objective((values, torch.tensor(LENGTHS * copies)), one, config, torch.tensor(LENGTHS), one.token_lengths)


def ctc(values: Tensor) -> Tensor:
    one = batch()
    return ctc_loss(values, torch.tensor(LENGTHS), one.tokens, one.token_lengths)


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    """KL(p || q) of two distributions."""
    return float((p * np.log(p / q)).sum())


def test_alone_it_is_ctc() -> None:
    values = log_probs()
    torch.testing.assert_close(found(values, configuration()), ctc(values))
    assert views(configuration()) == 1


def test_consistency_is_half_of_both_divergences_over_the_frames_of_the_utterance() -> None:
    values = log_probs(2)
    p = values.double().exp().numpy()
    for row, length in enumerate(LENGTHS):
        pairs = [(p[row, t], p[3 + row, t]) for t in range(length)]
        expected = 0.5 * sum(divergence(b, a) + divergence(a, b) for a, b in pairs)
        assert consistency(values, torch.tensor(LENGTHS))[row].item() == pytest.approx(expected, rel=1e-5)


def test_each_view_is_drawn_to_the_other_and_none_is_drawn_away() -> None:
    """The gradient of KL(sg(b) || a) with respect to the scores of a is softmax(a) - softmax(b)."""
    scores = torch.randn(2 * 3, 6, 4).requires_grad_()
    consistency(scores.log_softmax(-1), torch.tensor(LENGTHS)).sum().backward()
    p = scores.detach().softmax(-1)
    inside = (torch.arange(6) < torch.tensor(LENGTHS * 2)[:, None])[..., None]
    torch.testing.assert_close(scores.grad, 0.5 * (p - p.roll(3, 0)) * inside)


def test_consistency_joins_the_mean_of_the_views_ctc() -> None:
    values, config = log_probs(2), configuration(consistency=0.2)
    assert views(config) == 2
    expected = 0.5 * (ctc(values[:3]) + ctc(values[3:])) + 0.2 * consistency(values, torch.tensor(LENGTHS))
    torch.testing.assert_close(found(values, config), expected)


def test_intermediate_losses_get_their_share() -> None:
    values = log_probs(3)
    last, one, two = (ctc(part) for part in values.chunk(3))
    torch.testing.assert_close(found(values, configuration()), 0.7 * last + 0.3 * 0.5 * (one + two))
    without = parse_config({"model": {"intermediate": [1]}, "training": {"intermediate_weight": 0.0}})
    torch.testing.assert_close(found(values, without), last)


def test_views_and_intermediate_losses_together() -> None:
    values = log_probs(4)
    last, early = (0.5 * (ctc(part[:3]) + ctc(part[3:])) for part in values.chunk(2))
    expected = 0.7 * last + 0.3 * early + 0.2 * consistency(values[:6], torch.tensor(LENGTHS))
    torch.testing.assert_close(found(values, configuration(consistency=0.2)), expected)


def test_prior_is_the_mean_over_the_frames_of_all_utterances() -> None:
    values = log_probs()
    frames = np.concatenate([values[row, :length].double().exp().numpy() for row, length in enumerate(LENGTHS)])
    expected = values.double().numpy() - 0.3 * np.log(frames.mean(0))
    np.testing.assert_allclose(divided_by_prior(values, torch.tensor(LENGTHS), 0.3).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_attention_heads_learn_each_token_and_the_end(smoothing: float) -> None:
    """Cross-entropy with (1 - smoothing) on the right token and smoothing spread over all."""
    values = log_probs()[:, :3]  # two labels at most, and the end
    config = parse_config({"model": {"head": "attention"}, "training": {"label_smoothing": smoothing}})
    losses = found(values, config)
    assert views(config) == 1
    for row, labels in enumerate(LABELS):
        wanted = [*labels, 0]
        targets = np.full((len(wanted), 4), smoothing / 4)
        targets[np.arange(len(wanted)), wanted] += 1 - smoothing
        expected = -(targets * values[row, : len(wanted)].double().numpy()).sum()
        assert losses[row].item() == pytest.approx(expected, rel=1e-5)


def all_paths(scores: Tensor, labels: list[int]) -> Tensor:
    """-log of the sum over all paths of exp of their scores `[frames, tokens]`, one by one."""
    paths = [
        scores[torch.arange(len(scores)), torch.tensor(path)].sum()
        for path in itertools.product(range(scores.shape[1]), repeat=len(scores))
        if [token for token, _ in itertools.groupby(path) if token] == labels
    ]
    return -torch.logsumexp(torch.stack(paths), 0)


def test_with_a_prior_loss_and_gradient_are_those_of_the_sum_over_all_paths() -> None:
    """torch's own gradient would be that of scores which sum to 1."""
    logits = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(1)).double()
    one, other = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    losses = found(one.log_softmax(-1), configuration(label_prior=0.5))
    scores = other.log_softmax(-1)
    inside = (torch.arange(6) < torch.tensor(LENGTHS)[:, None])[..., None]
    prior = (scores.detach().exp() * inside).sum((0, 1)) / sum(LENGTHS)
    scores = scores - 0.5 * prior.log()
    rows = zip(scores, LENGTHS, LABELS, strict=True)
    expected = torch.stack([all_paths(row[:length], labels) for row, length, labels in rows])
    torch.testing.assert_close(losses.double(), expected, rtol=1e-5, atol=1e-5)
    weights = torch.tensor([1.0, 2.0, 3.0])
    (losses * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [{}, {"consistency": 0.2}], ids=str)
def test_an_utterances_loss_does_not_depend_on_the_batch_or_its_padding(training: dict[str, float]) -> None:
    config = configuration(**training)
    values = log_probs(2 * views(config))
    expected = found(values, config)
    spoilt = values.clone()
    for row in range(len(values)):
        spoilt[row, LENGTHS[row % 3] :] = -50.0
    torch.testing.assert_close(found(spoilt, config), expected)


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"training": {"consistency": 0.2}, "augmentation": {"spec_augment": None}}, "augmentation.spec_augment"),
        ({"training": {"consistency": 0.2}, "model": {"head": "attention"}}, "training.consistency needs model.head"),
        ({"training": {"label_prior": 0.3}, "model": {"head": "attention"}}, "training.label_prior needs model.head"),
        ({"training": {"bptt_frames": 9}, "model": {"bidirectional": False, "head": "attention"}}, "model.head: ctc"),
        ({"training": {"bptt_frames": 9}, "model": {"bidirectional": False, "residual": True}}, "model.residual"),
    ],
)
def test_combinations_that_cannot_be_are_explained(tree: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_config(tree)
