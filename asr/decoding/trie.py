"""Token sequences as a trie: the states and arcs from which hot words, grammars and lexicons become automata."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from asr.lm.automaton import Automaton


class Trie(NamedTuple):
    """Node 0 is the root; nodes are numbered level by level, siblings by rising label.

    So arc i, from `parent[i + 1]` with `label[i + 1]`, leads to node i + 1, and the arcs are in the automaton's order.

    Attributes:
        label: int32 `[nodes]`, the token that leads to the node; -1 at the root.
        parent: int32 `[nodes]`; -1 at the root.
        end: int32 `[sequences]`, the node at which each sequence ends.
    """

    label: np.ndarray
    parent: np.ndarray
    end: np.ndarray


def build_trie(sequences: Sequence[Sequence[int]]) -> Trie:
    """The trie of token sequences, in time and memory proportional to their lengths."""
    order = sorted(range(len(sequences)), key=lambda index: tuple(sequences[index]))
    lengths = np.array([len(sequences[index]) for index in order], dtype=np.int64)
    flat = np.fromiter(chain.from_iterable(sequences[index] for index in order), np.int32, int(lengths.sum()))
    begin = np.cumsum(lengths) - lengths
    node = np.zeros(len(sequences), np.int32)  # where each sequence, in sorted order, has come to
    labels, parents = [np.array([-1], np.int32)], [np.array([-1], np.int32)]
    nodes = 1
    active = np.flatnonzero(lengths > 0)
    depth = 0
    while len(active):
        label, parent = flat[begin[active] + depth], node[active]
        # Sequences with the same beginning stand together, so a node starts wherever label or parent changes.
        first = np.ones(len(active), bool)
        first[1:] = (label[1:] != label[:-1]) | (parent[1:] != parent[:-1])
        node[active] = nodes + np.cumsum(first) - 1
        nodes += int(first.sum())
        labels.append(label[first])
        parents.append(parent[first])
        depth += 1
        active = active[lengths[active] > depth]
    end = np.empty(len(sequences), np.int32)
    end[order] = node
    return Trie(np.concatenate(labels), np.concatenate(parents), end)


def assemble(
    state: np.ndarray,
    label: np.ndarray,
    weight: np.ndarray,
    following: np.ndarray,
    final_weight: np.ndarray,
    start: int,
    back_off_weight: np.ndarray | None = None,
    back_off_state: np.ndarray | None = None,
) -> Automaton:
    """An automaton of arcs in any order: from `state` with `label` and `weight` to `following`, each `[arcs]`.

    Without back-off arrays `[states]`, no state has a back-off arc.
    """
    states = len(final_weight)
    order = np.lexsort((label, state))
    return Automaton(
        arc_begin=np.concatenate([[0], np.cumsum(np.bincount(state, minlength=states))]).astype(np.int64),
        arc_label=label[order].astype(np.int32),
        arc_weight=weight[order].astype(np.float32),
        arc_next=following[order].astype(np.int32),
        back_off_weight=np.zeros(states, np.float32) if back_off_weight is None else back_off_weight.astype(np.float32),
        back_off_state=np.full(states, -1, np.int32) if back_off_state is None else back_off_state.astype(np.int32),
        final_weight=final_weight.astype(np.float32),
        start=np.array([start], np.int32),
    )
