from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decoding.beam import BeamOptions, BeamSearch
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.vocabulary import build_vocabulary, child_of, words_at
from asr.errors import ConfigError
from asr.lm.automaton import Automaton
from asr.lm.ngram import NgramModel
from asr.text import Tokenizer

SPECIAL = ["<unk>", "<s>", "</s>"]
TOKENIZER = Tokenizer(["<blank>", "▁", "a", "b"])
WIDE = {"beam": 5000, "token_min_log_prob": -math.inf, "prune": math.inf, "nbest": 5000}
"""Nothing is pruned."""


class Bigram:
    """A bigram model with back-off as dictionaries, all natural logarithms."""

    def __init__(self, words: Sequence[str], seed: int):
        self.random = np.random.default_rng(seed)
        self.words = [*SPECIAL, *words]
        self.unigram = {word: -float(self.random.uniform(0.5, 4)) for word in self.words}
        self.back_off = {word: -float(self.random.uniform(0, 1)) for word in self.words}
        self.bigram = {
            pair: -float(self.random.uniform(0.1, 3))
            for pair in itertools.product(self.words, repeat=2)
            if self.random.random() < 0.4
        }

    def log_prob(self, history: str, word: str) -> float:
        return self.bigram.get((history, word), self.back_off[history] + self.unigram[word])

    def sentence(self, words: Sequence[str]) -> float:
        """Log-probability of a sentence and its end."""
        known = [word if word in self.unigram else "<unk>" for word in words]
        return sum(itertools.starmap(self.log_prob, itertools.pairwise(["<s>", *known, "</s>"])))

    def model(self, units: str) -> NgramModel:
        """The same as an automaton: state 0 without history, then one state for each word."""
        label = {word: index for index, word in enumerate(self.words)}
        arcs = [[(index, self.unigram[word], index + 1) for word, index in label.items()]]
        for history in self.words:
            followers = [word for word in self.words if (history, word) in self.bigram]
            arcs.append([(label[word], self.bigram[history, word], label[word] + 1) for word in followers])
        automaton = automaton_of(
            arcs,
            back_off=[(0.0, -1), *((self.back_off[word], 0) for word in self.words)],
            final=[self.unigram["</s>"], *(self.log_prob(word, "</s>") for word in self.words)],
            start=label["<s>"] + 1,
        )
        return NgramModel(self.words, automaton, np.array([0, 1, 1 + len(self.words)]), units)  # type: ignore[arg-type]


def automaton_of(
    arcs: list[list[tuple[int, float, int]]], back_off: list[tuple[float, int]], final: list[float], start: int
) -> Automaton:
    """An automaton from the arcs (label, weight, next) of each state."""
    flat = list(itertools.chain.from_iterable(arcs))
    return Automaton(
        np.cumsum([0, *map(len, arcs)]).astype(np.int64),
        np.array([arc[0] for arc in flat], np.int32),
        np.array([arc[1] for arc in flat], np.float32),
        np.array([arc[2] for arc in flat], np.int32),
        np.array([weight for weight, _ in back_off], np.float32),
        np.array([state for _, state in back_off], np.int32),
        np.array(final, np.float32),
        np.array([start], np.int32),
    )


class Rules:
    """Random rules over tokens: states without back-off, some labels forbidden, some states no end."""

    def __init__(self, seed: int, forbidden: float = 0.2):
        random = np.random.default_rng(seed)
        self.arcs = [
            [
                (token, float(random.uniform(-2, 2)), int(random.integers(0, 3)))
                for token in (1, 2, 3)
                if random.random() >= forbidden
            ]
            for _ in range(3)
        ]
        self.final = [-math.inf if random.random() < forbidden else float(random.uniform(-1, 1)) for _ in range(3)]
        self.automaton = automaton_of(self.arcs, [(0.0, -1)] * 3, self.final, 1)

    def weigh(self, tokens: Sequence[int]) -> float:
        state, total = 1, 0.0
        for token in tokens:
            found = [arc for arc in self.arcs[state] if arc[0] == token]
            if not found:
                return -math.inf
            total, state = total + found[0][1], found[0][2]
        return total + self.final[state]


def expected(log_probs: np.ndarray, weigh: Callable[[tuple[int, ...]], float]) -> dict[str, float]:
    """The best score of each text: log of the sum over all paths of a sequence, plus what `weigh` gives it."""
    sums: dict[tuple[int, ...], float] = defaultdict(float)
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        probability = math.exp(sum(float(log_probs[frame, token]) for frame, token in enumerate(path)))
        sums[tuple(token for token, _ in itertools.groupby(path) if token)] += probability
    best: dict[str, float] = {}
    for tokens, total in sums.items():
        score, text = math.log(total) + weigh(tokens), TOKENIZER.decode(tokens)
        if score > -math.inf:
            best[text] = max(best.get(text, -math.inf), score)
    return best


