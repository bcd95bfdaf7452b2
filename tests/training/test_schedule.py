from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from asr.config import TrainingConfig
from asr.training.schedule import learning_rate

SCHEDULES = ["cosine", "linear", "constant"]


def config(schedule: str, warmup: float = 0.2, peak: float = 0.004) -> TrainingConfig:
    tree: dict[str, Any] = {"schedule": schedule, "warmup": warmup, "learning_rate": peak}
    return TrainingConfig.model_validate(tree)


@pytest.mark.parametrize("schedule", SCHEDULES)
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
