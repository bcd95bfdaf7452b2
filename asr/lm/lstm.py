"""LSTM language models: what a text scores, what the model writes by itself, and its folder.

Mikolov et al. 2010 (recurrent network language models), Zaremba et al. 2014 (LSTM, dropout between its layers), Press
and Wolf 2017 (input and output embeddings tied), Grave et al. 2017 (adaptive softmax). A sentence is scored by itself:
it begins with a state of zeros.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor, nn

from asr.config.section import Section
from asr.errors import CheckpointError, LanguageModelError, OutputError
from asr.files import replacing
from asr.lm.perplexity import Perplexity
from asr.lm.units import EOS, UNK, Units, splitter
from asr.model.checkpoint import load_tensors, load_weights
from asr.text import SPACE, Tokenizer

CONFIG, VOCABULARY, WEIGHTS = "lstm.yaml", "vocabulary.txt", "model.safetensors"
SPECIAL = (UNK, EOS)
"""Labels 0 and 1; the end of a sentence is also what stands before the first unit of the next."""
UNKNOWN, END = range(len(SPECIAL))
MOST_ROWS = 256
"""Sentences that are scored at once."""
MOST_LOGITS = 1 << 23
"""Numbers (32 MB) that the output layer makes at once while scoring, however long the longest sentence."""
LONGEST_WORD = 50
"""Units a word on average may take in `generate`; a model that has learnt nothing might never end one."""

CUTOFFS = (2_000, 10_000)
"""Labels at which the parts of an adaptive output layer begin: each predicts from a quarter of the width before it."""

BLOCK = 10_000
"""Sentences of a text that `measure` holds in memory at once."""

State = tuple[Tensor, Tensor]
Sentence = str | Sequence[str]
"""Normalised text, or its units."""


class LstmConfig(Section):
    """The shape of a network."""

    units: Units = "words"
    """What it predicts: words, characters (the space is `▁`) or the tokens of an acoustic model."""
    size: int = Field(256, ge=1)
    """Width of the embedding and of every LSTM layer."""
    layers: int = Field(1, ge=1)
    """LSTM layers."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of the embedding's and of every layer's outputs that is dropped in training."""
    tied: bool = True
    """Whether the output layer's weights are the embedding's: half the parameters, and better on little text. An
    adaptive one's never are."""
    adaptive: bool = False
    """Whether the output layer spends less on rare units (an adaptive softmax): seven times as fast a training
    with 60,000 words on a CPU."""


