"""Fine-tuning: a training starts from the weights of another model, with other tokens where the text asks for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asr.config import Config, TextConfig, load_config, parse_config
from asr.errors import AsrError, CheckpointError, TrainingError
from asr.model.acoustic import AcousticModel
from asr.model.checkpoint import load_tensors, load_weights
from asr.model.folders import CONFIG, TOKENS, WEIGHTS, find_model
from asr.model.reading import STATISTICS
from asr.text import BLANK, SPACE, PhoneTokenizer, Tokenizer, normalise

FREE = ("dropout", "weight_drop")
"""Keys of `model` that do not belong to the weights: a fine-tuning chooses its own."""
CHOSEN = ("hop_ms", "normalisation", "prior_seconds")
"""Keys of `features` that it chooses where it says them: frames may come more often than the model is used to, and all
normalisation but `none` gives values of one size."""
TOKEN_AXIS = {"classifier.head.weight": 0, "classifier.head.bias": 0, "classifier.conditioning.weight": 1}
"""Tensors with a row, or a column, for each token."""


def adopted(config: Config) -> tuple[Config, list[str]]:
    """`config` with the architecture and the features of the model in `training.init`, and what of it gave way.

    `CHOSEN` stays where it was said.

    What gave way are the keys that were set to something else, as lines such as `model.layers: 3 instead of 2`. Without
    `training.init` it is `config` itself.

    Raises:
        CheckpointError: there is no such model.
    """
    if config.training.init is None:
        return config, []
    try:
        theirs = load_config(find_model(config.training.init) / CONFIG).model_dump(mode="json")
    except AsrError as error:
        raise CheckpointError(f"training.init: {error}") from None
    tree = config.model_dump(mode="json")
    theirs["model"] |= {key: tree["model"][key] for key in FREE}
    said = config.model_dump(mode="json", exclude_unset=True)
    own = {key: value for key, value in said.get("features", {}).items() if key in CHOSEN}
    if own.get("normalisation", "utterance") != "utterance":
        own.setdefault("prior_seconds", 0.0)  # theirs would mean nothing
    theirs["features"] |= own
    gave_way = [line for part in ("features", "model") for line in _changes(said.get(part, {}), theirs[part], part)]
    return parse_config(tree | {part: theirs[part] for part in ("features", "model")}), gave_way


def _changes(said: dict[str, Any], theirs: dict[str, Any], prefix: str) -> list[str]:
    lines: list[str] = []
    for key, value in said.items():
        if isinstance(value, dict):
            lines += _changes(value, theirs[key], f"{prefix}.{key}")
        elif value != theirs[key]:
            lines.append(f"{prefix}.{key}: {theirs[key]} instead of {value}")
    return lines


class Initial:
    """The model that a training starts from.

    Args:
        folder: a model folder, or the name of a model that comes with the package.

    Raises:
        CheckpointError: it is none, or damaged.
        TextError: its tokens cannot be read.
    """

    def __init__(self, folder: str | Path):
        self.folder = find_model(folder)
        self.config = load_config(self.folder / CONFIG)
        self.tokenizer = Tokenizer.load(self.folder / TOKENS, self.config.text.units)
        self.tensors, _ = load_tensors(self.folder / WEIGHTS)

    def extended(self, tokenizer: Tokenizer, text: TextConfig) -> Tokenizer:
        """`tokenizer`, of the new transcripts, with the tokens that the model has beside them: nothing is forgotten.

        An alphabet that was asked for is left as it is; so are tokens of another kind than the model's. Pieces of words
        are the model's own where they can write the new transcripts.
        """
        before = self.tokenizer
        if tokenizer.units != before.units or text.alphabet is not None:
            return tokenizer
        if tokenizer.units == "bpe":
            characters = {character for token in tokenizer.tokens[1:] for character in token} - {SPACE}
            return tokenizer if before.missing("".join(sorted(characters))) else before
        symbols = {*tokenizer.tokens, *before.tokens} - {BLANK, SPACE}
        if isinstance(tokenizer, PhoneTokenizer):
            return PhoneTokenizer([BLANK, SPACE, *sorted(symbols)], tokenizer.pronunciations)
        written = {symbol for symbol in symbols if normalise(symbol, text.case, text.remove) == symbol}
        return Tokenizer.from_characters({*written, *tokenizer.tokens[2:]})

    def load_into(self, model: AcousticModel, tokenizer: Tokenizer) -> list[str]:
        """Give `model`, whose architecture is this one's, the weights; returns the tokens that are new to them.

        A token that both have keeps its weights. A new one starts as the mean of all but the blank. Statistics of
        features that these weights lack are left as they are, for `measured` to tell.

        Raises:
            TrainingError: tokens are new, and the model has an attention head, which knows them in too many places.
            CheckpointError: the weights are another architecture's.
        """
        ids = {token: index for index, token in enumerate(self.tokenizer.tokens)}
        new = [token for token in tokenizer.tokens if token not in ids]
        tensors = dict(self.tensors)
        if tokenizer.tokens != self.tokenizer.tokens:
            if model.config.model.head != "ctc":
                raise TrainingError(
                    f"training.init: {self.folder} has an attention head and other tokens than the transcripts; "
                    "only a CTC head can take others"
                )
            tensors |= {
                name: _rearranged(tensors[name], axis, [ids.get(token) for token in tokenizer.tokens])
                for name, axis in TOKEN_AXIS.items()
                if name in tensors
            }
        own = model.state_dict()
        tensors = {name: tensor for name, tensor in tensors.items() if name in own or name not in STATISTICS}
        tensors |= {name: own[name] for name in STATISTICS if name in own and name not in tensors}
        load_weights(model, tensors, self.folder / WEIGHTS)
        return new

    @property
    def measured(self) -> bool:
        """Whether the model has statistics of its training set."""
        return self.config.features.measured


def _rearranged(tensor: Tensor, axis: int, sources: list[int | None]) -> Tensor:
    """Rows (or columns) of `tensor` in a new order; the mean of all but the first where there is no source."""
    rows = tensor.movedim(axis, 0)
    mean = rows[1:].mean(dim=0)
    return torch.stack([mean if source is None else rows[source] for source in sources]).movedim(0, axis)


def freeze(model: AcousticModel, layers: int) -> None:
    """Keep the subsampling and the first `layers` layers of the encoder from being trained.

    Raises:
        TrainingError: the encoder has fewer.
    """
    classifier = model.classifier
    if layers > len(classifier.encoder.layers):
        raise TrainingError(
            f"training.frozen is {layers} and the model has {len(classifier.encoder.layers)} layers; give fewer"
        )
    frozen = [classifier.subsampling, classifier.norm, *classifier.encoder.layers[:layers]]
    for name in ("projections", "norms"):
        frozen += getattr(classifier.encoder, name, [])[:layers]
    for module in frozen:
        module.requires_grad_(False)
