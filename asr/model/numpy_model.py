"""The network in NumPy: what `asr.model.acoustic` computes, for those who cannot wait for torch to be imported.

Importing torch takes two seconds and 500 MB, and for a short recording everything else takes less. This is inference
alone, in float32 on one core: subsampling, recurrent layers of any cell, CTC head. Utterances go through it one by one,
but for the recurrence, in which those of a batch take each step together.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import numpy as np
from threadpoolctl import threadpool_limits

from asr.config import Config, ModelConfig
from asr.errors import ConfigError
from asr.frames import hop_samples
from asr.model.folders import WEIGHTS
from asr.model.numpy_features import NumpyLogMel
from asr.model.reading import STATISTICS, check_no_more, check_weight, read_arrays, read_folder
from asr.text import Tokenizer


def supports(config: ModelConfig) -> bool:
    """Whether a model of this section `model` can be computed here."""
    return config.encoder == "rnn" and config.head == "ctc"


class NumpyModel:
    """Waveforms to log-probs, as `AcousticModel` in evaluation mode, up to rounding.

    Args:
        config: the whole configuration; `features` and `model` matter here.
        tokens: size of the token table, blank included.
        weights: by name, as in `model.safetensors`.
        where: they are from, for messages.

    Raises:
        ConfigError: a Transformer, or an attention head.
        CheckpointError: the weights are another model's, or not finite.
    """

    def __init__(self, config: Config, tokens: int, weights: Mapping[str, np.ndarray], where: Path):
        if not supports(config.model):
            raise ConfigError(
                f"--device numpy: it has no `encoder: {config.model.encoder}` with `head: {config.model.head}`; use cpu"
            )
        self.config = config
        take = _Weights(weights, where)
        features, model = config.features, config.model
        statistics = [take(name, features.mels) for name in STATISTICS] if features.measured else []
        self.features = NumpyLogMel(features, *statistics)
        self._subsampling = (_Convolutions if model.subsampling.kind == "conv" else _Stacked)(config, take)
        self._norm = _Norm(take, "classifier.norm", model.hidden)
        self._layers = []
        size = model.hidden
        for number in range(model.layers):
            layer = _Layer(model, size, take, f"classifier.encoder.layers.{number}")
            project = None
            size = model.projection or layer.size
            if model.projection:
                project = _Linear(take, f"classifier.encoder.projections.{number}", layer.size, size)
            norm = _Norm(take, f"classifier.encoder.norms.{number}", size)
            self._layers.append((layer, project, norm))
        self._head = _Linear(take, "classifier.head", size, tokens)
        self._conditioning = _Linear(take, "classifier.conditioning", tokens, size) if model.self_conditioning else None
        check_no_more(take.left, where)

    @classmethod
    def load(cls, folder: Path) -> tuple[Self, Tokenizer]:
        """The model of a folder and its tokens.

        Raises:
            CheckpointError: a file is missing, truncated, or belongs to another model.
            ConfigError: the model is not one of recurrent layers and CTC.
        """
        config, tokenizer = read_folder(folder)
        return cls(config, len(tokenizer), read_arrays(folder / WEIGHTS), folder / WEIGHTS), tokenizer

    def __call__(self, waveforms: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Waveforms `[samples]` in [-1, 1] to log-probs `[batch, frames, tokens]`, 0 in the padding, and lengths."""
        with _one_blas_thread():
            rows = self._log_probs([self._frames(waveform) for waveform in waveforms])
        lengths = np.array([len(row) for row in rows], np.int64)
        padded = np.zeros((len(rows), int(lengths.max(initial=0)), self._head.size), np.float32)
        for row, values in enumerate(rows):
            padded[row, : len(values)] = values
        return padded, lengths

    def _frames(self, waveform: np.ndarray) -> np.ndarray:
        """What the encoder reads of one utterance, `[frames, hidden]`."""
        if not len(waveform):  # there is nothing to convolve
            return np.zeros((0, self.config.model.hidden), np.float32)
        return self._norm(self._subsampling(self.features(waveform)))

    def _log_probs(self, rows: list[np.ndarray]) -> list[np.ndarray]:
        """Of frames `[frames, hidden]` of each utterance."""
        model = self.config.model
        for number, (layer, project, norm) in enumerate(self._layers, 1):
            states = layer(rows)
            if project is not None:
                states = [project(state) for state in states]
            new = [norm(state) for state in states]
            if model.residual and new[0].shape == rows[0].shape:
                new = [old + state for old, state in zip(rows, new, strict=True)]
            if self._conditioning is not None and number in model.intermediate:
                new = [row + self._conditioning(np.exp(log_softmax(self._head(row)))) for row in new]
            rows = new
        return [log_softmax(self._head(row)) for row in rows]

    @property
    def frame_seconds(self) -> float:
        """Seconds from one frame of log-probs to the next."""
        features = self.config.features
        return self.config.model.subsampling.factor * hop_samples(features) / features.sample_rate


