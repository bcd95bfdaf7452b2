"""Greedy (best-path) CTC decoding: the likeliest token of each frame, repeats merged, blanks removed."""

from __future__ import annotations

import torch
from torch import Tensor

from asr.decoding.hypothesis import Hypothesis, Word
from asr.text import Tokenizer


def greedy(log_probs: Tensor, lengths: Tensor, tokenizer: Tokenizer) -> list[Hypothesis]:
    """Decode `log_probs` `[batch, frames, tokens]` with `lengths` `[batch]` (Graves et al. 2006, best path).

    On a GPU the whole batch is reduced there, and only the emitted tokens are copied.
    """
    scores, best = log_probs.max(-1)
    inside = torch.arange(best.shape[1], device=best.device) < lengths[:, None]
    previous = torch.nn.functional.pad(best, (1, 0))[:, :-1]  # blank before the first frame
    emitted = inside & (best != 0) & (best != previous)
    totals = scores.where(inside, 0).sum(1).tolist()
    rows, frames = emitted.nonzero(as_tuple=True)
    tokens = best[rows, frames].tolist()
    counts = emitted.sum(1).tolist()
    frame_list = frames.tolist()
    hypotheses = []
    start = 0
    for count, score in zip(counts, totals, strict=True):
        ids = tokens[start : start + count]
        text = tokenizer.decode(ids)
        words = [Word(word) for word in text.split()]
        hypotheses.append(Hypothesis(ids, text, score, frame_list[start : start + count], words))
        start += count
    return hypotheses
