"""Train an n-gram model on text files or the transcripts of manifests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.data.problems import Problem
from asr.errors import LanguageModelError
from asr.lm.corpus import Case, Sentences, encode, read_vocabulary
from asr.lm.counting import count_ngrams
from asr.lm.kneser_ney import Discounts, check_pruning, estimate
from asr.lm.ngram import NgramModel
from asr.lm.units import SPECIAL, check_units, splitter, token_vocabulary
from asr.text import Tokenizer, normalise

MAX_ORDER = 20


@dataclass(frozen=True)
class NgramTraining:
    """A trained model, and what it was trained on.

    Attributes:
        model: the model.
        sentences: number of sentences.
        words: number of words, or characters or tokens, ends of sentences not counted.
        unknown: how many of these are outside the vocabulary.
        counted: number of different n-grams of each order, before pruning.
        discounts: those of each order.
        problems: sentences left out and why.
    """

    model: NgramModel
    sentences: int
    words: int
    unknown: int
    counted: list[int]
    discounts: list[Discounts]
    problems: list[Problem]


def train_ngram(
    texts: Sequence[str | Path],
    order: int = 3,
    units: str = "words",
    prune: Sequence[int] = (0,),
    *,
    vocabulary: str | Path | None = None,
    limit_vocabulary: int = 0,
    tokens: str | Path | None = None,
    case: Case = "lower",
) -> NgramTraining:
    """Train by interpolated modified Kneser-Ney, see `asr.lm.kneser_ney.estimate`.

    Args:
        texts: files with one sentence a line, or manifests.
        order: length of the longest n-grams, 1 to 20.
        units: `words`, `characters`, or the `tokens` of an acoustic model.
        prune: for each order, n-grams that occur so often or more rarely are left out; the first must be 0.
        vocabulary: file with the words to model, one a line; others count as `<unk>`. None: all words of the text.
        limit_vocabulary: model only so many words, the most frequent; 0: all.
        tokens: the `tokens.txt` of a model folder, for the units `tokens`.
        case: see `asr.text.normalise`; that of the acoustic model.

    Raises:
        LanguageModelError: a setting is impossible, or a text is empty.
        ManifestError: a text cannot be read.
        TextError: the token table is broken.
    """
    units = check_units(units)
    if not 1 <= order <= MAX_ORDER:
        raise LanguageModelError(f"order {order}: choose 1 to {MAX_ORDER}")
    check_pruning(prune, order)
    if limit_vocabulary and vocabulary is not None:
        raise LanguageModelError("a vocabulary and its limit cannot be given both; cut the file of the vocabulary")
    if (tokens is not None) != (units == "tokens"):
        raise LanguageModelError("the units `tokens` and a token table (tokens.txt of a model folder) need each other")
    known: list[str] | None = None
    tokenizer = None
    if tokens is not None:
        tokenizer = Tokenizer.load(Path(tokens))
        known = token_vocabulary(tokenizer)
    if vocabulary is not None:
        known = [normalise(word, case) for word in read_vocabulary(Path(vocabulary))]
        known = [word for word in known if word not in SPECIAL]
    sentences = Sentences([Path(text) for text in texts], splitter(units, tokenizer), case)
    corpus = encode(sentences, known, limit_vocabulary)
    if not corpus.sentences:
        raise LanguageModelError(
            f"{sentences.problems[0].id}: {sentences.problems[0].message}; no sentence is left to train on"
        )
    counts = count_ngrams(corpus.labels, len(corpus.words), order)
    levels, used = estimate(counts, prune)
    return NgramTraining(
        model=NgramModel.from_levels(corpus.words, levels, units),
        sentences=corpus.sentences,
        words=corpus.tokens,
        unknown=corpus.unknown,
        counted=[len(level.keys) for level in counts],
        discounts=used,
        problems=list(sentences.problems),
    )
