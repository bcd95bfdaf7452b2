"""How common each token is in what a model gives, which its scores are divided by before a search for words.

CTC gives the blank most of the probability, and the more of it the less sure it is: a language model, whose every word
costs something, then finds silence cheaper than words. Dividing by the prior to some power evens that out, as hybrid
recognisers do to make likelihoods of posteriors (Bourlard and Morgan 1994; for CTC Miao et al. 2015, section 3.2).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asr.errors import CheckpointError
from asr.files import write_text
from asr.model.numpy_model import log_softmax

PRIORS = "priors.json"
"""Name of the file in a model folder: the mean probability of each token."""
LEAST = 1e-4
"""A token that hardly ever came is not taken for rarer than this: its estimate is noise, and would favour it."""


def summed(log_probs: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Sums over frames of the probabilities `[tokens]`, float64, of a padded batch `[batch, frames, tokens]`."""
    inside = np.arange(log_probs.shape[1]) < lengths[:, None]
    return np.asarray(np.exp(log_probs[inside].astype(np.float64)).sum(0))


def save_priors(folder: Path, tokens: Sequence[str], priors: Sequence[float]) -> None:
    """Write `priors.json` into a model folder, whole or not at all (`OutputError`)."""
    write_text(folder / PRIORS, json.dumps(dict(zip(tokens, priors, strict=True)), indent=1, ensure_ascii=False) + "\n")


def load_priors(folder: Path | None, tokens: Sequence[str]) -> np.ndarray:
    """What `save_priors` wrote, `[tokens]`.

    Raises:
        CheckpointError: there is no such file, it is broken, or it is of other tokens.
    """
    remedy = "`asr lm tune` writes it; or set decoding.prior_weight to 0"
    if folder is None:
        raise CheckpointError(f"decoding.prior_weight needs {PRIORS} in the folder of the model, and it has none")
    path = folder / PRIORS
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        priors = np.array([float(values[token]) for token in tokens])
    except FileNotFoundError:
        raise CheckpointError(f"{path}: not there, and decoding.prior_weight needs it; {remedy}") from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path}: not the priors of the model's tokens ({error!r}); {remedy}") from None
    if len(values) != len(tokens) or not (np.isfinite(priors).all() and (priors >= 0).all() and priors.any()):
        raise CheckpointError(f"{path}: not the priors of the model's {len(tokens)} tokens; {remedy}")
    return priors


def divided(log_probs: np.ndarray, priors: Sequence[float] | np.ndarray, weight: float) -> np.ndarray:
    """Log-probs `[..., tokens]` less `weight` times the log of `priors`, summing to 1 again in each frame."""
    logs = (weight * np.log(np.maximum(priors, LEAST))).astype(log_probs.dtype)
    return log_softmax(log_probs - logs)
