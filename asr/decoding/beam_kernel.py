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

from asr.decoding.fusion import PLAIN, Fusion, Memory, begin, end_weight, enter, factor_of, new_memory
from asr.decoding.prefixes import (
    ACTIVE,
    FOLDED,
    FRAME,
    NOTHING,
    PREFIXES,
    ROOT,
    Beam,
    Tree,
    longer_tree,
    new_beam,
    new_tree,
)
from asr.decoding.pruning import choose_tokens, compiled, cut, exponentiate, total

BLOCK = 4096
"""Probabilities worked out at a time, so that they stay in the fastest cache."""


class Limits(NamedTuple):
    """What the search prunes; see `BeamOptions`. `kept`: e^-prune, `least`: log-probability, `skip`: probability."""

    beam: int
    tokens: int
    least: float
    kept: float
    skip: float


class Room(NamedTuple):
    """Room for a frame's work.

    Attributes:
        probability: float64 `[frames * tokens]`, of a block of frames.
        power: float64, as long.
        bits: `power` as int64.
        chosen: uint32 `[tokens]`, the tokens that may open prefixes, likeliest first.
        rank: uint32 `[tokens]`, 1 for the first of `chosen` and so on, 0 for a token that is not among them.
        ends: int64 `[2]`, see `cut`.
        limits: `ends` as float64.
    """

    probability: np.ndarray
    power: np.ndarray
    bits: np.ndarray
    chosen: np.ndarray
    rank: np.ndarray
    ends: np.ndarray
    limits: np.ndarray


class Found(NamedTuple):
    """What a search found, best first: `score`, its acoustic part and the end of tokens and frames of each sequence."""

    score: np.ndarray
    acoustic: np.ndarray
    ends: np.ndarray
    tokens: np.ndarray
    frames: np.ndarray


