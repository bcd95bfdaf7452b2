"""The acoustic model: waveforms to features to per-frame token log-probabilities."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from asr.config import Config, SpecAugmentConfig
from asr.frames import output_frames
from asr.model.attention import AttentionDecoder
from asr.model.augment import spec_augment
from asr.model.features import LogMel
from asr.model.layers import Linear
from asr.model.rnn import Encoder
from asr.model.subsampling import subsampling
from asr.model.transformer import TransformerEncoder
from asr.model.truncated import truncated_log_probs


class TokenClassifier(nn.Module):
    """Features `[batch, frames, mels]` to what the head makes of them: subsampling, encoder, head.

    With `head: ctc` that is log-probs `[batch, frames, tokens]`. In training those of `intermediate` layers follow
    behind the last one's, `[outputs * batch, frames, tokens]`.

    With `head: attention` it is what `asr.decoding.attention` searches, `[batch, frames, size]`; in training the
    log-probs `[batch, labels + 1, tokens]` of the transcripts' tokens and of the end.
    """

    def __init__(self, config: Config, tokens: int):
        super().__init__()
        width = config.model.hidden
        self.subsampling = subsampling(config.model.subsampling, config.features.mels, width)
        self.norm = nn.LayerNorm(width)
        encoder = TransformerEncoder if config.model.encoder == "transformer" else Encoder
        self.encoder: Any = encoder(config.model, width)
        size = self.encoder.size
        attention = config.model.head == "attention"
        self.head: Any = AttentionDecoder(config.model, size, tokens) if attention else Linear(size, tokens)
        self.conditioning = Linear(tokens, size) if config.model.self_conditioning else None

    def forward(self, features: Tensor, lengths: Tensor, tokens: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Lengths `[batch]` in frames come back subsampled. `tokens` `[batch, labels]` is for training alone.

        Log-probs are float32 whatever the autocast.
        """
        x, lengths = self.subsampling(features, lengths)
        early: list[Tensor] = []

        def listen(x: Tensor) -> Tensor | None:
            early.append(self._log_probs(x))
            if self.conditioning is None:
                return None
            return self.conditioning(early[-1].exp().to(self.conditioning.weight.dtype))

        x = self.encoder(self.norm(x), lengths, listen if self.training or self.conditioning is not None else None)
        if isinstance(self.head, AttentionDecoder):
            return (x if tokens is None else self.head(x, lengths, tokens)), lengths
        if self.training and early:
            return torch.cat([self._log_probs(x), *early]), lengths.repeat(1 + len(early))
        return self._log_probs(x), lengths

    def _log_probs(self, x: Tensor) -> Tensor:
        return self.head(x).float().log_softmax(-1)


class AcousticModel(nn.Module):
    """Waveforms to log-probs. `features` holds no weights to learn, `classifier` all of them.

    Args:
        config: the whole configuration; `features` and `model` matter here.
        tokens: size of the token table, blank included.
    """

    def __init__(self, config: Config, tokens: int):
        super().__init__()
        self.config, self.tokens = config, tokens
        self.features = LogMel(config.features)
        self.classifier = TokenClassifier(config, tokens)

    def forward(
        self,
        waveforms: Tensor,
        lengths: Tensor,
        augment: SpecAugmentConfig | None = None,
        views: int = 1,
        tokens: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Waveforms `[batch, samples]`, lengths `[batch]` in samples, to log-probs `[batch, frames, tokens]`, lengths.

        An utterance's log-probs up to its length do not depend on what else is in the batch. `TokenClassifier` says
        what else there may be than log-probs. In training mode `training.bptt_frames` cuts the gradient.

        Args:
            waveforms: in [-1, 1], padded with anything.
            lengths: of each, in samples.
            augment: how to mask the features, in training.
            views: copies of the batch, differently masked, behind each other: results are `[views * batch, ...]`.
            tokens: `[batch, labels]`, in training, for heads that learn from the true tokens before.
        """
        features, frames = self.features(waveforms, lengths)
        if views > 1:
            features, frames = features.repeat(views, 1, 1), frames.repeat(views)
        if augment is not None:
            features = spec_augment(features, frames, augment, self.config.features)
        every = self.config.training.bptt_frames
        if self.training and every is not None:
            return truncated_log_probs(self.classifier, features, frames, every)
        return self.classifier(features, frames, tokens)

    def output_frames(self, samples: int) -> int:
        """Frames of log-probs for a waveform of so many samples."""
        return output_frames(samples, self.config)

    @property
    def frame_seconds(self) -> float:
        """Seconds from one frame of log-probs to the next."""
        return self.config.model.subsampling.factor * self.features.hop / self.config.features.sample_rate

    @property
    def parameter_count(self) -> int:
        """Trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())
