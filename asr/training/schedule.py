"""The learning rate as a function of progress through the training, 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from asr.config import TrainingConfig


def learning_rate(config: TrainingConfig, progress: float, history: Sequence[Mapping[str, Any]] = ()) -> float:
    """Linear warm-up to `config.learning_rate` over the share `config.warmup`, then what `config.schedule` says.

    Progress rather than a step count, because the number of batches changes a little from epoch to epoch.

    Args:
        config: `learning_rate`, `warmup`, `schedule` and what belongs to it.
        progress: the share of the training that is done.
        history: a row for each epoch so far, with `dev_cer`, or `loss` where there is no dev set; for `plateau`.
    """
    peak, warmup = config.learning_rate, config.warmup
    if progress < warmup:
        return peak * progress / warmup
    rest = (progress - warmup) / (1 - warmup)
    if config.schedule == "linear":
        return peak * (1 - rest)
    if config.schedule == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * rest))
    if config.schedule == "noam":
        return peak * math.sqrt(warmup / progress)
    if config.schedule == "plateau":
        return peak * config.plateau_factor ** reductions(history, config.plateau_patience)
    return peak


def reductions(history: Sequence[Mapping[str, Any]], patience: int) -> int:
    """How often `patience` epochs in a row have brought nothing better than what was best before them.

    A function of the history alone, so that a training that goes on needs to remember nothing more.
    """
    best, waiting, count = math.inf, 0, 0
    for row in history:
        value = row.get("dev_cer", row["loss"])
        waiting = waiting + 1 if not value < best else 0
        best = min(best, value)
        if waiting == patience:
            waiting, count = 0, count + 1
    return count
