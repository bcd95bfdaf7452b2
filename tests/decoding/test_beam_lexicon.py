"""Beam search over phones with a pronunciation lexicon."""

from __future__ import annotations

from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest

from asr.decoding.beam import BeamOptions, BeamSearch
from asr.decoding.lexicon import Lexicon
from asr.errors import ConfigError
from asr.lm.automaton import Automaton
from asr.lm.training import train_ngram
from asr.text import BLANK, SPACE, Tokenizer

PHONES = Tokenizer([BLANK, SPACE, "R", "EH1", "D", "IY1"])
EVERYTHING = BeamOptions(beam=5000, prune=1e9, token_min_log_prob=-1e9, lm_weight=1.0, nbest=50)


@pytest.fixture
def lexicon(tmp_path: Path) -> Lexicon:
    (tmp_path / "words.dict").write_text("red R EH1 D\nread R EH1 D\nread(2) R IY1 D\nreed R IY1 D\ndeed D IY1 D\n")
    return Lexicon.load(tmp_path / "words.dict", PHONES)


def sure(tokens: str, tokenizer: Tokenizer = PHONES) -> np.ndarray:
    """Log-probs `[1, frames, tokens]` that leave no doubt, a blank after each token."""
    frames = [index for token in tokens.split() for index in (tokenizer.tokens.index(token), 0)]
    return np.log(np.eye(len(tokenizer))[frames] * (1 - 1e-3) + 1e-3 / len(tokenizer)).astype(np.float32)[None]


def best(search: BeamSearch, log_probs: np.ndarray) -> str:
    return search.decode(log_probs, np.array([log_probs.shape[1]]))[0][0].text


def test_phones_become_words_the_first_of_those_that_sound_alike(lexicon: Lexicon) -> None:
    search = BeamSearch(PHONES, EVERYTHING, lexicon=lexicon, threads=1)
    assert best(search, sure("R EH1 D ▁ D IY1 D")) == "red deed"
    assert best(search, sure("R IY1 D")) == "read"
    assert best(search, sure("R EH1 R")) in {"red", "deed", "read"}  # nothing outside the lexicon comes out