_lock = threading.Lock()
_inside = 0
_limits: threadpool_limits | None = None


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """The matrices are small: more threads only wait for each other.

    The limit is the process's: of several threads in here the first sets it, and the last one out takes it away.
    """
    global _inside, _limits
    with _lock:
        _inside += 1
        if _inside == 1:
            _limits = threadpool_limits(1, "blas")
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside and _limits is not None:
                _limits.restore_original_limits()


class _Weights:
    """Tensors by name, each taken once and checked, in float32."""

    def __init__(self, tensors: Mapping[str, np.ndarray], where: Path):
        self.left, self.where = dict(tensors), where

    def __call__(self, name: str, *shape: int) -> np.ndarray:
        check_weight(self.left, name, shape, self.where)
        return self.left.pop(name).astype(np.float32)


class _Linear:
    """`[..., inputs]` to `[..., size]`."""

    def __init__(self, take: _Weights, name: str, inputs: int, size: int):
        self.size = size
        self.weight = np.ascontiguousarray(take(f"{name}.weight", size, inputs).T)
        self.bias = take(f"{name}.bias", size)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return x @ self.weight + self.bias


class _Norm:
    """LayerNorm over the last dimension."""

    def __init__(self, take: _Weights, name: str, size: int):
        self.weight, self.bias = take(f"{name}.weight", size), take(f"{name}.bias", size)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        deviation = np.sqrt(np.square(centred).mean(-1, keepdims=True) + np.float32(1e-5))
        return centred / deviation * self.weight + self.bias


class _Convolutions:
    """`asr.model.subsampling.ConvSubsampling`, of features `[frames, mels]` to `[frames / factor, hidden]`."""

    def __init__(self, config: Config, take: _Weights):
        settings, bins, before = config.model.subsampling, config.features.mels, 1
        self.strided, self.deeper = [], []
        for number in range(settings.factor.bit_length() - 1):
            name = f"classifier.subsampling.convolutions.{number}"
            self.strided.append(_Convolution(take, name, before, settings.channels))
            bins, before = (bins + 1) // 2, settings.channels
        for number in range(settings.depth):
            name = f"classifier.subsampling.deeper.{number}"
            self.deeper.append(_Convolution(take, name, before, settings.channels))
        self.project = _Linear(take, "classifier.subsampling.project", before * bins, config.model.hidden)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        x = features[..., None]
        for convolution in self.strided:
            x = np.maximum(convolution(x, 2), 0)
        for convolution in self.deeper:
            x = x + np.maximum(convolution(x, 1), 0)
        return self.project(x.transpose(0, 2, 1).reshape(len(x), self.project.weight.shape[0]))


class _Convolution:
    """3 x 3, the border filled with 0: `[frames, bins, channels]`, as matrix products over what lies side by side."""

    def __init__(self, take: _Weights, name: str, before: int, after: int):
        weight = take(f"{name}.weight", after, before, 3, 3)
        self.weight = np.ascontiguousarray(weight.transpose(2, 3, 1, 0)).reshape(9 * before, after)
        self.bias = take(f"{name}.bias", after)

    def __call__(self, x: np.ndarray, stride: int) -> np.ndarray:
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        near = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (0, 1))[::stride, ::stride]
        frames, bins = near.shape[:2]
        columns = near.transpose(0, 1, 3, 4, 2).reshape(frames * bins, len(self.weight))
        return (columns @ self.weight + self.bias).reshape(frames, bins, -1)


class _Stacked:
    """`asr.model.subsampling.StackSubsampling`, of features `[frames, mels]` to `[frames / factor, hidden]`."""

    def __init__(self, config: Config, take: _Weights):
        self.factor = config.model.subsampling.factor
        inputs = self.factor * config.features.mels
        self.project = _Linear(take, "classifier.subsampling.project", inputs, config.model.hidden)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        padded = np.pad(features, ((0, -len(features) % self.factor), (0, 0)))
        return self.project(padded.reshape(-1, self.factor * features.shape[1]))


class _Layer:
    """`asr.model.rnn.RecurrentLayer`: of each utterance `[frames, inputs]` to `[frames, size]`."""

    def __init__(self, config: ModelConfig, inputs: int, take: _Weights, name: str):
        cell = {"lstm": _Lstm, "gru": _Gru}.get(config.cell, _Elman)
        sides = ("forwards", "backwards") if config.bidirectional else ("forwards",)
        self.directions = [cell(config, inputs, take, f"{name}.{side}") for side in sides]
        self.size = config.hidden * len(sides)

    def __call__(self, rows: Sequence[np.ndarray]) -> list[np.ndarray]:
        found = [self.directions[0](rows)]
        for backwards in self.directions[1:]:
            found.append([states[::-1] for states in backwards([row[::-1] for row in rows])])
        return [np.concatenate(both, axis=-1) for both in zip(*found, strict=True)]


