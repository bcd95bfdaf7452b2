"""Greedy (best-path) CTC decoding: the likeliest token of each frame, repeats merged, blanks removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from asr.decoding.arrays import as_array
from asr.decoding.hypothesis import Hypothesis, Word
from asr.text import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor


def greedy(log_probs: np.ndarray | Tensor, lengths: np.ndarray | Tensor, tokenizer: Tokenizer) -> list[Hypothesis]:
    """Decode `log_probs` `[batch, frames, tokens]` with `lengths` `[batch]` (Graves et al. 2006, best path)."""
    values = as_array(log_probs)
    hypotheses = []
    for row, length in zip(values, as_array(lengths).tolist(), strict=True):
        best = row[:length].argmax(-1)
        score = float(row[np.arange(length), best].sum(dtype=np.float64))
        before = np.concatenate([[0], best[:-1]])[:length]  # blank before the first frame
        (frames,) = np.nonzero((best != 0) & (best != before))
        ids = best[frames].tolist()
        text = tokenizer.decode(ids)
        hypotheses.append(Hypothesis(ids, text, score, frames.tolist(), [Word(word) for word in text.split()]))
    return hypotheses
