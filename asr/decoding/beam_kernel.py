"""The compiled part of beam search: CTC prefixes, their probabilities, and what models of language add to them.

Prefixes live in a tree. The search holds at most `beam` of them, each with the summed probability of the alignments
that end in a blank and of those that end in its last token (Hannun et al. 2014, arXiv:1408.2873). Probabilities are
kept as such, scaled when they get small, not as logarithms, so that alignments merge by addition; language models and
bonuses depend on the prefix alone and are factors of both sums. What lies e^600 below the best is taken for impossible.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from asr.decoding.fusion import PLAIN, Fusion, Memory, begin, end_weights, enter, factor_of, new_memory
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
from asr.decoding.pruning import Room, choose_tokens, compiled, cut, exponentiate, new_room, total


class Limits(NamedTuple):
    """What the search prunes; see `BeamOptions`. `kept`: e^-prune, `least`: log-probability, `skip`: probability."""

    beam: int
    tokens: int
    least: float
    kept: float
    skip: float


class Found(NamedTuple):
    """What a search found, best first: `score`, its acoustic part and the end of tokens and frames of each sequence."""

    score: np.ndarray
    acoustic: np.ndarray
    ends: np.ndarray
    tokens: np.ndarray
    frames: np.ndarray


def search(log_probs: np.ndarray, limits: Limits, fusion: Fusion, most: int) -> tuple[int, Found]:
    """The `most` best sequences for `log_probs` `[frames, tokens]`, as many as there are.

    What is done once a search is left to NumPy: compiling it took longer than all the rest.

    Returns:
        the first frame whose probabilities do not sum to 1, -1 where all do; and what was found.
    """
    frames, tokens = log_probs.shape
    plain = fusion.kind == PLAIN and not fusion.ruled and fusion.word_factor == 1.0
    memory, beam = new_memory(plain), new_beam(limits.beam, min(limits.tokens, tokens - 1))
    # As many prefixes as mostly come up in so many frames.
    tree = new_tree(1024 + limits.beam * (4 + min(frames, 2048) // 6), limits.beam, plain)
    room = new_room(tokens)
    flat = log_probs.reshape(-1)
    while not run(flat, tokens, limits, fusion, plain, memory, tree, beam, room):
        tree = longer_tree(tree, limits.beam, plain)
    bad = -1 if beam.counts[FRAME] == frames or beam.counts[ACTIVE] == 0 else int(beam.counts[FRAME])
    return bad, best_of(most, fusion, plain, tree, beam)


def best_of(most: int, fusion: Fusion, plain: bool, tree: Tree, beam: Beam) -> Found:
    """The `most` best of the beam, their ends weighed; equal ones in the order of their places."""
    active = int(beam.counts[ACTIVE])
    rows = beam.prefix[:active]
    tree.frame[rows] = beam.frame[:active]
    with np.errstate(divide="ignore"):
        acoustic = np.log(beam.blank[:active] + beam.other[:active]) + beam.scale[0]
        score = acoustic if plain else acoustic + end_weights(fusion, tree, rows)
    order = np.argsort(-score, kind="stable")[: min(most, int(np.sum(score > -np.inf)))]
    # The prefixes that each of them went through, side by side, until all are past the empty one.
    row, through = rows[order], []
    while row.any():
        through.append(row)
        row = tree.parent[row]
    path = np.array(through[::-1], np.uint32).reshape(len(through), len(order)).T
    inside = path > ROOT
    # A prefix may have come later than the longer one it is part of, when it came more than once: of the frames from
    # there on the least, counting that each token has a frame of its own.
    later = np.where(inside, tree.frame[path], np.iinfo(np.int32).max).astype(np.int64) - np.arange(path.shape[1])
    frames = np.minimum.accumulate(later[:, ::-1], axis=1)[:, ::-1] + np.arange(path.shape[1])
    acoustic = acoustic[order]
    if not plain:
        acoustic -= np.log(np.where(inside, tree.entry[path], 1.0)).sum(axis=1)
    return Found(
        score[order],
        acoustic,
        np.cumsum(inside.sum(axis=1)),
        tree.token[path[inside]].astype(np.int32),
        frames[inside].astype(np.int32),
    )


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
    if counts[FRAME] == 0 and not plain:
        begin(fusion, memory, tree, beam.prefix[0])
        beam.top[0] = tree.top[beam.prefix[0]]
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


@compiled(inline="always")
def skip(beam: Beam, log_prob: float) -> None:
    """Take a frame for a blank with this log-probability."""
    if not beam.counts[FOLDED]:
        for place in range(beam.counts[ACTIVE]):
            beam.blank[place] += beam.other[place]
            beam.other[place] = 0.0
        beam.counts[FOLDED] = 1
    beam.scale[0] += log_prob


@compiled(inline="always")
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
    candidates = grow(floor, count, beam) if plain else grow_fused(floor, count, fusion, memory, tree, beam, room)
    for index in range(beam.counts[ACTIVE], candidates):
        best = max(best, beam.score[index])
    room.limits[0], room.limits[1] = best * limits.kept, best
    limit = cut(beam.bits, candidates, limits.beam, room.ends)
    keep(frame, candidates, limit, limits.beam, fusion, plain, memory, tree, beam, room)
    beam.counts[FOLDED] = 0
    if not 1e-30 < best < 1e30 and best > 0.0:
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
        beam.frame[place] = frame if mass > stay_blank + stay_other else beam.frame[place]
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
    candidates = active
    for index in range(1, count + 1):
        row = beam.mass[index * stride : (index + 1) * stride]
        for place in range(active):
            beam.score[np.uint64(candidates)] = row[place]
            beam.opened[np.uint64(candidates)] = index << 32 | place
            candidates += row[place] > floor
    return candidates


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
                    beam.score[candidates], beam.opened[candidates] = mass, index << 32 | place
                    candidates += 1
    return candidates


@compiled(inline="always")
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
    active = beam.counts[ACTIVE]
    entering = active
    for index in range(active, candidates):
        beam.opened[np.uint64(entering)] = beam.opened[index]
        beam.score[np.uint64(entering)] = beam.score[index]
        entering += beam.bits[index] > limit
    for index in range(active, entering):
        row, origin = beam.opened[index] >> np.uint64(32), np.uint32(beam.opened[index])
        token = room.chosen[row - np.uint64(1)]
        beam.opened[index] = find_or_add(beam.prefix[origin], token, fusion, plain, memory, tree, beam)
    for place in range(active):
        beam.blank[place], beam.other[place] = beam.next_blank[place], beam.next_other[place]
    holes = 0
    for place in range(active):
        beam.hole[np.uint64(holes)] = place
        holes += beam.bits[place] <= limit
    for index in range(holes):
        hole = beam.hole[index]
        tree.place[beam.prefix[hole]], tree.frame[beam.prefix[hole]] = size, beam.frame[hole]
    filled = 0
    for index in range(active, entering):
        child = beam.opened[index]
        hole = beam.hole[filled] if filled < holes else np.uint32(active)
        active += filled >= holes
        filled += filled < holes
        tree.place[child], beam.frame[hole] = hole, frame
        beam.prefix[hole], beam.parent[hole], beam.last[hole] = child, tree.parent[child], tree.token[child]
        beam.blank[hole], beam.other[hole] = 0.0, beam.score[index]
        if not plain:
            beam.entry[hole], beam.top[hole] = tree.entry[child], tree.top[child]
    for index in range(holes - 1, filled - 1, -1):  # the last of the beam fill the holes that are left
        hole = beam.hole[index]
        active -= 1
        if hole != active:
            beam.prefix[hole], beam.parent[hole] = beam.prefix[active], beam.parent[active]
            beam.last[hole], beam.frame[hole] = beam.last[active], beam.frame[active]
            beam.blank[hole], beam.other[hole] = beam.blank[active], beam.other[active]
            beam.entry[hole], beam.top[hole] = beam.entry[active], beam.top[active]
            tree.place[beam.prefix[hole]] = hole
    beam.counts[ACTIVE] = active


@compiled(inline="always")
def find_or_add(prefix: int, token: int, fusion: Fusion, plain: bool, memory: Memory, tree: Tree, beam: Beam) -> int:
    """The prefix that has `token` after `prefix`, made where the tree does not have it."""
    child = tree.child[prefix]
    while child != NOTHING and tree.token[child] != token:
        child = tree.sibling[child]
    if child == NOTHING:
        after = tree.child[prefix]
        tree.child[prefix] = beam.counts[PREFIXES]
        beam.counts[PREFIXES] += 1
        child = tree.child[prefix]
        tree.parent[child], tree.token[child], tree.child[child], tree.sibling[child] = prefix, token, NOTHING, after
        if not plain:
            enter(fusion, memory, tree, prefix, child)
    return child
