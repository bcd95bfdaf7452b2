"""The second pass: n-best lists in the order that another language model gives them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from asr.decoding.hypothesis import Hypothesis


def rescore(
    nbest: Sequence[Hypothesis], log_probs: Callable[[Sequence[str]], Sequence[float]], weight: float
) -> list[Hypothesis]:
    """The hypotheses of an utterance with `score + weight * log-prob of the text`, best first.

    Args:
        nbest: hypotheses with the decoder's scores.
        log_probs: natural-log probability of each text, as `LstmLanguageModel.score` gives them.
        weight: of the language model.
    """
    scores = log_probs([hypothesis.text for hypothesis in nbest])
    added = [
        replace(hypothesis, score=hypothesis.score + weight * score)
        for hypothesis, score in zip(nbest, scores, strict=True)
    ]
    return sorted(added, key=lambda hypothesis: -hypothesis.score)
