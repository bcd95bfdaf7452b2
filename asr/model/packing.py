"""A model folder to hand on: what decoding needs and nothing else, weights in half precision."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import torch

from asr.config import load_config, save_config
from asr.errors import CheckpointError, ConfigError, OutputError
from asr.model.checkpoint import load_folder, load_tensors, save_tensors
from asr.model.folders import CARD, CONFIG, TOKENS, WEIGHTS, find_model
from asr.text import COMPANIONS

EXTRAS = (CARD, "confidence.json", "priors.json")
"""Files that are taken along where they are there."""
DECODING_FILES = ("lm", "hotwords", "grammar", "lexicon", "rescore")
"""Settings of the section `decoding` that name a file, or a folder."""


def pack(model: str | Path, output: str | Path, *, precision: torch.dtype = torch.float16) -> int:
    """Copy a trained model without its checkpoints and logs; returns the bytes that it takes.

    What decoding is configured to use (language model, lexicon, hot words) comes along, wherever it lies, and is named
    in the configuration by its name alone. Loading turns the weights back into float32.

    Args:
        model: a model folder.
        output: the new folder.
        precision: of the weights. Half precision has 11 significant bits, and changes log-probs by about 1e-3.

    Raises:
        CheckpointError: the model is incomplete or damaged, or a weight is too large for the precision.
        ConfigError: `output` exists already, or two files of decoding have the same name.
        OutputError: it cannot be written.
    """
    folder, output = find_model(model), Path(output)
    if output.exists():
        raise ConfigError(f"{output} exists already; choose another --output, or delete it")
    load_folder(folder)  # raises where a file is missing or does not fit
    config = load_config(folder / CONFIG)
    names = [TOKENS, *([COMPANIONS[config.text.units]] if config.text.units in COMPANIONS else [])]
    files = {name: folder / name for name in [*names, *(extra for extra in EXTRAS if (folder / extra).is_file())]}
    settings = {}
    for key in DECODING_FILES:
        if (value := getattr(config.decoding, key)) is not None:
            source = folder / value if (folder / value).exists() else Path(value)
            if source.name in files:
                raise ConfigError(f"decoding.{key}: two files of the model are called {source.name}; rename one")
            files[source.name] = source
            settings[key] = source.name
    config = config.model_copy(update={"decoding": config.decoding.model_copy(update=settings)})
    tensors = {name: tensor.to(precision) for name, tensor in load_tensors(folder / WEIGHTS)[0].items()}
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{folder / WEIGHTS}: {name} is too large for {precision}; keep float32")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as name:
            partial = Path(name) / "model"
            partial.mkdir()
            for name, source in files.items():
                (shutil.copytree if source.is_dir() else shutil.copyfile)(source, partial / name)
            save_config(config, partial / CONFIG)
            save_tensors(partial / WEIGHTS, tensors)
            os.rename(partial, output)
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error}); make room, or choose another place") from None
    return sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
