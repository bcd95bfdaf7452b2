"""Weights of language model, word bonus and priors, found on a dev set from log-probs that are computed once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, product
from pathlib import Path
from typing import NamedTuple

import jiwer
import numpy as np

from asr.config import DecodingConfig, save_config
from asr.data.batches import make_batches
from asr.data.examples import Example
from asr.data.loading import SpeechDataset, collate
from asr.data.manifest import read_manifest
from asr.decoding.arrays import as_array
from asr.decoding.beam import BeamOptions, BeamSearch
from asr.decoding.confidence import CONFIDENCE
from asr.decoding.decoder import Decoder, of_lexicon
from asr.decoding.greedy import greedy
from asr.decoding.lexicon import Lexicon
from asr.decoding.priors import divided, save_priors, summed
from asr.decoding.recogniser import Recogniser
from asr.errors import ManifestError, OutputError
from asr.evaluation.sharing import gather, share
from asr.files import replacing
from asr.lm.ngram import NgramModel
from asr.model.folders import CONFIG
from asr.text import normalise

LM_FILE, LEXICON_FILE = "lm.lm", "lexicon.txt"
"""Names of the language model and of its lexicon in a model folder."""
WEIGHTS = (0.2, 0.4, 0.6, 0.8, 1.0, 1.3)
"""First grid of language model weights."""
BONUSES = (-1.0, 0.0, 1.0, 2.0, 3.0)
"""First grid of word bonuses."""
PRIORS = (0.25, 0.5, 0.75)
"""Weights of the priors, tried with the best of that grid and what lies around it: where words are cheaper, the
language model may weigh more."""
ROUNDS = 2
"""After that, so many times the neighbours of the best at half the step are tried."""
BEAMS = (16, 64, 256)
"""The search uses the middle one; then all are tried with what it found."""


class Trial(NamedTuple):
    """One setting and what it gave on dev, as fractions."""

    lm_weight: float
    word_bonus: float
    prior_weight: float
    beam: int
    wer: float
    cer: float


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    Attributes:
        best: the trial with the lowest WER, then CER, then beam.
        trials: all of them, in order.
        greedy: (WER, CER) without language model.
        beam_alone: (WER, CER) of beam search without language model and priors.
        priors: mean probability of each token on the dev set.
        present: (WER, CER) of the decoding that the model has now, where that was asked for.
        failures: (id, reason) of utterances that could not be read, by id; nothing was tried on them.
    """

    best: Trial
    trials: list[Trial]
    greedy: tuple[float, float]
    beam_alone: tuple[float, float]
    priors: tuple[float, ...] = ()
    present: tuple[float, float] | None = None
    failures: tuple[tuple[str, str], ...] = ()

    @property
    def worthwhile(self) -> bool:
        """Whether the best lowers the dev WER of greedy decoding, and that of the present decoding."""
        return self.best.wer < min(wer for wer, _ in (self.greedy, self.present or self.greedy))


