"""A recogniser: acoustic model, tokens and decoder in one, from waveforms to hypotheses."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from asr.config import Config, DecodingConfig
from asr.decoding.arrays import as_array
from asr.decoding.decoder import Decoder, beam_settings
from asr.decoding.hypothesis import Hypothesis
from asr.errors import ConfigError
from asr.model.folders import find_model
from asr.model.numpy_model import NumpyModel, supports
from asr.model.reading import read_config
from asr.text import Tokenizer

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from asr.decoding.attention import AttentionSearch
    from asr.model.acoustic import AcousticModel

NUMPY = "numpy"
"""The device of models that NumPy computes, for `Recogniser.load` alone: nothing imports torch then."""
DEVICES = f"auto, cpu, cuda or cuda:N; `asr transcribe` also takes {NUMPY}"


def choose_device(name: str = "auto") -> torch.device:
    """`auto`: the GPU when CUDA has one, else the CPU; otherwise the device of that name.

    Raises:
        ConfigError: torch does not know the name, or the device is not there.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"--device {name}: expected {DEVICES}") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices; use cpu or auto"
        )
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device {name}: expected {DEVICES}")
    return device


def light_device(folder: str | Path) -> str:
    """`numpy` where this machine has no GPU, and NumPy computes the model of that folder; otherwise `auto`.

    Raises:
        CheckpointError: it is no model folder, or a file of it is missing or broken.
    """
    return "auto" if has_gpu() or not supports(read_config(find_model(folder)).model) else NUMPY


def has_gpu() -> bool:
    """Whether there may be a GPU for CUDA: what its driver leaves is looked for, as asking torch takes two seconds."""
    return shutil.which("nvidia-smi") is not None or any(Path("/dev").glob("nvidia[0-9]*"))


class Recogniser:
    """Turns waveforms at `sample_rate` into hypotheses.

    Args:
        model: the acoustic model, on `device`, or one that NumPy computes.
        tokenizer: its tokens.
        device: where it computes; None with NumPy.
        folder: the model's, with its language model and calibration, where there is one.
        decoding: how to decode; None: as the model's configuration says.
        threads: utterances that beam search decodes at the same time; None takes every core.
    """

    def __init__(
        self,
        model: AcousticModel | NumpyModel,
        tokenizer: Tokenizer,
        device: torch.device | None,
        *,
        folder: Path | None = None,
        decoding: DecodingConfig | None = None,
        threads: int | None = None,
    ):
        self.model = model
        self.tokenizer = tokenizer
        self.device = device
        self.folder = folder
        self.decoding = decoding or model.config.decoding
        config = model.config.model_copy(update={"decoding": self.decoding})
        self.decoder: Decoder | AttentionSearch
        if not isinstance(model, NumpyModel) and config.model.head == "attention":
            from asr.decoding.attention import AttentionSearch

            self.decoder = AttentionSearch(model.classifier.head, tokenizer, self.decoding, model.frame_seconds)
        else:
            self.decoder = Decoder(tokenizer, config, folder, threads)
        self.calibration = None
        if self.decoding.word_times and self.aligns and folder is not None:
            from asr.decoding.confidence import Calibration

            self.calibration = Calibration.load(folder)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        device: str = "auto",
        decoding: Mapping[str, Any] | None = None,
        threads: int | None = None,
    ) -> Self:
        """Load a model folder, or a model of the package; see `asr.model.checkpoint.load_folder` for the errors.

        `decoding` changes settings of the section of that name, as `{"beam": 64, "lm": "words.lm"}`. With the device
        `numpy` torch is not imported.
        """
        found = find_model(folder)
        chosen: torch.device | None = None
        model: AcousticModel | NumpyModel
        if device == NUMPY:
            model, tokenizer = NumpyModel.load(found)
        else:
            from asr.model.checkpoint import load_folder

            chosen = choose_device(device)
            model, tokenizer = load_folder(found, chosen)
        settings = beam_settings(model.config.decoding, **(decoding or {}))
        return cls(model, tokenizer, chosen, folder=found, decoding=settings, threads=threads)

    @property
    def config(self) -> Config:
        """The configuration that the model was trained with."""
        return self.model.config

    @property
    def sample_rate(self) -> int:
        """Hz of the waveforms that `decode` takes."""
        return self.config.features.sample_rate

    @property
    def aligns(self) -> bool:
        """Whether text can be aligned with frames; an attention head says itself where it looked, and not how sure."""
        return self.config.model.head == "ctc"

    def log_probs(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Padded waveforms `[batch, samples]` to log-probs `[batch, frames, tokens]` and lengths, on the device.

        Raises:
            ConfigError: the model has an attention head, and no tokens of frames.
        """
        if not self.aligns:
            raise ConfigError("this needs a model with `head: ctc`; one with `head: attention` has no tokens of frames")
        return self.outputs(waveforms, lengths)

    def outputs(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What `decoder` reads, and its lengths: log-probs, or the encoder states of a model with an attention head."""
        import torch

        if isinstance(self.model, NumpyModel):
            rows = [row[:length].numpy() for row, length in zip(waveforms, lengths.tolist(), strict=True)]
            log_probs, frames = self.model(rows)
            return torch.from_numpy(log_probs), torch.from_numpy(frames)
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode():
                return self.model(waveforms.to(self.device), lengths.to(self.device))
        finally:
            self.model.train(was_training)

    def _outputs_of(self, waveforms: Sequence[np.ndarray]) -> tuple[Any, Any]:
        """The same of waveforms `[samples]`, arrays if NumPy computes the model."""
        if isinstance(self.model, NumpyModel):
            return self.model(waveforms)
        import torch

        tensors = [torch.from_numpy(waveform) for waveform in waveforms]
        lengths = torch.tensor([len(tensor) for tensor in tensors])
        return self.outputs(torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True), lengths)

    def decode(self, waveforms: Sequence[np.ndarray | Tensor]) -> list[Hypothesis]:
        """Decode waveforms `[samples]`, float, in [-1, 1], at `sample_rate`; each alone or together, the same text."""
        return [hypotheses[0] for hypotheses in self.nbest(waveforms)]

    def nbest(self, waveforms: Sequence[np.ndarray | Tensor]) -> list[list[Hypothesis]]:
        """The same with all `decoding.nbest` hypotheses of each, best first; times are those of the best alone."""
        if not waveforms:
            return []
        arrays = [as_array(waveform).astype(np.float32) for waveform in waveforms]
        log_probs, frames = self._outputs_of(arrays)
        found = self.decoder(log_probs, frames)
        if self.decoding.word_times and self.aligns:
            values, counts = as_array(log_probs), as_array(frames)
            for hypotheses, row, count, waveform in zip(found, values, counts, arrays, strict=True):
                hypotheses[0] = self._timed(hypotheses, row[:count], waveform)
        return found

    def _timed(self, hypotheses: list[Hypothesis], log_probs: np.ndarray, waveform: np.ndarray) -> Hypothesis:

        from asr.decoding.confidence import with_times_and_confidence

        if not hypotheses[0].words:
            return hypotheses[0]
        return with_times_and_confidence(
            hypotheses[0],
            log_probs,
            self.tokenizer,
            self.model.frame_seconds,
            waveform=waveform,
            sample_rate=self.sample_rate,
            calibration=self.calibration,
            alternatives=hypotheses,
        )
