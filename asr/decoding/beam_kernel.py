"""The compiled part of beam search: CTC prefixes, their probabilities, and what models of language add to them.

Prefixes live in a tree. The search holds at most `beam` of them, each with the summed probability of the alignments
that end in a blank and of those that end in its last token (Hannun et al. 2014, arXiv:1408.2873). Probabilities are
kept as such, scaled when they get small, not as logarithms, so that alignments merge by addition; language models and
bonuses depend on the prefix alone and are factors of both sums. What lies e^700 below the best is taken for impossible.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from asr.decoding.fusion import ENTRY, PLAIN, TOP, Fusion, Memory, begin, end_weight, enter, factor_of, new_memory
from asr.decoding.pruning import choose_tokens, compiled, cut, exponentiate, total

PARENT, TOKEN, CHILD, SIBLING, PLACE, FRAME = range(6)
"""Columns of the prefix tree: links, place in the beam (-1: not in it), frame in which the token mostly came."""
NOTHING, ROOT = 0, 1
"""The first two prefixes: what the empty one is a child of, and the empty one."""
ACTIVE, PREFIXES, AT, FOLDED = range(4)
"""Places of the counts: prefixes in the beam and in the tree, the next frame, whether the last one was skipped."""
BLOCK = 4096
"""Probabilities worked out at a time, so that they stay in the fastest cache."""


class Limits(NamedTuple):
    """What the search prunes; see `BeamOptions`. `kept`: e^-prune, `least`: log-probability, `skip`: probability."""

    beam: int
    tokens: int
    least: float
    kept: float
    skip: float


class Tree(NamedTuple):
    """Prefixes: int32 `[prefixes, 6]`; without fusion of no length: states int32 and factors float64 `[prefixes, 4]`."""

    links: np.ndarray
    states: np.ndarray
    factors: np.ndarray


class Beam(NamedTuple):
    """The prefixes of the beam by place, all `[beam]`, and the candidates of a frame.

    Attributes:
        prefix: place in the tree.
        parent: that of the prefix without its last token.
        last: the last token, the blank for the empty prefix.
        blank: probability of the alignments that end in a blank, scaled by e^-`scale`.
        other: of those that end in the last token.
        whole: their sum.
        next_blank: `blank` after the frame.
        next_other: `other` after the frame.
        entry: factor of the last token.
        top: the highest factor that a next token can have.
        there: bits `[beam * tokens / 64]`, which chosen tokens lead to a prefix of the beam.
        score: first the prefixes of the beam after a frame, then those opened.
        bits: `score` as integers.
        opened_from: place in the tree of what was opened from.
        opened_by: the token that opened.
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
    there: np.ndarray
    score: np.ndarray
    bits: np.ndarray
    opened_from: np.ndarray
    opened_by: np.ndarray
    counts: np.ndarray
    scale: np.ndarray


class Frames(NamedTuple):
    """Room for the frames: their probabilities `[BLOCK]`, tokens chosen and their ranks, -1: not chosen, `[tokens]`."""

    probability: np.ndarray
    power: np.ndarray
    bits: np.ndarray
    chosen: np.ndarray
    rank: np.ndarray
    ends: np.ndarray


@njit(nogil=True)
def new_beam(limits: Limits, tokens: int) -> Beam:
    """Room for a search, with the empty prefix in the beam."""
    beam = limits.beam
    room = beam * (1 + min(limits.tokens, tokens - 1))
    score = np.empty(room)
    counts = np.zeros(4, np.int64)
    counts[ACTIVE], counts[PREFIXES] = 1, 2
    return Beam(
        np.full(beam, ROOT, np.int32),
        np.full(beam, NOTHING, np.int32),
        np.zeros(beam, np.int32),
        np.ones(beam),
        np.zeros(beam),
        np.empty(beam),
        np.empty(beam),
        np.empty(beam),
        np.ones(beam),
        np.ones(beam),
        np.empty(beam * ((tokens + 63) >> 6), np.uint64),
        score,
        score.view(np.int64),
        np.empty(room, np.int32),
        np.empty(room, np.int32),
        counts,
        np.zeros(1),
    )


