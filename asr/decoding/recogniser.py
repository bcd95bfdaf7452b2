"""A recogniser: acoustic model, tokens and decoder in one, from waveforms to hypotheses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from asr.config import Config
from asr.decoding.greedy import greedy
from asr.decoding.hypothesis import Hypothesis
from asr.errors import ConfigError
from asr.model.acoustic import AcousticModel
from asr.model.checkpoint import load_folder
from asr.text import Tokenizer


def choose_device(name: str = "auto") -> torch.device:
    """`auto`: the GPU when CUDA has one, else the CPU; otherwise the device of that name.

    Raises:
        ConfigError: torch does not know the name, or the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"--device {name}: expected auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices; use cpu or auto"
        )
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device {name}: expected auto, cpu, cuda or cuda:N")
    return device


class Recogniser:
    """Turns waveforms at `sample_rate` into hypotheses."""

    def __init__(self, model: AcousticModel, tokenizer: Tokenizer, device: torch.device):
        self.model = model
        self.tokenizer = tokenizer
        self.device = device

    @classmethod
    def load(cls, folder: str | Path, device: str = "auto") -> Self:
        """Load a model folder; see `asr.model.checkpoint.load_folder` for the errors."""
        chosen = choose_device(device)
        return cls(*load_folder(folder, chosen), chosen)

    @property
    def config(self) -> Config:
        """The configuration that the model was trained with."""
        return self.model.config

    @property
    def sample_rate(self) -> int:
        """Hz of the waveforms that `decode` takes."""
        return self.config.features.sample_rate

    @torch.inference_mode()
    def log_probs(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Padded waveforms `[batch, samples]` to log-probs `[batch, frames, tokens]` and lengths, on the device."""
        was_training = self.model.training
        self.model.eval()
        try:
            return self.model(waveforms.to(self.device), lengths.to(self.device))
        finally:
            self.model.train(was_training)

    def decode_batch(self, waveforms: Tensor, lengths: Tensor) -> list[Hypothesis]:
        """Decode padded waveforms `[batch, samples]` with `lengths` `[batch]` in samples."""
        if not len(lengths):
            return []
        return greedy(*self.log_probs(waveforms, lengths), self.tokenizer)

    def decode(self, waveforms: Sequence[np.ndarray | Tensor]) -> list[Hypothesis]:
        """Decode waveforms `[samples]`, float, in [-1, 1], at `sample_rate`; each alone or together, the same text."""
        tensors = [torch.as_tensor(waveform, dtype=torch.float32) for waveform in waveforms]
        if not tensors:
            return []
        lengths = torch.tensor([len(tensor) for tensor in tensors])
        return self.decode_batch(torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True), lengths)
