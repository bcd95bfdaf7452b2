"""What beam search adds to the acoustic model, for compiled code: language model, vocabulary, bonuses and rules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from asr.decoding.lexicon import Lexicon
from asr.decoding.prefixes import Tree
from asr.decoding.pruning import compiled
from asr.decoding.vocabulary import Vocabulary, build_vocabulary, child_of, no_vocabulary
from asr.errors import ConfigError
from asr.lm.automaton import Automaton, advance
from asr.lm.ngram import NgramModel
from asr.lm.units import SPECIAL, UNK
from asr.text import SPACE, Tokenizer

PLAIN, TOKENS, WORDS = 0, 1, 2
"""What the language model predicts: there is none, it predicts tokens, or words."""
MOST_FAVOUR = 100.0
"""Natural log; more would leave the range of a factor, and is as good as certain."""
CACHED = 1 << 12
"""Steps through an automaton that are remembered, a power of two."""


class Fusion(NamedTuple):
    """Models and factors. A factor is a probability raised to the model's weight, or e^bonus.

    Attributes:
        kind: `PLAIN`, `TOKENS` or `WORDS`.
        lm: n-gram model.
        weight: its weight.
        label: int32 `[tokens]`, the model's label of each token, for `TOKENS`.
        unknown: its label of unknown words.
        unknown_factor: factor of each unknown word beside the model's; 0 forbids them.
        vocabulary: the model's words, for `WORDS`.
        gain: float64 `[nodes]`, factor of the step into a node: the ratio of the estimates, and `word_factor` where a
            word begins.
        refund: float64 `[nodes]`, factor that takes the estimate of a node back.
        space: the token that parts words, -1 without one.
        begins: bool `[tokens]`, whether a token begins a word, and so ends the one before, as BPE's `▁the` does.
        word_factor: factor of each word.
        ruled: whether there are rules.
        rules: automaton over tokens: hot words, a grammar.
        rule_top: float64 `[states]`, the highest factor that a token can have in a state of the rules.
    """

    kind: int
    lm: Automaton
    weight: float
    label: np.ndarray
    unknown: int
    unknown_factor: float
    vocabulary: Vocabulary
    gain: np.ndarray
    refund: np.ndarray
    space: int
    begins: np.ndarray
    word_factor: float
    ruled: bool
    rules: Automaton
    rule_top: np.ndarray


NOTHING = Automaton(
    np.zeros(2, np.int64),
    np.zeros(0, np.int32),
    np.zeros(0, np.float32),
    np.zeros(0, np.int32),
    np.zeros(1, np.float32),
    np.full(1, -1, np.int32),
    np.zeros(1, np.float32),
    np.zeros(1, np.int32),
)
"""What stands where there is no model or no rules; never asked."""


def fuse(
    tokenizer: Tokenizer,
    lm: NgramModel | None,
    lm_weight: float,
    word_bonus: float,
    unknown_penalty: float,
    rules: Automaton | None,
    lexicon: Lexicon | None = None,
    favoured: Mapping[str, float] | None = None,
) -> tuple[Fusion, int]:
    """The models of a search, and how many words of the language model the tokens cannot spell.

    Args:
        unknown_penalty: inf for a closed vocabulary.
        lexicon: how the words of a language model of words are spelled; None: by their characters.
        favoured: what the natural log of words gains where the model chooses among those that are spelled alike.

    Raises:
        ConfigError: a language model of words for tokens without space, or one that has nothing in common with the
            tokens.
    """
    rules = None if rules is None else _uniform(rules)
    kind, label, unknown, unspelled = PLAIN, np.zeros(len(tokenizer), np.int32), 0, 0
    vocabulary = no_vocabulary()
    space, begins = word_borders(tokenizer)
    if lm is not None:
        unknown = SPECIAL.index(UNK)
        if lm.units == "words":
            kind = WORDS
            if space < 0 and not begins.any():
                raise ConfigError(f"a language model of words needs the token {SPACE!r}, which parts them")
            vocabulary, unspelled = build_vocabulary(lm.words, unigrams(lm), tokenizer, lexicon)
            if favoured:
                gains = [favoured.get(lm.words[label], 0.0) for label in vocabulary.word.tolist()]
                vocabulary = vocabulary._replace(favour=np.exp(np.clip(gains, -MOST_FAVOUR, MOST_FAVOUR)))
        else:
            kind = TOKENS
            label = np.array([lm.label(token) for token in tokenizer.tokens], np.int32)
            if (label[1:] == unknown).all():
                raise ConfigError(
                    f"the language model predicts {lm.units}, {', '.join(map(repr, lm.words[3:9]))} ..., and none of "
                    f"them is a token of the acoustic model; train it with the units of {tokenizer.tokens[1:9]}"
                )
    gain, refund = _factors(vocabulary, lm_weight, word_bonus)
    fusion = Fusion(
        kind,
        NOTHING if lm is None else _uniform(lm.automaton),
        float(lm_weight),
        label,
        unknown,
        math.exp(-unknown_penalty),
        vocabulary,
        gain,
        refund,
        space,
        begins,
        math.exp(word_bonus),
        rules is not None,
        NOTHING if rules is None else rules,
        np.ones(1) if rules is None else _tops(rules),
    )
    return fusion, unspelled


def word_borders(tokenizer: Tokenizer) -> tuple[int, np.ndarray]:
    """`space` and `begins` of a table: one or the other tells where words end."""
    begins = np.array([token.startswith(SPACE) for token in tokenizer.tokens])
    if tokenizer.joined:
        return -1, begins
    return tokenizer.tokens.index(SPACE) if SPACE in tokenizer.tokens else -1, np.zeros_like(begins)


def _uniform(automaton: Automaton) -> Automaton:
    """The automaton in arrays for which the search is compiled already; as it is where they are such."""
    return Automaton(
        *(np.require(array, one.dtype, ["C", "A", "W"]) for array, one in zip(automaton, NOTHING, strict=True))
    )


def unigrams(lm: NgramModel) -> np.ndarray:
    """Log-probability of each word without history, -inf for markers."""
    begin, stop = lm.automaton.arc_begin[:2]
    unigrams = np.full(len(lm.words), -np.inf)
    unigrams[lm.automaton.arc_label[begin:stop]] = lm.automaton.arc_weight[begin:stop]
    unigrams[: len(SPECIAL)] = -np.inf
    return unigrams


def _factors(vocabulary: Vocabulary, weight: float, word_bonus: float) -> tuple[np.ndarray, np.ndarray]:
    """`gain` and `refund` of a vocabulary."""
    estimate = vocabulary.estimate
    parent = np.repeat(np.arange(len(estimate)), np.diff(vocabulary.child_begin))
    gain = np.ones(len(estimate))
    gain[1:] = np.exp(weight * (estimate[1:] - estimate[parent]) + word_bonus * (parent == 0))
    return gain, np.exp(-weight * estimate)


@njit(cache=True, nogil=True)
def _tops(rules: Automaton) -> np.ndarray:
    """`rule_top` of an automaton."""
    tops = np.empty(len(rules.final_weight))
    for start in range(len(tops)):
        state, weight, top = start, 0.0, -np.inf
        while state >= 0:
            for arc in range(rules.arc_begin[state], rules.arc_begin[state + 1]):
                top = max(top, weight + rules.arc_weight[arc])
            weight += rules.back_off_weight[state]
            state = rules.back_off_state[state]
        tops[start] = np.exp(top)
    return tops


@compiled()
def step(
    automaton: Automaton,
    weight: float,
    keys: np.ndarray,
    factors: np.ndarray,
    states: np.ndarray,
    state: int,
    label: int | np.integer,
) -> int:
    """Place in the cache `[CACHED]` where e^(weight * log-probability) of `label` in `state` and the next state are.

    Labels are int64 wherever they come from: each other type would be compiled anew.
    """
    key: Any = (np.int64(state) << 32) | np.int64(label)
    place = (key * 0x9E3779B97F4A7C1) >> 40 & (CACHED - 1)
    if keys[place] != key:
        cost, after = advance(automaton, np.int64(state), label)
        keys[place] = key
        factors[place] = np.exp(weight * cost) if after >= 0 else 0.0
        states[place] = after
    return place


class Memory(NamedTuple):
    """Steps taken before, see `step`: of the language model and of the rules, all `[CACHED]`."""

    lm_keys: np.ndarray
    lm_factors: np.ndarray
    lm_states: np.ndarray
    rule_keys: np.ndarray
    rule_factors: np.ndarray
    rule_states: np.ndarray


def new_memory(none: bool) -> Memory:
    """An empty memory, or one of no length for a search that does not need it."""
    size = 0 if none else CACHED
    return Memory(
        np.full(size, -1, np.int64),
        np.empty(size),
        np.empty(size, np.int32),
        np.full(size, -1, np.int64),
        np.empty(size),
        np.empty(size, np.int32),
    )


@compiled()
def factor_of(fusion: Fusion, memory: Memory, tree: Tree, prefix: int, token: int) -> float:
    """Factor of `token` after a prefix."""
    factor = 1.0
    if fusion.kind == WORDS:
        node = tree.node[prefix]
        if token == fusion.space:
            factor = tree.finish[prefix]
        elif fusion.begins[token]:
            child = child_of(fusion.vocabulary, 0, token)
            if child >= 0:
                factor = tree.finish[prefix] * fusion.gain[child]
            else:  # an unknown word, after the one that ends
                place = lm_step(fusion, memory, tree.after[prefix], fusion.unknown)
                factor = memory.lm_factors[place] * fusion.unknown_factor * fusion.word_factor * tree.finish[prefix]
        elif node >= 0:
            child = child_of(fusion.vocabulary, node, token)
            factor = fusion.gain[child] if child >= 0 else tree.leave[prefix]
    else:
        last = tree.token[prefix]
        if token != fusion.space and (last == fusion.space or last == 0 or fusion.begins[token]):
            factor = fusion.word_factor
        if fusion.kind == TOKENS:
            place = lm_step(fusion, memory, tree.lm[prefix], np.int64(fusion.label[token]))
            factor *= memory.lm_factors[place]
    if fusion.ruled and factor > 0.0:
        place = rule_step(fusion, memory, tree.rule[prefix], token)
        factor *= memory.rule_factors[place]
    return factor


@compiled()
def lm_step(fusion: Fusion, memory: Memory, state: int, label: int | np.integer) -> int:
    """Place in the memory of a step of the language model."""
    return step(fusion.lm, fusion.weight, memory.lm_keys, memory.lm_factors, memory.lm_states, state, label)


@compiled()
def rule_step(fusion: Fusion, memory: Memory, state: int, token: int) -> int:
    """Place in the memory of a step of the rules."""
    return step(fusion.rules, 1.0, memory.rule_keys, memory.rule_factors, memory.rule_states, state, np.int64(token))


@compiled(inline="always")
def begin(fusion: Fusion, memory: Memory, tree: Tree, root: int) -> None:
    """Fill in the empty prefix."""
    tree.lm[root], tree.node[root], tree.rule[root] = fusion.lm.start[0], 0, fusion.rules.start[0]
    tree.entry[root] = 1.0
    settle(fusion, memory, tree, root)


@compiled(inline="always")
def enter(fusion: Fusion, memory: Memory, tree: Tree, parent: int, prefix: int) -> None:
    """Fill in a prefix from its parent and last token."""
    token = tree.token[prefix]
    tree.entry[prefix] = factor_of(fusion, memory, tree, parent, token)
    lm, node, rule = tree.lm[parent], tree.node[parent], tree.rule[parent]
    if fusion.ruled:
        rule = memory.rule_states[rule_step(fusion, memory, rule, token)]
    if fusion.kind == TOKENS:
        lm = memory.lm_states[lm_step(fusion, memory, lm, np.int64(fusion.label[token]))]
    elif fusion.kind == WORDS:
        if token == fusion.space:
            lm, node = tree.after[parent], 0
        elif node >= 0 or fusion.begins[token]:
            if fusion.begins[token]:
                lm, node = tree.after[parent], 0
            node = child_of(fusion.vocabulary, node, token)
            if node < 0:
                lm = memory.lm_states[lm_step(fusion, memory, lm, fusion.unknown)]
    tree.lm[prefix], tree.node[prefix], tree.rule[prefix] = lm, node, rule
    settle(fusion, memory, tree, prefix)


@compiled()
def settle(fusion: Fusion, memory: Memory, tree: Tree, prefix: int) -> None:
    """Fill in what follows from a prefix's states."""
    lm, node = tree.lm[prefix], tree.node[prefix]
    after, finish, leave = lm, 1.0, 0.0
    top = max(1.0, fusion.word_factor)
    if fusion.kind == WORDS and node >= 0:
        unknown, unknown_lm = 0.0, lm
        if fusion.unknown_factor > 0.0:
            place = lm_step(fusion, memory, lm, fusion.unknown)
            unknown = memory.lm_factors[place] * fusion.unknown_factor * fusion.refund[node]
            unknown_lm = memory.lm_states[place]
        leave = unknown * (fusion.word_factor if node == 0 else 1.0)
        if node > 0:  # what is said of a word that ends replaces the estimate
            finish, after = unknown, unknown_lm
            best = -1.0  # of words that sound alike, the one that the language model finds likeliest here
            for index in range(fusion.vocabulary.word_begin[node], fusion.vocabulary.word_begin[node + 1]):
                place = lm_step(fusion, memory, lm, np.int64(fusion.vocabulary.word[index]))
                if memory.lm_factors[place] * fusion.vocabulary.favour[index] > best:
                    best, after = memory.lm_factors[place] * fusion.vocabulary.favour[index], memory.lm_states[place]
                    finish = memory.lm_factors[place] * fusion.refund[node]
            if fusion.vocabulary.child_begin[node] == fusion.vocabulary.child_begin[node + 1]:
                top = 0.0
        top = max(top, max(finish, leave))
    if fusion.kind == WORDS and fusion.space < 0:  # a token that ends this word and begins another
        top = max(top, finish * fusion.word_factor * max(1.0, fusion.unknown_factor))
    tree.after[prefix], tree.finish[prefix], tree.leave[prefix] = after, finish, leave
    tree.top[prefix] = top * fusion.rule_top[tree.rule[prefix]]


def end_weights(fusion: Fusion, tree: Tree, prefixes: np.ndarray) -> np.ndarray:
    """Natural-log weights of the utterance's end after each of `prefixes`, float64; -inf where it must not end."""
    weights = np.zeros(len(prefixes))
    if fusion.ruled:
        weights += fusion.rules.final_weight[tree.rule[prefixes]]
    lm = tree.lm[prefixes]
    if fusion.kind == WORDS:
        weights += np.log(tree.finish[prefixes])
        lm = tree.after[prefixes]
    if fusion.kind != PLAIN:
        weights += fusion.weight * fusion.lm.final_weight[lm].astype(np.float64)
    return weights
