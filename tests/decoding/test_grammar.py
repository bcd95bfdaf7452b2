from __future__ import annotations

import itertools
import random
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.config import TextConfig
from asr.decoding.grammar import grammar
from asr.decoding.trie import build_trie
from asr.errors import ManifestError, TextError
from asr.lm.automaton import Automaton, advance
from asr.text import Tokenizer

TOKENIZER = Tokenizer.from_characters("ab")
LETTERS = Tokenizer.from_characters("abcdefghijklmnopqrstuvwxyz'")


def allowed(automaton: Automaton, text: str, tokenizer: Tokenizer = LETTERS) -> bool:
    """Whether the whole text has weight 0; anything else must be minus infinity."""
    state, total = int(automaton.start[0]), 0.0
    for token in tokenizer.encode(text):
        weight, state = advance(automaton, state, token)
        total += weight
        if state < 0:
            break
    else:
        total += float(automaton.final_weight[state])
    assert total in (0.0, -np.inf)
    return total == 0.0


EVERYTHING = ["".join(letters) for length in range(7) for letters in itertools.product("ab ", repeat=length)]
words = st.text("ab", min_size=1, max_size=3)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(words, max_size=3).map(" ".join), min_size=1, max_size=6))
def test_only_the_listed_sentences_are_allowed(sentences: list[str]) -> None:
    automaton = grammar(sentences, TOKENIZER).automaton
    assert {text for text in EVERYTHING if allowed(automaton, text, TOKENIZER)} == {s for s in sentences if len(s) < 7}


@settings(max_examples=30, deadline=None)
@given(st.lists(words, min_size=1, max_size=4))
def test_any_sequence_of_the_listed_words_is_allowed_and_nothing_else(listed: list[str]) -> None:
    automaton = grammar(listed, TOKENIZER, mode="words").automaton
    expected = {t for t in EVERYTHING if t == "" or all(word in listed for word in t.split(" "))}
    assert {text for text in EVERYTHING if allowed(automaton, text, TOKENIZER)} == expected


def test_file_goes_through_the_text_rules_and_blank_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "commands.txt"
    path.write_text("\ufeffTurn  left!\r\n\r\nStop\r\n", encoding="utf-8")
    automaton = grammar(path, LETTERS, text=TextConfig(remove="!")).automaton
    assert allowed(automaton, "turn left")
    assert allowed(automaton, "stop")
    assert not allowed(automaton, "turn")
    assert not allowed(automaton, "")


def test_saying_nothing_is_allowed_where_the_empty_sentence_is_listed() -> None:
    automaton = grammar(["", "yes"], LETTERS).automaton
    assert allowed(automaton, "")
    assert allowed(automaton, "yes")


def test_hundred_thousand_sentences_build_in_seconds() -> None:
    rng = random.Random(1)
    vocabulary = ["".join(rng.choices("abcdefghij", k=rng.randint(2, 8))) for _ in range(2000)]
    sentences = [" ".join(rng.choices(vocabulary, k=5)) for _ in range(100_000)]
    started = time.process_time()
    automaton = grammar(sentences, LETTERS).automaton
    assert time.process_time() - started < 8  # 1 here
    assert all(allowed(automaton, sentence) for sentence in sentences[::1000])
    assert not allowed(automaton, sentences[0] + " x")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=8))
def test_trie_has_one_node_for_every_beginning(sequences: list[list[int]]) -> None:
    trie = build_trie(sequences)

    def spelled(node: int) -> tuple[int, ...]:
        return (*spelled(int(trie.parent[node])), int(trie.label[node])) if node else ()

    beginnings = {tuple(sequence[:length]) for sequence in sequences for length in range(len(sequence) + 1)} | {()}
    nodes = [spelled(node) for node in range(len(trie.label))]
    assert sorted(nodes, key=lambda node: (len(node), node)) == nodes, "level by level, siblings by label"
    assert len(nodes) == len(beginnings)
    assert set(nodes) == beginnings
    assert [spelled(int(node)) for node in trie.end] == [tuple(sequence) for sequence in sequences]


@pytest.mark.parametrize(
    ("text", "mode", "parts"),
    [
        ("stop\nturn 90\n", "sentences", ("line 2", "'9' (U+0039), '0' (U+0030)", "alphabet")),
        ("stop\nturn left\n", "words", ("line 2", "'turn left' is not one word")),
        ("", "sentences", ("no entries", "sentences a line")),
        ("\n\n", "words", ("no entries", "words a line")),
    ],
)
def test_broken_file_is_named_with_line_and_remedy(tmp_path: Path, text: str, mode: str, parts: tuple[str]) -> None:
    path = tmp_path / "list.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TextError) as caught:
        grammar(path, LETTERS, mode)  # type: ignore[arg-type]
    for part in (str(path), *parts):
        assert part in str(caught.value)


def test_missing_file_missing_space_and_vanished_word_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="absent"):
        grammar(tmp_path / "absent.txt", LETTERS)
    with pytest.raises(TextError, match="no space"):
        grammar(["a"], Tokenizer(["<blank>", "a"]), mode="words")
    with pytest.raises(TextError, match=r"entry 2: .*nothing left"):
        grammar(["a", "!"], LETTERS, mode="words", text=TextConfig(remove="!"))
