"""The second pass: n-best lists in the order that another language model gives them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from asr.decoding.hypothesis import Hypothesis


def rescore(
    nbest: Sequence[Hypothesis],
    log_probs: Callable[[Sequence[str]], Sequence[float]],
    weight: float,
    word_bonus: float = 0.0,
) -> list[Hypothesis]:
    """The hypotheses of an utterance with `score + weight * log-prob of the text + word_bonus * words`, best first.

    Args:
        nbest: hypotheses with the decoder's scores.
        log_probs: natural-log probability of each text, as `LstmLanguageModel.score` gives them.
        weight: of the language model.
        word_bonus: natural-log units for each word, which makes up for the language model's liking of short texts.
    """
    scores = log_probs([hypothesis.text for hypothesis in nbest])
    added = [
        replace(hypothesis, score=hypothesis.score + weight * score + word_bonus * len(hypothesis.text.split()))
        for hypothesis, score in zip(nbest, scores, strict=True)
    ]
    return sorted(added, key=lambda hypothesis: -hypothesis.score)
