"""The acoustic model: waveforms to features to per-frame token log-probabilities."""

from __future__ import annotations

from torch import Tensor, nn

from asr.config import Config, SpecAugmentConfig
from asr.frames import output_frames, samples_for
from asr.model.augment import spec_augment
from asr.model.features import LogMel
from asr.model.layers import Linear
from asr.model.rnn import Encoder
from asr.model.subsampling import subsampling
from asr.model.truncated import truncated_log_probs


class TokenClassifier(nn.Module):
    """Features `[batch, frames, mels]` to log-probs `[batch, frames, tokens]`: subsampling, recurrence, linear head."""

    def __init__(self, config: Config, tokens: int):
        super().__init__()
        width = config.model.hidden
        self.subsampling = subsampling(config.model.subsampling, config.features.mels, width)
        self.norm = nn.LayerNorm(width)
        self.encoder = Encoder(config.model, width)
        self.head = Linear(self.encoder.size, tokens)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probs in float32 whatever the autocast, and their lengths `[batch]` in subsampled frames."""
        x, lengths = self.subsampling(features, lengths)
        x = self.encoder(self.norm(x), lengths)
        return self.head(x).float().log_softmax(-1), lengths


class AcousticModel(nn.Module):
    """Waveforms to log-probs. `features` and `classifier` are apart because exported models carry only the second.

    Args:
        config: the whole configuration; `features` and `model` matter here.
        tokens: size of the token table, blank included.
    """

    def __init__(self, config: Config, tokens: int):
        super().__init__()
        self.config = config
        self.features = LogMel(config.features)
        self.classifier = TokenClassifier(config, tokens)

    def forward(
        self, waveforms: Tensor, lengths: Tensor, augment: SpecAugmentConfig | None = None
    ) -> tuple[Tensor, Tensor]:
        """Waveforms `[batch, samples]`, lengths `[batch]` in samples, to log-probs `[batch, frames, tokens]`, lengths.

        An utterance's log-probs up to its length do not depend on what else is in the batch. `augment` masks the
        features (training only). In training mode `training.bptt_frames` cuts the gradient.
        """
        features, frames = self.features(waveforms, lengths)
        if augment is not None:
            features = spec_augment(features, frames, augment, self.config.features)
        every = self.config.training.bptt_frames
        if self.training and every is not None:
            return truncated_log_probs(self.classifier, features, frames, every)
        return self.classifier(features, frames)

    def output_frames(self, samples: int) -> int:
        """Frames of log-probs for a waveform of so many samples."""
        return output_frames(samples, self.config)

    def samples_for(self, frames: int) -> int:
        """The fewest samples that give so many frames of log-probs."""
        return samples_for(frames, self.config)

    @property
    def frame_seconds(self) -> float:
        """Seconds from one frame of log-probs to the next."""
        return self.config.model.subsampling.factor * self.features.hop / self.config.features.sample_rate

    @property
    def parameter_count(self) -> int:
        """Trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())
