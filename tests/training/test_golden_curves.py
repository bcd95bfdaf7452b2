"""The losses of the first fifty steps of three small trainings, as they were: what moves them has to say why.

After a change that is meant to move them: `ASR_WRITE_GOLDEN=1 python -m pytest tests/training/test_golden_curves.py`,
and the reason goes into the message of the commit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asr.config import Config
from asr.training import train
from asr.training.log import read_log

if TYPE_CHECKING:
    from tests.conftest import Speech

GOLDEN = Path(__file__).with_name("golden_curves.json")
STEPS = 50
TOLERANCE = 2e-3
"""Relative. Other processors round otherwise; another order of the batches or another rate moves far more than this."""

CONFIGS: dict[str, dict[str, Any]] = {
    "lstm, both directions": {
        "augmentation": {"noise": {"probability": 0.5}, "gain": {}},
        "model": {"layers": 2, "dropout": 0.2},
    },
    "gru, forwards, frames stacked, average": {
        "data": {"shortest_first": True},
        "features": {"normalisation": "global"},
        "model": {"cell": "gru", "bidirectional": False, "subsampling": {"kind": "stack", "factor": 3}},
        "training": {"ema": 0.9, "schedule": "linear", "warmup": 0.3},
    },
    "rnn_tanh, both directions": {
        "augmentation": {"speed": None, "spec_augment": None},
        "model": {"cell": "rnn_tanh", "subsampling": {"factor": 2}},
        "training": {"clip": 0.5, "weight_decay": 0.1, "seed": 7},
    },
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, speech: Speech) -> Path:
    return speech.corpus(tmp_path_factory.mktemp("golden"), speech.sentences(40, seed=8), "golden")


def losses(config: Config, folder: Path) -> list[float]:
    """The loss per label of the first fifty steps."""
    train(config, folder, device="cpu")
    return [row["loss"] for row in read_log(folder) if row["kind"] == "train"][:STEPS]


def first_steps(small_config: Callable[..., Config], corpus: Path, name: str) -> Config:
    config = small_config(
        **{**CONFIGS[name], "data": {"train": str(corpus), "batch_seconds": 8.0, **CONFIGS[name].get("data", {})}}
    )
    config.training.epochs, config.training.log_steps = 6, 1
    return config


@pytest.mark.parametrize("name", CONFIGS)
def test_the_first_losses_are_what_they_were(
    small_config: Callable[..., Config], corpus: Path, tmp_path: Path, name: str
) -> None:
    found = losses(first_steps(small_config, corpus, name), tmp_path / "model")
    assert len(found) == STEPS
    if os.environ.get("ASR_WRITE_GOLDEN"):
        curves = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
        curves[name] = [round(loss, 6) for loss in found]
        GOLDEN.write_text(json.dumps(curves, indent=1) + "\n")
    assert found == pytest.approx(json.loads(GOLDEN.read_text())[name], rel=TOLERANCE)


def test_a_rate_one_percent_higher_is_noticed(
    small_config: Callable[..., Config], corpus: Path, tmp_path: Path
) -> None:
    name = next(iter(CONFIGS))
    config = first_steps(small_config, corpus, name)
    config.training.learning_rate *= 1.01
    found = losses(config, tmp_path / "model")
    assert found != pytest.approx(json.loads(GOLDEN.read_text())[name], rel=TOLERANCE)
