from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from asr.data.manifest import Utterance, write_manifest
from asr.errors import LanguageModelError, ManifestError, TextError
from asr.lm.corpus import encode, read_vocabulary
from asr.lm.training import train_ngram
from asr.lm.units import guess_units
from asr.text import Tokenizer


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text"
    path.write_text("The  cat sat.\n\nTHE dog’s cat\n \t\nthe end\n", encoding="utf-8")
    return path


def test_labels_of_sentences() -> None:
    corpus = encode([["b", "a"], ["c", "b"]])
    assert corpus.words == ["<unk>", "<s>", "</s>", "a", "b", "c"]
    assert corpus.labels.tolist() == [1, 4, 3, 2, 1, 5, 4, 2]
    assert (corpus.sentences, corpus.tokens, corpus.unknown) == (2, 4, 0)


def test_a_given_vocabulary_keeps_words_that_the_text_lacks() -> None:
    corpus = encode([["b", "a"], ["c", "b"]], vocabulary=["z", "b"])
    assert corpus.words[3:] == ["b", "z"]
    assert corpus.labels.tolist() == [1, 3, 0, 2, 1, 0, 3, 2]
    assert corpus.unknown == 2


def test_a_limited_vocabulary_keeps_the_most_frequent() -> None:
    corpus = encode([["b", "c", "a"], ["c", "b", "d"]], limit=3)
    assert corpus.words[3:] == ["a", "b", "c"]  # of a and d, as frequent, the first in the alphabet
    assert corpus.unknown == 1


def test_text_is_normalised_and_empty_lines_are_skipped(text: Path) -> None:
    trained = train_ngram([text], 2)
    assert (trained.sentences, trained.words) == (3, 8)
    assert trained.model.words[3:] == ["cat", "dog's", "end", "sat.", "the"]
    assert "THE" in train_ngram([text], 2, case="upper").model.words
    assert {"The", "THE", "the"} < set(train_ngram([text], 2, case="keep").model.words)


def test_characters_and_their_ends(text: Path) -> None:
    model = train_ngram([text], 3, "characters").model
    assert model.units == "characters"
    assert set(model.words[3:]) == set("thecatsdogn.▁'")
    assert model.score("the cat") == model.score(list("the▁cat"))
    assert model.score("the cat") > model.score("tac eht")


def test_tokens_are_those_of_the_table(tmp_path: Path, text: Path) -> None:
    tokenizer = Tokenizer.from_characters("abcdefghijklmnopqrstuvwxyz'")
    tokenizer.save(tmp_path / "tokens.txt")
    trained = train_ngram([text], 3, "tokens", tokens=tmp_path / "tokens.txt")
    assert sorted(trained.model.words[3:]) == sorted(tokenizer.tokens[1:])  # z too, though no text has it
    assert trained.model.units == "tokens"
    assert trained.sentences == 2
    assert [problem.id for problem in trained.problems] == [f"{text}, line 1"]
    assert "'.' (U+002E)" in trained.problems[0].message


def test_manifests_give_their_transcripts(tmp_path: Path) -> None:
    said = ["the cat", "a dog"]
    write_manifest(
        tmp_path / "cuts.jsonl",
        [Utterance(f"u{i}", tmp_path / f"{i}.wav", 1.0, 8000, text) for i, text in enumerate(said)],
    )
    for path in (tmp_path, tmp_path / "cuts.jsonl"):
        assert train_ngram([path], 2).model.words[3:] == ["a", "cat", "dog", "the"]


def test_reserved_words_in_the_text_are_left_out_with_their_line(text: Path) -> None:
    text.write_text("<s> the cat </s>\nthe dog\n")
    trained = train_ngram([text], 2)
    assert trained.sentences == 1
    assert [problem.id for problem in trained.problems] == [f"{text}, line 1"]
    text.write_text("<s> the cat </s>\n")
    with pytest.raises(LanguageModelError, match=r"text, line 1: <s> and </s> are added .* no sentence is left"):
        train_ngram([text], 2)


def test_probabilities_of_a_vocabulary_that_the_text_lacks_sum_to_one(tmp_path: Path, text: Path) -> None:
    (tmp_path / "words").write_text("the 7\ncat 3\nzebra 1\n<unk> 1\n")
    model = train_ngram([text], 2, vocabulary=tmp_path / "words").model
    assert model.words == ["<unk>", "<s>", "</s>", "cat", "the", "zebra"]
    unigrams = np.exp(model.automaton.arc_weight[:6].astype(float))
    assert unigrams.sum() == pytest.approx(1, abs=1e-6)
    assert unigrams[5] > 0


def test_empty_and_broken_texts(tmp_path: Path) -> None:
    path = tmp_path / "text"
    for content in ("", "\n \n"):
        path.write_text(content)
        with pytest.raises(LanguageModelError, match="text: holds no text; give a file with one sentence a line"):
            train_ngram([path])
        with pytest.raises(LanguageModelError, match="text: holds no words"):
            read_vocabulary(path)
    path.write_bytes("good\nschön\n".encode("latin-1"))
    with pytest.raises(ManifestError, match=r"text, line 2: not UTF-8 text .* convert it, .* -t UTF-8 text`$"):
        train_ngram([path])
    with pytest.raises(ManifestError, match=r"gone: cannot be read \(No such file or directory\)"):
        train_ngram([tmp_path / "gone"])
    with pytest.raises(TextError, match=r"gone: no such token table"):
        train_ngram([path], units="tokens", tokens=tmp_path / "gone")


def test_pipes_and_compressed_texts_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.gz").write_bytes(b"\x1f\x8b")
    for path in (tmp_path / "text.gz", Path("/dev/zero")):
        with pytest.raises(LanguageModelError, match=f"{path}: compressed, or a pipe; write the text to a plain file"):
            train_ngram([path])


def test_a_sentence_of_a_million_characters_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("ab c " * 200_000)
    trained = train_ngram([tmp_path / "text"], 3)
    assert (trained.sentences, trained.words) == (1, 400_000)
    assert -3 < trained.model.score("ab c ab c", eos=False) < 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": 0}, "order 0: choose 1 to 20"),
        ({"order": 21}, "order 21: choose 1 to 20"),
        ({"units": "phones"}, "units 'phones': choose words, characters or tokens"),
        ({"units": "tokens"}, "the units `tokens` and a token table"),
        ({"tokens": "tokens.txt"}, "the units `tokens` and a token table"),
        ({"prune": (0, 1, 0)}, "thresholds must not fall"),
        ({"vocabulary": "words", "limit_vocabulary": 5}, "cannot be given both"),
    ],
)
def test_impossible_settings(text: Path, options: dict, message: str) -> None:
    with pytest.raises(LanguageModelError, match=re.escape(message)):
        train_ngram([text], **options)


def test_units_are_guessed_from_the_sign_for_the_space() -> None:
    assert guess_units(["<unk>", "a", "b"]) == "words"
    assert guess_units(["<s>", "a", "▁"]) == "characters"
    assert guess_units(["▁the", "▁", "s"]) == "tokens"
