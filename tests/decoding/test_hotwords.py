from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asr.config import TextConfig
from asr.decoding.hotwords import DEFAULT_WEIGHT, favoured_words, hotwords
from asr.errors import ManifestError, TextError
from asr.lm.automaton import Automaton, advance
from asr.text import BpeTokenizer, PhoneTokenizer, Tokenizer, normalise
from asr.text.pronunciations import Pronunciations

TOKENIZER = Tokenizer.from_characters("ab")
PIECES = BpeTokenizer.train({"a": 20, "b": 15, "ab": 5, "ba": 5, "bab": 1}, 8)
LETTERS = Tokenizer.from_characters("abcdefghijklmnopqrstuvwxyz'")


def walk(automaton: Automaton, tokens: Sequence[int]) -> list[float]:
    """The total weight after each token, and at the end with the weight of ending there."""
    state, total, totals = int(automaton.start[0]), 0.0, []
    for token in tokens:
        weight, state = advance(automaton, state, token)
        total += weight
        totals.append(total)
    return [*totals, total + float(automaton.final_weight[state])]


def occurrences(phrase: str, text: str) -> int:
    """Counted on the words, without an automaton."""
    wanted, words = phrase.split(), text.split()
    return sum(words[i : i + len(wanted)] == wanted for i in range(len(words) - len(wanted) + 1))


def total(automaton: Automaton, text: str, tokenizer: Tokenizer = LETTERS) -> float:
    return walk(automaton, tokenizer.encode(text))[-1]


words = st.text("ab", min_size=1, max_size=3)
phrases = st.lists(words, min_size=1, max_size=3).map(" ".join)


@settings(max_examples=400, deadline=None)
@given(
    st.dictionaries(phrases, st.integers(-40, 40).map(lambda n: n / 4), min_size=1, max_size=6),
    st.text("ab ", max_size=30),
)
@example({"ab ab": 3.0, "ab": 1.0, "b": 2.0, "ab ab ab": -1.0}, " ab  ab ab b abb ")
def test_any_sequence_gets_exactly_the_weights_of_the_phrases_in_it(weights: dict[str, float], text: str) -> None:
    expected = sum(weight * occurrences(phrase, text) for phrase, weight in weights.items())
    assert walk(hotwords(weights, TOKENIZER), TOKENIZER.encode(text))[-1] == pytest.approx(expected, abs=1e-4)


@settings(max_examples=400, deadline=None)
@given(
    st.dictionaries(phrases, st.integers(-40, 40).map(lambda n: n / 4), min_size=1, max_size=6),
    st.text("ab ", max_size=30),
)
@example({"ab ab": 3.0, "ab": -3.0, "b": 2.0, "ab ab ab": -1.0}, "ab ab ab b abb")
def test_bpe_tokens_too(weights: dict[str, float], text: str) -> None:
    text = normalise(text)
    expected = sum(weight * occurrences(phrase, text) for phrase, weight in weights.items())
    assert walk(hotwords(weights, PIECES), PIECES.encode(text))[-1] == pytest.approx(expected, abs=1e-4)


def test_reward_of_bpe_tokens_is_taken_back_when_the_phrase_breaks_off() -> None:
    automaton = hotwords({"a b": 4.0}, PIECES)
    ids = {token: index for index, token in enumerate(PIECES.tokens)}
    assert walk(automaton, [ids["▁a"], ids["▁b"]]) == pytest.approx([2, 4, 4])
    assert walk(automaton, [ids["▁a"], ids["▁b"], ids["b"]]) == pytest.approx([2, 4, 0, 0])
    assert walk(automaton, [ids["▁a"], ids["▁a"]]) == pytest.approx([2, 2, 0])
    assert walk(automaton, [ids["b"], ids["▁"]]) == [0, 0, 0]


def test_reward_grows_token_by_token_and_is_taken_back_when_the_phrase_breaks_off() -> None:
    automaton = hotwords({"anna": 4.0}, LETTERS)
    assert walk(automaton, LETTERS.encode("anna")) == pytest.approx([1, 2, 3, 4, 4])
    assert walk(automaton, LETTERS.encode("anno")) == pytest.approx([1, 2, 3, 0, 0])
    assert walk(automaton, LETTERS.encode("annas")) == pytest.approx([1, 2, 3, 4, 0, 0])
    assert walk(automaton, LETTERS.encode("ann")) == pytest.approx([1, 2, 3, 0]), "an unfinished phrase earns nothing"
    assert walk(automaton, LETTERS.encode("joanna")) == [0] * 7, "a phrase begins where a word begins"


def test_negative_weight_is_paid_at_the_end_of_the_phrase_only() -> None:
    automaton = hotwords({"um": -2.0}, LETTERS)
    assert walk(automaton, LETTERS.encode("um a")) == pytest.approx([0, 0, -2, -2, -2])
    assert walk(automaton, LETTERS.encode("umb")) == [0, 0, 0, 0]


