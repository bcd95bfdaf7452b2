"""The learning rate as a function of progress through the training, 0 to 1."""

from __future__ import annotations

import math

from asr.config import TrainingConfig


def learning_rate(config: TrainingConfig, progress: float) -> float:
    """Linear warm-up to `config.learning_rate` over the share `config.warmup`, then the chosen fall to 0.

    Progress rather than a step count, because the number of batches changes a little from epoch to epoch.
    """
    if progress < config.warmup:
        return config.learning_rate * progress / config.warmup
    rest = (progress - config.warmup) / (1 - config.warmup)
    if config.schedule == "constant":
        return config.learning_rate
    if config.schedule == "linear":
        return config.learning_rate * (1 - rest)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * rest))
