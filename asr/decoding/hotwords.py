"""Hot words: an automaton that raises the score of phrases the user names, and takes back what was not earned."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from asr.config import TextConfig
from asr.decoding.entries import numbered, refuse, spell_all
from asr.decoding.trie import Trie, assemble, build_trie
from asr.errors import AsrError, TextError
from asr.lm.automaton import Automaton
from asr.text import SPACE, Tokenizer, normalise

DEFAULT_WEIGHT = 5.0
"""Natural-log units for one occurrence of a phrase that comes without a weight."""


def hotwords(
    phrases: Mapping[str, float] | str | Path,
    tokenizer: Tokenizer,
    text: TextConfig | None = None,
    weight: float = DEFAULT_WEIGHT,
) -> Automaton:
    """The automaton of Aho and Corasick (1975) over tokens, its weights set so that a whole sequence gets exactly:

        sum over phrases of  weight of the phrase * number of its occurrences

    An occurrence is a run of whole words of the sequence that equals the words of the phrase. Every occurrence counts,
    those that overlap or lie inside a longer phrase too: with `new york` and `york city`, `new york city` earns both.
    A positive weight is paid in advance, in equal parts for each token of the phrase, and the rest of a phrase that
    breaks off is taken back at once; a negative weight, which discourages, is paid at the end of the phrase.

    Without a space token among the tokens, all of the sequence is one word. Of BPE tokens, a phrase is known by the
    pieces that BPE spells it with; of phones, by every way to say it. Of phrases that sound alike the greatest weight
    counts; which of them is written is for `favoured_words` to say.

    Args:
        phrases: weight of each phrase, or a file with lines `phrase` or `phrase<TAB>weight`.
        tokenizer: the model's tokens.
        text: the model's text rules, which the phrases go through; None changes nothing but the spaces.
        weight: for lines without one.

    Raises:
        TextError: naming file and line: a phrase that the tokens cannot spell, that is empty, or that comes twice
            with two weights; a weight that is no finite number; a list without phrases.
        ManifestError: the file cannot be read.
    """
    rules = text or TextConfig(case="keep")
    given_weights: dict[str, float] = {}
    weights: dict[tuple[int, ...], float] = {}
    problems = []
    for place, phrase, given in _entries(phrases, weight):
        try:
            value = _number(given)
            ways = spell_all(phrase, tokenizer, rules)
            if not ways[0]:
                raise TextError("no phrase here; write `phrase<TAB>weight`")
            before = given_weights.setdefault(normalise(phrase, rules.case, rules.remove), value)
            if before != value:
                raise TextError(f"{phrase!r} came before with weight {before:g}, here {value:g}; keep one")
            for tokens in ways:
                weights[tokens] = max(value, weights.get(tokens, value))
        except AsrError as error:
            problems.append(f"{place}: {error}")
    refuse(problems)
    if not weights:
        raise TextError(f"{_name(phrases)}: no phrases; write one a line, `phrase` or `phrase<TAB>weight`")
    return _automaton(weights, tokenizer)


def favoured_words(
    phrases: Mapping[str, float] | str | Path, text: TextConfig | None = None, weight: float = DEFAULT_WEIGHT
) -> dict[str, float]:
    """The words of the phrases with the weight of the phrase, the greatest where a word is in several.

    What `hotwords` pays for the sound of a phrase does not say which of the words that sound so is meant.
    """
    rules, found = text or TextConfig(case="keep"), dict[str, float]()
    for _, phrase, given in _entries(phrases, weight):
        for word in normalise(phrase, rules.case, rules.remove).split():
            found[word] = max(_number(given), found.get(word, -math.inf))
    return found


def _entries(phrases: Mapping[str, float] | str | Path, default: float) -> Iterator[tuple[str, str, str | float]]:
    """Place, phrase and weight as given."""
    if isinstance(phrases, Mapping):
        yield from (("hot words", phrase, weight) for phrase, weight in phrases.items())
        return
    for place, line in numbered(phrases):
        phrase, tab, weight = line.partition("\t")
        yield place, phrase, weight if tab else default


def _number(given: str | float) -> float:
    try:
        value = float(given)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise TextError(f"the weight {given!r} is not a finite number; write `phrase<TAB>weight`, such as 5.0")
    return value


def _name(phrases: Mapping[str, float] | str | Path) -> str:
    return "hot words" if isinstance(phrases, Mapping) else str(phrases)


def _automaton(weights: Mapping[tuple[int, ...], float], tokenizer: Tokenizer) -> Automaton:
    """The automaton of phrases as token ids.

    States are what a sequence, led by a space, ends with; a back-off arc leads to the longest shorter such ending.

    Each state holds an advance, what has been paid for phrases under way. Every arc pays the difference of the
    advances, so they cancel out along any sequence and phrases that were completed are left.
    """
    if tokenizer.joined:
        return _joined_automaton(weights, tokenizer)
    # A table without a space gets a label that no sequence has.
    space = tokenizer.tokens.index(SPACE) if SPACE in tokenizer.tokens else len(tokenizer)
    trie = build_trie([(space, *tokens) for tokens in weights])
    children = {(int(p), int(t)): node for node, (p, t) in enumerate(zip(trie.parent, trie.label, strict=True)) if node}
    back_off = _back_off_states(trie, children)
    advance, earned = _advances(trie, list(weights.values()), back_off)
    state, label, following = list(trie.parent[1:]), list(trie.label[1:]), list(range(1, len(trie.label)))

    for token in range(1, len(tokenizer)):  # the root, in the middle of a word that begins no phrase
        if token != space:
            state.append(0)
            label.append(token)
            following.append(0)
    ends = set(trie.end.tolist())
    for node in range(1, len(trie.label)):
        if trie.label[node] == space:  # a second space changes nothing, as in the text
            following.append(node)
        elif node in ends and (node, space) not in children:  # a phrase ends here and none goes on
            shorter = back_off[node]
            while (shorter, space) not in children:
                shorter = back_off[shorter]
            following.append(children[shorter, space])
        else:
            continue
        state.append(node)
        label.append(space)
    source, target, tokens = np.array(state), np.array(following), np.array(label)
    return assemble(
        source,
        tokens,
        advance[target] - advance[source] + np.where(tokens == space, earned[source], 0.0),
        target,
        final_weight=earned - advance,
        start=children[0, space],
        back_off_weight=advance[np.maximum(back_off, 0)] - advance,
        back_off_state=back_off,
    )


def _joined_automaton(weights: Mapping[tuple[int, ...], float], tokenizer: Tokenizer) -> Automaton:
    """The same for tokens that carry the space before them: such a token ends the phrases that are complete."""
    begins = [t for t in range(1, len(tokenizer)) if tokenizer.tokens[t].startswith(SPACE)]
    trie = build_trie(list(weights))
    children = {(int(p), int(t)): node for node, (p, t) in enumerate(zip(trie.parent, trie.label, strict=True)) if node}
    back_off = _back_off_states(trie, children)
    advance, earned = _advances(trie, list(weights.values()), back_off, led=False)
    arcs = {(source, token): target for (source, token), target in children.items()}
    arcs |= {(0, token): children.get((0, token), 0) for token in range(1, len(tokenizer))}
    complete = np.zeros(len(trie.label), bool)
    complete[trie.end] = True
    for node in range(1, len(trie.label)):  # shorter suffixes come first
        complete[node] |= complete[back_off[node]]
        for token in begins if complete[node] else ():
            shorter = node
            while (shorter, token) not in children and shorter > 0:
                shorter = int(back_off[shorter])
            arcs[node, token] = children.get((shorter, token), 0)
    source, tokens = np.array(list(arcs)).T
    target = np.array(list(arcs.values()))
    return assemble(
        source,
        tokens,
        advance[target] - advance[source] + np.where(np.isin(tokens, begins), earned[source], 0.0),
        target,
        final_weight=earned - advance,
        start=0,
        back_off_weight=advance[np.maximum(back_off, 0)] - advance,
        back_off_state=back_off,
    )


def _back_off_states(trie: Trie, children: Mapping[tuple[int, int], int]) -> np.ndarray:
    """For each node, the node of its longest proper suffix; -1 for the root."""
    back_off = np.full(len(trie.label), -1, np.int64)
    for node, (parent, label) in enumerate(zip(trie.parent.tolist(), trie.label.tolist(), strict=True)):
        if node:
            shorter = back_off[parent]
            while shorter >= 0 and (shorter, label) not in children:
                shorter = back_off[shorter]
            back_off[node] = children[shorter, label] if shorter >= 0 else 0
    return back_off


def _advances(
    trie: Trie, weights: list[float], back_off: np.ndarray, led: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """For each node: paid for the phrases under way, and due for those that are complete if the word ends here.

    `led`: a space, which earns nothing, is before each phrase.
    """
    advance, earned = np.zeros(len(trie.label)), np.zeros(len(trie.label))
    for node, weight in zip(trie.end.tolist(), weights, strict=True):
        earned[node] = weight
        path = [node]
        while trie.parent[path[-1]] > 0:
            path.append(int(trie.parent[path[-1]]))
        if led:
            path.pop()
        for left, on_the_way in enumerate(path):
            advance[on_the_way] = max(advance[on_the_way], weight * (1 - left / len(path)))
    for node in range(1, len(trie.label)):  # nodes of shorter suffixes come first
        advance[node] += advance[back_off[node]]
        earned[node] += earned[back_off[node]]
    return advance, earned