@njit(cache=True, nogil=True)
def search(log_probs: np.ndarray, limits: Limits, fusion: Fusion, most: int) -> tuple[int, Found]:
    """The `most` best sequences for `log_probs` `[frames, tokens]`, as many as there are.

    Returns:
        the first frame whose probabilities do not sum to 1, -1 where all do; and what was found.
    """
    frames, tokens = log_probs.shape
    plain = fusion.kind == PLAIN and not fusion.ruled and fusion.word_factor == 1.0
    memory, beam = new_memory(plain), new_beam(limits.beam, min(limits.tokens, tokens - 1))
    tree = new_tree(4 * limits.beam + 1024, limits.beam, plain)
    if not plain:
        begin(fusion, memory, tree)
        beam.top[0] = tree.top[ROOT]
    block = max(1, BLOCK // tokens) * tokens
    power, ends = np.empty(block), np.empty(2)
    chosen, rank = np.empty(tokens, np.uint32), np.zeros(tokens, np.uint32)
    room = Room(np.empty(block), power, power.view(np.int64), chosen, rank, ends.view(np.int64), ends)
    flat = log_probs.reshape(-1)
    while not run(flat, tokens, limits, fusion, plain, memory, tree, beam, room):
        tree = longer_tree(tree, limits.beam)
    bad = -1 if beam.counts[FRAME] == frames or beam.counts[ACTIVE] == 0 else beam.counts[FRAME]
    return bad, best_of(most, fusion, plain, tree, beam)


@njit(nogil=True)
def best_of(most: int, fusion: Fusion, plain: bool, tree: Tree, beam: Beam) -> Found:
    """The `most` best of the beam, their ends weighed; equal ones in the order of their places."""
    active = beam.counts[ACTIVE]
    score = np.log(beam.blank[:active] + beam.other[:active]) + beam.scale[0]
    ending, length = np.zeros(active), np.zeros(active, np.int64)
    for place in range(active):
        row = beam.prefix[place]
        if not plain:
            ending[place] = end_weight(fusion, tree, row)
            score[place] += ending[place]
        while row != ROOT:
            length[place] += 1
            row = tree.parent[row]
    count = min(most, np.sum(score > -np.inf))
    order, left = np.empty(count, np.int64), score.copy()
    for index in range(count):
        order[index] = np.argmax(left)
        left[order[index]] = -np.inf
    ends = np.cumsum(length[order])
    total_length = ends[-1] if count else 0
    found = Found(score[order], score[order], ends, np.empty(total_length, np.int32), np.empty(total_length, np.int32))
    for index in range(count):
        row, before = beam.prefix[order[index]], np.iinfo(np.int32).max
        found.acoustic[index] -= ending[order[index]]
        for at in range(ends[index] - 1, ends[index] - 1 - length[order[index]], -1):
            # A prefix may have come later than the longer one it is part of, when it came more than once.
            before = min(before - 1, np.int64(tree.frame[row]))
            found.tokens[at], found.frames[at] = tree.token[row], before
            if not plain:
                found.acoustic[index] -= np.log(tree.entry[row])
            row = tree.parent[row]
    return found


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
    room: Room,
) -> bool:
    """Take the frames of `log_probs`, flattened, that are still to do; False when the tree has no room for the next.

    Stops before a frame whose probabilities do not sum to 1, and where no prefix is left.
    """
    counts = beam.counts
    frames, block = len(log_probs) // tokens, len(room.probability) // tokens
    done_until = 0
    while counts[FRAME] < frames and counts[ACTIVE] > 0:
        if counts[PREFIXES] + limits.beam > len(tree.parent):
            return False
        frame = counts[FRAME]
        if frame >= done_until:
            exponentiate(log_probs[frame * tokens :], room.probability, room.power, room.bits)
            first, done_until = frame, frame + block
        probability = room.probability[(frame - first) * tokens : (frame - first + 1) * tokens]
        if not abs(total(probability) - 1.0) <= 0.01:
            return True
        row = log_probs[frame * tokens : (frame + 1) * tokens]
        if probability[0] > limits.skip:
            skip(beam, row[0])
        else:
            count = choose_tokens(row, limits.least, limits.tokens, room.chosen)
            take(frame, probability, count, limits, fusion, plain, memory, tree, beam, room)
        counts[FRAME] = frame + 1
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
def take(
    frame: int,
    probability: np.ndarray,
    count: int,
    limits: Limits,
    fusion: Fusion,
    plain: bool,
    memory: Memory,
    tree: Tree,
    beam: Beam,
    room: Room,
) -> None:
    """One frame: the prefixes that stay, those that the `count` chosen tokens open, and the best of both."""
    best, worst = stay(frame, probability, count, tree, beam, room)
    # In a full beam nothing below the worst that stays can get in.
    floor = max(best * limits.kept, worst if beam.counts[ACTIVE] == limits.beam else 0.0)
    if plain:
        candidates = grow(floor, count, beam)
    else:
        candidates = grow_fused(floor, count, fusion, memory, tree, beam, room)
    for index in range(beam.counts[ACTIVE], candidates):
        best = max(best, beam.score[index])
    room.limits[0], room.limits[1] = best * limits.kept, best
    limit = cut(beam.bits, candidates, limits.beam, room.ends)
    keep(frame, candidates, limit, limits.beam, fusion, plain, memory, tree, beam, room)
    beam.counts[FOLDED] = 0
    if not 1e-100 < best < 1e100 and best > 0.0:
        for place in range(beam.counts[ACTIVE]):
            beam.blank[place] /= best
            beam.other[place] /= best
        beam.scale[0] += np.log(best)


@compiled(forceinline=True)
def stay(frame: int, probability: np.ndarray, count: int, tree: Tree, beam: Beam, room: Room) -> tuple[float, float]:
    """Prefixes that stay, by a blank or a repeat of their last token, and that others grow into; best and worst.

    Also fills `mass`, with 0 for what leads to a prefix of the beam.
    """
    active, blank, other, whole, last = beam.counts[ACTIVE], beam.blank, beam.other, beam.whole, beam.last
    stride = np.uint64(len(whole))
    for place in range(active):
        whole[place] = blank[place] + other[place]
    for index in range(count):
        token = room.chosen[index]
        room.rank[token] = index + 1
        row = beam.mass[(index + 1) * len(whole) : (index + 2) * len(whole)]
        for place in range(active):
            row[place] = (blank[place] if last[place] == token else whole[place]) * probability[token]
    best, worst, blank_probability = 0.0, np.inf, probability[0]
    for place in range(active):
        token = last[place]
        stay_blank, stay_other = whole[place] * blank_probability, other[place] * probability[token]
        origin = tree.place[beam.parent[place]]
        mass = blank[origin] if last[origin] == token else whole[origin]
        mass *= probability[token] * beam.entry[place]
        if mass > stay_blank + stay_other:
            tree.frame[beam.prefix[place]] = frame
        beam.mass[room.rank[token] * stride + origin] = 0.0
        stay_other += mass
        both = stay_blank + stay_other
        beam.next_blank[place], beam.next_other[place], beam.score[place] = stay_blank, stay_other, both
        best, worst = max(best, both), min(worst, both)
    for index in range(count):
        room.rank[room.chosen[index]] = 0
    return best, worst