def random_log_probs(seed: int, frames: int, tokens: int = 4) -> np.ndarray:
    logits = 2 * np.random.default_rng(seed).standard_normal((frames, tokens))
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def decode(search: BeamSearch, log_probs: np.ndarray) -> list[Hypothesis]:
    return search.decode(log_probs[None], np.array([len(log_probs)]))[0]


def same(hypotheses: list[Hypothesis], scores: Mapping[str, float]) -> None:
    """The same texts with the same scores, best first; nothing at all is the empty text with -inf."""
    found = {hypothesis.text: hypothesis.score for hypothesis in hypotheses}
    assert found == pytest.approx(dict(scores) or {"": -math.inf}, abs=1e-4)
    assert list(found.values()) == sorted(found.values(), reverse=True)


VOCABULARIES = st.sampled_from(
    [["a"], ["ab", "ba"], ["a", "ab", "b", "aa"], ["bb", "abab", "b"], ["a", "b", "c", "ca"]]
)
FRAMES = st.integers(0, 6)
SEED = st.integers(0, 10**6)


@settings(deadline=None, max_examples=40)
@given(seed=SEED, frames=FRAMES, words=VOCABULARIES, closed=st.booleans())
def test_word_bigram_equals_enumeration(seed: int, frames: int, words: list[str], closed: bool) -> None:
    bigram, log_probs = Bigram(words, seed), random_log_probs(seed, frames)
    options = BeamOptions(**WIDE, lm_weight=0.7, word_bonus=0.4, unknown_penalty=1.5)  # type: ignore[arg-type]

    def weigh(tokens: tuple[int, ...]) -> float:
        said = TOKENIZER.decode(tokens).split()
        unknown = sum(word not in words for word in said)
        if closed and unknown:
            return -math.inf
        return 0.7 * bigram.sentence(said) + 0.4 * len(said) - 1.5 * unknown

    search = BeamSearch(TOKENIZER, options, lm=bigram.model("words"), closed=closed)
    same(decode(search, log_probs), expected(log_probs, weigh))


@settings(deadline=None, max_examples=30)
@given(seed=SEED, frames=FRAMES, units=st.sampled_from(["characters", "tokens"]))
def test_token_bigram_equals_enumeration(seed: int, frames: int, units: str) -> None:
    bigram, log_probs = Bigram(["▁", "b", "z"], seed), random_log_probs(seed, frames)  # `a` is unknown to it
    options = BeamOptions(**WIDE, lm_weight=0.6, word_bonus=-0.3)  # type: ignore[arg-type]

    def weigh(tokens: tuple[int, ...]) -> float:
        words = len(TOKENIZER.decode(tokens).split())
        return 0.6 * bigram.sentence([TOKENIZER.tokens[token] for token in tokens]) - 0.3 * words

    same(decode(BeamSearch(TOKENIZER, options, lm=bigram.model(units)), log_probs), expected(log_probs, weigh))


@settings(deadline=None, max_examples=30)
@given(seed=SEED, frames=FRAMES)
def test_rules_equal_enumeration(seed: int, frames: int) -> None:
    rules, log_probs = Rules(seed), random_log_probs(seed, frames)
    search = BeamSearch(TOKENIZER, BeamOptions(**WIDE), token_automaton=rules.automaton)  # type: ignore[arg-type]
    same(decode(search, log_probs), expected(log_probs, rules.weigh))


@settings(deadline=None, max_examples=30)
@given(seed=SEED, frames=FRAMES, words=VOCABULARIES)
def test_word_bigram_and_rules_together_equal_enumeration(seed: int, frames: int, words: list[str]) -> None:
    bigram, rules, log_probs = Bigram(words, seed), Rules(seed), random_log_probs(seed, frames)
    options = BeamOptions(**WIDE, lm_weight=1.2, unknown_penalty=-0.5)  # type: ignore[arg-type]

    def weigh(tokens: tuple[int, ...]) -> float:
        said = TOKENIZER.decode(tokens).split()
        return 1.2 * bigram.sentence(said) + 0.5 * sum(word not in words for word in said) + rules.weigh(tokens)

    search = BeamSearch(TOKENIZER, options, lm=bigram.model("words"), token_automaton=rules.automaton)
    hypotheses = decode(search, log_probs)
    same(hypotheses, expected(log_probs, weigh))
    for hypothesis in hypotheses:
        if hypothesis.score > -math.inf:
            assert hypothesis.acoustic_score is not None
            assert hypothesis.score - hypothesis.acoustic_score == pytest.approx(
                weigh(tuple(hypothesis.tokens)), abs=1e-4
            )