def tune(
    recogniser: Recogniser,
    manifest: str | Path,
    lm: NgramModel,
    *,
    beam: int | None = None,
    closed: bool = False,
    lexicon: Lexicon | None = None,
    threads: int | None = None,
    present: Decoder | None = None,
    progress: Callable[[Trial], None] | None = None,
) -> Tuned:
    """Find weights and bonus: a grid of 6 x 5 without priors, 3 x 9 with them, twice the neighbours of the best at half
    the step; then the beam.

    In a distributed run all processes must call this; each decodes a share of the dev set, and all find the same.

    Args:
        recogniser: of the acoustic model; its own decoding settings play no part.
        manifest: the dev set. Not the test set: what is chosen on it flatters.
        lm: the language model.
        beam: prefixes kept; None finds that too: the fewest of 16, 64 and 256 that no other betters.
        closed: only words of the language model may come out.
        lexicon: how its words are spelled; None: by the tokens, or the lexicon that a model of phones has itself.
        threads: utterances decoded at the same time; None takes every core.
        present: what the model decodes with now, to be measured too; see `present_decoder`.
        progress: called with each trial.

    Raises:
        ManifestError: no utterance has audio that can be read and a transcript.
        ConfigError: the language model does not fit the tokens.
    """
    references, rows, failures = _log_probs(recogniser, manifest)
    priors = _priors(rows)
    tokenizer = recogniser.tokenizer
    options = BeamOptions(beam=beam or BEAMS[1])
    if lexicon is not None or tokenizer.units == "phones":
        options = of_lexicon(options, lm, lexicon)

    def measured(search: BeamSearch, prior: float = 0.0) -> tuple[float, float]:
        def texts() -> list[str]:
            return [text for log_probs, lengths in rows for text in _decoded(search, log_probs, lengths, priors, prior)]

        return _rates(references, _of_all(texts))

    def attempt(weight: float, bonus: float, prior: float, width: int = options.beam) -> None:
        weight, bonus, prior = round(max(0.0, weight), 4), round(bonus, 4), round(max(0.0, prior), 4)
        if (weight, bonus, prior, width) in trials:
            return
        chosen = replace(options, beam=width, lm_weight=weight, word_bonus=bonus)
        search = BeamSearch(tokenizer, chosen, lm=lm, closed=closed, lexicon=lexicon, threads=threads)
        trial = trials[weight, bonus, prior, width] = Trial(weight, bonus, prior, width, *measured(search, prior))
        if progress:
            progress(trial)

    trials: dict[tuple[float, float, float, int], Trial] = {}
    for weight, bonus in product(WEIGHTS, BONUSES):
        attempt(weight, bonus, 0.0)
    steps = np.array([WEIGHTS[1] - WEIGHTS[0], BONUSES[1] - BONUSES[0], PRIORS[1] - PRIORS[0]])
    start = _best(trials)
    for prior, more, sign in product(PRIORS, (0, 1, 2), (-1, 0, 1)):
        attempt(start.lm_weight + more * steps[0], start.word_bonus + sign * steps[1], prior)
    for _ in range(ROUNDS):
        steps = steps / 2
        centre = np.array(_best(trials)[:3])
        around = [(*signs, 0) for signs in product((-1, 0, 1), (-1, 0, 1))] + [(0, 0, -1), (0, 0, 1)]
        for signs in around if centre[2] else around[:-2]:
            attempt(*(centre + signs * steps).tolist())
    found = _best(trials)
    for width in BEAMS if beam is None else ():
        attempt(*found[:3], width)
    best = _best(trials)
    plain = _rates(references, _of_all(lambda: [h.text for p, n in rows for h in greedy(p, n, tokenizer)]))
    alone = measured(BeamSearch(tokenizer, replace(options, beam=best.beam), threads=threads))
    now = None
    if present is not None:
        decoder = present
        now = _rates(references, _of_all(lambda: [nbest[0].text for p, n in rows for nbest in decoder(p, n)]))
    return Tuned(best, list(trials.values()), plain, alone, tuple(priors.tolist()), now, tuple(failures))


def present_decoder(recogniser: Recogniser, threads: int | None = None) -> Decoder | None:
    """What the model's configuration decodes with, whatever the recogniser does; None where that is greedy.

    Raises:
        AsrError: a file that it needs is missing or broken.
    """
    if recogniser.config.decoding.method == "greedy":
        return None
    return Decoder(recogniser.tokenizer, recogniser.config, recogniser.folder, threads)


