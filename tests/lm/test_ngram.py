from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pytest

from asr.errors import LanguageModelError
from asr.lm.automaton import advance
from asr.lm.ngram import NgramModel
from asr.lm.perplexity import perplexity

ARPA = r"""
\data\
ngram 1=6
ngram 2=5
ngram 3=2

\1-grams:
-1.2	<unk>
-99	<s>	-0.31
-0.5	</s>
-0.6	a	-0.2
-0.7	b	-0.15
-0.9	c	0.1

\2-grams:
-0.1	<s> a	-0.05
-0.2	a b	-0.25
-0.4	a </s>
-0.3	b c	-0.07
-0.8	c a

\3-grams:
-0.11	<s> a b
-0.12	a b c

\end\
"""
KENLM_SCORES = {
    "": (-0.81, 0.0),
    "a b c": (-0.8, -0.92),
    "b c a": (-2.58, -1.87),
    "a a a": (-2.15, -2.2),
    "c b z a": (-4.16, -3.45),
    "z": (-2.01, -1.2),
    "a b b c c a b c a": (-4.87, -5.06),
}
"""What `kenlm.Model(...).score` returns for `ARPA`: with, and without the ends of the sentence."""


@pytest.fixture
def model(tmp_path: Path) -> NgramModel:
    path = tmp_path / "model.arpa"
    path.write_text(ARPA)
    return NgramModel.load(path)


def test_scores_are_those_of_kenlm(model: NgramModel) -> None:
    for sentence, (whole, inside) in KENLM_SCORES.items():
        assert model.score(sentence) / math.log(10) == pytest.approx(whole, abs=1e-5)
        assert model.score(sentence.split(), bos=False, eos=False) / math.log(10) == pytest.approx(inside, abs=1e-5)


def test_the_automaton_goes_to_the_longest_history(model: NgramModel) -> None:
    assert model.words == ["<unk>", "<s>", "</s>", "a", "b", "c"]
    assert (model.order, model.units, model.ngrams) == (3, "words", [6, 5, 2])
    a, b, c = 3, 4, 5
    states = {"": 0}
    for history in ("<s>", "a", "b", "c"):
        states[history] = advance(model.automaton, 0, model.label(history))[1]
    for history in ("<s> a", "a b", "b c"):
        first, second = history.split()
        states[history] = advance(model.automaton, states[first], model.label(second))[1]
    assert sorted(states.values()) == list(range(8))  # `b c` has a back-off weight, though no 3-gram goes on from it
    assert model.automaton.start[0] == states["<s>"]
    assert advance(model.automaton, states["a b"], c)[1] == states["b c"]
    assert advance(model.automaton, states["a b"], a)[1] == states["a"]
    assert advance(model.automaton, states["b c"], b)[1] == states["b"]
    assert model.automaton.back_off_state[states["<s> a"]] == states["a"]
    assert model.automaton.back_off_state[0] == -1
    finals = model.automaton.final_weight / math.log(10)
    assert finals[states["a"]] == pytest.approx(-0.4)
    assert finals[states["a b"]] == pytest.approx(-0.25 - 0.15 - 0.5)


def test_a_missing_shorter_ngram_is_passed_over(tmp_path: Path) -> None:
    # Pruning by entropy leaves `a b c` without `b c`: the state after it is that of `c`.
    path = tmp_path / "model.arpa"
    path.write_text(ARPA.replace("-0.3\tb c\t-0.07\n", "").replace("ngram 2=5", "ngram 2=4"))
    model = NgramModel.load(path)
    scores = model.scores("a b c a", eos=False) / math.log(10)
    np.testing.assert_allclose(scores, [-0.1, -0.11, -0.12, -0.8], atol=1e-6)


