from __future__ import annotations

import itertools
import unicodedata
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import TextError
from asr.text import BLANK, SPACE, Tokenizer, ctc_frames, normalise

CASES: list[Literal["lower", "upper", "keep"]] = ["lower", "upper", "keep"]
LETTERS = st.text("abcdeéñß '", max_size=30)


@pytest.mark.parametrize(
    ("text", "case", "expected"),
    [
        ("Hello  World", "lower", "hello world"),
        ("Hello\tWorld \n", "upper", "HELLO WORLD"),
        (" Hello ", "keep", "Hello"),
        ("don’t ʼtis O`Neil rock´n＇roll ‘so’", "lower", "don't 'tis o'neil rock'n'roll 'so'"),
        ("cafe\u0301", "lower", "café"),
        ("CAFE\u0301", "lower", "caf\u00e9"),
        ("straße", "upper", "STRASSE"),
        ("a\u00a0b\u3000c", "keep", "a b c"),
        ("12 - ok.", "lower", "12 - ok."),
        ("", "lower", ""),
        (" \t\n", "lower", ""),
    ],
)
def test_normalise(text: str, case: Literal["lower", "upper", "keep"], expected: str) -> None:
    assert normalise(text, case) == expected


@given(st.text(max_size=30), st.sampled_from(CASES))
def test_normalised_text_is_nfc_single_spaced_and_cased(text: str, case: Literal["lower", "upper", "keep"]) -> None:
    result = normalise(text, case)
    assert unicodedata.is_normalized("NFC", result)
    assert result == " ".join(result.split())
    if case == "lower":
        assert result == unicodedata.normalize("NFC", result.lower())


def test_apostrophe_that_a_change_of_case_brings_is_unified_too() -> None:
    assert normalise("ŉ", "upper") == "'N"


def test_tokens_are_blank_space_and_characters_in_code_point_order() -> None:
    tokenizer = Tokenizer.from_characters("cab a'")
    assert tokenizer.tokens == [BLANK, SPACE, "'", "a", "b", "c"]
    assert len(tokenizer) == 6
    assert tokenizer.encode("a cab'") == [3, 1, 5, 3, 4, 2]


@given(LETTERS)
def test_decode_reverses_encode(text: str) -> None:
    text = normalise(text)
    assert Tokenizer.from_characters("abcdeéñß '").decode(Tokenizer.from_characters("abcdeéñß '").encode(text)) == text


def test_decode_drops_outer_and_doubled_spaces() -> None:
    tokenizer = Tokenizer.from_characters("ab")
    assert tokenizer.decode([1, 2, 1, 1, 3, 1]) == "a b"
    assert tokenizer.decode([1]) == tokenizer.decode([]) == ""


def test_character_outside_the_alphabet_is_shown_with_its_code_point() -> None:
    tokenizer = Tokenizer.from_characters("abc")
    assert tokenizer.missing("abxbéx") == ["x", "é"]
    with pytest.raises(TextError) as caught:
        tokenizer.encode("abxbé")
    for part in ("'x' (U+0078)", "'é' (U+00E9)", "'abxbé'", "text.alphabet"):
        assert part in str(caught.value)


def test_blank_and_the_written_space_are_not_characters() -> None:
    tokenizer = Tokenizer.from_characters("ab")
    assert tokenizer.missing(f"a{SPACE}") == [SPACE]
    with pytest.raises(TextError):
        tokenizer.encode(SPACE)


@pytest.mark.parametrize("tokens", [[], [BLANK], ["a", "b"], ["a", BLANK], [BLANK, "a", "a"]])
def test_impossible_token_tables_are_refused(tokens: list[str]) -> None:
    with pytest.raises(TextError):
        Tokenizer(tokens)


def test_saved_table_reads_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "tokens.txt"
    tokenizer = Tokenizer.from_characters("zebra 'äß\u200b0")
    tokenizer.save(path)
    assert Tokenizer.load(path).tokens == tokenizer.tokens
    assert path.read_text(encoding="utf-8").split("\n")[:3] == ["<blank> 0", "▁ 1", "' 2"]
    assert [file.name for file in tmp_path.iterdir()] == ["tokens.txt"]


def test_table_with_windows_line_ends_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tokens.txt"
    path.write_bytes("<blank> 0\r\n▁ 1\r\na 2\r\n".encode())
    assert Tokenizer.load(path).tokens == [BLANK, SPACE, "a"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "needs <blank> as token 0"),
        (b"<blank> 0\n", "at least one token more"),
        (b"a 0\nb 1\n", "needs <blank> as token 0"),
        (b"<blank> 0\nb 2\n", "line 2: expected `token 1`, found 'b 2'"),
        (b"<blank> 0\na 1\na 2\n", "'a' more than once"),
        (b"<blank> 0\nab\n", "line 2: expected `token 1`, found 'ab'"),
        (b"<blank> 0\n 1\n", "line 2"),
        (b"\x80\x04\x95garbled", "cannot be read as a token table"),
    ],
)
def test_garbled_table_is_an_error_with_file_and_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "tokens.txt"
    path.write_bytes(content)
    with pytest.raises(TextError) as caught:
        Tokenizer.load(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_missing_table(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"none\.txt: no such token table"):
        Tokenizer.load(tmp_path / "none.txt")


def emits(path: tuple[int, ...]) -> list[int]:
    return [token for token, _ in itertools.groupby(path) if token != 0]


@pytest.mark.parametrize("tokens", [[], [1], [1, 1], [1, 2], [1, 1, 1], [1, 2, 2, 1]])
def test_ctc_frames_is_the_shortest_path_that_emits_the_tokens(tokens: list[int]) -> None:
    shortest = next(
        frames
        for frames in itertools.count()
        if any(emits(path) == tokens for path in itertools.product(range(3), repeat=frames))
    )
    assert ctc_frames(tokens) == shortest


def test_removed_characters_become_spaces() -> None:
    assert normalise("Well—yes, 'tis “so”.", remove="—,.“”") == "well yes 'tis so"
    assert normalise("don’t", remove="'") == normalise("don't", remove="’") == "don t"
    assert normalise("...", remove=".") == ""
