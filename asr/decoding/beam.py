"""Beam search: the likeliest token sequences, summed over their alignments, with a language model and rules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from asr.cores import cores
from asr.decoding.beam_kernel import Limits, search
from asr.decoding.fusion import fuse
from asr.decoding.homophones import choose_words
from asr.decoding.hypothesis import Hypothesis, Word
from asr.decoding.lexicon import Lexicon
from asr.decoding.times import word_tokens
from asr.errors import ConfigError, DecodingError
from asr.lm.automaton import Automaton
from asr.lm.ngram import NgramModel
from asr.text import SPACE, PhoneTokenizer, Tokenizer


@dataclass(frozen=True)
class BeamOptions:
    """What beam search prunes and how it weighs; scores are natural logarithms."""

    beam: int = 64
    """Prefixes kept after each frame."""
    token_min_log_prob: float = -9.0
    """Tokens below this in a frame open no new prefixes there. With `prune`, it changes no hypothesis on AN4."""
    max_tokens: int | None = None
    """At most so many tokens of a frame, the likeliest, open new prefixes."""
    prune: float = 16.0
    """Prefixes this far below the best are dropped."""
    blank_skip: float | None = None
    """In frames whose blank is likelier than this, it is taken for certain that the blank is what was said: no prefix
    grows, every prefix pays the blank's probability, and its last token, when it comes again, is a new one."""
    lm_weight: float = 0.5
    """Factor of the language model's log-probability."""
    word_bonus: float = 0.0
    """Added for each word: language models make each word cost something, and so favour few."""
    unknown_penalty: float = 10.0
    """Taken off for each word that a word n-gram does not have, beside the weighted log-probability of `<unk>`."""
    nbest: int = 1
    """Hypotheses to return, of different texts."""

    def __post_init__(self) -> None:
        for name, least in (("beam", 1), ("max_tokens", 1), ("nbest", 1)):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < least):
                raise ConfigError(f"{name}: {value} is less than {least}; give a whole number of at least {least}")
        for name in ("token_min_log_prob", "prune", "lm_weight", "word_bonus", "unknown_penalty"):
            if math.isnan(getattr(self, name)):
                raise ConfigError(f"{name}: not a number")
        if math.isinf(self.word_bonus):
            raise ConfigError(f"word_bonus: {self.word_bonus} is not finite; give a number such as 1.5")
        if self.prune <= 0:
            raise ConfigError(f"prune: {self.prune} would drop every prefix; give a positive number, such as 16")
        if not 0 <= self.lm_weight < math.inf:
            raise ConfigError(f"lm_weight: {self.lm_weight} is no weight; give 0 or a positive number")
        if self.blank_skip is not None and not 0.5 <= self.blank_skip <= 1:
            raise ConfigError(f"blank_skip: {self.blank_skip} is not a probability from 0.5 to 1, such as 0.999")


