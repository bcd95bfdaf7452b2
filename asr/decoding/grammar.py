"""Grammars: decoding limited to the sentences of a list, or to sequences of the words of a list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from asr.config import TextConfig
from asr.decoding.entries import numbered, refuse, spell_all
from asr.decoding.trie import assemble, build_trie
from asr.errors import TextError
from asr.lm.automaton import Automaton
from asr.text import SPACE, Tokenizer, normalise


class Grammar(NamedTuple):
    """What may come out, as an automaton over token ids, and what each allowed sentence or word is written as.

    Attributes:
        automaton: weight 0 for what is allowed.
        written: the entry, as the model writes it, of every way in which tokens say it: the first of those that sound
            alike.
    """

    automaton: Automaton
    written: dict[tuple[int, ...], str]


def grammar(
    entries: Iterable[str] | str | Path,
    tokenizer: Tokenizer,
    mode: Literal["sentences", "words"] = "sentences",
    text: TextConfig | None = None,
) -> Grammar:
    """The automaton that allows a list of sentences, or any sequence of listed words, and forbids all else.

    All allowed sequences have weight 0. One space stands between words, none at either end. Saying nothing is allowed
    in the mode `words`, and in the mode `sentences` when an empty string is among them (in Python; a file's blank
    lines are skipped). Of phones, every way to say an entry is allowed.

    What is allowed may be much less likely than what the model hears by itself, and a beam search that prunes as usual
    then loses every path that can end well: `prune=60, token_min_log_prob=-30` keeps them.

    Args:
        entries: sentences or words, or a file with one a line.
        tokenizer: the model's tokens.
        mode: `sentences` or `words`.
        text: the model's text rules, which the entries go through; None changes nothing but the spaces.

    Raises:
        TextError: naming file and line: an entry that the tokens cannot spell, more than one word in the mode
            `words`; a list without entries.
        ManifestError: the file cannot be read.
    """
    rules = text or TextConfig(case="keep")
    found: dict[tuple[int, ...], str] = {}
    problems = []
    for place, entry in numbered(entries):
        try:
            if mode == "words" and len(entry.split()) != 1:
                raise TextError(f"{entry[:60]!r} is not one word; write one a line, or use the mode sentences")
            ways = spell_all(entry, tokenizer, rules)
            if mode == "words" and not ways[0]:
                raise TextError(f"{entry!r} has nothing left after the model's text rules (text.remove); leave it out")
            for tokens in ways:
                found.setdefault(tokens, normalise(entry, rules.case, rules.remove))
        except TextError as error:
            problems.append(f"{place}: {error}")
    refuse(problems)
    if not found:
        name = entries if isinstance(entries, str | Path) else "grammar"
        raise TextError(f"{name}: no entries; write one of the allowed {mode} a line")
    sequences = list(found)
    return Grammar(_sentences(sequences) if mode == "sentences" else word_loop(sequences, tokenizer), found)


def _sentences(sequences: Sequence[Sequence[int]]) -> Automaton:
    trie = build_trie(sequences)
    final = np.full(len(trie.label), -np.inf)
    final[trie.end] = 0.0
    arcs = len(trie.label) - 1
    return assemble(trie.parent[1:], trie.label[1:], np.zeros(arcs), np.arange(1, arcs + 1), final, start=0)


def word_loop(spellings: Sequence[Sequence[int]], tokenizer: Tokenizer) -> Automaton:
    """The automaton of any sequence of words, none included, with one space between neighbours.

    Where tokens carry the space before them, as BPE's do, words follow each other as they are.

    Args:
        spellings: token ids of each word, at least one, without a space of its own.
        tokenizer: the model's tokens.

    Raises:
        TextError: the tokens have no space, so that nothing tells where a word ends.
    """
    if tokenizer.joined:
        return _joined_loop(spellings)
    if SPACE not in tokenizer.tokens:
        raise TextError(f"the model's tokens have no space ({SPACE}) to put between words; list whole sentences")
    space = tokenizer.tokens.index(SPACE)
    trie = build_trie(spellings)
    nodes = len(trie.label)  # the root is where a word must follow; one state more is the start, where it need not
    ends = np.unique(trie.end)
    first = np.flatnonzero(trie.parent == 0)
    state = np.concatenate([trie.parent[1:], ends, np.full(len(first), nodes)])
    label = np.concatenate([trie.label[1:], np.full(len(ends), space), trie.label[first]])
    following = np.concatenate([np.arange(1, nodes), np.zeros(len(ends)), first])
    final = np.full(nodes + 1, -np.inf)
    final[ends] = final[nodes] = 0.0
    return assemble(state, label, np.zeros(len(state)), following, final, start=nodes)


def _joined_loop(spellings: Sequence[Sequence[int]]) -> Automaton:
    """Only first tokens begin with a space, so that the end of a word can leave its next token to the root."""
    trie = build_trie(spellings)
    nodes = len(trie.label)
    final, back_off = np.full(nodes, -np.inf), np.full(nodes, -1)
    final[0] = final[trie.end] = 0.0
    back_off[trie.end] = 0
    following = np.arange(1, nodes)
    no_weight = np.zeros(nodes - 1)
    return assemble(
        trie.parent[1:], trie.label[1:], no_weight, following, final, 0, np.zeros(nodes), back_off_state=back_off
    )
