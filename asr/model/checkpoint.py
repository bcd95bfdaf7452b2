"""Model folders: config.yaml, tokens.txt, model.safetensors, a model card. Never a pickle, always whole or absent."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from asr.config import Config, load_config, save_config
from asr.errors import AsrError, CheckpointError
from asr.files import replacing
from asr.model.acoustic import AcousticModel
from asr.text import Tokenizer

CONFIG, TOKENS, WEIGHTS, CARD = "config.yaml", "tokens.txt", "model.safetensors", "README.md"


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file under a temporary name, flush it to disk, rename it: a crash leaves the old file.

    Raises:
        CheckpointError: it could not be written (no space left, say); what stood there before is untouched.
    """
    try:
        with replacing(path) as partial:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, partial, metadata)
            with open(partial, "rb") as written:
                os.fsync(written.fileno())
    except (OSError, SafetensorError) as error:
        kept = f"; the previous {path.name} is kept" if path.exists() else ""
        raise CheckpointError(f"{path}: cannot be written ({error}){kept}. Free some space and use --resume") from None


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    Raises:
        CheckpointError: it is missing, truncated or of another format.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: truncated, or not a safetensors file ({error}); copy it again or train again"
        ) from None


def create_folder(folder: Path, config: Config, tokenizer: Tokenizer) -> None:
    """Start a model folder: the two files that do not change while training."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_config(config, folder / CONFIG)
        tokenizer.save(folder / TOKENS)
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be written ({error.strerror or error})") from None


def load_folder(folder: str | Path, device: torch.device | str = "cpu") -> tuple[AcousticModel, Tokenizer]:
    """The model in evaluation mode and its tokens.

    Raises:
        CheckpointError: the folder or one of its files is missing, truncated, or belongs to another model.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such model folder; `asr train CONFIG --output {folder}` makes one")
    missing = [name for name in (CONFIG, TOKENS, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(f"{folder}: not a complete model folder, {', '.join(missing)} missing")
    try:
        config = load_config(folder / CONFIG)
        tokenizer = Tokenizer.load(folder / TOKENS)
    except AsrError as error:
        raise CheckpointError(str(error)) from None
    model = AcousticModel(config, len(tokenizer))
    tensors, _ = load_tensors(folder / WEIGHTS)
    load_weights(model, tensors, folder / WEIGHTS)
    return model.to(device).eval(), tokenizer


def load_weights(model: AcousticModel, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Copy `tensors` into the model after checking that names and shapes are the model's own.

    Raises:
        CheckpointError: they are another model's, or hold a value that is not a number.
    """
    expected = model.state_dict()
    for name, tensor in expected.items():
        if name not in tensors:
            raise CheckpointError(f"{where}: weights of another model: {name} is missing")
        if tensors[name].shape != tensor.shape:
            shapes = f"{list(tensors[name].shape)}, the configuration and tokens ask for {list(tensor.shape)}"
            raise CheckpointError(f"{where}: weights of another model: {name} is {shapes}")
        if not torch.isfinite(tensors[name]).all():
            raise CheckpointError(f"{where}: {name} holds values that are not finite; train again")
    extra = sorted(set(tensors) - set(expected))
    if extra:
        raise CheckpointError(f"{where}: weights of another model: {extra[0]} is not part of it")
    model.load_state_dict(dict(tensors))
