"""`train`: from a configuration to a model folder; checks the data, sets up the device, and runs the loop."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs
from rich.console import Console

from asr.allocation import memory_kept
from asr.config import Config, TrainingConfig
from asr.data.index import ManifestIndex
from asr.data.manifest import read_manifest
from asr.data.problems import summarise
from asr.data.shard_cache import ShardCache
from asr.data.shards import is_remote
from asr.data.utterance import Utterance
from asr.decoding.recogniser import choose_device
from asr.errors import TrainingError
from asr.evaluation.sharing import join, once
from asr.model.acoustic import AcousticModel
from asr.model.checkpoint import create_folder
from asr.model.folders import TOKENS
from asr.text import Tokenizer
from asr.training.advice import other_units, without_missing_files
from asr.training.initial import Initial, adopted, freeze
from asr.training.preparation import build_tokenizer, prepare_examples
from asr.training.resume import check_resumable, clear
from asr.training.trainer import Trainer, TrainingResult

USUAL = 95
"""Percentile of the lengths trained on that decoding cuts long recordings to."""
SHORTEST_WINDOW, LONGEST_WINDOW = 4.0, 30.0
"""Seconds: single words make poor windows, and what is longer than a breath has a pause."""


def train(
    config: Config,
    output: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    console: Console | None = None,
) -> TrainingResult:
    """Train a model into the folder `output`.

    The folder becomes a model folder (the epoch with the lowest dev WER) and also holds `checkpoints/`, from which
    `resume` continues exactly, `log.jsonl` and `tensorboard/`.

    Args:
        config: `data.train` must be set; without `data.dev` the last epoch is kept.
        output: a new folder, or with `resume` one that an earlier call has left.
        resume: go on from the newest checkpoint; starts from the beginning when there is none yet.
        overwrite: forget what an earlier training left in `output`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        console: where progress is printed; None prints nothing.

    Raises:
        TrainingError: there is nothing to train on, or the loss is not finite ten times in a row.
        Interrupted: Ctrl-C or SIGTERM, after saving.
        ManifestError, CheckpointError, ConfigError: as their names say.
    """
    output = Path(output)
    config, gave_way = adopted(config)
    config, no_files = without_missing_files(config)
    if config.data.train is None:
        raise TrainingError("data.train is not set: name a manifest, e.g. --set data.train=data/an4/train")
    join(device, training=True)
    resuming = once(lambda: check_resumable(output, config, resume=resume, overwrite=overwrite))
    accelerator = make_accelerator(config.training, device, console)
    torch.manual_seed(config.training.seed)
    cache = ShardCache(config.data.train) if is_remote(config.data.train) else None
    train_set = ManifestIndex(cache.parts) if cache else ManifestIndex.open(config.data.train)
    if not len(train_set):
        raise TrainingError(f"{config.data.train}: no utterances to train on; is it the right manifest?")
    dev_set = _read_dev_set(config, train_set)
    initial = Initial(config.training.init) if config.training.init is not None and not resuming else None
    if resuming:
        tokenizer = Tokenizer.load(output / TOKENS, config.text.units)
    else:
        tokenizer = build_tokenizer(train_set, config)
        tokenizer = initial.extended(tokenizer, config.text) if initial else tokenizer
    model = AcousticModel(config, len(tokenizer))
    new = initial.load_into(model, tokenizer) if initial else []
    if config.training.frozen is not None:
        freeze(model, config.training.frozen)
    examples, problems = prepare_examples(train_set, tokenizer, config)
    main = accelerator.is_main_process
    if main and console:
        for line in summarise(problems, config.data.train):
            console.print(line, highlight=False, markup=False, soft_wrap=True, style="yellow")
        if initial:
            known = f"{len(tokenizer) - len(new)} of {len(tokenizer)} tokens known"
            added = f", new: {' '.join(new)}" if new else ""
            told = (f"starting from {initial.folder}, {known}{added}", *gave_way, *other_units(initial.config, config))
            for line in told:
                console.print(line, highlight=False, markup=False, soft_wrap=True)
        for line in no_files:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    if not len(examples):
        raise TrainingError(f"{config.data.train}: no utterance can be trained on; the lines above say why")
    if main and not resuming:
        if overwrite:
            clear(output, config)
        create_folder(output, _with_window(config, examples.seconds), tokenizer)
    printing = console if main else None
    trainer = Trainer(config, output, accelerator, model, tokenizer, examples, dev_set, printing, cache)
    with memory_kept():
        return trainer.run(resuming, measured=initial is not None and initial.measured)


def _read_dev_set(config: Config, train_set: ManifestIndex) -> list[Utterance]:
    if config.data.dev and is_remote(config.data.dev):
        raise TrainingError(f"data.dev is {config.data.dev}, and only data.train may be a URL; copy it to a disk")
    dev_set = list(read_manifest(config.data.dev)) if config.data.dev else []
    if config.data.dev and not dev_set:
        raise TrainingError(f"{config.data.dev}: no utterances to choose the best epoch by; fill it, or unset data.dev")
    unknown = [u.id for u in dev_set if u.text is None]
    if unknown:
        raise TrainingError(f"{config.data.dev}: {len(unknown)} utterances have no transcript (first {unknown[0]!r})")
    dev_ids = {u.id for u in dev_set}
    shared = {u.id for u in train_set if u.id in dev_ids} if dev_ids else set()
    if shared:
        raise TrainingError(
            f"{len(shared)} utterances of {config.data.dev} are in {config.data.train} too (first {min(shared)!r}); "
            "a dev WER on training data says nothing: split them again"
        )
    return dev_set


def _with_window(config: Config, seconds: Sequence[float]) -> Config:
    """`config` with `decoding.window_seconds` from the lengths trained on, where it does not say."""
    if config.decoding.window_seconds is not None:
        return config
    usual = round(float(np.percentile(np.asarray(seconds), USUAL)), 1)
    window = min(max(usual, SHORTEST_WINDOW), LONGEST_WINDOW)
    return config.model_copy(update={"decoding": config.decoding.model_copy(update={"window_seconds": window})})


def make_accelerator(config: TrainingConfig, device: str, console: Console | None) -> Accelerator:
    """The device and the precision that a training has: `auto` is bfloat16 on a GPU that has it."""
    chosen = choose_device(device)
    on_gpu = chosen.type == "cuda"
    if on_gpu and chosen.index is not None:
        torch.cuda.set_device(chosen)
    precision = config.precision
    if precision == "auto":
        precision = "bfloat16" if on_gpu and torch.cuda.is_bf16_supported() else "float32"
    elif precision != "float32" and not on_gpu:
        if console:
            console.print(f"training.precision = {precision} needs a GPU; this CPU trains in float32", style="yellow")
        precision = "float32"
    names = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
    AcceleratorState._reset_state(reset_partial_state=True)  # a process may train several models one after the other
    # Buffers never change while training, and sending them before each step makes the ranks wait once more. (torch 2.14
    # says that it will call this otherwise; accelerate does not know the new name yet.)
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
    ddp = DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
    return Accelerator(cpu=not on_gpu, mixed_precision=names[precision], kwargs_handlers=[ddp])
