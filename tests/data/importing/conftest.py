"""Recordings for the import tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., Path]:
    """`record("a/b.wav", seconds=2.5, channels=2)`: noise in a file below tmp_path, whose path is returned."""

    def make(name: str, seconds: float = 1.0, channels: int = 1, rate: int = 8000) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.random.default_rng(0).uniform(-0.1, 0.1, (round(seconds * rate), channels)), rate)
        return path

    return make
