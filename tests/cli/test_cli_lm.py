from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asr.lm.ngram import NgramModel
from asr.lm.perplexity import perplexity
from asr.text import Tokenizer

if TYPE_CHECKING:
    from tests.conftest import Ran

    Command = Callable[..., Ran]

TEXT = "The cat sat on the mat\nthe dog sat on the cat\na dog saw the cat on a mat\nthe cat saw a dog\n"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize("name", ["lm.arpa", "lm.arpa.gz", "lm.lm"])
def test_train_then_perplexity(asr_command: Command, text: Path, tmp_path: Path, name: str) -> None:
    model = tmp_path / name
    ran = asr_command("lm", "train", text, "--order", 2, "-o", model)
    assert ran.status == 0, ran.err
    assert "4 sentences, 25 words; vocabulary 11" in ran.out
    assert "2-grams           20  discounts" in ran.out
    (tmp_path / "new").write_text("the bird sat\n")
    ran = asr_command("lm", "perplexity", model, tmp_path / "new")
    assert ran.status == 0, ran.err
    found = perplexity(NgramModel.load(model), [["the", "bird", "sat"]])
    assert f"perplexity {found.perplexity:.2f}, without unknown words" in ran.out
    assert "1 sentences, 3 words, 1 unknown (33.33 %)" in ran.out


def test_pruning_takes_a_number_for_each_order(asr_command: Command, text: Path, tmp_path: Path) -> None:
    model = tmp_path / "lm.arpa"
    for options in (["--prune", 0, 0, 1], ["--prune", "0 0 1"], ["--prune=0,0,1"]):
        ran = asr_command("lm", "train", *options, "--order", 3, "--output", model, text, "--json")
        assert ran.status == 0, ran.err
        printed = json.loads(ran.out)
        assert (printed["counted"], printed["ngrams"]) == ([11, 20, 23], [11, 20, 2])
    ran = asr_command("lm", "train", text, "--prune", "few", "-o", model)
    assert (ran.status, "expected a whole number for each order" in ran.err) == (2, True)


def test_json_numbers(asr_command: Command, text: Path, tmp_path: Path) -> None:
    model = tmp_path / "lm.lm"
    printed = json.loads(asr_command("lm", "train", text, "--limit-vocabulary", 3, "-o", model, "--json").out)
    assert printed["vocabulary"] == 6
    assert printed["unknown"] == 25 - sum(TEXT.lower().split().count(word) for word in NgramModel.load(model).words[3:])
    printed = json.loads(asr_command("lm", "perplexity", model, text, text, "--json").out)
    assert (printed["sentences"], printed["words"], printed["units"]) == (8, 50, "words")
    assert printed["perplexity"] > 1


def test_fixed_discounts_of_tiny_texts_are_announced(asr_command: Command, text: Path, tmp_path: Path) -> None:
    ran = asr_command("lm", "train", text, "-o", tmp_path / "lm.arpa")
    assert "the counts of order 3 are too few, or too even, to estimate discounts; fixed ones are used" in ran.err


def test_tokens_and_characters(asr_command: Command, text: Path, tmp_path: Path) -> None:
    Tokenizer.from_characters("abcdefghijklmnopqrstuvwxyz").save(tmp_path / "tokens.txt")
    last = "the cat's mat\n"
    text.write_text(TEXT + last)
    tokens = ["--tokens", tmp_path / "tokens.txt"]
    ran = asr_command("lm", "train", text, "--units", "tokens", *tokens, "-o", tmp_path / "tokens.lm")
    assert ran.status == 0, ran.err
    assert "text: 1 sentences left out, outside the token table" in ran.err
    assert f"{text}, line 5" in ran.err
    NgramModel.load(tmp_path / "tokens.lm").save(tmp_path / "tokens.arpa")
    for name in ("tokens.lm", "tokens.arpa"):
        assert (
            "4 sentences, 87 tokens, 0 unknown" in asr_command("lm", "perplexity", tmp_path / name, text, *tokens).out
        )
    ran = asr_command("lm", "perplexity", tmp_path / "tokens.lm", text)
    assert (ran.status, "predicts tokens: --tokens is for models of tokens" in ran.err) == (2, True)
    asr_command("lm", "train", text, "--units", "characters", "-o", tmp_path / "characters.arpa")
    ran = asr_command("lm", "perplexity", tmp_path / "characters.arpa", text)
    characters = len(TEXT + last) - 5  # ends of lines are no characters
    assert f"5 sentences, {characters} characters, 0 unknown" in ran.out


def test_mistakes_exit_with_a_message(asr_command: Command, text: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (["train", text, "-o", tmp_path / "lm.bin"], "ends in .arpa, .arpa.gz, .lm or .lmz"),
        (["train", tmp_path / "gone", "-o", tmp_path / "lm.arpa"], "gone: cannot be read"),
        (["train", "/dev/zero", "-o", tmp_path / "lm.arpa"], "/dev/zero: compressed, or a pipe"),
        (["perplexity", tmp_path / "lm.arpa", text], "lm.arpa: cannot be read"),
        (["perplexity", text, text], "ends in .arpa, .arpa.gz, .lm or .lmz"),
    ):
        ran = asr_command("lm", *arguments)
        assert (ran.status, ran.out) == (1, "")
        assert message in ran.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text"]


def test_tables_are_refused_and_punctuation_is_told(asr_command: Command, text: Path, tmp_path: Path) -> None:
    assert "punctuation" not in asr_command("lm", "train", text, "-o", tmp_path / "lm.lm").err
    (tmp_path / "table.csv").write_text("audio,text\na.wav,one two\n")
    ran = asr_command("lm", "train", tmp_path / "table.csv", "-o", tmp_path / "new.lm")
    assert (ran.status, (tmp_path / "new.lm").exists()) == (1, False)
    assert f"`asr data import {tmp_path / 'table.csv'} --output DIR` makes a manifest of it, or write its" in ran.err
    (tmp_path / "written").write_text('The cat, the dog.\nthe cat sat.\nit\'s "the" dog\n')
    ran = asr_command("lm", "train", tmp_path / "written", "-o", tmp_path / "new.lm")
    assert """4 of 11 different words carry punctuation, such as '"the"'""" in ran.err
    assert """sed 's/[.,"]/ /g' TEXT > CLEAN""" in ran.err


def test_mix_does_not_write_over_a_model_that_it_reads(asr_command: Command, text: Path, tmp_path: Path) -> None:
    models = [tmp_path / "a.lm", tmp_path / "b.lm"]
    for model in models:
        assert asr_command("lm", "train", text, "-o", model).status == 0
    before = models[0].read_bytes()
    ran = asr_command("lm", "mix", *models, "--dev", text, "-o", models[0])
    assert (ran.status, f"{models[0]} is read, and would be lost; choose another --output" in ran.err) == (2, True)
    assert models[0].read_bytes() == before
