from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from asr.config import Config, parse_config
from asr.data.doctor import kinds
from asr.data.doctor.text_checks import leftover_classes, leftovers, mended_text, text_defects, text_problem
from asr.data.utterance import Utterance
from asr.text import Tokenizer

ALL = frozenset({kinds.DIGITS, kinds.SYMBOLS, kinds.PUNCTUATION})


def saying(text: str | None) -> Utterance:
    return Utterance("one", Path("one.wav"), 1.0, 16000, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "it's a re-run",
        "IT’S ALL RIGHT",
        "où est l’été",
        "col·laborar",
        "می\u200cخواهم",  # Persian spells this verb with a zero-width non-joiner
        "ക്\u200d",  # and Malayalam a final k with a joiner
        "一二三",
        "seven 7 (7!)",
    ],
)
def test_sound_text_has_no_defect_and_is_left_as_it_is(text: str) -> None:
    assert text_defects(saying(text)) == []
    assert mended_text(text) == text.replace("’", "'")


@pytest.mark.parametrize(
    ("text", "kind", "told", "mended"),
    [
        (unicodedata.normalize("NFD", "café"), kinds.NOT_NFC, "U+0301", "café"),
        ("two  spaces", kinds.WHITESPACE, "doubled", "two spaces"),
        (" at an end", kinds.WHITESPACE, "at an end", "at an end"),
        ("at an end ", kinds.WHITESPACE, "at an end", "at an end"),
        ("a\ttab", kinds.WHITESPACE, "U+0009", "a tab"),
        ("a line\nand another", kinds.WHITESPACE, "U+000A", "a line and another"),
        ("no\u00a0break", kinds.WHITESPACE, "U+00A0", "no break"),
        ("zero\u200bwidth", kinds.INVISIBLE, "U+200B", "zerowidth"),
        ("not\u200cPersian", kinds.INVISIBLE, "U+200C", "notPersian"),
        ("\ufeffmark", kinds.INVISIBLE, "U+FEFF", "mark"),
        ("soft\u00adhyphen", kinds.INVISIBLE, "U+00AD", "softhyphen"),
        ("be\x07ll", kinds.INVISIBLE, "U+0007", "bell"),
    ],
)
def test_defects_that_can_be_mended(text: str, kind: str, told: str, mended: str) -> None:
    (problem,) = text_defects(saying(text))
    assert (problem.id, problem.kind) == ("one", kind)
    assert told in problem.message
    assert mended_text(text) == mended
    assert text_defects(saying(mended)) == []


@pytest.mark.parametrize("text", ["caf\ufffd", "it\x92s", "private \ue000"])
def test_broken_encoding_cannot_be_mended(text: str) -> None:
    assert [problem.kind for problem in text_defects(saying(text))] == [kinds.BROKEN_ENCODING]
    assert mended_text(text) == text


def test_latin_1_text_of_windows_1252_bytes_is_broken_encoding() -> None:
    assert text_defects(saying("it’s".encode("cp1252").decode("latin-1")))[0].kind == kinds.BROKEN_ENCODING


def test_several_defects_are_each_named() -> None:
    found = [problem.kind for problem in text_defects(saying(" e\u0301\u200b\ufffd"))]
    assert found == [kinds.NOT_NFC, kinds.WHITESPACE, kinds.INVISIBLE, kinds.BROKEN_ENCODING]


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("plain words", {}),
        ("it's re-run o'clock ’twas col·lab", {}),
        ("un café, s'il vous plaît!", {",": kinds.PUNCTUATION, "!": kinds.PUNCTUATION}),
        ("50% of r&d", {"5": kinds.DIGITS, "0": kinds.DIGITS, "%": kinds.SYMBOLS, "&": kinds.SYMBOLS}),
        ("[noise] <unk>", dict.fromkeys("[]<>", kinds.SYMBOLS)),
        ("5 € – ٣", {"5": kinds.DIGITS, "€": kinds.SYMBOLS, "–": kinds.PUNCTUATION, "٣": kinds.DIGITS}),
        ("cut- off", {"-": kinds.PUNCTUATION}),
        ("हिन्दी।", {"।": kinds.PUNCTUATION}),
    ],
)
def test_classes_of_leftover_characters(text: str, classes: dict[str, str]) -> None:
    assert leftover_classes(text) == classes


def test_leftovers_are_reported_unless_they_are_the_convention() -> None:
    tokenizer = Tokenizer.from_characters("abcdefghijklmnopqrstuvwxyz3%,")
    found = leftovers("one", "three, 3 %", tokenizer, frozenset())
    assert [problem.kind for problem in found] == sorted(ALL)
    assert "'3' (U+0033)" in found[0].message
    assert leftovers("one", "three, 3 %", tokenizer, ALL) == []
    assert [p.kind for p in leftovers("one", "three, 3 %", tokenizer, ALL - {kinds.DIGITS})] == [kinds.DIGITS]
    assert leftovers("one", "three", tokenizer, frozenset()) == []


def test_characters_that_the_table_lacks_are_not_reported_twice() -> None:
    tokenizer = Tokenizer.from_characters("abc")
    assert leftovers("one", "a 3", tokenizer, frozenset()) == []
    problem = text_problem(saying("a 3"), tokenizer, Config())
    assert problem is not None
    assert problem.kind == kinds.OUTSIDE
    assert "'3' (U+0033)" in problem.message


@pytest.mark.parametrize("text", [None, "", " \n"])
def test_no_transcript(text: str | None) -> None:
    problem = text_problem(saying(text), Tokenizer.from_characters("ab"), Config())
    assert problem is not None
    assert problem.kind == kinds.NO_TRANSCRIPT


def test_case_and_apostrophes_are_normalised_before_the_alphabet_is_asked() -> None:
    upper = parse_config({"text": {"case": "upper"}})
    assert text_problem(saying("Ab’a"), Tokenizer.from_characters("ab'"), Config()) is None
    assert text_problem(saying("Ab’a"), Tokenizer.from_characters("AB'"), upper) is None
    assert text_problem(saying("Ab"), Tokenizer.from_characters("AB"), Config()) is not None
