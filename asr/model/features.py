"""Log-mel features inside the model: waveforms in, normalised frames out, batched, on any device."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torchaudio
from torch import Tensor, nn

from asr.config import FeaturesConfig
from asr.frames import hop_samples
from asr.model.layers import fast_linear
from asr.model.masking import valid


class LogMel(nn.Module):
    """Waveforms `[batch, samples]` to features `[batch, frames, mels]`, always in float32.

    Frame t is centred on sample t * hop; audio before the start and after the end counts as 0, so an utterance has
    1 + samples // hop frames. Same mel filters and log-mel values as librosa (`melspectrogram(center=True,
    pad_mode="constant", htk=False, norm="slaney")`) after the pre-emphasis.
    """

    window: Tensor
    filters: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, config: FeaturesConfig):
        super().__init__()
        self.config = config
        self.hop = hop_samples(config)
        self.window_size = round(config.window_ms * config.sample_rate / 1000)
        self.fft_size = 2 ** (self.window_size - 1).bit_length()
        filters = torchaudio.functional.melscale_fbanks(
            n_freqs=self.fft_size // 2 + 1,
            f_min=config.low_hz,
            f_max=config.high_hz if config.high_hz is not None else config.sample_rate / 2,
            n_mels=config.mels,
            sample_rate=config.sample_rate,
            norm="slaney",
            mel_scale="slaney",
        )
        # Constants of the configuration, not weights: not in the checkpoint.
        self.register_buffer("window", torch.hann_window(self.window_size), persistent=False)
        self.register_buffer("filters", filters, persistent=False)
        # Of the training set, which measures them (`fit`) where they are used.
        self.register_buffer("mean", torch.zeros(config.mels), persistent=config.measured)
        self.register_buffer("deviation", torch.ones(config.mels), persistent=config.measured)

    def frames(self, samples: Tensor) -> Tensor:
        """Feature frames of waveforms of `samples` samples, `[batch]`; none for an empty one."""
        return torch.where(samples > 0, 1 + samples // self.hop, 0)

    def log_mel(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Natural log of the mel energies, not normalised, `[batch, frames, mels]`; padding frames hold the floor."""
        emphasised = waveforms.clone()
        emphasised[:, 1:].sub_(waveforms[:, :-1], alpha=self.config.preemphasis)
        # Also drops what pre-emphasis smears past the end. Not a product: 0 * inf is not 0.
        emphasised.masked_fill_(~valid(lengths, waveforms.shape[1]), 0.0)
        spectrum = torch.stft(
            emphasised,
            self.fft_size,
            hop_length=self.hop,
            win_length=self.window_size,
            window=self.window,
            center=True,
            pad_mode="constant",
            return_complex=True,
        )
        power = spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag).transpose(1, 2)
        mel = fast_linear(power, self.filters.T)
        if self.config.dynamic_range is not None:
            frames = self.frames(lengths)
            inside = valid(frames, mel.shape[1])[..., None]
            mean = (mel * inside).sum((1, 2), keepdim=True) / (frames.clamp(min=1) * mel.shape[2])[:, None, None]
            mel = torch.maximum(mel, mean * 10 ** (-self.config.dynamic_range / 10))
        return mel.clamp(min=self.config.log_floor).log()

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Waveforms `[batch, samples]` in [-1, 1], lengths `[batch]` in samples, to features and lengths in frames."""
        with torch.autocast(waveforms.device.type, enabled=False):
            features = self.log_mel(waveforms.float(), lengths)
            frames = self.frames(lengths)
            inside = valid(frames, features.shape[1])[..., None]
            if self.config.normalisation == "utterance":
                # The mean of equal float32 values is a little off them; the difference to the first frame is exact.
                expected, features = self.mean - features[:, :1], features - features[:, :1]
                prior = self.config.prior_frames
                count = frames.clamp(min=1)[:, None, None] + prior
                mean = ((features * inside).sum(1, keepdim=True) + prior * expected) / count
                centred = (features - mean) * inside
                spread = prior * (self.deviation.square() + (expected - mean).square())
                deviation = ((centred.square().sum(1, keepdim=True) + spread) / count).sqrt()
                features = centred / (deviation + 1e-5)  # silence has deviation 0 and stays 0
            elif self.config.normalisation == "global":
                features = (features - self.mean) / (self.deviation + 1e-5)
            return features * inside, frames

    @torch.no_grad()
    def fit(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Measure the global mean and deviation of each bin over (waveforms, lengths) batches.

        Raises:
            ValueError: there are no frames to measure.
        """
        count, total, squares = 0.0, torch.zeros_like(self.mean), torch.zeros_like(self.mean)
        for waveforms, lengths in batches:
            features = self.log_mel(waveforms, lengths)
            features = features[valid(self.frames(lengths), features.shape[1])].double()
            count += features.shape[0]
            total = total + features.sum(0)
            squares = squares + features.square().sum(0)
        if not count:
            raise ValueError("no frames to measure the statistics of the features on")
        mean = total / count
        self.mean.copy_(mean)
        self.deviation.copy_((squares / count - mean.square()).clamp(min=0).sqrt())
