"""Everything a training needs to go on exactly where it was, in one safetensors file: no pickle, whole or absent."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asr.errors import CheckpointError
from asr.model.acoustic import AcousticModel
from asr.model.checkpoint import load_tensors, load_weights, save_tensors

LAST = "last.safetensors"


@dataclass
class Progress:
    """Where a training stands."""

    epoch: int = 0
    """Epochs finished."""
    batch: int = 0
    """Batches done in the epoch that is under way."""
    step: int = 0
    """Optimiser steps since the start."""
    train_seconds: float = 0.0
    """Wall time spent, interruptions not counted."""
    audio_seconds: float = 0.0
    """Seconds of audio trained on, repeats counted."""
    best_wer: float | None = None
    best_cer: float | None = None
    best_epoch: int | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    """One row an epoch: epoch, loss, dev_wer, dev_cer, seconds."""
    epoch_loss: float = 0.0
    """Sum of the losses of the epoch under way, and the labels they were summed over."""
    epoch_labels: int = 0
    pending_loss: float = 0.0
    """The same since the last row of the log."""
    pending_labels: int = 0
    skipped_in_a_row: int = 0
    skipped: int = 0
    """Steps left out because loss or gradient were not finite."""


def save_state(
    path: Path, model: AcousticModel, optimiser: torch.optim.Optimizer, scaler: Any | None, progress: Progress
) -> None:
    """Write weights, optimiser, random generators and progress atomically."""
    tensors: dict[str, Tensor] = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, values in optimiser.state_dict()["state"].items():
        for name, value in values.items():
            tensors[f"optimiser.{index}.{name}"] = torch.as_tensor(value)
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    metadata = {"progress": json.dumps(asdict(progress))}
    if scaler is not None:
        metadata["scaler"] = json.dumps(scaler.state_dict())
    save_tensors(path, tensors, metadata)


def load_state(path: Path, model: AcousticModel, optimiser: torch.optim.Optimizer, scaler: Any | None) -> Progress:
    """Put back what `save_state` wrote.

    Raises:
        CheckpointError: the file is missing, truncated, or another training's.
    """
    tensors, metadata = load_tensors(path)
    try:
        progress = Progress(**json.loads(metadata["progress"]))
    except (KeyError, TypeError, json.JSONDecodeError):
        raise CheckpointError(f"{path}: no training checkpoint of this version; start anew in another folder") from None
    weights = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    load_weights(model, weights, path)
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimiser."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    torch.set_rng_state(tensors["random.cpu"])
    if torch.cuda.is_available() and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"])
    if scaler is not None and "scaler" in metadata:
        scaler.load_state_dict(json.loads(metadata["scaler"]))
    return progress
