"""Gradients of the CTC loss by truncated backpropagation through time."""

from __future__ import annotations

from torch import Tensor

from asr.model.acoustic import TokenClassifier
from asr.model.truncated import truncated_log_probs
from asr.training.loss import ctc_loss


def truncated_backward(
    classifier: TokenClassifier, features: Tensor, lengths: Tensor, tokens: Tensor, token_lengths: Tensor, every: int
) -> Tensor:
    """Add the gradients of the summed CTC loss to `.grad` of the weights, cut every `every` frames of the recurrence.

    Args:
        classifier: a unidirectional model.
        features: `[batch, frames, mels]`.
        lengths: in feature frames, `[batch]`.
        tokens: labels `[batch, labels]`.
        token_lengths: `[batch]`.
        every: frames after subsampling; from the length of the recording on it is full backpropagation through time.

    Returns:
        The loss of each utterance, `[batch]`, which is exact whatever `every` is.

    Raises:
        ConfigError: the model is bidirectional.
    """
    log_probs, frames = truncated_log_probs(classifier, features, lengths, every)
    losses = ctc_loss(log_probs, frames, tokens, token_lengths)
    losses.sum().backward()
    return losses.detach()
