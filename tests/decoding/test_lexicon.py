from __future__ import annotations

from pathlib import Path

import pytest

from asr.decoding.lexicon import Lexicon
from asr.errors import ManifestError, TextError
from asr.lm.automaton import advance
from asr.text import Tokenizer

PHONES = Tokenizer(["<blank>", "AH", "B", "D", "EH", "IY", "R", "T"])
LETTERS = Tokenizer.from_characters("abcdefghijklmnopqrstuvwxyz'")


def written(folder: Path, text: str) -> Path:
    path = folder / "lexicon.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_pronunciations_in_the_manner_of_cmudict(tmp_path: Path) -> None:
    path = written(
        tmp_path, ";;; comment\nread R EH D\nread(2) R IY D # present\n\nred R EH D\nthe(1) D AH\nread\tR  EH D\n"
    )
    lexicon = Lexicon.load(path, PHONES)
    assert lexicon.words == ["read", "red", "the"]
    spelled = [(word, " ".join(PHONES.tokens[token] for token in tokens)) for word, tokens in lexicon.spellings]
    assert spelled == [(0, "R EH D"), (0, "R IY D"), (1, "R EH D"), (2, "D AH")]
    assert lexicon.problems == []


def test_word_alone_is_spelled_by_its_characters(tmp_path: Path) -> None:
    lexicon = Lexicon.load(written(tmp_path, "it's\nok o k a y\n"), LETTERS)
    assert lexicon.words == ["it's", "ok"]
    assert lexicon.spellings == [(0, tuple(LETTERS.encode("it's"))), (1, tuple(LETTERS.encode("okay")))]
    assert Lexicon.from_words(["it's", "it's"], LETTERS).spellings == lexicon.spellings[:1]


def test_word_that_the_tokens_cannot_spell_is_left_out_and_named(tmp_path: Path) -> None:
    path = written(tmp_path, "red R EH D\nzoo Z UW\nbad B AE D\nbed B EH <blank>\n")
    lexicon = Lexicon.load(path, PHONES)
    assert lexicon.words == ["red"]
    assert [problem.id for problem in lexicon.problems] == [f"{path}, line {line}" for line in (2, 3, 4)]
    assert "'zoo' has 'Z', 'UW'" in lexicon.problems[0].message
    assert "'bed' has '<blank>'" in lexicon.problems[2].message


@pytest.mark.parametrize("text", ["", ";;; nothing\n", "zoo Z UW\n"])
def test_lexicon_without_a_word_is_an_error(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(TextError) as caught:
        Lexicon.load(path, PHONES)
    assert str(path) in str(caught.value)
    assert ("line 1: 'zoo'" in str(caught.value)) == ("zoo" in text)


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="absent"):
        Lexicon.load(tmp_path / "absent", PHONES)


def test_empty_word_in_a_list_is_a_problem() -> None:
    lexicon = Lexicon.from_words(["a", "", "b c"], LETTERS)
    assert lexicon.words == ["a"]
    assert [problem.id for problem in lexicon.problems] == ["entry 2", "entry 3"]


def test_closed_vocabulary_allows_the_spellings_only(tmp_path: Path) -> None:
    automaton = Lexicon.load(written(tmp_path, "ok\nok(2) o k a y\nyes\n"), LETTERS).automaton(LETTERS)

    def allowed(text: str) -> bool:
        state, total = int(automaton.start[0]), 0.0
        for token in LETTERS.encode(text):
            weight, state = advance(automaton, state, token)
            total += weight
            if state < 0:
                return False
        return total + automaton.final_weight[state] == 0

    assert [allowed(text) for text in ("okay yes ok", "", "yes", "oka", "ok ", "yesok", " ok")] == [
        *[True] * 3,
        *[False] * 4,
    ]
    with pytest.raises(TextError, match="no space"):
        Lexicon.from_words(["B"], PHONES).automaton(PHONES)