def write_tuned(
    folder: Path, recogniser: Recogniser, lm: NgramModel, tuned: Tuned, closed: bool, lexicon: Path | None = None
) -> None:
    """Put the language model, the lexicon and the settings into the model folder; from then on it decodes with them.

    A calibration of the confidences goes, as it was fitted to the words of the decoding before.

    Raises:
        OutputError: the folder cannot be written.
    """
    settings = DecodingConfig(
        method="beam",
        beam=tuned.best.beam,
        lm=LM_FILE,
        lm_weight=tuned.best.lm_weight,
        word_bonus=tuned.best.word_bonus,
        prior_weight=tuned.best.prior_weight,
        closed=closed,
        lexicon=LEXICON_FILE if lexicon is not None else None,
        window_seconds=recogniser.config.decoding.window_seconds,
        batch_seconds=recogniser.config.decoding.batch_seconds,
    )
    lm.save(folder / LM_FILE)
    save_priors(folder, recogniser.tokenizer.tokens, tuned.priors)
    try:
        if lexicon is not None:
            with replacing(folder / LEXICON_FILE) as partial:
                partial.write_bytes(lexicon.read_bytes())
        save_config(recogniser.config.model_copy(update={"decoding": settings}), folder / CONFIG)
        (folder / CONFIDENCE).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{folder / CONFIG}: cannot be written ({error.strerror or error})") from None


def _best(trials: dict[tuple[float, float, float, int], Trial]) -> Trial:
    return min(trials.values(), key=lambda trial: (trial.wer, trial.cer, trial.prior_weight, trial.beam))


def _log_probs(
    recogniser: Recogniser, manifest: str | Path
) -> tuple[list[str], list[tuple[np.ndarray, np.ndarray]], list[tuple[str, str]]]:
    """References, and this process's batches of log-probs with their lengths, as `_of_all` orders them.

    And (id, reason) of the utterances that no process could read.
    """
    rules = recogniser.config.text
    utterances = [utterance for utterance in read_manifest(manifest) if utterance.text is not None]
    dataset = SpeechDataset([Example(utterance, []) for utterance in utterances], recogniser.sample_rate)
    texts = {u.id: normalise(u.text or "", rules.case, rules.remove) for u in utterances}
    batches = make_batches([u.duration for u in utterances], recogniser.decoding.batch_seconds)
    rows = []
    unread: list[tuple[str, str]] = []

    def read() -> list[str]:
        mine: list[str] = []
        for number in share([sum(utterances[index].duration for index in batch) for batch in batches]):
            batch = collate([dataset[0, index] for index in batches[number]])
            unread.extend(batch.failures)
            if batch.ids:
                log_probs, lengths = recogniser.log_probs(batch.waveforms, batch.lengths)
                rows.append((as_array(log_probs), as_array(lengths)))
                mine += [texts[identifier] for identifier in batch.ids]
        return mine

    references = _of_all(read)
    failures = sorted(chain.from_iterable(gather(lambda: unread)))
    if not any(references):
        first = f"; first failure: {failures[0][1]}" if failures else ""
        raise ManifestError(
            f"{manifest}: no utterance with a transcript and audio that can be read; nothing to tune on{first}"
        )
    return references, rows, failures


def _priors(rows: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Mean probability of each token `[tokens]` over the frames of all processes, the same to the bit however many."""
    batches = [batch for mine in gather(lambda: [summed(*row).tolist() for row in rows]) for batch in mine]
    total = np.array([math.fsum(column) for column in zip(*batches, strict=True)])
    return np.asarray(total / total.sum())


def _decoded(
    search: BeamSearch, log_probs: np.ndarray, lengths: np.ndarray, priors: np.ndarray, prior_weight: float
) -> list[str]:
    if prior_weight:
        log_probs = divided(log_probs, priors, prior_weight)
    return [hypotheses[0].text for hypotheses in search.decode(log_probs, lengths)]


def _of_all(texts: Callable[[], list[str]]) -> list[str]:
    """The texts of all processes, one after the other."""
    return list(chain.from_iterable(gather(texts)))


def _rates(references: Sequence[str], texts: Sequence[str]) -> tuple[float, float]:
    """WER and CER; utterances without a reference word are left out."""
    pairs = [(reference, text) for reference, text in zip(references, texts, strict=True) if reference]
    truth, found = map(list, zip(*pairs, strict=True))
    return float(np.float64(jiwer.wer(truth, found))), float(jiwer.cer(truth, found))
