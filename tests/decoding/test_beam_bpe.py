"""Beam search over BPE pieces, judged by enumerating every alignment."""

from __future__ import annotations

from collections import defaultdict
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from asr.decoding.beam import BeamOptions, BeamSearch
from asr.decoding.grammar import grammar
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.lexicon import Lexicon
from asr.errors import LanguageModelError, TextError
from asr.lm.automaton import advance
from asr.lm.ngram import NgramModel
from asr.lm.training import train_ngram
from asr.text import BLANK, SPACE, BpeTokenizer, Tokenizer

EVERYTHING = BeamOptions(beam=20_000, prune=1e9, token_min_log_prob=-1e9, lm_weight=0.7, word_bonus=0.4, nbest=20_000)
WORDS = {"a": 20, "b": 15, "ab": 1, "ba": 1}


@pytest.fixture(scope="module")
def pieces() -> BpeTokenizer:
    """Six tokens, few enough to enumerate: blank, ▁a, ▁b, and the characters."""
    tokenizer = BpeTokenizer.train(WORDS, 6)
    assert sorted(tokenizer.tokens) == sorted([BLANK, "▁a", "▁b", SPACE, "a", "b"])
    return tokenizer


def best_of(expected: dict[tuple[int, ...], float]) -> list[int]:
    ranked: list[tuple[int, ...]] = sorted(expected, key=lambda sequence: expected[sequence])
    return list(ranked[-1])


def random_log_probs(frames: int, tokens: int, seed: int) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(size=(frames, tokens)) * 1.5
    return (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)


def masses(log_probs: np.ndarray) -> dict[tuple[int, ...], float]:
    """Probability of each token sequence, all its alignments summed."""
    sums: dict[tuple[int, ...], float] = defaultdict(float)
    for path in product(range(log_probs.shape[1]), repeat=len(log_probs)):
        kept = tuple(t for t, before in zip(path, (0, *path), strict=False) if t not in (before, 0))
        sums[kept] += float(np.exp(log_probs[range(len(path)), path].astype(np.float64).sum()))
    return sums


def groups(sequence: tuple[int, ...], tokenizer: Tokenizer) -> list[tuple[int, ...]]:
    """The tokens of each word: a token with ▁ begins one, and so does the first of all."""
    words: list[list[int]] = []
    for token in sequence:
        if not words or tokenizer.tokens[token].startswith(SPACE):
            words.append([])
        words[-1].append(token)
    return list(map(tuple, words))


def decoded(search: BeamSearch, log_probs: np.ndarray) -> list[Hypothesis]:
    return search.decode(log_probs[None], np.array([len(log_probs)]))[0]


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> NgramModel:
    path = tmp_path_factory.mktemp("lm") / "text.txt"
    path.write_text("ab ba\nb ab\nabba\nab\nb b ab\nba\n" * 3, encoding="utf-8")
    return train_ngram([path], 2).model


@pytest.mark.parametrize("penalty", [2.0, float("inf")])
@pytest.mark.parametrize("frames", [1, 2, 3, 4])
def test_word_ngram_over_bpe_tokens_by_enumeration(
    pieces: BpeTokenizer, lm: NgramModel, frames: int, penalty: float
) -> None:
    """A word is in the model's vocabulary if its tokens are those that BPE spells it by; all others are unknown."""
    log_probs = random_log_probs(frames, len(pieces), seed=frames)
    spelled = {tuple(pieces.encode(word)): word for word in lm.words[3:]}
    assert set(spelled.values()) == {"ab", "ba", "b", "abba"}
    expected: dict[tuple[int, ...], float] = {}
    for sequence, mass in masses(log_probs).items():
        words = [spelled.get(group, "<unk>") for group in groups(sequence, pieces)]
        unknown = words.count("<unk>")
        if unknown and np.isinf(penalty):
            continue
        score = np.log(mass) + EVERYTHING.lm_weight * lm.score(words) + EVERYTHING.word_bonus * len(words)
        expected[sequence] = float(score) - (unknown * penalty if unknown else 0.0)
    options = BeamOptions(**{**EVERYTHING.__dict__, "unknown_penalty": 2.0})
    found = decoded(BeamSearch(pieces, options, lm=lm, closed=np.isinf(penalty), threads=1), log_probs)
    assert found[0].tokens == best_of(expected)
    assert found[0].text == pieces.decode(best_of(expected))
    for hypothesis in found:
        assert hypothesis.score == pytest.approx(expected[tuple(hypothesis.tokens)], abs=1e-4)
    assert {hypothesis.text for hypothesis in found} == {pieces.decode(sequence) for sequence in expected}