def test_perplexity_with_and_without_unknown_words(model: NgramModel) -> None:
    found = perplexity(model, [["a", "b", "c"], ["c", "b", "z", "a"]])
    assert (found.sentences, found.words, found.unknown) == (2, 7, 1)
    assert found.perplexity == pytest.approx(10 ** ((0.8 + 4.16) / 9), rel=1e-5)
    assert found.perplexity_known == pytest.approx(10 ** ((0.8 + 4.16 - 0.15 - 1.2) / 8), rel=1e-5)
    assert found.unknown_rate == pytest.approx(1 / 7)


def test_perplexity_of_nothing_is_an_error(model: NgramModel) -> None:
    with pytest.raises(LanguageModelError, match="sentence"):
        perplexity(model, [])


def test_characters_are_scored_with_a_sign_for_the_space(tmp_path: Path) -> None:
    path = tmp_path / "model.arpa"
    path.write_text(
        ARPA.replace("c\t0.1", "▁\t0.1").replace(" c\t", " ▁\t").replace("c a", "▁ a").replace("b c", "b ▁")
    )
    model = NgramModel.load(path)
    assert model.units == "characters"
    assert model.score("ab a") == pytest.approx(model.score(["a", "b", "▁", "a"]))
    assert model.score("ab ") / math.log(10) == pytest.approx(-0.8, abs=1e-5)


def test_units_other_than_asked_are_refused(model: NgramModel, tmp_path: Path) -> None:
    model.save(tmp_path / "model.lm")
    with pytest.raises(LanguageModelError, match=r"model\.lm: predicts words, but characters are asked for"):
        NgramModel.load(tmp_path / "model.lm", "characters")
    assert NgramModel.load(tmp_path / "model.arpa", "tokens").units == "tokens"


@pytest.mark.parametrize("name", ["model.bin", "model", "model.arpa.bz2"])
def test_other_names_are_refused(model: NgramModel, tmp_path: Path, name: str) -> None:
    with pytest.raises(LanguageModelError, match=r"ends in \.arpa, \.arpa\.gz, \.lm or \.lmz"):
        model.save(tmp_path / name)
    with pytest.raises(LanguageModelError, match=r"ends in \.arpa, \.arpa\.gz, \.lm or \.lmz"):
        NgramModel.load(tmp_path / name)


@pytest.mark.parametrize("name", ["copy.lm", "copy.arpa", "copy.arpa.gz"])
def test_saved_models_score_alike(model: NgramModel, tmp_path: Path, name: str) -> None:
    model.save(tmp_path / "deeper" / name)
    copy = NgramModel.load(tmp_path / "deeper" / name)
    assert (copy.words, copy.order, copy.units, copy.ngrams) == (model.words, 3, "words", [6, 5, 2])
    for field in ("arc_begin", "arc_label", "arc_next", "back_off_state", "start"):
        np.testing.assert_array_equal(getattr(copy.automaton, field), getattr(model.automaton, field))
    for sentence in KENLM_SCORES:
        assert copy.score(sentence) == pytest.approx(model.score(sentence), abs=1e-5)
    assert [path.name for path in (tmp_path / "deeper").iterdir()] == [name]


def test_a_large_binary_model_opens_in_milliseconds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = [f"w{index}" for index in range(20_000)]
    pairs = sorted({(int(a), int(b)) for a, b in rng.integers(0, len(words), (200_000, 2))})
    lines = ["\\data\\", f"ngram 1={len(words) + 3}", f"ngram 2={len(pairs)}", "\\1-grams:"]
    lines += ["-1\t<unk>", "-99\t<s>\t0", "-1\t</s>", *(f"-4\t{word}\t-0.5" for word in words), "\\2-grams:"]
    lines += [f"-1\t{words[a]} {words[b]}" for a, b in pairs]
    (tmp_path / "model.arpa").write_text("\n".join([*lines, "\\end\\", ""]))
    model = NgramModel.load(tmp_path / "model.arpa")
    model.save(tmp_path / "model.lm")
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        copy = NgramModel.load(tmp_path / "model.lm")
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.05
    sentence = [words[label] for pair in pairs[:50] for label in pair]
    assert copy.score(sentence) == model.score(sentence)
