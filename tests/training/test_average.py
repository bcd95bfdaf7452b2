from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import torch

from asr.config import Config
from asr.data.manifest import Utterance
from asr.model.checkpoint import load_tensors
from asr.training import train
from asr.training.average import Average
from tests.trainings import last_checkpoint


def test_the_average_is_the_weighted_sum_of_the_weights_there_were() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    average, history = Average(model, decay=0.75), [copy.deepcopy(model.state_dict())]
    for step in range(30):
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn_like(weight))
        average.update(step)
        history.append(copy.deepcopy(model.state_dict()))
    for name, found in average.tensors().items():
        expected = history[0][name].double()
        for step, weights in enumerate(history[1:]):
            decay = min(0.75, (1 + step) / (10 + step))
            expected = expected.mul(decay).add(weights[name].double(), alpha=1 - decay)
        assert torch.allclose(found.double(), expected, atol=1e-6)


def test_in_place_lends_the_average_to_the_model_and_takes_it_back() -> None:
    model = torch.nn.Linear(3, 2)
    average = Average(model, decay=0.5)
    before = {name: weight.clone() for name, weight in average.tensors().items()}
    with torch.no_grad():
        model.weight += 1
    now = model.weight.clone()
    with average.in_place():
        assert torch.equal(model.weight, before["weight"])
    assert torch.equal(model.weight, now)
    assert torch.equal(average.tensors()["weight"], before["weight"])


def test_with_an_average_it_is_what_is_kept_while_the_weights_go_on(
    brief: Callable[..., Config], good: list[Utterance], tmp_path: Path
) -> None:
    train(brief(good, epochs=2, ema=0.9), tmp_path / "model", device="cpu")
    kept, _ = load_tensors(tmp_path / "model/model.safetensors")
    state, _ = load_tensors(last_checkpoint(tmp_path / "model"))
    for name in (name for name in kept if f"average.{name}" in state):
        assert torch.equal(kept[name], state[f"average.{name}"])
        assert not torch.equal(kept[name], state[f"model.{name}"])