class _Cell:
    """One direction. The equations are those of `asr.model.rnn`, as are the names."""

    gates = 1

    def __init__(self, config: ModelConfig, inputs: int, take: _Weights, name: str):
        self.hidden, self.nonlinearity = config.hidden, config.cell.removeprefix("rnn_")
        size = self.gates * config.hidden
        self.W = np.ascontiguousarray(take(f"{name}.weight_ih_l0", size, inputs).T)
        self.R = np.ascontiguousarray(take(f"{name}.weight_hh_l0", size, config.hidden).T)
        self.b, self.c = take(f"{name}.bias_ih_l0", size), take(f"{name}.bias_hh_l0", size)

    def __call__(self, rows: Sequence[np.ndarray]) -> list[np.ndarray]:
        """States `[frames, hidden]` of each `[frames, inputs]`; all take a step together, so that R is read once."""
        order = sorted(range(len(rows)), key=lambda row: -len(rows[row]))  # those that end first are left out first
        lengths = np.array([len(rows[row]) for row in order])
        longest = int(lengths.max(initial=0))
        x = np.empty((longest, len(rows), self.W.shape[1]), np.float32)
        for place, row in enumerate(order):
            np.add(rows[row] @ self.W, self.b, out=x[: len(rows[row]), place])
        states = np.empty((longest, len(rows), self.hidden), np.float32)
        self.steps(x, states, [int((lengths > frame).sum()) for frame in range(longest)])
        found = dict(zip(order, states.transpose(1, 0, 2), strict=True))
        return [found[row][: len(values)] for row, values in enumerate(rows)]

    def steps(self, x: np.ndarray, states: np.ndarray, going: Sequence[int]) -> None:
        """From `W x_t + b` `[frames, batch, gates * hidden]`, which is used up, to h `[frames, batch, hidden]`.

        At frame t only the first `going[t]` utterances go on.
        """
        raise NotImplementedError


class _Elman(_Cell):
    def steps(self, x: np.ndarray, states: np.ndarray, going: Sequence[int]) -> None:
        h = np.zeros((x.shape[1], self.hidden), np.float32)
        for n, now, after in zip(going, x, states, strict=True):
            z = now[:n] + h[:n] @ self.R + self.c
            h = np.tanh(z, out=after[:n]) if self.nonlinearity == "tanh" else np.maximum(z, 0, out=after[:n])


class _Lstm(_Cell):
    gates = 4

    def __init__(self, config: ModelConfig, inputs: int, take: _Weights, name: str):
        super().__init__(config, inputs, take, name)
        self.b += self.c
        # sigmoid(x) = tanh(x / 2) / 2 + 1 / 2: one call of tanh for the four gates, of which g is no sigmoid.
        halves = np.full((self.gates, self.hidden), 0.5, np.float32)
        halves[2] = 1.0
        self.scale = halves.ravel()
        self.shift = 1 - self.scale
        for values in (self.W, self.R, self.b):
            values *= self.scale

    def steps(self, x: np.ndarray, states: np.ndarray, going: Sequence[int]) -> None:
        h = c = np.zeros((x.shape[1], self.hidden), np.float32)
        gates = [slice(k * self.hidden, (k + 1) * self.hidden) for k in range(self.gates)]
        for n, now, after in zip(going, x, states, strict=True):
            z = now[:n]
            z += h[:n] @ self.R
            np.tanh(z, out=z)
            z *= self.scale
            z += self.shift
            i, f, g, o = (z[:, gate] for gate in gates)
            c = f * c[:n] + i * g
            h = np.multiply(o, np.tanh(c), out=after[:n])


class _Gru(_Cell):
    gates = 3

    def steps(self, x: np.ndarray, states: np.ndarray, going: Sequence[int]) -> None:
        h = np.zeros((x.shape[1], self.hidden), np.float32)
        both, last = slice(0, 2 * self.hidden), slice(2 * self.hidden, None)
        for n, now, after in zip(going, x, states, strict=True):
            recurrent = h[:n] @ self.R + self.c
            gates = np.tanh((now[:n, both] + recurrent[:, both]) / 2) / 2 + np.float32(0.5)
            r, z = np.split(gates, 2, axis=-1)
            candidate = np.tanh(now[:n, last] + r * recurrent[:, last])
            h = np.add(candidate, z * (h[:n] - candidate), out=after[:n])


def log_softmax(x: np.ndarray) -> np.ndarray:
    """Log of the softmax over the last dimension."""
    below = x - x.max(-1, keepdims=True)
    return below - np.log(np.exp(below).sum(-1, keepdims=True))