def test_a_language_model_chooses_between_words_that_sound_alike(lexicon: Lexicon, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("reed deed\nreed\nread red\nread\nread\n" * 5)
    lm = train_ngram([tmp_path / "text.txt"], 1).model
    search = BeamSearch(PHONES, EVERYTHING, lexicon=lexicon, lm=lm, threads=1)
    assert best(search, sure("R EH1 D")) == "read"  # three times as frequent as red
    assert best(search, sure("R IY1 D")) == "read"
    (tmp_path / "text.txt").write_text("reed red\n" * 9 + "read\n")
    lm = train_ngram([tmp_path / "text.txt"], 1).model
    search = BeamSearch(PHONES, EVERYTHING, lexicon=lexicon, lm=lm, threads=1)
    assert best(search, sure("R EH1 D")) == "red"
    assert best(search, sure("R IY1 D")) == "reed"
    assert best(search, sure("D IY1 D")) in {"reed", "red", "read"}  # deed is not in the language model


def test_each_word_that_sounds_like_another_is_chosen_by_its_neighbours(lexicon: Lexicon, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("deed read\nreed red deed\n" * 9 + "read\n" * 20)
    lm = train_ngram([tmp_path / "text.txt"], 2).model
    search = BeamSearch(PHONES, EVERYTHING, lexicon=lexicon, lm=lm, threads=1)
    assert best(search, sure("D IY1 D ▁ R EH1 D")) == "deed read"
    assert best(search, sure("R IY1 D ▁ R EH1 D ▁ D IY1 D ▁ R EH1 D")) == "reed red deed read"
    for phones in ("D IY1 D ▁ R EH1 D", "R IY1 D ▁ R EH1 D ▁ D IY1 D"):
        log_probs = sure(phones)
        (hypotheses,) = search.decode(log_probs, np.array([log_probs.shape[1]]))
        for hypothesis in hypotheses:  # the model's part of the score is that of the very words that are written
            assert hypothesis.acoustic_score is not None
            assert hypothesis.score - hypothesis.acoustic_score == pytest.approx(lm.score(hypothesis.text), abs=1e-3)
    favoured = BeamSearch(PHONES, EVERYTHING, lexicon=lexicon, lm=lm, favoured={"red": 9.0}, threads=1)
    assert best(favoured, sure("D IY1 D ▁ R EH1 D")) == "deed red"
    indifferent = BeamOptions(lm_weight=0.0)
    assert best(BeamSearch(PHONES, indifferent, lexicon=lexicon, lm=lm, threads=1), sure("R EH1 D")) == "read"


def test_scores_are_those_of_the_language_model_by_enumeration(tmp_path: Path) -> None:
    """Random log-probs over V = 4: the sum of all alignments of each spelling, and the model's score of its word."""
    tokens = Tokenizer([BLANK, SPACE, "A", "B"])
    (tmp_path / "words.dict").write_text("x A B\ny B\nz B A A\n")
    lexicon = Lexicon.load(tmp_path / "words.dict", tokens)
    (tmp_path / "text.txt").write_text("x y\ny\nz\nx x\n" * 3)
    lm = train_ngram([tmp_path / "text.txt"], 2).model
    rng = np.random.default_rng(0)
    for frames in (2, 4, 6):
        logits = rng.normal(size=(frames, 4))
        log_probs = (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)
        found = BeamSearch(tokens, EVERYTHING, lexicon=lexicon, lm=lm, threads=1).decode(
            log_probs[None], np.array([frames])
        )[0]
        sums: dict[tuple[int, ...], float] = {}
        for path in product(range(4), repeat=frames):
            kept = tuple(t for t, before in zip(path, (0, *path), strict=False) if t != before and t != 0)
            sums[kept] = sums.get(kept, 0.0) + float(np.exp(log_probs[range(frames), path].sum()))
        spelled = {(2, 3): "x", (3,): "y", (3, 2, 2): "z"}
        expected: dict[str, float] = {}
        for sequence, mass in sums.items():
            words = [spelled.get(word) for word in _words(sequence)]
            if None not in words and sequence[:1] != (1,) and sequence[-1:] != (1,) and (1, 1) not in _pairs(sequence):
                text = " ".join(filter(None, words))
                expected[text] = float(np.log(mass)) + lm.score(text)
        for hypothesis in found:
            if hypothesis.text in expected and hypothesis.tokens[-1:] != [1] and hypothesis.tokens[:1] != [1]:
                assert hypothesis.score == pytest.approx(expected[hypothesis.text], abs=1e-3)
        assert {h.text for h in found} >= {text for text in expected if len(text.split()) == 1}


def _words(sequence: tuple[int, ...]) -> list[tuple[int, ...]]:
    words: list[list[int]] = [[]]
    for token in sequence:
        if token == 1:
            words.append([])
        else:
            words[-1].append(token)
    return [tuple(word) for word in words if word]


def _pairs(sequence: tuple[int, ...]) -> set[tuple[int, int]]:
    return set(pairwise(sequence))


def test_a_lexicon_and_hot_words_need_a_language_model_of_words(lexicon: Lexicon) -> None:
    rules = Automaton(
        np.array([0, 0]),
        np.zeros(0, np.int32),
        np.zeros(0, np.float32),
        np.zeros(0, np.int32),
        np.zeros(1, np.float32),
        np.full(1, -1, np.int32),
        np.zeros(1, np.float32),
        np.zeros(1, np.int32),
    )
    with pytest.raises(ConfigError, match="no room for hot words"):
        BeamSearch(PHONES, EVERYTHING, lexicon=lexicon, token_automaton=rules)
