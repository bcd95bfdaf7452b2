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
        word_begin: int32 `[nodes + 1]`; the words spelled at node n are `word[word_begin[n] : word_begin[n + 1]]`.
        word: int32 `[words]`, their labels, the likeliest first.
        favour: float64 `[words]`, factor of each where the language model chooses among words that are spelled alike.
        estimate: float64 `[nodes]`, the highest unigram log-probability of the words from here on; 0 at the root.
    """

    child_begin: np.ndarray
    token: np.ndarray
    word_begin: np.ndarray
    word: np.ndarray
    favour: np.ndarray
    estimate: np.ndarray


def build_vocabulary(
    words: Sequence[str], unigrams: np.ndarray, tokenizer: Tokenizer, lexicon: Lexicon | None = None
) -> tuple[Vocabulary, int]:
    """The words whose `unigrams` `[words]`, natural-log probabilities, are finite, and how many cannot be spelled.

    Words are spelled as the tokenizer or the lexicon does.

    Raises:
        ConfigError: no word can be spelled.
    """
    places: dict[tuple[int, ...], int] = {}
    spelled, labels = [], []
    missing = {label: words[label] for label in np.flatnonzero(np.isfinite(unigrams)).tolist()}
    for label, tokens in list(_spelled(words, missing, tokenizer, lexicon)):
        missing.pop(label, None)
        spelled.append(places.setdefault(tokens, len(places)))
        labels.append(label)
    if not labels:
        first = list(missing.values())[:3]
        raise ConfigError(
            f"no word of the language model (it begins {', '.join(map(repr, first))}) can be spelled with the "
            f"tokens {''.join(tokenizer.tokens[1:])!r}; train it on text in the acoustic model's case and alphabet"
        )
    trie = build_trie(list(places))
    nodes = len(trie.label)
    # Each word once at each of its nodes, the likeliest first.
    node, word = np.divmod(np.unique(trie.end[spelled].astype(np.int64) * len(words) + labels), len(words))
    order = np.lexsort((-unigrams[word], node))
    node, word = node[order], word[order]
    word_begin = np.searchsorted(node, np.arange(nodes + 1)).astype(np.int32)
    estimate = np.full(nodes, -np.inf)
    estimate[node[::-1]] = unigrams[word[::-1]]  # of several the last one written, which is the first, stays
    _raise_to_best(estimate, trie.parent)
    children = np.bincount(trie.parent[1:], minlength=nodes)
    child_begin = np.concatenate([[1], 1 + np.cumsum(children)]).astype(np.int32)
    token, word = trie.label.astype(np.int32), word.astype(np.int32)
    return Vocabulary(child_begin, token, word_begin, word, np.ones(len(word)), estimate), len(missing)


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


def words_at(vocabulary: Vocabulary, tokens: Sequence[int]) -> range:
    """Places in `word` of the words that are spelled so."""
    node = 0
    for token in tokens:
        first, last = vocabulary.child_begin[node : node + 2]
        node = first + np.searchsorted(vocabulary.token[first:last], token)
        if node == last or vocabulary.token[node] != token:
            return range(0)
    return range(vocabulary.word_begin[node], vocabulary.word_begin[node + 1])


def no_vocabulary() -> Vocabulary:
    """The arrays of a vocabulary without words, for a search that has none."""
    root, nothing = np.full(1, -1, np.int32), np.zeros(0, np.int32)
    return Vocabulary(np.ones(2, np.int32), root, np.zeros(2, np.int32), nothing, np.zeros(0), np.zeros(1))


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