def test_overlapping_and_nested_phrases_all_count() -> None:
    automaton = hotwords({"new york": 3.0, "york city": 5.0, "york": 1.0}, LETTERS)
    assert total(automaton, "in new york city") == pytest.approx(9)
    assert total(automaton, "york new yorker") == pytest.approx(1)


def test_no_token_is_forbidden_and_long_texts_do_not_drift() -> None:
    rng = random.Random(1)
    names = ["anna", "ann arbor", "bob", "arbor day"]
    text = " ".join(rng.choice([*names, "ann", "day", "bobby", "x"]) for _ in range(20000))
    automaton = hotwords(dict.fromkeys(names, 1.7), LETTERS)
    expected = 1.7 * sum(occurrences(name, text) for name in names)
    assert total(automaton, text) == pytest.approx(expected, abs=1e-5 * expected)


def test_ten_thousand_phrases_are_ready_in_seconds_and_every_state_returns_what_it_holds() -> None:
    rng = random.Random(2)
    names = {"".join(rng.choices("abcdefghij", k=rng.randint(3, 12))) for _ in range(10000)}
    automaton = hotwords(dict.fromkeys(names, 2.0), LETTERS)
    assert total(automaton, " ".join(names)) == pytest.approx(2.0 * len(names), rel=1e-5)
    assert np.isfinite(automaton.final_weight).all()


def test_tokens_without_a_space_take_the_sequence_as_one_word() -> None:
    tokenizer = Tokenizer(["<blank>", "a", "b"])
    automaton = hotwords({"ab": 2.0}, tokenizer)
    assert walk(automaton, [1, 2])[-1] == pytest.approx(2)
    assert walk(automaton, [1, 2, 1])[-1] == pytest.approx(0)


# files


def listed(folder: Path, text: str) -> Path:
    path = folder / "names.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_of_phones_every_way_to_say_a_phrase_counts_and_the_greatest_weight_of_those_that_sound_alike() -> None:
    known: Pronunciations = {"read": [("R", "EH", "D"), ("R", "IY", "D")], "red": [("R", "EH", "D")]}
    phones = PhoneTokenizer(["<blank>", "▁", "R", "EH", "IY", "D"], known)
    automaton = hotwords({"read": 3.0, "red": 5.0}, phones)
    assert walk(automaton, [2, 3, 5])[-1] == pytest.approx(5.0)
    assert walk(automaton, [2, 4, 5])[-1] == pytest.approx(3.0)
    assert walk(automaton, [2, 4, 5, 1, 2, 3, 5])[-1] == pytest.approx(8.0)
    assert favoured_words({"read red": 3.0, "red": 5.0}) == {"read": 3.0, "red": 5.0}


def test_file_with_and_without_weights_goes_through_the_text_rules(tmp_path: Path) -> None:
    path = listed(tmp_path, "\ufeffAnna\r\n\r\nO’Brien\t2.5\r\n")
    automaton = hotwords(path, LETTERS, TextConfig())
    assert total(automaton, "anna o'brien") == pytest.approx(DEFAULT_WEIGHT + 2.5)
    assert total(hotwords(str(path), LETTERS, TextConfig(), weight=1.0), "anna") == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("anna\nzoë 9\n", ("line 2", "'zoë 9' has 'ë' (U+00EB), '9' (U+0039)", "alphabet")),
        ("Anna\n", ("line 1", "'A' (U+0041)")),
        ("anna\t2x\n", ("line 1", "'2x' is not a finite number")),
        ("anna\tnan\n", ("line 1", "'nan'")),
        ("anna\t\n", ("line 1", "'' is not a finite number")),
        ("\t3\n", ("line 1", "no phrase")),
        ("anna\t1\nbob\nanna\t2\n", ("line 3", "'anna' came before with weight 1, here 2")),
        ("", ("no phrases",)),
        ("\n \n", ("no phrases",)),
        ("é\né\né\né\né\n", ("line 3", "and 2 more")),
    ],
)
def test_broken_file_is_named_with_line_and_remedy(tmp_path: Path, text: str, parts: Sequence[str]) -> None:
    path = listed(tmp_path, text)
    with pytest.raises(TextError) as caught:
        hotwords(path, LETTERS)
    for part in (str(path), *parts):
        assert part in str(caught.value)


def test_missing_file_and_empty_mapping_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="absent"):
        hotwords(tmp_path / "absent.txt", LETTERS)
    with pytest.raises(TextError, match="no phrases"):
        hotwords({}, LETTERS)
    with pytest.raises(TextError, match="'anna' has 'n'"):
        hotwords({"anna": 1.0}, TOKENIZER)
