"""A model folder to hand on: what decoding needs and nothing else, in forms that are small."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import torch

from asr.config import load_config, save_config
from asr.errors import CheckpointError, ConfigError, OutputError
from asr.lm.ngram import NgramModel
from asr.model.checkpoint import load_folder, load_tensors, save_tensors
from asr.model.folders import CARD, CONFIG, TOKENS, WEIGHTS, find_model
from asr.text import COMPANIONS

EXTRAS = (CARD, "confidence.json", "priors.json")
"""Files that are taken along where they are there."""
DECODING_FILES = ("lm", "hotwords", "grammar", "lexicon", "rescore")
"""Settings of the section `decoding` that name a file, or a folder."""


def pack(model: str | Path, output: str | Path, *, exact: bool = False) -> int:
    """Copy a trained model without its checkpoints and logs; returns the bytes that it takes.

    What decoding is configured to use (language model, lexicon, hot words) comes along, wherever it lies, and is named
    in the configuration by its name alone. Weights go into half precision, which has 11 significant bits and changes
    log-probs by about 1e-3, and an n-gram model into the compact form.

    Args:
        model: a model folder.
        output: the new folder.
        exact: keep weights and language model as they are.

    Raises:
        CheckpointError: the model is incomplete or damaged, or a weight is too large for half precision.
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
    ngrams = None
    if not exact and "lm" in settings:
        ngrams = NgramModel.load(files.pop(settings["lm"]))
        settings["lm"] = settings["lm"].partition(".")[0] + ".lmz"
    config = config.model_copy(update={"decoding": config.decoding.model_copy(update=settings)})
    tensors, _ = load_tensors(folder / WEIGHTS)
    if not exact:
        tensors = {name: tensor.half() for name, tensor in tensors.items()}
        for name, tensor in tensors.items():
            if not torch.isfinite(tensor).all():
                raise CheckpointError(f"{folder / WEIGHTS}: {name} is too large for half precision; pack it exactly")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as name:
            partial = Path(name) / "model"
            partial.mkdir()
            for name, source in files.items():
                (shutil.copytree if source.is_dir() else shutil.copyfile)(source, partial / name)
            if ngrams is not None:
                ngrams.save(partial / settings["lm"])
            save_config(config, partial / CONFIG)
            save_tensors(partial / WEIGHTS, tensors)
            os.rename(partial, output)
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error}); make room, or choose another place") from None
    return sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