@njit(nogil=True)
def longer(array: np.ndarray) -> np.ndarray:
    """The rows of `[rows, columns]` in an array of twice the length."""
    grown = np.empty((2 * array.shape[0], array.shape[1]), array.dtype)
    grown[: array.shape[0]] = array
    return grown


@njit(cache=True, nogil=True)
def search(
    log_probs: np.ndarray, limits: Limits, fusion: Fusion
) -> tuple[int, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Search `log_probs` `[frames, tokens]`.

    Returns:
        the first frame whose probabilities do not sum to 1, -1 where all do; the tree's links and factors; and of the
        prefixes that are left: their places in the tree, log-probabilities, and weights of the utterance's end.
    """
    frames, tokens = log_probs.shape
    plain = fusion.kind == PLAIN and not fusion.ruled and fusion.word_factor == 1.0
    beam, memory = new_beam(limits, tokens), new_memory(plain)
    size = 4 * limits.beam + 1024
    fused = 0 if plain else size
    tree = Tree(np.full((size, 6), -1, np.int32), np.zeros((fused, 4), np.int32), np.ones((fused, 4)))
    tree.links[ROOT, PARENT], tree.links[ROOT, TOKEN], tree.links[ROOT, PLACE] = NOTHING, 0, 0
    if not plain:
        begin(fusion, memory, tree.states[ROOT], tree.factors[ROOT])
    block = max(1, BLOCK // tokens) * tokens
    power = np.empty(block)
    room = Frames(
        np.empty(block),
        power,
        power.view(np.int64),
        np.empty(tokens, np.int32),
        np.full(tokens, -1, np.int32),
        np.empty(2),
    )
    flat = log_probs.reshape(-1)
    while True:
        done = run(flat, tokens, limits, fusion, plain, memory, tree, beam, room)
        if done:
            break
        if plain:
            tree = Tree(longer(tree.links), tree.states, tree.factors)
        else:
            tree = Tree(longer(tree.links), longer(tree.states), longer(tree.factors))
    active = beam.counts[ACTIVE]
    ending = np.zeros(active)
    score = np.log(beam.blank[:active] + beam.other[:active]) + beam.scale[0]
    if not plain:
        for place in range(active):
            prefix = beam.prefix[place]
            ending[place] = end_weight(fusion, tree.states[prefix], tree.factors[prefix])
    bad = beam.counts[AT] if beam.counts[AT] < frames and active > 0 else -1
    return bad, tree.links, tree.factors, beam.prefix[:active], score + ending, ending


@compiled()
def run(
    log_probs: np.ndarray,
    tokens: int,
    limits: Limits,
    fusion: Fusion,
    plain: bool,
    memory: Memory,
    tree: Tree,
    beam: Beam,
    room: Frames,
) -> bool:
    """Take the frames of `log_probs`, flattened, that are still to do; False when the tree has no room for the next.

    Stops at a frame whose probabilities do not sum to 1, and where no prefix is left.
    """
    counts = beam.counts
    frames = len(log_probs) // tokens
    block = len(room.probability) // tokens
    while counts[AT] < frames and counts[ACTIVE] > 0:
        if counts[PREFIXES] + limits.beam > len(tree.links):
            return False
        frame = counts[AT]
        row = log_probs[frame * tokens : (frame + 1) * tokens]
        offset = frame % block * tokens
        if offset == 0:
            exponentiate(log_probs, frame * tokens, room.probability, room.power, room.bits)
        probability = room.probability[offset : offset + tokens]
        if not abs(total(probability) - 1.0) <= 0.01:
            return True
        if probability[0] > limits.skip:
            skip(beam, row[0])
        else:
            count = choose_tokens(row, limits.least, limits.tokens, room.chosen)
            extend_beam(frame, probability, count, limits, fusion, plain, memory, tree, beam, room)
        counts[AT] = frame + 1
    return True


@compiled(forceinline=True)
def skip(beam: Beam, log_prob: float) -> None:
    """Take a frame for a blank with this log-probability."""
    if not beam.counts[FOLDED]:
        for place in range(beam.counts[ACTIVE]):
            beam.blank[place] += beam.other[place]
            beam.other[place] = 0.0
        beam.counts[FOLDED] = 1
    beam.scale[0] += log_prob


@compiled(forceinline=True)
def extend_beam(
    frame: int,
    probability: np.ndarray,
    count: int,
    limits: Limits,
    fusion: Fusion,
    plain: bool,
    memory: Memory,
    tree: Tree,
    beam: Beam,
    room: Frames,
) -> None:
    """One frame: the prefixes that stay, those that `count` chosen tokens open, and the best of both."""
    chosen, active = room.chosen, beam.counts[ACTIVE]
    for index in range(count):
        room.rank[chosen[index]] = index
    best, worst = stay(frame, probability, (count + 63) >> 6, tree, beam, room.rank)
    for index in range(count):
        room.rank[chosen[index]] = -1
    # In a full beam nothing below the worst that stays can get in.
    floor = max(best * limits.kept, worst if active == limits.beam else 0.0)
    candidates, best = open_prefixes(floor, best, probability, count, fusion, plain, memory, tree, beam, chosen)
    room.ends[0], room.ends[1] = best * limits.kept, best
    ties = cut(beam.bits, candidates, limits.beam, room.ends.view(np.int64))
    keep(frame, candidates, room.ends[0], ties, fusion, plain, memory, tree, beam)
    beam.counts[FOLDED] = 0
    if not 1e-100 < best < 1e100 and best > 0.0:
        for place in range(beam.counts[ACTIVE]):
            beam.blank[place] /= best
            beam.other[place] /= best
        beam.scale[0] += np.log(best)


@compiled(forceinline=True)
def stay(
    frame: int, probability: np.ndarray, width: int, tree: Tree, beam: Beam, rank: np.ndarray
) -> tuple[float, float]:
    """Prefixes that stay, by a blank or a repeat of their last token, and that others grow into; best and worst."""
    active, blank, other, whole, last = beam.counts[ACTIVE], beam.blank, beam.other, beam.whole, beam.last
    for index in range(active * width):
        beam.there[index] = 0
    for place in range(active):
        whole[place] = blank[place] + other[place]
    best, worst = 0.0, np.inf
    for place in range(active):
        token = last[place]
        stay_blank, stay_other = whole[place] * probability[0], other[place] * probability[token]
        origin = tree.links[beam.parent[place], PLACE]
        if origin >= 0:
            mass = blank[origin] if last[origin] == token else whole[origin]
            mass *= probability[token] * beam.entry[place]
            if mass > stay_blank + stay_other:
                tree.links[beam.prefix[place], FRAME] = frame
            stay_other += mass
            if rank[token] >= 0:
                beam.there[origin * width + (rank[token] >> 6)] |= np.uint64(1) << np.uint64(rank[token] & 63)
        both = stay_blank + stay_other
        beam.next_blank[place], beam.next_other[place], beam.score[place] = stay_blank, stay_other, both
        best, worst = max(best, both), min(worst, both)
    return best, worst


@compiled(forceinline=True)
def open_prefixes(
    floor: float,
    best: float,
    probability: np.ndarray,
    count: int,
    fusion: Fusion,
    plain: bool,
    memory: Memory,
    tree: Tree,
    beam: Beam,
    chosen: np.ndarray,
) -> tuple[int, float]:
    """Write prefixes above `floor` that a token opens behind those that stay; returns the candidates and the best."""
    active, width = beam.counts[ACTIVE], (count + 63) >> 6
    candidates = active
    for place in range(active):
        bound = beam.whole[place] * beam.top[place]
        for index in range(count):
            token = chosen[index]
            if bound * probability[token] <= floor:
                break
            if beam.there[place * width + (index >> 6)] >> np.uint64(index & 63) & np.uint64(1):
                continue
            mass = (beam.blank[place] if token == beam.last[place] else beam.whole[place]) * probability[token]
            if not plain:
                prefix = beam.prefix[place]
                mass *= factor_of(fusion, memory, tree.states[prefix], tree.factors[prefix], beam.last[place], token)
            if mass > floor:
                beam.score[candidates] = mass
                beam.opened_from[candidates], beam.opened_by[candidates] = beam.prefix[place], token
                candidates += 1
                best = max(best, mass)
    return candidates, best


@compiled(forceinline=True)
def keep(
    frame: int,
    candidates: int,
    limit: float,
    ties: int,
    fusion: Fusion,
    plain: bool,
    memory: Memory,
    tree: Tree,
    beam: Beam,
) -> None:
    """Make the candidates above `limit`, and the first `ties` equal to it, the beam."""
    links, counts = tree.links, beam.counts
    active, kept = counts[ACTIVE], 0
    for place in range(active):
        prefix = beam.prefix[place]
        if beam.score[place] > limit or (ties > 0 and beam.score[place] == limit):
            ties -= beam.score[place] == limit
            beam.prefix[kept], beam.parent[kept], beam.last[kept] = prefix, beam.parent[place], beam.last[place]
            beam.blank[kept], beam.other[kept] = beam.next_blank[place], beam.next_other[place]
            beam.entry[kept], beam.top[kept] = beam.entry[place], beam.top[place]
            links[prefix, PLACE] = kept
            kept += 1
        else:
            links[prefix, PLACE] = -1
    for index in range(active, candidates):
        if beam.score[index] < limit or (ties <= 0 and beam.score[index] == limit):
            continue
        ties -= beam.score[index] == limit
        above, token = beam.opened_from[index], beam.opened_by[index]
        child = links[above, CHILD]
        while child >= 0 and links[child, TOKEN] != token:
            child = links[child, SIBLING]
        if child < 0:
            child = counts[PREFIXES]
            counts[PREFIXES] += 1
            links[child, PARENT], links[child, TOKEN], links[child, CHILD] = above, token, -1
            links[child, SIBLING] = links[above, CHILD]
            links[above, CHILD] = child
            if not plain:
                enter(
                    fusion, memory, tree.states[above], tree.factors[above], links[above, TOKEN], token,
                    tree.states[child], tree.factors[child],
                )  # fmt: skip
        links[child, PLACE], links[child, FRAME] = kept, frame
        beam.prefix[kept], beam.parent[kept], beam.last[kept] = child, above, token
        beam.blank[kept], beam.other[kept] = 0.0, beam.score[index]
        if not plain:
            beam.entry[kept], beam.top[kept] = tree.factors[child, ENTRY], tree.factors[child, TOP]
        kept += 1
    counts[ACTIVE] = kept


@njit(cache=True, nogil=True)
def trace(tree: np.ndarray, factors: np.ndarray, prefix: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Tokens of a prefix, rising frames for them, and the sum of the logarithms of its factors."""
    length, place, added = 0, prefix, 0.0
    while place != ROOT:
        length += 1
        place = tree[place, PARENT]
    tokens, frames = np.empty(length, np.int32), np.empty(length, np.int32)
    limit = np.iinfo(np.int32).max
    for index in range(length - 1, -1, -1):
        tokens[index] = tree[prefix, TOKEN]
        # A prefix may have come later than the longer one it is part of, when it came more than once.
        limit = min(limit - 1, tree[prefix, FRAME])
        frames[index] = limit
        if len(factors):
            added += np.log(factors[prefix, ENTRY])
        prefix = tree[prefix, PARENT]
    return tokens, frames, added