def test_a_grammar_that_nothing_fits_gives_the_empty_text_with_no_probability() -> None:
    never = automaton_of([[(2, 0.0, 0)]], [(0.0, -1)], [-math.inf], 0)
    (hypothesis,) = decode(BeamSearch(TOKENIZER, token_automaton=never), random_log_probs(0, 9))
    assert (hypothesis.text, hypothesis.tokens, hypothesis.score) == ("", [], -math.inf)


def test_a_narrow_beam_finds_the_likely_word_that_greedy_misses() -> None:
    """Look-ahead: `ab` is known and `aa` is not, and the beam of 2 must not lose the former before its end."""
    tokens = [2, 0, 2, 0, 1, 0, 2, 0, 2]
    probabilities = np.full((len(tokens), 4), 0.02)
    probabilities[np.arange(len(tokens)), tokens] = 0.94
    probabilities[[2, 8], 3], probabilities[[2, 8], 2] = 0.4, 0.56
    log_probs = np.log(probabilities).astype(np.float32)
    options = BeamOptions(beam=2)
    assert decode(BeamSearch(TOKENIZER, options), log_probs)[0].text == "aa aa"
    assert decode(BeamSearch(TOKENIZER, options, lm=Bigram(["ab"], 0).model("words")), log_probs)[0].text == "ab ab"


def test_threads_share_one_model() -> None:
    search = BeamSearch(TOKENIZER, lm=Bigram(["a", "ab"], 1).model("words"), threads=3)
    log_probs = np.stack([random_log_probs(seed, 40) for seed in range(8)])
    together = search.decode(log_probs, np.full(8, 40))
    assert together == [decode(search, row) for row in log_probs]


def test_words_that_the_tokens_cannot_spell_are_counted() -> None:
    assert BeamSearch(TOKENIZER, lm=Bigram(["a", "xa", "B"], 0).model("words")).unspelled == 2
    with pytest.raises(ConfigError, match=r"'xa', 'B'.*case and alphabet"):
        BeamSearch(TOKENIZER, lm=Bigram(["xa", "B"], 0).model("words"))


def test_language_models_of_other_units_are_refused() -> None:
    with pytest.raises(ConfigError, match="none of them is a token"):
        BeamSearch(TOKENIZER, lm=Bigram(["word", "other"], 0).model("tokens"))
    with pytest.raises(ConfigError, match="needs the token '▁'"):
        BeamSearch(Tokenizer(["<blank>", "a"]), lm=Bigram(["a"], 0).model("words"))
    with pytest.raises(ConfigError, match="closed vocabulary needs"):
        BeamSearch(TOKENIZER, closed=True)
    with pytest.raises(ConfigError, match="closed vocabulary needs"):
        BeamSearch(TOKENIZER, lm=Bigram(["▁", "a"], 0).model("characters"), closed=True)


def test_vocabulary_spells_each_word_and_knows_the_best_below() -> None:
    words = ["ab", "a", "b", "abab", "ba"]
    unigrams = -np.arange(1.0, 6.0)
    vocabulary, missing = build_vocabulary(words, unigrams, TOKENIZER)
    assert missing == 0
    for label, word in enumerate(words):
        node = 0
        for depth, token in enumerate(TOKENIZER.encode(word), start=1):
            node = child_of(vocabulary, node, token)
            best = max(unigrams[other] for other, text in enumerate(words) if text.startswith(word[:depth]))
            assert vocabulary.estimate[node] == best
        assert [vocabulary.word[place] for place in words_at(vocabulary, TOKENIZER.encode(word))] == [label]
    assert child_of(vocabulary, 0, 1) == -1


def test_one_compiled_search_serves_every_kind_of_model() -> None:
    """Each new combination of types would cost a user the seconds of a compilation."""
    from asr.decoding.beam_kernel import run

    model, rules = Bigram(["a", "ab"], 1), Rules(0, forbidden=0.0).automaton
    fixed = Automaton(*(array.copy() for array in rules))
    for array in fixed:
        array.flags.writeable = False
    log_probs = random_log_probs(0, 20)
    decode(BeamSearch(TOKENIZER), log_probs)
    compiled = list(run.signatures)
    for lm in (None, model.model("words"), Bigram(["▁", "a"], 1).model("characters")):
        for automaton in (None, rules, fixed):
            decode(BeamSearch(TOKENIZER, BeamOptions(nbest=3), lm=lm, token_automaton=automaton), log_probs)
    decode(BeamSearch(TOKENIZER, BeamOptions(blank_skip=1, prune=9, word_bonus=1)), log_probs.astype(np.float64))
    assert run.signatures == compiled
