"""Training an LSTM language model by truncated backpropagation through time.

The text is laid out in a few streams that are read side by side, a chunk of steps at a time. The state is carried from
chunk to chunk, the gradient is not (Mikolov et al. 2010; Zaremba et al. 2014). Sentences are shuffled anew for every
epoch: the model will score sentences one by one, and so learns that what came before one says nothing about it.
"""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from asr.errors import LanguageModelError, OutputError
from asr.lm.lstm import END, SPECIAL, UNKNOWN, LstmConfig, LstmLanguageModel, Network, Sentence, State
from asr.lm.units import splitter, token_vocabulary
from asr.text import Tokenizer

HOPELESS = 100.0
"""Nats per unit, averaged over an epoch, that only a training which has diverged comes to; guessing is 10 or so."""


@dataclass(frozen=True)
class LstmTraining:
    """How to train."""

    epochs: int = 8
    """Passes over the text."""
    streams: int = 32
    """Places of the text that are read side by side: the batch."""
    chunk: int = 35
    """Steps that the gradient goes back."""
    learning_rate: float = 3e-3
    """Adam's at the beginning; it falls to 0 along a half cosine."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    most_words: int = 20_000
    """Size of the vocabulary; the rarer units are `<unk>`. The output layer is most of the work for words."""
    fewest: int = 2
    """How often a word must occur to be in the vocabulary; the others teach the model `<unk>`. Characters need not."""
    seed: int = 0
    """Of the weights, the dropout and the order of sentences."""


@dataclass(frozen=True)
class Epoch:
    """What is known after an epoch."""

    number: int
    train_perplexity: float
    """With dropout, averaged over the epoch."""
    perplexity: float | None
    """Of the validation sentences, each by itself; None without any."""
    best: bool
    seconds: float
    """Since the beginning of the training."""


def train_lstm(
    sentences: Iterable[Sentence],
    config: LstmConfig | None = None,
    training: LstmTraining | None = None,
    *,
    validation: Sequence[Sentence] = (),
    words: Sequence[str] | None = None,
    tokenizer: Tokenizer | None = None,
    device: str | torch.device = "cpu",
    output: Path | None = None,
    report: Callable[[Epoch], None] | None = None,
) -> LstmLanguageModel:
    """Train on sentences, normalised text or their units; empty ones are left out.

    Args:
        sentences: read once, kept in memory as labels, 4 bytes a unit.
        config: the shape of the network.
        training: how to train.
        validation: sentences that choose the best epoch; without them the last one is taken.
        words: the vocabulary, to compare with another model of the same one; None counts the units of the text. An
            adaptive output layer is only fast where the commonest come first.
        tokenizer: splits the text where the units are tokens, and gives the vocabulary.
        device: where to train; the model stays there.
        output: a folder that is written after every epoch that is the best so far.
        report: called after every epoch.

    Raises:
        LanguageModelError: there is no text, a setting is impossible, or the training diverged.
        TextError: the tokenizer cannot spell a sentence.
        OutputError: the folder cannot be written.
    """
    config, training = config or LstmConfig(), training or LstmTraining()
    _check(training)
    if output is not None:
        _make_folder(output)  # before the work
    if words is None and config.units == "tokens" and tokenizer is not None:
        words = token_vocabulary(tokenizer)
    fewest = training.fewest if config.units == "words" else 1
    labels, words = _encode(sentences, splitter(config.units, tokenizer), words, training.most_words, fewest)
    cuda = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(training.seed)
        model = LstmLanguageModel(config, words, tokenizer).to(device)
        best: dict[str, Tensor] = {}
        for epoch in _epochs(model, labels, training, validation):
            if epoch.best:
                best = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
                if output is not None:
                    model.save(output)
            if report is not None:
                report(epoch)
    model.network.load_state_dict(best)
    return model


def _epochs(
    model: LstmLanguageModel, labels: np.ndarray, training: LstmTraining, validation: Sequence[Sentence]
) -> Iterator[Epoch]:
    started = time.perf_counter()
    network, device = model.network, model.device
    # A text too short for all the streams gets fewer, so that each has a chunk to read.
    streams = max(1, min(training.streams, len(labels) // training.chunk))
    steps = training.epochs * math.ceil(len(labels) // streams / training.chunk)
    optimiser = torch.optim.Adam(network.parameters(), training.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    rng = np.random.default_rng(training.seed)
    lowest = math.inf
    for number in range(1, training.epochs + 1):
        network.train()
        state: State | None = None
        total, count = torch.zeros((), dtype=torch.float64, device=device), 0
        for inputs, targets in chunks(shuffled(labels, rng), streams, training.chunk):
            loss, state = chunk_loss(network, inputs.to(device), targets.to(device), state)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), training.clip)
            optimiser.step()
            schedule.step()
            total += loss.detach() * targets.numel()
            count += targets.numel()
        network.eval()
        mean = float(total) / count
        if not mean < HOPELESS:
            raise LanguageModelError(
                f"epoch {number}: the training diverged; lower the learning rate ({training.learning_rate:g})"
            )
        perplexity = model.perplexity(validation) if validation else None
        best = perplexity is None or perplexity < lowest
        lowest = lowest if perplexity is None else min(lowest, perplexity)
        yield Epoch(number, math.exp(mean), perplexity, best, time.perf_counter() - started)


def shuffled(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The sentences of `labels` `[units]`, each up to its `END`, in another order."""
    ends = np.flatnonzero(labels == END) + 1
    begins = np.concatenate([[0], ends[:-1]])
    order = rng.permutation(len(ends))
    lengths = (ends - begins)[order]
    # The place of each unit: where its sentence begins, and how far it stands into the sentence.
    into = np.arange(len(labels)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return labels[np.repeat(begins[order], lengths) + into]


def chunks(labels: np.ndarray, streams: int, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and targets, int64 `[streams, up to steps]`: stream i reads the i-th part of `labels` `[units]` in order.

    The fewer than `streams` units that are left over stay unread.
    """
    length = len(labels) // streams
    targets = torch.from_numpy(labels[: streams * length].astype(np.int64))
    inputs = F.pad(targets, (1, 0), value=END)[:-1].view(streams, length)
    for begin in range(0, length, steps):
        yield inputs[:, begin : begin + steps], targets.view(streams, length)[:, begin : begin + steps]


def chunk_loss(network: Network, inputs: Tensor, targets: Tensor, state: State | None) -> tuple[Tensor, State]:
    """Mean cross-entropy of a chunk, in nats, and the state after it, through which no gradient flows."""
    outputs, (hidden, cell) = network(inputs, state)
    return network.losses(outputs, targets).mean(), (hidden.detach(), cell.detach())


def _encode(
    sentences: Iterable[Sentence],
    split: Callable[[str], Sequence[str]],
    words: Sequence[str] | None,
    most: int,
    fewest: int,
) -> tuple[np.ndarray, list[str]]:
    """Labels int32 `[units]`, an `END` after every sentence, and the vocabulary: the commonest units, ties by name."""
    seen = {word: label for label, word in enumerate(SPECIAL)}
    raw = array("i")
    for sentence in sentences:
        units = split(sentence) if isinstance(sentence, str) else sentence
        if units:
            raw.extend(seen.setdefault(unit, len(seen)) for unit in units)
            raw.append(END)
    if not raw:
        raise LanguageModelError("no text to learn from; give files with one sentence a line")
    labels, names = np.frombuffer(raw, dtype=np.int32), list(seen)
    if words is None:
        counts = np.bincount(labels, minlength=len(names))
        counted = [(-count, name) for name, count in zip(names, counts.tolist(), strict=True) if count >= fewest]
        words = [name for _, name in sorted(counted)]
    kept = [*SPECIAL, *[word for word in words if word not in SPECIAL][:most]]
    place = {word: label for label, word in enumerate(kept)}
    return np.array([place.get(name, UNKNOWN) for name in names], np.int32)[labels], kept


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror or error}); choose another place") from None


def _check(training: LstmTraining) -> None:
    for name in ("epochs", "streams", "chunk", "learning_rate", "clip", "most_words"):
        value = getattr(training, name)
        if not (value > 0 and math.isfinite(value)):
            raise LanguageModelError(f"{name} = {value}: must be above 0")
