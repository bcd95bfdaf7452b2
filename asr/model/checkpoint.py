"""Model folders: config.yaml, tokens.txt, model.safetensors, a card. Never a pickle, always whole or absent."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from asr.config import Config, save_config
from asr.errors import CheckpointError
from asr.files import replacing
from asr.model.acoustic import AcousticModel
from asr.model.folders import CONFIG, TOKENS, WEIGHTS, find_model
from asr.model.reading import (
    CHECKSUM,
    Described,
    check_no_more,
    check_weight,
    checksum,
    read_folder,
    read_safetensors,
    unreadable,
    verify,
)
from asr.model.rnn import without_drawing
from asr.text import Tokenizer


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file with a checksum under a temporary name, flush it to disk, rename it, flush the folder.

    A crash leaves the old file or the new one.

    Raises:
        CheckpointError: it could not be written (no space left, say); what stood there before is untouched.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    described = dict(metadata or {})
    described[CHECKSUM] = checksum(_described(plain), described)
    try:
        with replacing(path) as partial:
            partial.write_bytes(save(plain, described))  # save_file would let nobody but the owner read it
            _flush(partial)
        _flush(path.parent)  # or the new name is lost when the power fails
    except (OSError, SafetensorError) as error:
        kept = f"; the previous {path.name} is kept" if path.exists() else ""
        raise CheckpointError(f"{path}: cannot be written ({error}){kept}. Free some space and use --resume") from None


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file; the checksum is verified where there is one, and left out.

    Raises:
        CheckpointError: it is missing, truncated, of another format, or has changed since it was written.
    """
    with unreadable(path):
        tensors, metadata = read_tensors(path)
    metadata.pop(CHECKSUM, None)
    return tensors, metadata


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """As `load_tensors`, the checksum among the metadata.

    Raises:
        OSError: it is missing or cannot be read.
        ValueError: truncated, of another format, or changed since it was written.
    """
    tensors, metadata = read_safetensors(path, "pt")
    verify(_described(tensors), metadata)
    return tensors, metadata


def _described(tensors: Mapping[str, Tensor]) -> Iterator[Described]:
    for name, tensor in tensors.items():
        yield name, str(tensor.dtype), tensor.shape, tensor.reshape(-1).view(torch.uint8).numpy().data


def _flush(path: Path) -> None:
    """Have a file, or the names in a folder, written to the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_folder(folder: Path, config: Config, tokenizer: Tokenizer) -> None:
    """Start a model folder: the files that do not change while training."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer.save(folder / TOKENS)  # first: by it `asr.training.resume` knows the others as ours
        save_config(config, folder / CONFIG)
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be written ({error.strerror or error})") from None


def load_folder(folder: str | Path, device: torch.device | str = "cpu") -> tuple[AcousticModel, Tokenizer]:
    """The model in evaluation mode and its tokens, of a folder or of a model that comes with the package.

    Raises:
        CheckpointError: the folder or one of its files is missing, truncated, or belongs to another model.
    """
    folder = find_model(folder)
    config, tokenizer = read_folder(folder)
    with without_drawing():
        model = AcousticModel(config, len(tokenizer))
    tensors, _ = load_tensors(folder / WEIGHTS)
    load_weights(model, tensors, folder / WEIGHTS, assign=True)
    return model.to(device).eval(), tokenizer


def load_weights(model: AcousticModel, tensors: Mapping[str, Tensor], where: Path, assign: bool = False) -> None:
    """Copy `tensors` into the model, or `assign` them, after checking that names and shapes are the model's own.

    Raises:
        CheckpointError: they are another model's, or hold a value that is not a number.
    """
    expected = model.state_dict()
    for name, tensor in expected.items():
        check_weight(tensors, name, tensor.shape, where)
    check_no_more(set(tensors) - set(expected), where)
    same = {name: tensor.to(expected[name].dtype) for name, tensor in tensors.items()}  # packed weights are halves
    model.load_state_dict(same, assign=assign)