class BeamSearch:
    """CTC prefix beam search over the tokens of `tokenizer`.

    Args:
        lm: n-gram model. One of words is asked at each word's end; until then a prefix carries the best unigram
            probability of the words that it may become. One of characters or tokens is asked at each token.
        token_automaton: hot words or a grammar over token ids, added as it is.
        closed: only words of the language model may come out.
        lexicon: how words are spelled, in phones say; then only its words come out, and with a language model of words
            only those that this has too. Of words with one spelling it is the one that the model finds likeliest
            in the sentence, or without a model the first.
        favoured: what the natural log of a word gains there, of hot words say.
        threads: utterances of a batch decoded at the same time; None takes every core this process may use.

    Attributes:
        unspelled: words of the language model that the tokens cannot spell, and that so never come out.

    Raises:
        ConfigError: a language model of words for tokens without space, one that has nothing in common with the
            tokens, or `closed` without a language model of words.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        options: BeamOptions | None = None,
        *,
        lm: NgramModel | None = None,
        token_automaton: Automaton | None = None,
        closed: bool = False,
        lexicon: Lexicon | None = None,
        favoured: Mapping[str, float] | None = None,
        threads: int | None = None,
    ):
        self.tokenizer = tokenizer
        self.options = options or BeamOptions()
        self.threads = threads or cores()
        if threads is not None and threads < 1:
            raise ConfigError(f"threads: {threads} is less than 1")
        if lexicon is None and isinstance(tokenizer, PhoneTokenizer) and lm is not None and lm.units == "words":
            lexicon = Lexicon.of_model(tokenizer)
        if lexicon is not None and (lm is None or lm.units != "words"):
            if token_automaton is not None:
                raise ConfigError("a lexicon without a word language model leaves no room for hot words or a grammar")
            token_automaton = lexicon.automaton(tokenizer)
        if closed and (lm is None or lm.units != "words"):
            raise ConfigError("a closed vocabulary needs a language model of words; give one with lm")
        self._limits = Limits(
            self.options.beam,
            min(self.options.max_tokens or len(tokenizer), len(tokenizer)),
            float(self.options.token_min_log_prob),
            min(math.exp(-self.options.prune), 1 - 1e-9),
            math.inf if self.options.blank_skip is None else float(self.options.blank_skip),
        )
        self._fusion, self.unspelled = fuse(
            tokenizer,
            lm,
            self.options.lm_weight,
            self.options.word_bonus,
            math.inf if closed or lexicon is not None else self.options.unknown_penalty,
            token_automaton,
            lexicon,
            favoured,
        )
        self._space = tokenizer.tokens.index(SPACE) if SPACE in tokenizer.tokens else -1
        self._words = lm.words if lexicon is not None and lm is not None and lm.units == "words" else None
        self._word_of = _spoken(lexicon, self._space) if lexicon is not None and self._words is None else {}

    def decode(self, log_probs: np.ndarray, lengths: np.ndarray) -> list[list[Hypothesis]]:
        """Decode natural-log probabilities `[batch, frames, tokens]` with `lengths` `[batch]` in frames.

        Returns:
            for each utterance up to `nbest` hypotheses of different texts, best first; at least one: where rules or
            probabilities of 0 leave nothing, the empty text with score -inf.

        Raises:
            DecodingError: a wrong shape or length, or a frame whose probabilities are NaN or do not sum to 1 within
                0.01.
        """
        log_probs = np.ascontiguousarray(log_probs, dtype=np.float32)
        if log_probs.ndim != 3 or log_probs.shape[2] != len(self.tokenizer):
            raise DecodingError(
                f"log-probs of shape {log_probs.shape} cannot be decoded; give [batch, frames, {len(self.tokenizer)}]"
            )
        batch, frames, _ = log_probs.shape
        counts = np.asarray(lengths).tolist()
        if np.shape(lengths) != (batch,) or not all(0 <= count <= frames for count in counts):
            raise DecodingError(f"lengths {counts} do not fit log-probs of shape {log_probs.shape}")
        rows = [log_probs[index, : int(count)] for index, count in enumerate(counts)]
        if self.threads == 1 or batch < 2:
            return [self._decode(index, row) for index, row in enumerate(rows)]
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(self._decode, range(batch), rows))

    def _text(self, tokens: list[int]) -> tuple[str, float]:
        """What is written, and what that adds to the score."""
        if self._words is None and not self._word_of:
            return self.tokenizer.decode(tokens), 0.0
        groups = [[tokens[place] for place in word] for word in word_tokens(tokens, self.tokenizer)]
        if self._words is None:
            said = (self._word_of.get(tuple(group)) or self.tokenizer.decode(group) for group in groups)
            return " ".join(said), 0.0
        labels, gain = choose_words(self._fusion.lm, self.options.lm_weight, self._fusion.vocabulary, groups)
        return " ".join(self._words[label] for label in labels), gain

    def _decode(self, index: int, log_probs: np.ndarray) -> list[Hypothesis]:
        nbest = self.options.nbest
        # Sequences that differ in spaces alone are one text, and so more than `nbest` may be needed.
        bad, found = search(log_probs, self._limits, self._fusion, 1 if nbest == 1 else self.options.beam)
        if bad >= 0:
            total = float(np.exp(log_probs[bad].astype(np.float64)).sum())
            raise DecodingError(
                f"utterance {index} of the batch, frame {bad}: probabilities sum to {total:g}, not 1; "
                "give the natural logarithm of a softmax, without NaN"
            )
        tokens, frames = found.tokens.tolist(), found.frames.tolist()
        hypotheses: dict[str, Hypothesis] = {}
        begin = 0
        for end, score, acoustic in zip(
            found.ends.tolist(), found.score.tolist(), found.acoustic.tolist(), strict=True
        ):
            text, gain = self._text(tokens[begin:end])
            if text not in hypotheses:
                words = list(map(Word, text.split()))
                hypotheses[text] = Hypothesis(tokens[begin:end], text, score + gain, frames[begin:end], words, acoustic)
                if len(hypotheses) == nbest:
                    break
            begin = end
        best = sorted(hypotheses.values(), key=lambda hypothesis: -hypothesis.score)
        return best or [Hypothesis([], "", -math.inf, acoustic_score=-math.inf)]


def _spoken(lexicon: Lexicon, space: int) -> dict[tuple[int, ...], str]:
    """The first word of each spelling, spaces left out."""
    words: dict[tuple[int, ...], str] = {}
    for place, tokens in lexicon.spellings:
        words.setdefault(tuple(token for token in tokens if token != space), lexicon.words[place])
    return words
