"""The vocabulary of a word n-gram as a trie of spellings, with an estimate for words that are not yet complete."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numba import njit

from asr.decoding.lexicon import Lexicon
from asr.decoding.pruning import compiled
from asr.decoding.trie import build_trie
from asr.errors import ConfigError
from asr.text import Tokenizer


class Vocabulary(NamedTuple):
    """Arrays that compiled code reads. Node 0 is the root; the children of node n lie side by side, see `child_of`.

    Attributes:
        child_begin: int32 `[nodes + 1]`; the children of node n are `child_begin[n]` up to `child_begin[n + 1]`.
        token: int32 `[nodes]`, the token that leads into the node, rising among siblings.
        word: int32 `[nodes]`, the label of the word spelled here, -1 for none.
        estimate: float64 `[nodes]`, the highest unigram log-probability of the words from here on; 0 at the root.
    """

    child_begin: np.ndarray
    token: np.ndarray
    word: np.ndarray
    estimate: np.ndarray


def build_vocabulary(
    words: Sequence[str], unigrams: np.ndarray, tokenizer: Tokenizer, lexicon: Lexicon | None = None
) -> tuple[Vocabulary, int]:
    """The words whose `unigrams` `[words]`, natural-log probabilities, are finite, and how many cannot be spelled.

    Words are spelled as the tokenizer or the lexicon does; of several with one spelling the likeliest stays.

    Raises:
        ConfigError: no word can be spelled.
    """
    best: dict[tuple[int, ...], int] = {}
    missing = {label: words[label] for label in np.flatnonzero(np.isfinite(unigrams)).tolist()}
    for label, tokens in list(_spelled(words, missing, tokenizer, lexicon)):
        missing.pop(label, None)
        if tokens not in best or unigrams[label] > unigrams[best[tokens]]:
            best[tokens] = label
    spellings, labels = list(best), list(best.values())
    if not labels:
        first = list(missing.values())[:3]
        raise ConfigError(
            f"no word of the language model (it begins {', '.join(map(repr, first))}) can be spelled with the "
            f"tokens {''.join(tokenizer.tokens[1:])!r}; train it on text in the acoustic model's case and alphabet"
        )
    trie = build_trie(spellings)
    nodes = len(trie.label)
    word = np.full(nodes, -1, np.int32)
    word[trie.end] = labels
    estimate = np.full(nodes, -np.inf)
    estimate[trie.end] = unigrams[labels]
    _raise_to_best(estimate, trie.parent)
    children = np.bincount(trie.parent[1:], minlength=nodes)
    child_begin = np.concatenate([[1], 1 + np.cumsum(children)]).astype(np.int32)
    return Vocabulary(child_begin, trie.label.astype(np.int32), word, estimate), len(missing)


def _spelled(
    words: Sequence[str], labels: Iterable[int], tokenizer: Tokenizer, lexicon: Lexicon | None
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Label and tokens of each spelling of the words with these labels."""
    if lexicon is not None:
        label_of = {words[label]: label for label in labels}
        for place, tokens in lexicon.spellings:
            if lexicon.words[place] in label_of:
                yield label_of[lexicon.words[place]], tokens
        return
    for label in labels:
        for tokens in tokenizer.spellings(words[label]):
            yield label, tokens


def word_at(vocabulary: Vocabulary, tokens: Sequence[int]) -> int:
    """The label of the word that is spelled so, -1 for none."""
    node = 0
    for token in tokens:
        first, last = vocabulary.child_begin[node : node + 2]
        node = first + np.searchsorted(vocabulary.token[first:last], token)
        if node == last or vocabulary.token[node] != token:
            return -1
    return int(vocabulary.word[node])


def no_vocabulary() -> Vocabulary:
    """The arrays of a vocabulary without words, for a search that has none."""
    return Vocabulary(np.ones(2, np.int32), np.full(1, -1, np.int32), np.full(1, -1, np.int32), np.zeros(1))


@njit(cache=True, nogil=True)
def _raise_to_best(estimate: np.ndarray, parent: np.ndarray) -> None:
    """Give each node the best of its own value and its descendants'; 0 at the root."""
    for node in range(len(parent) - 1, 0, -1):
        above = parent[node]
        estimate[above] = max(estimate[above], estimate[node])
    estimate[0] = 0.0


@compiled()
def child_of(vocabulary: Vocabulary, node: int, token: int) -> int:
    """The child of `node` that `token` leads to, -1 where there is none."""
    for child in range(vocabulary.child_begin[node], vocabulary.child_begin[node + 1]):
        if vocabulary.token[child] == token:
            return child
    return -1
