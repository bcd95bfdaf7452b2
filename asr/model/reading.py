"""What every reader of a model folder does, with torch or without: its files, its checksum, whose weights they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from asr.config import Config, load_config
from asr.errors import AsrError, CheckpointError
from asr.model.folders import CONFIG, TOKENS, WEIGHTS
from asr.text import COMPANIONS, Tokenizer

CHECKSUM = "checksum"
"""Key of the metadata: SHA-256 over the names, types, shapes and bytes of all tensors and over the other metadata."""
STATISTICS = ("features.mean", "features.deviation")
"""Tensors of models whose features need statistics of their training set (`FeaturesConfig.measured`)."""
Described = tuple[str, str, Sequence[int], Any]
"""Name, type as torch calls it, shape and bytes of a tensor."""


def read_folder(folder: Path) -> tuple[Config, Tokenizer]:
    """Configuration and tokens of a model folder, in which there are weights too.

    Raises:
        CheckpointError: one of its files is missing or broken.
    """
    config = read_config(folder)
    units = config.text.units
    if units in COMPANIONS:
        _check_files(folder, (COMPANIONS[units],))
    try:
        return config, Tokenizer.load(folder / TOKENS, units)
    except AsrError as error:
        raise CheckpointError(str(error)) from None


def read_config(folder: Path) -> Config:
    """Configuration of a model folder, in which there are tokens and weights too.

    Raises:
        CheckpointError: one of its files is missing, or the configuration is broken.
    """
    _check_files(folder, (CONFIG, TOKENS, WEIGHTS))
    try:
        return load_config(folder / CONFIG)
    except AsrError as error:
        raise CheckpointError(str(error)) from None


def _check_files(folder: Path, names: Sequence[str]) -> None:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(f"{folder}: not a complete model folder, {', '.join(missing)} missing")


def read_safetensors(path: Path, framework: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Tensors, for `framework` `pt` or `np`, and metadata of a safetensors file; the checksum is not looked at.

    Raises:
        OSError: it is missing or cannot be read.
        ValueError: truncated, or of another format.
    """
    try:
        with safe_open(path, framework=framework) as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"truncated, or not a safetensors file ({error})") from None


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a file of weights as arrays; the checksum is verified where there is one.

    Raises:
        CheckpointError: it is missing, truncated, of another format, or has changed since it was written.
    """
    with unreadable(path):
        tensors, metadata = read_safetensors(path, "np")
        verify(((name, f"torch.{array.dtype}", array.shape, array.data) for name, array in tensors.items()), metadata)
    return tensors


def verify(tensors: Iterable[Described], metadata: Mapping[str, str]) -> None:
    """Compare them with the checksum that is among the metadata, where there is one.

    Raises:
        ValueError: they have changed since they were written.
    """
    if CHECKSUM in metadata and metadata[CHECKSUM] != checksum(tensors, metadata):
        raise ValueError("damaged, its content does not match its checksum")


def checksum(tensors: Iterable[Described], metadata: Mapping[str, str]) -> str:
    """That of tensors and of the metadata beside it."""
    rest = sorted((key, value) for key, value in metadata.items() if key != CHECKSUM)
    digest = hashlib.sha256(json.dumps(rest).encode())
    for name, type_, shape, data in sorted(tensors, key=itemgetter(0)):
        digest.update(json.dumps([name, type_, list(shape)]).encode())
        digest.update(data)
    return digest.hexdigest()


@contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """Inside, what is wrong with the file of weights becomes a `CheckpointError` that names it."""
    try:
        yield
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}; copy it again or train again") from None


def check_weight(tensors: Mapping[str, Any], name: str, shape: Sequence[int], where: Path) -> None:
    """`tensors`, arrays or torch's, must have that one, of that shape and finite.

    Raises:
        CheckpointError: they are another model's, or hold a value that is not a number.
    """
    if name not in tensors:
        raise CheckpointError(f"{where}: weights of another model: {name} is missing")
    if tuple(tensors[name].shape) != tuple(shape):
        shapes = f"{list(tensors[name].shape)}, the configuration and tokens ask for {list(shape)}"
        raise CheckpointError(f"{where}: weights of another model: {name} is {shapes}")
    if not np.isfinite(np.asarray(tensors[name])).all():
        raise CheckpointError(f"{where}: {name} holds values that are not finite; train again")


def check_no_more(extra: Iterable[str], where: Path) -> None:
    """There must be none left.

    Raises:
        CheckpointError: there is one.
    """
    if (first := min(extra, default=None)) is not None:
        raise CheckpointError(f"{where}: weights of another model: {first} is not part of it")
