"""What training minimises: CTC with what may be added to it, or the cross-entropy of an attention head."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from asr.config import Config
from asr.data.loading import Batch
from asr.model.attention import END
from asr.model.masking import valid
from asr.training.loss import ctc_loss


def views(config: Config) -> int:
    """Differently masked copies of each batch that `AcousticModel.forward` is to make."""
    return 2 if config.training.consistency else 1


def objective(outputs: tuple[Tensor, Tensor], batch: Batch, config: Config, frames: Tensor, labels: Tensor) -> Tensor:
    """The loss of each utterance `[batch]`, natural log, in training mode.

    Args:
        outputs: what `AcousticModel.forward` gives in training. Log-probs `[outputs * views * batch, frames, tokens]`
            and lengths `[outputs * views * batch]`, the last layer's before those of `model.intermediate` layers; with
            an attention head log-probs `[batch, labels + 1, tokens]`.
        batch: the transcripts.
        config: `training` says what is added.
        frames: of each utterance, `[batch]`, on the host, which CTC on a GPU would otherwise wait for.
        labels: `batch.token_lengths` on the host.
    """
    log_probs, lengths = outputs
    if config.model.head == "attention":
        return cross_entropy(log_probs, batch.tokens, batch.token_lengths, config.training.label_smoothing)
    training, size = config.training, len(labels)
    copies = len(lengths) // size
    with torch.autocast(log_probs.device.type, enabled=False):
        scores = divided_by_prior(log_probs, lengths, training.label_prior) if training.label_prior else log_probs
        losses = ctc_loss(scores, frames.repeat(copies), batch.tokens.repeat(copies, 1), labels.repeat(copies))
        if training.label_prior:
            losses = losses + _unnormalised(scores, lengths)
        last, *early = losses.view(-1, views(config), size).mean(1)
        if early:
            last = torch.lerp(last, torch.stack(early).mean(0), training.intermediate_weight)
        if training.consistency:
            last = last + training.consistency * consistency(log_probs[: 2 * size], lengths[:size])
        return last


def cross_entropy(log_probs: Tensor, tokens: Tensor, token_lengths: Tensor, smoothing: float) -> Tensor:
    """Of each text and its end, `[batch]`, summed over tokens.

    Args:
        log_probs: `[batch, labels + 1, tokens]`.
        tokens: `[batch, labels]`, padded with END.
        token_lengths: `[batch]`.
        smoothing: probability that the wanted distribution gives to all tokens alike (Szegedy et al. 2016).
    """
    wanted = F.pad(tokens, (0, 1), value=END)
    right = log_probs.gather(2, wanted[..., None])[..., 0]
    losses = -(1 - smoothing) * right - smoothing * log_probs.mean(2)
    return (losses * valid(token_lengths + 1, wanted.shape[1])).sum(1)


def consistency(log_probs: Tensor, lengths: Tensor) -> Tensor:
    """How far two views of an utterance are apart, `[batch]` (CR-CTC, Yao et al. 2024, equation 4).

    Half the sum over frames of both Kullback-Leibler divergences; each view is drawn to the other, not the other to it.

    Args:
        log_probs: `[2 * batch, frames, tokens]`, one view behind the other.
        lengths: frames of each utterance, `[batch]`.
    """
    pair = log_probs.unflatten(0, (2, -1))
    other = pair.flip(0).detach()
    divergence = (other.exp() * (other - pair)).sum(-1).sum(0)
    return 0.5 * (divergence * valid(lengths, divergence.shape[1])).sum(1)


def divided_by_prior(log_probs: Tensor, lengths: Tensor, power: float) -> Tensor:
    """Log-probs less `power` times the log of the mean probability of each token in the batch.

    The blank, which is likely everywhere, becomes cheap no longer (Zeyer et al. 2021; Huang et al. 2024, who take the
    mean of the epoch before).
    """
    inside = valid(lengths, log_probs.shape[1])[..., None]
    prior = (log_probs.detach().exp() * inside).sum((0, 1)) / inside.sum()
    return log_probs - power * prior.clamp(min=torch.finfo(prior.dtype).tiny).log()


def _unnormalised(scores: Tensor, lengths: Tensor) -> Tensor:
    """0 for each utterance, with the gradient that torch's CTC loss lacks where the scores of a frame do not sum to 1.

    It takes them for a log-softmax, and adds its derivative, exp(scores); this takes that off again.
    """
    mass = scores.detach().exp() * valid(lengths, scores.shape[1])[..., None]
    extra = (mass * (scores - scores.detach())).sum((1, 2))
    return -extra