class Network(nn.Module):
    """Embedding, LSTM, output layer."""

    def __init__(self, config: LstmConfig, words: int):
        super().__init__()
        self.embedding = nn.Embedding(words, config.size)
        between = config.dropout if config.layers > 1 else 0.0
        self.lstm = nn.LSTM(config.size, config.size, config.layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(config.dropout)
        self.adaptive: nn.AdaptiveLogSoftmaxWithLoss | None = None
        self.output_weight = self.output_bias = None
        if config.adaptive:
            cutoffs = [label for label in CUTOFFS if label < words] or [words // 2]
            self.adaptive = nn.AdaptiveLogSoftmaxWithLoss(config.size, words, cutoffs, head_bias=True)
        else:
            self.output_weight = None if config.tied else nn.Parameter(torch.empty(words, config.size))
            self.output_bias = nn.Parameter(torch.zeros(words))
        for parameter in (self.embedding.weight, self.output_weight):
            if parameter is not None:
                nn.init.uniform_(parameter, -0.1, 0.1)
        for layer in range(config.layers):  # forget gates begin open (Jozefowicz et al. 2015)
            nn.init.ones_(getattr(self.lstm, f"bias_ih_l{layer}").data[config.size : 2 * config.size])

    def forward(self, labels: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Labels `[batch, steps]` to what is known after each, `[batch, steps, size]`, and the state after them."""
        hidden, state = self.lstm(self.dropout(self.embedding(labels)), state)
        return self.dropout(hidden), state

    def losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of labels `[batch, steps]` in nats, `[batch, steps]`."""
        if self.adaptive is not None:
            return -self.adaptive(hidden.flatten(0, 1), targets.flatten()).output.view_as(targets)
        return F.cross_entropy(self._logits(hidden).flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)

    def log_probs(self, hidden: Tensor) -> Tensor:
        """Log-probabilities of what follows, `[positions, words]`, of `hidden` `[positions, size]`."""
        return self._logits(hidden).log_softmax(-1) if self.adaptive is None else self.adaptive.log_prob(hidden)

    def _logits(self, hidden: Tensor) -> Tensor:
        weight = self.embedding.weight if self.output_weight is None else self.output_weight
        return F.linear(hidden, weight, self.output_bias)


class LstmLanguageModel:
    """A network with its vocabulary.

    Attributes:
        config: the shape.
        words: unit of each label; `<unk>` and `</s>` are the labels 0 and 1.
        network: in evaluation mode unless it is being trained.
    """

    def __init__(self, config: LstmConfig, words: Sequence[str], tokenizer: Tokenizer | None = None):
        """`tokenizer` splits text where the units are tokens; without one, the text is split already, at its spaces."""
        if tuple(words[:2]) != SPECIAL:
            raise ValueError(f"the first two words must be {SPECIAL}, not {words[:2]}")
        self.config = config
        self.words = list(words)
        self.labels = {word: label for label, word in enumerate(self.words)}
        self.network = Network(config, len(self.words)).eval()
        self._split = splitter(config.units, tokenizer)

    @property
    def units(self) -> Units:
        """What it predicts: words, characters or tokens."""
        return self.config.units

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.network.embedding.weight.device

    def to(self, device: str | torch.device) -> Self:
        """Move the network."""
        self.network.to(device)
        return self

    def encode(self, sentence: Sentence) -> list[int]:
        """Labels of a sentence, without its end; units the model does not have become `<unk>`."""
        units = self._split(sentence) if isinstance(sentence, str) else sentence
        return [self.labels.get(unit, UNKNOWN) for unit in units]

    def score(self, sentences: Sequence[Sentence]) -> list[float]:
        """Natural logarithm of each sentence's probability, its end included."""
        return [float(scores.sum()) for scores in self.unit_scores(sentences)]

    def perplexity(self, sentences: Iterable[Sentence]) -> float:
        """Perplexity per unit of sentences, their ends and unknown units included; see `measure` for the parts."""
        return self.measure(sentences).perplexity

    def measure(self, sentences: Iterable[Sentence]) -> Perplexity:
        """What the perplexity of sentences is made of; they are read a block at a time.

        Raises:
            LanguageModelError: there are no sentences.
        """
        count = units = unknown = 0
        log_prob = log_prob_unknown = 0.0
        remaining = iter(sentences)
        while block := list(islice(remaining, BLOCK)):
            count += len(block)
            for sentence, scores in zip(block, self.unit_scores(block), strict=True):
                missing = np.array([*self.encode(sentence), END]) == UNKNOWN
                units += len(scores) - 1
                unknown += int(missing.sum())
                log_prob += float(scores.sum())
                log_prob_unknown += float(scores[missing].sum())
        if not count:
            raise LanguageModelError("no sentence is left to judge the model by")
        return Perplexity(count, units, unknown, log_prob, log_prob_unknown)

    @torch.inference_mode()
    def unit_scores(self, sentences: Sequence[Sentence]) -> list[np.ndarray]:
        """Float64 `[units + 1]` for each sentence: the log-probability of each unit and of the end."""
        encoded = [[*self.encode(sentence), END] for sentence in sentences]
        order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
        scores: list[np.ndarray] = [np.empty(0)] * len(encoded)
        training = self.network.training
        self.network.eval()
        try:
            for begin in range(0, len(order), MOST_ROWS):
                rows = order[begin : begin + MOST_ROWS]
                for index, row in zip(rows, self._score_rows([encoded[index] for index in rows]), strict=True):
                    scores[index] = row[: len(encoded[index])]
        finally:
            self.network.train(training)
        return scores

    def _score_rows(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        """Log-probs `[rows, longest]` of padded rows of labels, a few steps of all rows at a time."""
        padded = [torch.tensor(row) for row in rows]
        targets = nn.utils.rnn.pad_sequence(padded, batch_first=True, padding_value=END)
        inputs = F.pad(targets, (1, 0), value=END)[:, :-1].to(self.device)
        steps = max(1, MOST_LOGITS // (len(rows) * len(self.words)))
        state: State | None = None
        parts = []
        for begin in range(0, targets.shape[1], steps):
            hidden, state = self.network(inputs[:, begin : begin + steps], state)
            wanted = targets[:, begin : begin + steps].to(self.device)
            parts.append(-self.network.losses(hidden, wanted).double().cpu())
        return torch.cat(parts, 1).numpy()

    @torch.inference_mode()
    def generate(self, prompt: str = "", words: int = 50, temperature: float = 1.0, seed: int = 0) -> str:
        """Text that goes on from `prompt` for about `words` words, one sentence a line, `<unk>` never among them.

        Args:
            prompt: normalised text, repeated at the beginning of the result.
            words: how many words to add.
            temperature: divides the logits: above 1 wilder, below 1 tamer, 0 always the likeliest unit.
            seed: the same seed draws the same text.

        Raises:
            LanguageModelError: the prompt has a unit that the model does not have; the temperature is negative.
        """
        if not temperature >= 0:
            raise LanguageModelError(f"temperature {temperature}: must be 0 or more; 1 draws as the model has learnt")
        units = list(self._split(prompt))
        unknown = [unit for unit in dict.fromkeys(units) if unit not in self.labels]
        if unknown:
            raise LanguageModelError(
                f"the prompt has {', '.join(map(repr, unknown))}, not in the model's vocabulary; choose another prompt"
            )
        generator = torch.Generator().manual_seed(seed)
        lines = [units]
        pending = torch.tensor([[END, *(self.labels[unit] for unit in units)]], device=self.device)
        state: State | None = None
        drawn = 0
        for _ in range(words * LONGEST_WORD):
            if drawn == words:
                break
            hidden, state = self.network(pending, state)
            label = _draw(self.network.log_probs(hidden[:, -1])[0].double().cpu(), temperature, generator)
            unit = self.words[label]
            pending = torch.tensor([[label]], device=self.device)
            drawn += self._ends_word(lines[-1], unit)
            if label == END:
                lines.append([])
            else:
                lines[-1].append(unit)
        return "\n".join(self._join(line) for line in lines).strip()

    def _ends_word(self, line: Sequence[str], unit: str) -> bool:
        if self.config.units == "words":
            return unit != EOS
        return bool(line) and line[-1] != SPACE and (unit == EOS or unit.startswith(SPACE))

    def _join(self, units: Sequence[str]) -> str:
        if self.config.units == "words":
            return " ".join(units)
        return " ".join("".join(units).replace(SPACE, " ").split())

    def save(self, folder: str | Path) -> None:
        """Write a folder: the shape, the vocabulary, the weights (safetensors).

        Raises:
            OutputError: it cannot be written.
        """
        folder = Path(folder)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (  # three whole files before any takes its place
                replacing(folder / WEIGHTS) as weights,
                replacing(folder / VOCABULARY) as vocabulary,
                replacing(folder / CONFIG) as config,
            ):
                config.write_text(yaml.safe_dump(self.config.model_dump(), sort_keys=False), encoding="utf-8")
                vocabulary.write_text("".join(f"{word}\n" for word in self.words), encoding="utf-8", newline="\n")
                weights.write_bytes(save(tensors))  # save_file would let nobody but the owner read it
        except (OSError, SafetensorError) as error:
            raise OutputError(f"{folder}: cannot be written ({error}); make room, or choose another place") from None

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device = "cpu", tokenizer: Tokenizer | None = None) -> Self:
        """Read what `save` wrote.

        Raises:
            LanguageModelError: the folder or one of its files is missing, broken, or of another model.
        """
        folder = Path(folder)
        missing = [name for name in (CONFIG, VOCABULARY, WEIGHTS) if not (folder / name).is_file()]
        if missing:
            raise LanguageModelError(
                f"{folder}: no LSTM language model, {', '.join(missing)} missing; `asr lm train --kind lstm` makes one"
            )
        try:
            config = LstmConfig.model_validate(yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
            raise LanguageModelError(
                f"{folder / CONFIG}: broken ({' '.join(str(error).split())}); train again"
            ) from None
        model: Any = cls(config, _read_words(folder / VOCABULARY), tokenizer)
        try:
            tensors, _ = load_tensors(folder / WEIGHTS)
            load_weights(model.network, tensors, folder / WEIGHTS)
        except CheckpointError as error:
            raise LanguageModelError(str(error)) from None
        return model.to(device)


def _draw(log_probs: Tensor, temperature: float, generator: torch.Generator) -> int:
    log_probs[UNKNOWN] = -torch.inf
    if temperature == 0:
        return int(log_probs.argmax())
    return int(torch.multinomial(((log_probs - log_probs.max()) / temperature).softmax(-1), 1, generator=generator))


def _read_words(path: Path) -> list[str]:
    try:
        words = path.read_text(encoding="utf-8").split("\n")[:-1]
    except (OSError, UnicodeDecodeError) as error:
        raise LanguageModelError(f"{path}: cannot be read ({error}); copy it again") from None
    if tuple(words[:2]) != SPECIAL or len(set(words)) != len(words):
        raise LanguageModelError(
            f"{path}: must list {UNK}, {EOS} and then every unit once; copy it again or train again"
        )
    return words
