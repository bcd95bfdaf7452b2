"""The difference of one error rate between two systems: its intervals, its standard error, and what can be shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from asr.scoring.subsets import interval

SIGNIFICANT = 0.05
"""p-values below it are called significant."""


@dataclass(frozen=True)
class Difference:
    """One error rate of both systems, as fractions; intervals are 95 %, None where too little is known for one."""

    errors: tuple[int, int]
    a: float
    b: float
    interval: tuple[float, float] | None
    """Of b - a."""
    relative: float | None
    """(b - a) / a; None where a is 0."""
    relative_interval: tuple[float, float] | None

    @property
    def value(self) -> float:
        """B - a: below zero, B has fewer errors."""
        return self.b - self.a

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        return {
            "a": self.a,
            "b": self.b,
            "errors_a": self.errors[0],
            "errors_b": self.errors[1],
            "difference": self.value,
            "interval": self.interval and list(self.interval),
            "relative": self.relative,
            "relative_interval": self.relative_interval and list(self.relative_interval),
        }


def difference(total: np.ndarray, subsets: np.ndarray) -> tuple[Difference, np.ndarray]:
    """The difference of one rate, and its value in each subset, `[subsets]`.

    Args:
        total: errors of A, errors of B, total of A (such as reference words), total of B, `[4]`.
        subsets: the same for each subset, `[subsets, 4]`.
    """
    errors_a, errors_b, total_a, total_b = subsets.T
    with np.errstate(divide="ignore", invalid="ignore"):
        rate_a, rate_b = errors_a / total_a, errors_b / total_b
        # Insertions in a subset without a word are infinitely bad, not undefined.
        statistic = np.where(total_a == total_b, (errors_b - errors_a) / total_a, rate_b - rate_a)
        relative = np.where(rate_a == rate_b, np.where(rate_a > 0, 0, np.nan), statistic / rate_a)
    a, b = float(total[0] / total[2]), float(total[1] / total[3])
    found = Difference(
        errors=(int(total[0]), int(total[1])),
        a=a,
        b=b,
        interval=interval(statistic),
        relative=(b - a) / a if a else None,
        relative_interval=interval(relative) if a else None,
    )
    return found, statistic


def standard_error(sums: np.ndarray) -> float:
    """Standard error of the difference from the columns above of each block, `[blocks, 4]`, linearised; 0 for one."""
    errors_a, errors_b, words_a, words_b = sums.sum(axis=0)
    blocks = len(sums)
    if blocks < 2:
        return 0.0
    residuals = (sums[:, 1] - errors_b / words_b * sums[:, 3]) / words_b
    residuals -= (sums[:, 0] - errors_a / words_a * sums[:, 2]) / words_a
    return float(np.sqrt(blocks / (blocks - 1) * np.sum(residuals**2)))


def standard_errors_to_show(blocks: float) -> float:
    """How many standard errors a difference must have to be significant with so many blocks in 4 of 5 test sets."""
    from scipy.special import stdtrit  # quantiles of Student's t

    return float(stdtrit(blocks - 1, 1 - SIGNIFICANT / 2) + stdtrit(blocks - 1, 0.8))
