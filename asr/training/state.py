"""Everything a training needs to go on exactly where it was, as the tensors and metadata of one safetensors file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from asr.errors import CheckpointError
from asr.model.checkpoint import load_weights
from asr.training.checkpoints import Found
from asr.training.plateau import Plateau
from asr.training.step import Step


@dataclass
class Progress:
    """Where a training stands."""

    epoch: int = 0
    """Epochs finished."""
    batch: int = 0
    """Batches done in the epoch that is under way, and how many it has."""
    batches: int = 0
    ranks: int = 1
    """Processes among which it was dealt out."""
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
    pending_emitted: int = 0
    """Frames whose likeliest token is not the blank, since then."""
    failed: int = 0
    """Utterances of the epoch under way that could not be read."""
    skipped_in_a_row: int = 0
    skipped: int = 0
    """Steps left out because loss or gradient were not finite."""
    plateau: Plateau = field(default_factory=Plateau)


def state(step: Step, progress: Progress) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Weights, their average, optimiser and progress, as tensors and metadata of one safetensors file."""
    tensors: dict[str, Tensor] = {f"model.{name}": tensor for name, tensor in step.bare.state_dict().items()}
    for index, values in step.optimiser.state_dict()["state"].items():
        for name, value in values.items():
            tensors[f"optimiser.{index}.{name}"] = torch.as_tensor(value)
    if step.average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in step.average.tensors().items()}
    metadata = {"progress": json.dumps(asdict(progress))}
    if step.accelerator.scaler is not None:
        metadata["scaler"] = json.dumps(step.accelerator.scaler.state_dict())
    return tensors, metadata


def restore(step: Step, found: Found) -> Progress:
    """Put back what `state` gave.

    Raises:
        CheckpointError: the file is another training's.
    """
    foreign = CheckpointError(f"{found.path}: no checkpoint of this training; start anew in another folder")
    try:
        values = json.loads(found.metadata["progress"])
        progress = Progress(**{**values, "plateau": Plateau(**values["plateau"])})
    except (KeyError, TypeError, json.JSONDecodeError):
        raise foreign from None
    sections: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimiser": {}}
    for name, tensor in found.tensors.items():
        section, _, key = name.partition(".")
        sections.setdefault(section, {})[key] = tensor
    load_weights(step.bare, sections["model"], found.path)
    optimiser: dict[int, dict[str, Tensor]] = {}
    for name, tensor in sections["optimiser"].items():
        index, _, key = name.partition(".")
        optimiser.setdefault(int(index), {})[key] = tensor
    try:
        if step.average is not None:
            step.average.load(sections["average"])
        trained = [parameter for parameter in step.bare.parameters() if parameter.requires_grad]
        if len(optimiser) not in (0, len(trained)):
            raise foreign
    except KeyError:
        raise foreign from None
    groups = step.optimiser.state_dict()["param_groups"]
    step.optimiser.load_state_dict({"state": optimiser, "param_groups": groups})
    if step.accelerator.scaler is not None and "scaler" in found.metadata:
        step.accelerator.scaler.load_state_dict(json.loads(found.metadata["scaler"]))
    return progress
