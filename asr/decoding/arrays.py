"""What a network gives as NumPy arrays, whether torch computed it or not; imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def as_array(values: np.ndarray | Tensor) -> np.ndarray:
    """The same values on the CPU; those that are not whole numbers in at least 32 bits, which NumPy can read."""
    if isinstance(values, np.ndarray):
        return values
    values = values.detach().cpu()
    return np.asarray((values.float() if values.is_floating_point() and values.itemsize < 4 else values).numpy())
