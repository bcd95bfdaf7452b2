"""The peers of benchmarks/training.py, rebuilt at the size of our model from their sources, and the bare products."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from asr.config import Config
from asr.model.acoustic import AcousticModel


class PackedLayer(nn.Module):
    """One bidirectional LSTM layer in the usual way, in the place of our `RecurrentLayer`."""

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        self.lstm = nn.LSTM(inputs, hidden, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """As `RecurrentLayer`."""
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1])[0]


class PackedStack(nn.Module):
    """All layers in one packed `nn.LSTM`, as SpeechBrain's block: `speechbrain.nnet.RNN.LSTM(bidirectional=True)`."""

    def __init__(self, inputs: int, hidden: int, layers: int, dropout: float):
        super().__init__()
        self.lstm = nn.LSTM(inputs, hidden, layers, batch_first=True, bidirectional=True, dropout=dropout)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """As `RecurrentLayer`."""
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1])[0]


def packed_model(config: Config, tokens: int) -> AcousticModel:
    """Our model with each recurrent layer packed."""
    model = AcousticModel(config, tokens)
    width = config.model.hidden
    for number in range(config.model.layers):
        model.classifier.encoder.layers[number] = PackedLayer(width if number == 0 else 2 * width, width)
    return model


def speechbrain_model(config: Config, tokens: int) -> AcousticModel:
    """Our front end and head around SpeechBrain's block of recurrent layers."""
    model = AcousticModel(config, tokens)
    settings = config.model
    model.classifier.encoder = PackedStack(  # type: ignore[assignment]
        settings.hidden, settings.hidden, settings.layers, settings.dropout
    )
    return model


class BatchRnn(nn.Module):
    """deepspeech.pytorch's layer: BatchNorm over frames, a packed bidirectional LSTM, its directions added."""

    def __init__(self, inputs: int, hidden: int, normalised: bool):
        super().__init__()
        self.norm = nn.BatchNorm1d(inputs) if normalised else None
        self.lstm = nn.LSTM(inputs, hidden, bidirectional=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """`[frames, batch, inputs]` to `[frames, batch, hidden]`."""
        if self.norm is not None:
            x = self.norm(x.flatten(0, 1)).view_as(x)
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        x, _ = pad_packed_sequence(self.lstm(packed)[0], total_length=x.shape[0])
        return x.unflatten(2, (2, -1)).sum(2)


class DeepSpeech(nn.Module):
    """The module of SeanNaren/deepspeech.pytorch (V3): spectrogram, two masked convolutions, recurrent layers, a head.

    Time is halved once; its published sizes are 5 layers of 1024, here those of our model.
    """

    def __init__(self, hidden: int, layers: int, tokens: int):
        super().__init__()
        self.register_buffer("window", torch.hamming_window(320))
        self.convolutions = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, 32, (41 if before == 1 else 21, 11), (2, stride), (20 if before == 1 else 10, 5)),
                nn.BatchNorm2d(32),
                nn.Hardtanh(0, 20),
            )
            for before, stride in ((1, 2), (32, 1))
        )
        sizes = [32 * 41, *[hidden] * (layers - 1)]
        self.layers = nn.ModuleList(BatchRnn(size, hidden, number > 0) for number, size in enumerate(sizes))
        self.norm = nn.BatchNorm1d(hidden)
        self.head = nn.Linear(hidden, tokens, bias=False)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probs `[batch, frames, tokens]` and lengths."""
        assert isinstance(self.window, Tensor)
        spectrum = torch.stft(waveforms, 320, 160, window=self.window, return_complex=True).abs().log1p()
        x = ((spectrum - spectrum.mean((1, 2), keepdim=True)) / spectrum.std((1, 2), keepdim=True))[:, None]
        frames = (1 + lengths // 160 + 1) // 2
        for convolution in self.convolutions:
            for module in convolution:  # its MaskConv sets padding to 0 after every module
                x = module(x)
                x = x.masked_fill(torch.arange(x.shape[3]) >= frames[:, None, None, None], 0)
        x = x.flatten(1, 2).permute(2, 0, 1).contiguous()
        for layer in self.layers:
            x = layer(x, frames)
        x = self.head(self.norm(x.flatten(0, 1))).unflatten(0, x.shape[:2])
        return x.log_softmax(-1).transpose(0, 1), frames


def bare_products(config: Config, batch: int, frames: int) -> list[tuple[Tensor, Tensor, int]]:
    """The matrix products of the recurrent layers in one step: x `[m, k]`, w `[n, k]`, and how often x w^T is taken.

    Of every direction of every layer: the inputs of all frames by their weights, the gradients back through these, and
    the weights' own gradients, as one product each; the state of one frame by its weights, and the gradient back
    through these, once a frame; and the gradient of the recurrent weights, in one again.
    """
    settings = config.model
    hidden, gates, rows = settings.hidden, 4 * settings.hidden, batch * frames
    products = []
    for number in range(settings.layers):
        inputs = hidden if number == 0 else 2 * hidden
        products += [
            (torch.randn(rows, inputs), torch.randn(gates, inputs), 2),
            (torch.randn(rows, gates), torch.randn(inputs, gates), 2),
            (torch.randn(gates, rows), torch.randn(inputs, rows), 2),
            (torch.randn(batch, hidden), torch.randn(gates, hidden), 2 * frames),
            (torch.randn(batch, gates), torch.randn(hidden, gates), 2 * frames),
            (torch.randn(gates, rows), torch.randn(hidden, rows), 2),
        ]
    return products


def multiply(x: Tensor, w: Tensor, count: int, library: str) -> None:
    """x w^T so many times, by torch's BLAS (MKL, as a rule) or by oneDNN."""
    if library == "BLAS":
        for _ in range(count):
            torch.mm(x, w.t())
    else:
        for _ in range(count):
            torch.ops.mkldnn._linear_pointwise(x, w, None, "none", [], "")
