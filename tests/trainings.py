"""What tests read from the folder of a training."""

from __future__ import annotations

from pathlib import Path


def last_checkpoint(folder: Path) -> Path:
    """The newest checkpoint to go on from."""
    return max((folder / "checkpoints").glob("step-*.safetensors"))