@compiled(forceinline=True)
def grow(floor: float, count: int, beam: Beam) -> int:
    """Write the masses above `floor` to the scores, behind those of the prefixes that stay; returns how many in all.

    Without branches: which are above is anybody's guess, and wrong guesses cost more than the work.
    """
    active, stride = beam.counts[ACTIVE], len(beam.whole)
    candidates = np.uint64(active)
    for index in range(1, count + 1):
        row = beam.mass[index * stride : (index + 1) * stride]
        for place in range(active):
            beam.score[candidates] = row[place]
            beam.opened[candidates] = index * stride + place
            candidates += np.uint64(row[place] > floor)
    return np.int64(candidates)


@compiled(forceinline=True)
def grow_fused(floor: float, count: int, fusion: Fusion, memory: Memory, tree: Tree, beam: Beam, room: Room) -> int:
    """As `grow`, with the factors of language models and rules."""
    active, stride = beam.counts[ACTIVE], len(beam.whole)
    candidates = active
    for index in range(1, count + 1):
        token = room.chosen[index - 1]
        row = beam.mass[index * stride : (index + 1) * stride]
        for place in range(active):
            if row[place] * beam.top[place] > floor:
                mass = row[place] * factor_of(fusion, memory, tree, beam.prefix[place], token)
                if mass > floor:
                    beam.score[candidates], beam.opened[candidates] = mass, index * stride + place
                    candidates += 1
    return candidates


@compiled(forceinline=True)
def keep(
    frame: int,
    candidates: int,
    limit: int,
    size: int,
    fusion: Fusion,
    plain: bool,
    memory: Memory,
    tree: Tree,
    beam: Beam,
    room: Room,
) -> None:
    """Make the candidates above `limit`, bits of a score, the beam. Prefixes that stay keep their places."""
    active, stride = beam.counts[ACTIVE], len(beam.whole)
    entering = np.uint64(active)
    for index in range(active, candidates):
        opened, score = beam.opened[index], beam.score[index]
        beam.opened[entering], beam.score[entering] = opened, score
        entering += np.uint64(beam.bits[index] > limit)
    for index in range(active, np.int64(entering)):
        row, place = beam.opened[index] // np.uint32(stride), beam.opened[index] % np.uint32(stride)
        token = room.chosen[row - np.uint32(1)]
        beam.opened[index] = find_or_add(beam.prefix[place], token, fusion, plain, memory, tree, beam)
    holes = np.uint64(0)
    for place in range(active):
        beam.blank[place], beam.other[place] = beam.next_blank[place], beam.next_other[place]
    for place in range(active):
        beam.hole[holes] = place
        holes += np.uint64(beam.bits[place] <= limit)
    free = np.int64(holes)
    for index in range(free):
        tree.place[beam.prefix[beam.hole[index]]] = size
    filled = 0
    for index in range(active, np.int64(entering)):
        child = beam.opened[index]
        place = np.int64(beam.hole[filled]) if filled < free else active
        active += filled >= free
        filled += filled < free
        tree.place[child], tree.frame[child] = place, frame
        beam.prefix[place], beam.parent[place], beam.last[place] = child, tree.parent[child], tree.token[child]
        beam.blank[place], beam.other[place] = 0.0, beam.score[index]
        if not plain:
            beam.entry[place], beam.top[place] = tree.entry[child], tree.top[child]
    for index in range(free - 1, filled - 1, -1):  # the last of the beam fill the holes that are left
        place, active = np.int64(beam.hole[index]), active - 1
        if place != active:
            beam.prefix[place], beam.parent[place] = beam.prefix[active], beam.parent[active]
            beam.last[place] = beam.last[active]
            beam.blank[place], beam.other[place] = beam.blank[active], beam.other[active]
            beam.entry[place], beam.top[place] = beam.entry[active], beam.top[active]
            tree.place[beam.prefix[place]] = place
    beam.counts[ACTIVE] = active


@compiled(forceinline=True)
def find_or_add(prefix: int, token: int, fusion: Fusion, plain: bool, memory: Memory, tree: Tree, beam: Beam) -> int:
    """The prefix that has `token` after `prefix`, made where the tree does not have it."""
    child = tree.child[prefix]
    while child != NOTHING and tree.token[child] != token:
        child = tree.sibling[child]
    if child == NOTHING:
        child = np.uint32(beam.counts[PREFIXES])
        beam.counts[PREFIXES] += 1
        tree.parent[child], tree.token[child], tree.child[child] = prefix, token, NOTHING
        tree.sibling[child] = tree.child[prefix]
        tree.child[prefix] = child
        if not plain:
            enter(fusion, memory, tree, prefix, child)
    return child