@pytest.mark.parametrize("frames", [1, 3, 4])
def test_plain_search_and_token_ngram_by_enumeration(pieces: BpeTokenizer, tmp_path: Path, frames: int) -> None:
    (tmp_path / "text.txt").write_text("ab ba\nb ab\nabba\n" * 3, encoding="utf-8")
    pieces.save(tmp_path / "tokens.txt")
    model = train_ngram([tmp_path / "text.txt"], 2, "tokens", tokens=tmp_path / "tokens.txt").model
    log_probs = random_log_probs(frames, len(pieces), seed=10 + frames)
    sums = masses(log_probs)
    plain = {sequence: np.log(mass) + 0.4 * len(groups(sequence, pieces)) for sequence, mass in sums.items()}
    fused = {
        sequence: score + 0.7 * model.score([pieces.tokens[token] for token in sequence])
        for sequence, score in plain.items()
    }
    cases: list[tuple[NgramModel | None, dict[tuple[int, ...], float]]] = [(None, plain), (model, fused)]
    for language_model, expected in cases:
        found = decoded(BeamSearch(pieces, EVERYTHING, lm=language_model, threads=1), log_probs)
        assert found[0].tokens == best_of(expected)
        for hypothesis in found:
            assert hypothesis.score == pytest.approx(expected[tuple(hypothesis.tokens)], abs=1e-4)


def test_narrow_beam_finds_what_the_wide_one_finds(pieces: BpeTokenizer, lm: NgramModel) -> None:
    """Pruning by what a token can yet bring must not lose tokens that end one word and begin another."""
    for seed in range(12):
        log_probs = random_log_probs(10, len(pieces), seed)
        wide = decoded(BeamSearch(pieces, EVERYTHING, lm=lm, threads=1), log_probs)[0]
        options = BeamOptions(beam=300, lm_weight=0.7, word_bonus=0.4)
        narrow = decoded(BeamSearch(pieces, options, lm=lm, threads=1), log_probs)[0]
        assert narrow.tokens == wide.tokens
        assert narrow.score == pytest.approx(wide.score, abs=0.05)


def test_list_of_words_allows_any_sequence_of_them(pieces: BpeTokenizer) -> None:
    automaton = grammar(["ab", "abba", "b"], pieces, "words").automaton

    def allowed(text: str) -> bool:
        state = int(automaton.start[0])
        for token in pieces.encode(text):
            state = advance(automaton, state, token)[1]
            if state < 0:
                return False
        return bool(automaton.final_weight[state] == 0)

    texts = ("", "ab", "abba b ab", "b b b", "ba", "a", "ab ba", "abb", "bab")
    assert [allowed(text) for text in texts] == [True] * 4 + [False] * 5


def test_lexicon_spells_words_by_pieces_given_or_learnt(pieces: BpeTokenizer, tmp_path: Path) -> None:
    path = tmp_path / "lexicon.txt"
    path.write_text("ab\nbee ▁b\nabba ▁ a ▁b a\nbad b a\nzoo\n", encoding="utf-8")
    lexicon = Lexicon.load(path, pieces)
    assert lexicon.words == ["ab", "bee"]
    assert [problem.id.rpartition(" ")[2] for problem in lexicon.problems] == ["3", "4", "5"]
    sure = np.log(np.eye(len(pieces))[[pieces.tokens.index(t) for t in ("▁b", BLANK, "▁b")]] * 0.99 + 0.01 / 6)
    assert decoded(BeamSearch(pieces, lexicon=lexicon, threads=1), sure)[0].text == "bee bee"


def test_unknown_character_is_named_by_the_token_ngram(pieces: BpeTokenizer, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("xyz\n", encoding="utf-8")
    pieces.save(tmp_path / "tokens.txt")
    with pytest.raises(LanguageModelError, match=r"'x' \(U\+0078\)"):
        train_ngram([tmp_path / "text.txt"], 1, "tokens", tokens=tmp_path / "tokens.txt")
    with pytest.raises(TextError, match="outside the model's alphabet"):
        grammar(["xyz"], pieces)
