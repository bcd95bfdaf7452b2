"""Whether confidences can be believed: fitting them on dev data, and measuring them (reliability, ECE, NCE)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asr.data.batches import make_batches
from asr.data.examples import Example
from asr.data.loading import SpeechDataset, collate
from asr.data.manifest import Utterance, read_manifest
from asr.decoding.alignment import align
from asr.decoding.confidence import FEATURES, NBEST, Calibration, nbest_posteriors, word_features
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.recogniser import Recogniser
from asr.decoding.times import word_tokens
from asr.errors import ManifestError
from asr.files import save_png
from asr.scoring.alignment import align_words
from asr.text import normalise

BINS = 10
"""Of equal width, as ECE is commonly given (Guo et al. 2017)."""
PENALTY = 2.0
"""L2 on the standardised weights, in nats: it matters where a dev set has few errors, and vanishes among many words."""
FEWEST_WORDS = 50
"""A dev set with fewer words says nothing about probabilities."""


@dataclass(frozen=True)
class Reliability:
    """How confidences compare with what was right.

    Attributes:
        counts: words in each of `BINS` bins of confidence.
        confidence: mean confidence in each bin, 0 where it is empty.
        accuracy: share of right words in each bin, 0 where it is empty.
        ece: expected calibration error: the gap between the two, averaged over the words.
        nce: normalised cross entropy (NIST): 1 is perfect, 0 is what the share of right words alone would give.
    """

    counts: list[int]
    confidence: list[float]
    accuracy: list[float]
    ece: float
    nce: float

    @property
    def words(self) -> int:
        """Words measured."""
        return sum(self.counts)

    def to_dict(self) -> dict[str, Any]:
        """The numbers, ready for JSON, which has no NaN."""
        return {"words": self.words, "ece": self.ece, "nce": None if np.isnan(self.nce) else self.nce}


def reliability(confidence: Sequence[float] | np.ndarray, correct: Sequence[bool] | np.ndarray) -> Reliability:
    """Measure confidences of words that are right or wrong.

    NCE has no value where all words are right or all wrong: NaN.

    Raises:
        ValueError: there are no words, or a confidence is outside 0 to 1.
    """
    sure, right = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    if not len(sure) or not ((sure >= 0) & (sure <= 1)).all():
        raise ValueError("confidences must be at least one number from 0 to 1")
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    filled = np.maximum(counts, 1)
    means = np.bincount(bins, sure, BINS) / filled
    shares = np.bincount(bins, right, BINS) / filled
    ece = float((counts * np.abs(means - shares)).sum() / len(sure))
    return Reliability(counts.tolist(), means.tolist(), shares.tolist(), ece, _nce(sure, right))


def _nce(sure: np.ndarray, right: np.ndarray) -> float:
    share = right.mean()
    if share in (0.0, 1.0):
        return float("nan")
    limited = sure.clip(1e-6, 1 - 1e-6)  # one wrong word of confidence 1 must not decide everything
    entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    cross = -(right * np.log(limited) + (1 - right) * np.log(1 - limited)).mean()
    return float(1 - cross / entropy)


def fit(features: np.ndarray, correct: np.ndarray) -> Calibration:
    """The logistic model of `correct` `[words]` given `features` `[words, features]`, lightly regularised.

    Raises:
        ManifestError: too few words, or none of them wrong (or right): nothing to learn from.
    """
    from scipy.optimize import minimize

    right = np.asarray(correct, np.float64)
    if len(right) < FEWEST_WORDS or right.all() or not right.any():
        raise ManifestError(
            f"{len(right)} words, {int((1 - right).sum())} of them wrong: confidences need at least {FEWEST_WORDS} "
            "words with some right and some wrong; use a larger dev set"
        )
    mean, spread = features.mean(0), features.std(0) + 1e-9
    scaled = np.column_stack([np.ones(len(features)), (features - mean) / spread])
    sign = 2 * right - 1

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margins = sign * (scaled @ weights)
        size = np.concatenate([[0.0], weights[1:]])
        slope = 2 * PENALTY * size - (sign / (1 + np.exp(margins))) @ scaled
        return float(np.logaddexp(0, -margins).sum() + PENALTY * size @ size), slope

    weights = minimize(loss, np.zeros(scaled.shape[1]), jac=True, method="L-BFGS-B").x
    slopes = weights[1:] / spread
    names = (*FEATURES, NBEST)[: features.shape[1]]
    return Calibration(names, tuple(map(float, slopes)), float(weights[0] - slopes @ mean), len(right))


def measured(references: Mapping[str, str], hypotheses: Mapping[str, Hypothesis]) -> Reliability | None:
    """The confidences of all words that have one, against the transcripts of the same ids; None where none has one."""
    timed = {key: h.words for key, h in hypotheses.items() if any(word.confidence is not None for word in h.words)}
    if not timed:
        return None
    spoken = align_words([references[key] for key in timed], [hypotheses[key].text for key in timed])
    correct = [reference == word for pairs in spoken for reference, word in pairs if word is not None]
    return reliability([word.confidence or 0.0 for words in timed.values() for word in words], correct)


@dataclass(frozen=True)
class WordEvidence:
    """The words a recogniser said on a manifest: `features` `[words, features]`, and which are `correct` `[words]`."""

    features: np.ndarray
    correct: np.ndarray
    failures: list[tuple[str, str]]
    """(id, reason) of utterances that could not be read."""


def word_evidence(recogniser: Recogniser, manifest: str | Path | Sequence[Utterance]) -> WordEvidence:
    """Decode a manifest and compare each recognised word with the transcript (a word is right where it is a hit).

    Args:
        recogniser: the model and its decoder; where that keeps alternatives, their posteriors are a feature.
        manifest: with transcripts.

    Raises:
        ManifestError: the manifest is unusable, an utterance has no transcript, or no word was recognised.
    """
    utterances = list(read_manifest(manifest)) if isinstance(manifest, str | Path) else list(manifest)
    unknown = [utterance.id for utterance in utterances if utterance.text is None]
    if unknown:
        raise ManifestError(f"{unknown[0]!r} has no transcript: right and wrong words cannot be told apart")
    rules, tokenizer = recogniser.config.text, recogniser.tokenizer
    references = {u.id: normalise(u.text or "", rules.case, rules.remove) for u in utterances}
    dataset = SpeechDataset([Example(utterance, []) for utterance in utterances], recogniser.sample_rate)
    features: list[np.ndarray] = []
    correct: list[bool] = []
    failures: list[tuple[str, str]] = []
    for indices in make_batches([u.duration for u in utterances], recogniser.decoding.batch_seconds):
        batch = collate([dataset[0, index] for index in indices])
        failures += batch.failures
        if not batch.ids:
            continue
        log_probs, lengths = recogniser.log_probs(batch.waveforms, batch.lengths)
        lists = recogniser.decoder(log_probs, lengths)
        for identifier, values, length, nbest in zip(
            batch.ids, log_probs.cpu().numpy(), lengths.tolist(), lists, strict=True
        ):
            best = nbest[0]
            if not best.words:
                continue
            alignment = align(values[:length], best.tokens)
            posteriors = nbest_posteriors(nbest) if recogniser.decoding.nbest > 1 else None
            words = word_tokens(best.tokens, tokenizer)
            features.append(word_features(values[:length], alignment, words, posteriors))
            (pairs,) = align_words([references[identifier]], [best.text])
            correct += [reference == word for reference, word in pairs if word is not None]
    if not features:
        named = f"{manifest}: " if isinstance(manifest, str | Path) else ""
        reason = f"; first failure: {failures[0][1]}" if failures else ""
        raise ManifestError(f"{named}no words were recognised in {len(utterances)} utterances{reason}")
    return WordEvidence(np.concatenate(features), np.array(correct), failures)


def fit_calibration(recogniser: Recogniser, manifest: str | Path | Sequence[Utterance]) -> Calibration:
    """Fit the confidences of a model and its decoder on dev data, never on test data.

    `Calibration.save` puts them into the model folder.

    Raises:
        ManifestError: as `word_evidence` and `fit` say.
    """
    evidence = word_evidence(recogniser, manifest)
    return fit(evidence.features, evidence.correct)


def reliability_diagram(measured: Reliability, path: Path, title: str = "") -> None:
    """Accuracy over confidence, and how many words there are at each confidence, as a PNG.

    Raises:
        OutputError: it cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 6), layout="constrained")
    shares, counts = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    middles = (np.arange(BINS) + 0.5) / BINS
    filled = np.array(measured.counts) > 0
    shares.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="perfect")
    shares.bar(middles, measured.accuracy, width=0.9 / BINS, color="tab:blue", alpha=0.6, label="right words")
    shares.plot(
        np.array(measured.confidence)[filled], np.array(measured.accuracy)[filled], "o", color="tab:red", label="mean"
    )
    shares.set_title(f"{title}\n" * bool(title) + f"ECE {measured.ece:.3f}, NCE {measured.nce:.3f}", fontsize=10)
    shares.set_ylabel("share of right words")
    shares.set_ylim(0, 1)
    shares.legend(loc="upper left", frameon=False)
    counts.bar(middles, measured.counts, width=0.9 / BINS, color="0.5")
    counts.set_yscale("symlog")
    counts.set_ylabel("words")
    counts.set_xlabel("confidence")
    counts.set_xlim(0, 1)
    save_png(figure, path)
