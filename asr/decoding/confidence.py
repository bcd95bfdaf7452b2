"""How sure each word is: what the posteriors say about it, turned into a probability by a model fitted on dev data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Self

import numpy as np
from torch import Tensor

from asr.decoding.alignment import Alignment, align
from asr.decoding.hypothesis import Hypothesis, Word
from asr.decoding.times import Timeline, word_times, word_tokens
from asr.errors import AlignmentError, CheckpointError
from asr.files import write_text
from asr.text import Tokenizer

CONFIDENCE = "confidence.json"
"""Name of the calibration in a model folder."""
FEATURES = ("least", "mean", "entropy")
NBEST = "nbest"
"""The feature that is there only where the decoder kept alternatives."""
MARGIN = 2
"""Frames around a word whose entropy counts: rivals of its first and last token are emitted beside them."""
SMALLEST = 1e-3
"""Doubts are compared by their logarithm, and below this they are equally small."""


@dataclass(frozen=True)
class Calibration:
    """A logistic model: confidence = 1 / (1 + exp(-(bias + weights . features))).

    Attributes:
        features: the names of the columns that it takes.
        weights: one for each.
        bias: the constant.
        words: how many words it was fitted on.
    """

    features: tuple[str, ...]
    weights: tuple[float, ...]
    bias: float
    words: int

    def apply(self, features: np.ndarray) -> np.ndarray:
        """Confidences `[words]` of feature rows `[words, features]`.

        Raises:
            CheckpointError: it was fitted with an n-best list and there is none, or the other way round.
        """
        if features.shape[1] != len(self.features):
            raise CheckpointError(
                f"{CONFIDENCE} was fitted on {', '.join(self.features)}, and there are {features.shape[1]} values a "
                "word; fit it again with the decoder that is used now"
            )
        return np.asarray(1 / (1 + np.exp(-(self.bias + features @ np.asarray(self.weights)))))

    def save(self, folder: Path) -> None:
        """Write `confidence.json` into a model folder, whole or not at all (`OutputError`)."""
        write_text(folder / CONFIDENCE, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """What `save` wrote, or None where the model has not been calibrated.

        Raises:
            CheckpointError: the file is broken.
        """
        path = folder / CONFIDENCE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            found = cls(
                tuple(map(str, values["features"])),
                tuple(map(float, values["weights"])),
                float(values["bias"]),
                int(values["words"]),
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CheckpointError(f"{path}: not a calibration ({error!r}); delete it, or fit it again") from None
        known = found.features in (FEATURES, (*FEATURES, NBEST)) and len(found.weights) == len(found.features)
        if not known or not np.isfinite([*found.weights, found.bias]).all():
            raise CheckpointError(f"{path}: not a calibration of {', '.join(FEATURES)}; delete it, or fit it again")
        return found


def word_features(
    log_probs: np.ndarray,
    alignment: Alignment,
    words: Sequence[Sequence[int]],
    posteriors: Sequence[float] | None = None,
) -> np.ndarray:
    """What is known about each word, `[words, features]`: logs of doubts, larger where the word is less sure.

    `least` and `mean`: minus the log posterior of its least sure token, and the mean over its tokens, each at the frame
    where the token is likeliest. `entropy`: of the token distribution, averaged over the word's frames, in nats.
    `nbest`: 1 minus its share of the n-best list, where `posteriors` are given.
    """
    rows = []
    for word in words:
        peaks = [-float(log_probs[alignment.starts[i] : alignment.ends[i], alignment.tokens[i]].max()) for i in word]
        around = log_probs[max(0, alignment.starts[word[0]] - MARGIN) : alignment.ends[word[-1]] + MARGIN]
        around = np.maximum(around, -700.0)  # 0 * -inf is no number
        rows.append([max(peaks), float(np.mean(peaks)), float(-(np.exp(around) * around).sum(1).mean())])
    doubts = np.array(rows, np.float64).reshape(len(rows), len(FEATURES))
    if posteriors is not None:
        doubts = np.column_stack([doubts, 1 - np.asarray(posteriors, np.float64)])
    return np.log(doubts.clip(0) + SMALLEST)


def nbest_posteriors(hypotheses: Sequence[Hypothesis]) -> list[float]:
    """For each word of the first hypothesis, the share of the n-best list's probability that has it in its place.

    Scores count as natural-log probabilities. Places are matched as `difflib` does: the longest common stretches.
    """
    best = [word.text for word in hypotheses[0].words]
    scores = np.array([hypothesis.score for hypothesis in hypotheses])
    weights = np.exp(scores - scores.max())
    shares = np.zeros(len(best))
    for hypothesis, weight in zip(hypotheses, weights / weights.sum(), strict=True):
        other = [word.text for word in hypothesis.words]
        for block in SequenceMatcher(None, best, other, autojunk=False).get_matching_blocks():
            shares[block.a : block.a + block.size] += weight
    return shares.tolist()


def confidences(features: np.ndarray, calibration: Calibration | None) -> np.ndarray:
    """Confidences `[words]`; without a calibration the geometric mean of the posteriors of the word's tokens."""
    if calibration is not None:
        return calibration.apply(features)
    return np.exp(-(np.exp(features[:, FEATURES.index("mean")]) - SMALLEST).clip(0))


def with_times_and_confidence(
    hypothesis: Hypothesis,
    log_probs: np.ndarray | Tensor,
    tokenizer: Tokenizer,
    frame_seconds: float,
    *,
    waveform: np.ndarray | Tensor | None = None,
    sample_rate: int = 0,
    calibration: Calibration | None = None,
    alternatives: Sequence[Hypothesis] = (),
) -> Hypothesis:
    """The hypothesis with the start, end and confidence of each word filled in.

    Args:
        hypothesis: any decoder's; its tokens are aligned again.
        log_probs: `[frames, tokens]` of this utterance alone, on the CPU.
        tokenizer: the table of the same tokens.
        frame_seconds: from one frame to the next.
        waveform: `[samples]` at `sample_rate`, on the CPU. Without it, words meet halfway between their emissions.
        sample_rate: Hz, with `waveform`.
        calibration: of the model folder. Without it, a confidence is the geometric mean of the tokens' posteriors.
        alternatives: the n-best list, this hypothesis first, for a calibration that was fitted with one.

    Raises:
        AlignmentError: the log-probs are broken, have too few frames, or the tokens do not spell the words.
    """
    values = np.asarray(log_probs)
    alignment = align(values, hypothesis.tokens)
    words = word_tokens(hypothesis.tokens, tokenizer)
    if len(words) != len(hypothesis.words):
        raise AlignmentError(
            f"{hypothesis.text[:60]!r}: {len(hypothesis.words)} words, and the tokens spell {len(words)}; "
            "times need a decoder whose tokens spell its words"
        )
    samples = None if waveform is None else np.asarray(waveform)
    times = word_times(alignment, words, Timeline.of(len(values), frame_seconds, samples, sample_rate))
    posteriors = None
    if calibration is not None and NBEST in calibration.features and alternatives:
        posteriors = nbest_posteriors(alternatives)
    sure = confidences(word_features(values, alignment, words, posteriors), calibration)
    return replace(
        hypothesis,
        words=[
            Word(word.text, round(start, 3), round(end, 3), round(float(confidence), 4))
            for word, (start, end), confidence in zip(hypothesis.words, times, sure, strict=True)
        ],
    )
