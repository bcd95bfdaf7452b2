"""N-gram language models: words, an automaton, and what a sentence scores."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numba import njit

from asr.errors import LanguageModelError
from asr.lm.automaton import Automaton, advance
from asr.lm.units import BOS, EOS, SPECIAL, Units, guess_units, splitter


class Level(NamedTuple):
    """All n-grams of one order, in the order of their words' labels.

    Attributes:
        keys: int64 `[n-grams]`, rising: `place of the n-gram's first words in the level below * words + last label`;
            in the first level just the labels, all of them.
        log_prob: natural logarithm of P(last word | first words), `[n-grams]`.
        back_off: natural logarithm of the back-off weight, `[n-grams]`; 0 for an n-gram that is no history.
    """

    keys: np.ndarray
    log_prob: np.ndarray
    back_off: np.ndarray


class Order(NamedTuple):
    """A `Level` taken apart.

    Attributes:
        followers: of each n-gram of the level below, how many here it begins; in the first level `[words]`, once.
        label: int32 `[n-grams]`, of the last word.
        log_prob, back_off: as in `Level`.
    """

    followers: np.ndarray
    label: np.ndarray
    log_prob: np.ndarray
    back_off: np.ndarray


class NgramModel:
    """An n-gram model with back-off.

    Attributes:
        order: length of the longest n-gram.
        units: what it predicts: `words`, `characters` (the space is `▁`) or `tokens`.
        words: word of each label; `<unk>`, `<s>` and `</s>` are the labels 0, 1 and 2.
        automaton: state 0 has no history and an arc for every label; the other states are the histories that some
            n-gram goes on from, shorter ones first, and back off to the history without its first word. Arcs lie in
            the order of the n-grams. Ending costs P(`</s>` | history).
        depth_begin: int64 `[order + 1]`; the states with d words of history are `depth_begin[d] : depth_begin[d + 1]`.
    """

    def __init__(self, words: Sequence[str], automaton: Automaton, depth_begin: np.ndarray, units: Units | None = None):
        if tuple(words[:3]) != SPECIAL:
            raise ValueError(f"the first three words must be {SPECIAL}, not {words[:3]}")
        self.words = list(words)
        self.units: Units = units or guess_units(self.words)
        self.automaton = automaton
        self.depth_begin = depth_begin
        self.order = len(depth_begin) - 1
        self._labels: dict[str, int] = {}

    @classmethod
    def from_levels(cls, words: Sequence[str], levels: Sequence[Level], units: Units | None = None) -> NgramModel:
        """Link the n-grams of every order, lowest first, to an automaton."""
        orders, below = [], 1
        for level in levels:
            history, label = np.divmod(level.keys, len(words))
            followers = np.bincount(history, minlength=below)
            orders.append(Order(followers, label.astype(np.int32), level.log_prob, level.back_off))
            below = len(level.keys)
        return cls.from_orders(words, orders, units)

    @classmethod
    def from_orders(cls, words: Sequence[str], orders: Sequence[Order], units: Units | None = None) -> NgramModel:
        """The same of what is taken apart already."""
        return cls(words, *_automaton(orders), units)

    @property
    def labels(self) -> dict[str, int]:
        """Label of each word."""
        if not self._labels:
            self._labels = {word: label for label, word in enumerate(self.words)}
        return self._labels

    @property
    def ngrams(self) -> list[int]:
        """Number of n-grams of each order, lowest first."""
        return np.diff(self.automaton.arc_begin[self.depth_begin]).tolist()

    def label(self, word: str) -> int:
        """Label of a word, that of `<unk>` where the model does not have it."""
        return self.labels.get(word, 0)

    def score(self, sentence: Sequence[str] | str, bos: bool = True, eos: bool = True) -> float:
        """Natural logarithm of the probability of a sentence.

        Args:
            sentence: its units, or text: words parted by spaces, or characters. Text is taken as it stands; see
                `asr.text.normalise`. Words the model does not have count as `<unk>`.
            bos: whether it begins a sentence; without, the first word has no history.
            eos: whether the sentence ends there, which has a probability too.
        """
        return float(self.scores(sentence, bos, eos).sum())

    def scores(self, sentence: Sequence[str] | str, bos: bool = True, eos: bool = True) -> np.ndarray:
        """Float64 `[words]`, or with `eos` `[words + 1]`: what each word adds to `score`."""
        units = splitter(self.units)(sentence) if isinstance(sentence, str) else sentence
        labels = [self.label(unit) for unit in units]
        if eos:
            labels.append(SPECIAL.index(EOS))
        start = int(self.automaton.start[0]) if bos else 0
        return label_scores(self.automaton, np.array(labels, np.int32), start)

    def save(self, path: str | Path) -> None:
        """Write the model as ARPA (`.arpa`, `.arpa.gz`), or in a form that opens at once (`.lm`) or is small (`.lmz`).

        Raises:
            LanguageModelError: the name ends otherwise.
            OutputError: the file cannot be written.
        """
        path = Path(path)
        form = file_form(path)
        if form == "binary":
            from asr.lm.binary import write_binary

            write_binary(self, path)
        elif form == "compact":
            from asr.lm.compact import write_compact

            write_compact(self, path)
        else:
            from asr.lm.arpa import write_arpa

            write_arpa(self, path)

    @classmethod
    def load(cls, path: str | Path, units: Units | None = None) -> NgramModel:
        """Read what `save`, KenLM or SRILM wrote; a `.lm` file is mapped into memory, not read.

        Args:
            path: `.arpa`, `.arpa.gz`, `.lm` or `.lmz`.
            units: what an ARPA file predicts, for it does not say. None: words, unless `▁` is in it.

        Raises:
            LanguageModelError: the file is missing or broken, naming the line, or predicts other units.
        """
        path = Path(path)
        form = file_form(path)
        if form == "binary":
            from asr.lm.binary import read_binary

            model = read_binary(path)
        elif form == "compact":
            from asr.lm.compact import read_compact

            model = read_compact(path)
        else:
            from asr.lm.arpa import read_arpa

            model = read_arpa(path, units)
        if units is not None and model.units != units:
            raise LanguageModelError(f"{path}: predicts {model.units}, but {units} are asked for; name another model")
        return model


def file_form(path: Path) -> Literal["arpa", "binary", "compact"]:
    """The form that the name of a model's file stands for.

    Raises:
        LanguageModelError: it stands for none.
    """
    name = path.name.lower()
    if name.endswith(".lm"):
        return "binary"
    if name.endswith(".lmz"):
        return "compact"
    if name.endswith((".arpa", ".arpa.gz")):
        return "arpa"
    raise LanguageModelError(f"{path}: an n-gram model's name ends in .arpa, .arpa.gz, .lm or .lmz")


def _automaton(orders: Sequence[Order]) -> tuple[Automaton, np.ndarray]:
    """The automaton of an n-gram model and `depth_begin`; the n-grams of all orders, one after the other, are its arcs.

    An n-gram shorter than the order is a state when some n-gram goes on from it, or when it has a back-off weight.
    """
    depth_begin = [0, 1]
    arcs_of_state = [orders[0].followers]
    state_of_arc = []
    back_off_weight = [np.zeros(1, np.float32)]
    for order, above in pairwise(orders):
        is_state = (above.followers > 0) | (order.back_off != 0)
        places = depth_begin[-1] - 1 + np.cumsum(is_state, dtype=np.int32)
        state_of_arc.append(np.where(is_state, places, np.int32(-1)))
        depth_begin.append(depth_begin[-1] + int(is_state.sum()))
        arcs_of_state.append(above.followers[is_state])
        back_off_weight.append(order.back_off[is_state].astype(np.float32))
    state_of_arc.append(np.full(len(orders[-1].label), -1, np.int32))
    states = depth_begin[-1]
    automaton = Automaton(
        arc_begin=np.concatenate([[0], np.cumsum(np.concatenate(arcs_of_state))]).astype(np.int64),
        arc_label=np.concatenate([order.label for order in orders]),
        arc_weight=np.concatenate([order.log_prob.astype(np.float32, copy=False) for order in orders]),
        arc_next=np.concatenate(state_of_arc),
        back_off_weight=np.concatenate(back_off_weight),
        back_off_state=np.full(states, -1, np.int32),
        final_weight=np.empty(states, np.float32),
        start=np.zeros(1, np.int32),
    )
    _link(automaton, SPECIAL.index(BOS), SPECIAL.index(EOS))
    return automaton, np.array(depth_begin, np.int64)


@njit(cache=True, nogil=True)
def _link(automaton: Automaton, bos: int, eos: int) -> None:
    """Fill in back-off states, the states after n-grams that are no state themselves, final weights and the start.

    `arc_next` comes in with the state that an n-gram is, or -1. States come shorter histories first, and so each
    finds the arcs that it needs done.
    """
    for state in range(len(automaton.back_off_state)):
        shorter = automaton.back_off_state[state]
        for arc in range(automaton.arc_begin[state], automaton.arc_begin[state + 1]):
            after = 0
            if shorter >= 0:
                after = advance(automaton, np.int64(shorter), np.int64(automaton.arc_label[arc]))[1]
            if automaton.arc_next[arc] < 0:
                automaton.arc_next[arc] = after
            else:
                automaton.back_off_state[automaton.arc_next[arc]] = after
        automaton.final_weight[state] = advance(automaton, state, eos)[0]
    automaton.start[0] = advance(automaton, 0, bos)[1]


@njit(cache=True, nogil=True)
def label_scores(automaton: Automaton, labels: np.ndarray, state: int) -> np.ndarray:
    """Float64 `[labels]`: what each label adds, from `state` on; after `</s>` the next sentence begins."""
    scores = np.empty(len(labels))
    for index, label in enumerate(labels):
        scores[index], state = advance(automaton, state, label)
        if label == 2:
            state = automaton.start[0]
    return scores
