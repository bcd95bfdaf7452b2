"""A weighted automaton with back-off arcs: one form for n-gram models, hot words, lexicons and grammars.

A state has labelled arcs and perhaps a back-off arc, which is taken when no arc bears the label and consumes nothing:
exactly an n-gram model's back-off, and the failure link of Aho and Corasick (1975). A state without a back-off arc
forbids every label it has no arc for. Weights are natural logarithms, added up along the way.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit


class Automaton(NamedTuple):
    """Arrays that compiled code reads; state 0 is the state without history, where nothing is left to back off to.

    Attributes:
        arc_begin: int64 `[states + 1]`; the arcs of state s are `arc_begin[s] : arc_begin[s + 1]`.
        arc_label: int32 `[arcs]`, rising within each state.
        arc_weight: float32 `[arcs]`.
        arc_next: int32 `[arcs]`, the state after the label.
        back_off_weight: float32 `[states]`.
        back_off_state: int32 `[states]`; -1 where there is none.
        final_weight: float32 `[states]`, what ending in this state adds; -inf where a sequence must not end.
        start: state in which a sequence begins, int32 `[1]`.
    """

    arc_begin: np.ndarray
    arc_label: np.ndarray
    arc_weight: np.ndarray
    arc_next: np.ndarray
    back_off_weight: np.ndarray
    back_off_state: np.ndarray
    final_weight: np.ndarray
    start: np.ndarray


@njit(cache=True, nogil=True, inline="never")
def advance(automaton: Automaton, state: int | np.integer, label: int | np.integer) -> tuple[float, int]:
    """Weight of `label` in `state` and the state after it; (-inf, -1) where it is forbidden."""
    weight = 0.0
    while True:
        low, high = automaton.arc_begin[state], automaton.arc_begin[state + 1]
        # The state without history mostly has an arc for every label, and then the label is its place.
        direct = low + label
        if direct < high and automaton.arc_label[direct] == label:
            return weight + automaton.arc_weight[direct], automaton.arc_next[direct]
        end = high
        while low < high:
            middle = (low + high) // 2
            if automaton.arc_label[middle] < label:
                low = middle + 1
            else:
                high = middle
        if low < end and automaton.arc_label[low] == label:
            return weight + automaton.arc_weight[low], automaton.arc_next[low]
        if automaton.back_off_state[state] < 0:
            return -np.inf, -1
        weight += automaton.back_off_weight[state]
        state = automaton.back_off_state[state]
