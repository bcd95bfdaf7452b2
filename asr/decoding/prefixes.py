"""The prefixes that a beam search has come across, as a tree, and those it holds; arrays for compiled code."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

NOTHING, ROOT = 0, 1
"""The first two prefixes: what the empty one is a child of, and the empty one."""


class Tree(NamedTuple):
    """A row for each prefix. From `lm` on, the arrays have no length where only the acoustic model counts.

    Unsigned numbers spare compiled code the question whether an index counts from the end.

    Attributes:
        parent: uint32, the prefix without its last token.
        token: uint32, the last token; the blank for the empty prefix.
        child: uint32, a prefix with one token more, `NOTHING` without one.
        sibling: uint32, the parent's next child, `NOTHING` after the last.
        place: uint32, place in the beam; the beam's size for a prefix that is not in it.
        frame: uint32, the frame in which the last token mostly came.
        lm: int32, state of the language model.
        node: int32, node of the vocabulary; -1 in a word that it does not have.
        rule: int32, state of the rules.
        after: int32, the language model's state when the word ends here.
        entry: float64, factor of the last token.
        finish: float64, factor of the word's end.
        leave: float64, factor of a token with which the word becomes unknown.
        top: float64, the highest factor that a next token can have.
    """

    parent: np.ndarray
    token: np.ndarray
    child: np.ndarray
    sibling: np.ndarray
    place: np.ndarray
    frame: np.ndarray
    lm: np.ndarray
    node: np.ndarray
    rule: np.ndarray
    after: np.ndarray
    entry: np.ndarray
    finish: np.ndarray
    leave: np.ndarray
    top: np.ndarray


class Beam(NamedTuple):
    """The prefixes of the beam by place, all `[beam + 1]`, the last with probability 0; and the candidates of a frame.

    Attributes:
        prefix: uint32, row of the tree.
        parent: uint32, that of the prefix without its last token.
        last: uint32, the last token; the blank for the empty prefix.
        blank: float64, probability of the alignments that end in a blank, divided by e^`scale`.
        other: float64, of those that end in the last token.
        whole: float64, their sum.
        next_blank: `blank` after the frame.
        next_other: `other` after the frame.
        entry: float64, factor of the last token.
        top: float64, the highest factor that a next token can have.
        frame: uint32, the frame in which the last token mostly came; the tree learns it when the prefix leaves.
        hole: uint32, places that become free.
        mass: float64 `[(most + 1) * (beam + 1)]`, probability that each chosen token gives to each prefix.
        score: float64, first the prefixes of the beam after a frame, then those opened.
        bits: `score` as int64.
        opened: uint64, for each score the row of `mass`, shifted left by 32, and the place.
        counts: int64 `[4]`, see `ACTIVE`.
        scale: float64 `[1]`.
    """

    prefix: np.ndarray
    parent: np.ndarray
    last: np.ndarray
    blank: np.ndarray
    other: np.ndarray
    whole: np.ndarray
    next_blank: np.ndarray
    next_other: np.ndarray
    entry: np.ndarray
    top: np.ndarray
    frame: np.ndarray
    hole: np.ndarray
    mass: np.ndarray
    score: np.ndarray
    bits: np.ndarray
    opened: np.ndarray
    counts: np.ndarray
    scale: np.ndarray


ACTIVE, PREFIXES, FRAME, FOLDED = range(4)
"""Places in `Beam.counts`: prefixes in the beam and in the tree, the next frame, whether the last one was skipped."""


def new_tree(size: int, beam: int, plain: bool) -> Tree:
    """A tree with the empty prefix and room for `size`; `plain` where only the acoustic model counts.

    All in one piece of memory, which the next search gets again: pieces of middling size go back to the system each
    time, and to take them anew costs as much as half of a search.
    """
    size += size & 1
    fused = 0 if plain else size
    memory = np.empty(3 * size + 6 * fused)
    whole = memory[: 3 * size].view(np.uint32)
    states = memory[3 * size : 3 * size + 2 * fused].view(np.int32)
    factors = memory[3 * size + 2 * fused :]
    tree = Tree(
        whole[:size],
        whole[size : 2 * size],
        whole[2 * size : 3 * size],
        whole[3 * size : 4 * size],
        whole[4 * size : 5 * size],
        whole[5 * size :],
        states[:fused],
        states[fused : 2 * fused],
        states[2 * fused : 3 * fused],
        states[3 * fused :],
        factors[:fused],
        factors[fused : 2 * fused],
        factors[2 * fused : 3 * fused],
        factors[3 * fused :],
    )
    for row in (NOTHING, ROOT):
        tree.parent[row], tree.token[row], tree.frame[row] = NOTHING, 0, 0
        tree.child[row], tree.sibling[row] = NOTHING, NOTHING
    tree.place[NOTHING], tree.place[ROOT] = beam, 0
    return tree


def longer_tree(tree: Tree, beam: int, plain: bool) -> Tree:
    """A tree with the same prefixes and room for twice as many."""
    size = len(tree.parent)
    grown = new_tree(2 * size, beam, plain)
    grown.parent[:size], grown.token[:size], grown.child[:size] = tree.parent, tree.token, tree.child
    grown.sibling[:size], grown.place[:size], grown.frame[:size] = tree.sibling, tree.place, tree.frame
    if not plain:
        grown.lm[:size], grown.node[:size] = tree.lm, tree.node
        grown.rule[:size], grown.after[:size] = tree.rule, tree.after
        grown.entry[:size], grown.finish[:size] = tree.entry, tree.finish
        grown.leave[:size], grown.top[:size] = tree.leave, tree.top
    return grown


def new_beam(size: int, most: int) -> Beam:
    """A beam that holds the empty prefix, and room for candidates of `most` tokens a frame."""
    room = size * (1 + most) + 8
    score = np.empty(room)
    counts = np.zeros(4, np.int64)
    counts[ACTIVE], counts[PREFIXES] = 1, 2
    beam = Beam(
        np.full(size + 1, ROOT, np.uint32),
        np.full(size + 1, NOTHING, np.uint32),
        np.zeros(size + 1, np.uint32),
        np.zeros(size + 1),
        np.zeros(size + 1),
        np.zeros(size + 1),
        np.zeros(size + 1),
        np.zeros(size + 1),
        np.ones(size + 1),
        np.ones(size + 1),
        np.zeros(size + 1, np.uint32),
        np.empty(size + 1, np.uint32),
        np.empty((size + 1) * (most + 1)),
        score,
        score.view(np.int64),
        np.empty(room, np.uint64),
        counts,
        np.zeros(1),
    )
    beam.blank[0] = 1.0
    return beam
