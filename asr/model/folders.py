"""Where models lie: what their folders hold, and those that come with the package by name. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from asr.errors import CheckpointError, ConfigError

CONFIG, TOKENS, WEIGHTS, CARD = "config.yaml", "tokens.txt", "model.safetensors", "README.md"
MODELS = Path(__file__).parent.parent / "models"
"""Folders of the models that come with the package."""
DEFAULT = "en-small"
"""What transcribes where no model is named."""


def bundled_models() -> dict[str, Path]:
    """The folder of each, by name."""
    return {path.name: path for path in sorted(MODELS.glob("*/")) if (path / CONFIG).is_file()}


def find_model(model: str | Path) -> Path:
    """The folder of a model, of which `model` is the path or the name.

    A folder of that path comes first, so that a training called `en-small` is found where it lies.

    Raises:
        CheckpointError: there is neither.
    """
    path = Path(model)
    if path.is_dir():
        return path
    if found := bundled_models().get(str(model)):
        return found
    names = ", ".join(bundled_models()) or "none"
    raise CheckpointError(
        f"{model}: no such model folder; `asr train CONFIG --output {model}` makes one. "
        f"Models that come with asr: {names}"
    )


def file_of(folder: Path, name: str) -> Path:
    """Where a file that a configuration names lies: in the folder of the model, or else as the path stands."""
    return folder / name if (folder / name).exists() else Path(name)


def own_model(model: str | Path) -> Path:
    """As `find_model`, for what writes into the folder.

    Raises:
        CheckpointError: there is none.
        ConfigError: it is a model that comes with the package, which stays as it is.
    """
    path = find_model(model)
    if path.resolve().parent == MODELS.resolve():
        raise ConfigError(f"{model} comes with asr and stays as it is; change a copy: cp -r {path} {path.name}-mine")
    return path
