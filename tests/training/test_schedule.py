from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from asr.config import TrainingConfig
from asr.training.schedule import learning_rate, reductions

SCHEDULES = ["cosine", "linear", "plateau", "constant"]


def config(schedule: str, warmup: float = 0.2, peak: float = 0.004) -> TrainingConfig:
    tree: dict[str, Any] = {"schedule": schedule, "warmup": warmup, "learning_rate": peak}
    return TrainingConfig.model_validate(tree)


@pytest.mark.parametrize("schedule", [*SCHEDULES, "noam"])
def test_warm_up_rises_in_a_straight_line_to_the_peak(schedule: str) -> None:
    rates = [learning_rate(config(schedule), progress) for progress in (0.0, 0.05, 0.1, 0.15, 0.2)]
    assert rates == pytest.approx([0.0, 0.001, 0.002, 0.003, 0.004])


def test_linear_fall() -> None:
    rates = [learning_rate(config("linear"), progress) for progress in (0.2, 0.4, 0.6, 0.8, 1.0)]
    assert rates == pytest.approx([0.004, 0.003, 0.002, 0.001, 0.0])


def test_cosine_fall() -> None:
    rates = [learning_rate(config("cosine"), progress) for progress in (0.2, 0.4, 0.6, 0.8, 1.0)]
    half = math.sqrt(0.5)
    assert rates == pytest.approx([0.004, 0.002 * (1 + half), 0.002, 0.002 * (1 - half), 0.0])


def test_constant_stays_at_the_peak() -> None:
    assert {learning_rate(config("constant"), progress) for progress in (0.2, 0.5, 1.0)} == {0.004}


def test_noam_falls_with_the_inverse_square_root_of_the_step() -> None:
    """Vaswani et al. 2017, equation 3, scaled to the same peak."""
    steps, warmup_steps = np.arange(1, 1001), 200
    theirs = np.minimum(steps**-0.5, steps * warmup_steps**-1.5)
    ours = [learning_rate(config("noam"), step / 1000) for step in steps]
    assert ours == pytest.approx(theirs / theirs.max() * 0.004)


def test_noam_without_warm_up_is_refused() -> None:
    with pytest.raises(ValueError, match="set warmup above 0"):
        config("noam", warmup=0.0)


def test_plateau_reduces_when_torch_would() -> None:
    values = [0.9, 0.5, 0.5, 0.6, 0.4, 0.41, 0.42, 0.39, 0.45, 0.44, 0.43, 0.5, 0.5, 0.5, 0.38, 0.6, 0.6]
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=0.004)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.5, patience=1, threshold=0)
    settings = config("plateau").model_copy(update={"plateau_patience": 2})  # torch waits for one epoch more
    history: list[dict[str, float]] = []
    for value in values:
        history.append({"dev_cer": value, "loss": 9.0})
        theirs.step(value)
        assert learning_rate(settings, 0.5, history) == pytest.approx(optimiser.param_groups[0]["lr"])


def test_plateau_without_a_dev_set_looks_at_the_loss() -> None:
    assert reductions([{"loss": 1.0}, {"loss": 1.0}, {"loss": 1.5}, {"loss": 0.5}, {"loss": 0.5}], patience=2) == 1


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_without_warm_up_training_starts_at_the_peak(schedule: str) -> None:
    assert learning_rate(config(schedule, warmup=0.0), 0.0) == 0.004


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rate_has_no_jumps_and_stays_between_0_and_the_peak(schedule: str, warmup: float) -> None:
    rates = np.array([learning_rate(config(schedule, warmup), progress) for progress in np.linspace(0, 1, 2001)])
    assert rates.min() >= 0
    assert rates.max() <= 0.004 * (1 + 1e-12)
    assert np.abs(np.diff(rates)).max() < 0.004 * 0.01
    after = rates[int(warmup * 2000) + 1 :]
    assert (np.diff(after) <= 1e-12).all()
