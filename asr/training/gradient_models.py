"""Whose gradients are measured, and on which speech: initial weights of configurations, trained weights of folders."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from asr.config import Config, load_config
from asr.data.manifest import read_manifest
from asr.data.problems import Problem, summarise
from asr.data.reading import load_utterance
from asr.errors import AudioError, ConfigError, TrainingError
from asr.model.acoustic import AcousticModel
from asr.model.checkpoint import load_folder
from asr.model.folders import find_model
from asr.text import Tokenizer
from asr.training.gradients import LayerFlow, Spoken, measure
from asr.training.preparation import build_tokenizer, prepare_examples

CELLS = ("rnn_tanh", "rnn_relu", "gru", "lstm")


def gradients(
    sources: Sequence[str | Path],
    cells: Sequence[str] | None = None,
    *,
    manifest: str | Path | None = None,
    utterances: int = 8,
    overrides: Sequence[str] = (),
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, list[LayerFlow]]:
    """Measure how far back gradients go, for cells with initial weights and for trained models.

    Args:
        sources: YAML configurations; model folders, and names of models that come with the package.
        cells: which cells are given initial weights; None: all four for a configuration, its own for a folder.
        manifest: speech to measure on; None: the `data.train` of each source.
        utterances: how many, the longest that training would use.
        overrides: `section.key=value` for the configurations.
        say: is told what is being measured, and which utterances cannot be used.

    Returns:
        The layers of each model, from the lowest, by a name such as `lstm initial`; the source is added where two would
        have the same. Initial weights that two sources share are measured once.

    Raises:
        ConfigError, CheckpointError, ManifestError: a source or the manifest cannot be read or used.
        TrainingError: no utterance can be used.
    """
    found: list[tuple[str, Path, list[LayerFlow]]] = []
    begun = set()
    for source in map(Path, sources):
        config, trained, tokenizer = _open(source, manifest, overrides)
        speech = longest_utterances(_speech(source, config, manifest), tokenizer, config, utterances, say)
        for cell in cells or ([config.model.cell] if trained else CELLS):
            begin = _with_cell(config, cell)
            key = (begin.model.model_dump_json(), begin.features.model_dump_json(), begin.training.seed, len(tokenizer))
            if key not in begun:
                begun.add(key)
                say(f"{source}: {cell} initial")
                found.append((f"{cell} initial", source, measure(initial_model(begin, len(tokenizer), speech), speech)))
        if trained:
            say(f"{source}: {config.model.cell} trained")
            found.append((f"{config.model.cell} trained", source, measure(trained, speech)))
    count = Counter(name for name, _, _ in found)
    return {name if count[name] == 1 else f"{name} ({source})": flows for name, source, flows in found}


def _open(
    source: Path, manifest: str | Path | None, overrides: Sequence[str]
) -> tuple[Config, AcousticModel | None, Tokenizer]:
    folder = source if source.exists() or source.suffix in (".yaml", ".yml") else find_model(source)
    if folder.is_dir():
        if overrides:
            raise ConfigError(f"--set {overrides[0]}: {source} is a trained model, its settings are what they are")
        model, tokenizer = load_folder(folder)
        return model.config, model, tokenizer
    config = load_config(source, overrides)
    return config, None, build_tokenizer(read_manifest(_speech(source, config, manifest)), config)


def _speech(source: Path, config: Config, manifest: str | Path | None) -> str | Path:
    chosen = manifest or config.data.train
    if chosen is None:
        raise ConfigError(f"{source}: data.train is not set, and gradients are measured on speech; give a --manifest")
    return chosen


def _with_cell(config: Config, cell: str) -> Config:
    return config.model_copy(update={"model": config.model.model_copy(update={"cell": cell})})


def initial_model(config: Config, tokens: int, speech: Sequence[Spoken]) -> AcousticModel:
    """The model with the recurrent weights that `asr train` starts with (`training.seed`); `tokens` in its table."""
    torch.manual_seed(config.training.seed)
    model = AcousticModel(config, tokens)
    if config.features.measured:
        model.features.fit((waveform[None], torch.tensor([len(waveform)])) for waveform, _ in speech)
    return model


def longest_utterances(
    manifest: str | Path, tokenizer: Tokenizer, config: Config, count: int, say: Callable[[str], None]
) -> list[Spoken]:
    """The longest utterances that training would use: long lags are seen in them alone.

    Args:
        manifest: where they are.
        tokenizer: of the model.
        config: its `data.max_seconds` bounds the length.
        count: how many.
        say: is told of each that cannot be used, with the reason.

    Raises:
        ManifestError: the manifest cannot be read.
        TrainingError: none can be used.
    """
    short = (u for u in read_manifest(manifest) if u.text and u.duration <= config.data.max_seconds)
    examples, problems = prepare_examples(heapq.nlargest(count, short, key=lambda u: u.duration), tokenizer, config)
    found = []
    for example in examples:
        try:
            waveform = load_utterance(example.utterance, config.features.sample_rate)
        except AudioError as error:
            problems.append(Problem(example.utterance.id, "unreadable", str(error)))
            continue
        found.append((torch.from_numpy(waveform), torch.tensor(example.tokens)))
    for line in summarise(problems, str(manifest)):
        say(line)
    if not found:
        raise TrainingError(
            f"{manifest}: none of the {count} longest utterances of at most {config.data.max_seconds:g} s with a "
            "transcript can be used; `asr data doctor` says what is wrong with each"
        )
    return found
