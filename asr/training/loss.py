"""The CTC loss, in float32 whatever the precision around it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def ctc_loss(log_probs: Tensor, lengths: Tensor, tokens: Tensor, token_lengths: Tensor) -> Tensor:
    """Negative log-likelihood of each transcript, summed over all alignments (Graves et al. 2006).

    Args:
        log_probs: `[batch, frames, tokens]`, token 0 the blank.
        lengths: frames of each utterance, `[batch]`.
        tokens: labels `[batch, labels]`, what stands past the token length is not read.
        token_lengths: `[batch]`.

    Returns:
        `[batch]`, natural log. Infinite where an utterance has fewer frames than labels and repeats; such utterances
        are found and named before training, so here nothing is silently set to 0.
    """
    with torch.autocast(log_probs.device.type, enabled=False):
        return F.ctc_loss(log_probs.float().transpose(0, 1), tokens, lengths, token_lengths, blank=0, reduction="none")
