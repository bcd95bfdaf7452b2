from __future__ import annotations

import itertools
import math
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from asr.errors import LanguageModelError
from asr.lm.corpus import encode
from asr.lm.counting import count_ngrams
from asr.lm.kneser_ney import FALLBACK, Discounts, check_pruning, discounts, estimate
from asr.lm.ngram import NgramModel

Ngram = tuple[str, ...]

ANIMALS = ("the cat sat on the mat", "the dog sat on the cat", "a dog saw the cat on a mat", "the cat saw a dog")
KENLM = """
-1.0392267	<unk>	0
0	<s>	-0.032184668
-1.0392267	</s>	0
-1.0392267	the	-0.052706316
-0.8638562	cat	-0.14612803
-1.0019785	sat	-0.544068
-1.0019785	on	-0.14612803
-1.0019785	mat	-0.544068
-1.0019785	dog	-0.14612807
-1.0392267	a	-0.36797675
-1.0019785	saw	-0.14612803
-0.86426866	cat </s>	0
-0.1305397	mat </s>	0
-0.79453087	dog </s>	0
-1.0714113	<s> the	-0.17609124
-0.6816927	on the	0
-0.6816927	saw the	0
-0.9165625	the cat	0
-0.8460862	cat sat	0
-0.77899814	dog sat	0
-0.8460862	cat on	0
-0.12917066	sat on	-0.30103
-0.8376995	the mat	0
-0.8604344	a mat	0
-0.8376995	the dog	0
-0.2849559	a dog	0
-0.8061348	<s> a	0
-0.6816927	on a	0
-0.6816927	saw a	0
-0.8460862	cat saw	0
-0.77899814	dog saw	0
-0.21892105	sat on the
-0.3828725	<s> the cat
"""
"""What `lmplz -o 3 --discount_fallback --prune 0 0 1` writes for `ANIMALS`."""


def train(sentences: Sequence[Sequence[str]], order: int, prune: Sequence[int] = (0,)) -> NgramModel:
    corpus = encode(sentences)
    levels, _ = estimate(count_ngrams(corpus.labels, len(corpus.words), order), prune)
    return NgramModel.from_levels(corpus.words, levels)


class Slow:
    """The same by dictionaries, straight from Chen and Goodman (1999), section 3."""

    def __init__(self, sentences: Sequence[Sequence[str]], order: int, prune: Sequence[int]):
        self.seen: Counter[Ngram] = Counter()
        for words in sentences:
            padded = ("<s>", *words, "</s>")
            self.seen.update(
                padded[i:j] for i in range(len(padded)) for j in range(i + 1, min(i + order, len(padded)) + 1)
            )
        del self.seen["<s>",]
        self.prune = [*prune, *[prune[-1]] * order]
        before = defaultdict(set)
        for ngram in self.seen:
            before[ngram[1:]].add(ngram[0])
        self.count = {
            ngram: seen if len(ngram) == order or ngram[0] == "<s>" else len(before[ngram])
            for ngram, seen in self.seen.items()
        }
        self.vocabulary = {ngram[0] for ngram in self.seen if len(ngram) == 1} - {"<s>"} | {"<unk>"}
        self.discount = [self.estimate(length) for length in range(1, order + 1)]

    def estimate(self, length: int) -> tuple[float, ...]:
        n = Counter(count for ngram, count in self.count.items() if len(ngram) == length)
        if not (n[1] and n[2] and n[3]):
            return (0, *FALLBACK)
        y = n[1] / (n[1] + 2 * n[2])
        values = (1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3])
        return (0, *values) if min(values) >= 0 else (0, *FALLBACK)

    def kept(self, ngram: Ngram) -> bool:
        return self.seen[ngram] > self.prune[len(ngram) - 1] if len(ngram) > 1 else ngram in self.seen

    def probability(self, word: str, history: Ngram) -> float:
        lower = self.probability(word, history[1:]) if history else 1 / len(self.vocabulary)
        found = {w: self.count[(*history, w)] for w in self.vocabulary if (*history, w) in self.count}
        if not any(self.kept((*history, w)) for w in found):
            return lower
        total, discount = sum(found.values()), self.discount[len(history)]
        left = sum(discount[min(c, 3)] if self.kept((*history, w)) else c for w, c in found.items())
        own = found[word] - discount[min(found[word], 3)] if word in found and self.kept((*history, word)) else 0
        return own / total + left / total * lower


def sentences_of(words: str, count: int, seed: int) -> list[list[str]]:
    """Sentences that repeat themselves about as language does."""
    rng = random.Random(seed)
    follows = {word: rng.choices(words, k=4) for word in words}
    made = []
    for _ in range(count):
        sentence = [rng.choice(words)]
        while rng.random() < 0.85:
            sentence.append(rng.choice(follows[sentence[-1]] if rng.random() < 0.8 else words))
        made.append(sentence)
    return made


def test_values_worked_out_by_hand() -> None:
    # Too little text, so the discounts are 0.5, 1 and 1.5. Different words before a: 1, b: 1, </s>: 2, of 4 in all;
    # single words leave (0.5 + 0.5 + 1) / 4 to <unk>, </s>, a and b alike. `<s> a` occurs twice.
    model = train([["a", "b"], ["a"]], 2)
    expected = {
        ("a",): 0.5 / 4 + 0.5 / 4,
        ("b",): 0.5 / 4 + 0.5 / 4,
        ("</s>",): 1 / 4 + 0.5 / 4,
        ("<unk>",): 0.5 / 4,
        ("<s>", "a"): 1 / 2 + 0.5 * 0.25,
        ("a", "b"): 0.25 + 0.5 * 0.25,
        ("a", "</s>"): 0.25 + 0.5 * 0.375,
        ("b", "</s>"): 0.5 + 0.5 * 0.375,
        ("b", "a"): 0.5 * 0.25,
    }
    for (*history, word), probability in expected.items():
        assert math.exp(model.scores([*history, word], bos=False, eos=False)[-1]) == pytest.approx(
            probability, rel=1e-6
        )


def test_values_are_those_of_kenlm(tmp_path: Path) -> None:
    train([sentence.split() for sentence in ANIMALS], 3, (0, 0, 1)).save(tmp_path / "model.arpa")
    ours = entries((tmp_path / "model.arpa").read_text())
    theirs = entries(KENLM)
    assert ours.keys() == theirs.keys()
    assert ours.pop("<s>")[0] == -99  # as SRILM writes it; KenLM writes 0, and neither ever uses it
    assert theirs["<s>"][1] == pytest.approx(theirs.pop("<s>")[1])
    for ngram, values in theirs.items():
        assert ours[ngram] == pytest.approx(values, abs=2e-6), ngram


def entries(text: str) -> dict[str, tuple[float, float]]:
    rows = [line.split("\t") for line in text.splitlines() if "\t" in line]
    return {row[1]: (float(row[0]), float(row[2]) if len(row) > 2 else 0.0) for row in rows}


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("prune", [(0,), (0, 1), (0, 1, 3)])
@pytest.mark.parametrize(("words", "count"), [("abcd", 400), ("abcdefghijklmnopqrstuvwxyz", 300), ("xyz", 3)])
def test_every_probability_is_that_of_the_formulas(words: str, count: int, order: int, prune: tuple[int, ...]) -> None:
    sentences = sentences_of(words, count, seed=count)
    prune = prune[:order]
    model, slow = train(sentences, order, prune), Slow(sentences, order, prune)
    rng = random.Random(0)
    histories = sorted({ngram[:-1] for ngram in slow.seen if "</s>" not in ngram[:-1]})
    for history in rng.sample(histories, min(len(histories), 25)):
        for word in rng.sample(sorted(slow.vocabulary), min(len(slow.vocabulary), 8)):
            ours = model.scores([*history, word], bos=False, eos=False)[-1]
            assert ours == pytest.approx(math.log(slow.probability(word, history)), abs=1e-5), (history, word)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("prune", [(0,), (0, 1), (0, 1, 2)])
def test_the_probabilities_of_every_history_sum_to_one(order: int, prune: tuple[int, ...]) -> None:
    model = train(sentences_of("abcdefghij", 300, seed=1), order, prune[:order])
    automaton, words = model.automaton, len(model.words)
    unigrams = np.exp(automaton.arc_weight[:words].astype(float))
    probabilities = [unigrams]  # of each state, for every word
    for state in range(1, len(automaton.back_off_state)):
        row = probabilities[automaton.back_off_state[state]] * math.exp(automaton.back_off_weight[state])
        arcs = slice(automaton.arc_begin[state], automaton.arc_begin[state + 1])
        row[automaton.arc_label[arcs]] = np.exp(automaton.arc_weight[arcs])
        probabilities.append(row)
    sums = np.sum(probabilities, axis=1)
    np.testing.assert_allclose(sums, 1, atol=1e-6)
    ends = np.log([row[model.label("</s>")] for row in probabilities])
    np.testing.assert_allclose(automaton.final_weight, ends, atol=1e-5)


def test_counts_of_all_orders() -> None:
    sentences = sentences_of("abcdef", 200, seed=3)
    corpus = encode(sentences)
    order = 4
    slow = Slow(sentences, order, (0,))
    levels = count_ngrams(corpus.labels, len(corpus.words), order)
    ngrams: list[Ngram] = [(word,) for word in corpus.words]
    shorter: list[Ngram] = [()]
    for length, level in enumerate(levels, start=1):
        if length > 1:
            size = len(corpus.words)
            ngrams = [(*shorter[key // size], corpus.words[key % size]) for key in level.keys]
            assert {n: c for n, c in slow.seen.items() if len(n) == length} == dict(
                zip(ngrams, level.counts, strict=True)
            )
            assert [ngram[1:] for ngram in ngrams] == [shorter[place] for place in level.suffix]
        assert [ngram[0] == "<s>" for ngram in ngrams] == level.begins.tolist()
        shorter = ngrams


def test_discounts_from_counts_of_counts() -> None:
    counts = np.array([1] * 10 + [2] * 5 + [3] * 3 + [4] * 2 + [9] * 4 + [0] * 7)
    values, fallback = discounts(counts)
    assert values == pytest.approx((0.5, 2 - 3 * 0.5 * 3 / 5, 3 - 4 * 0.5 * 2 / 3))
    assert not fallback
    for odd in ([1, 1, 3], [2, 2, 3], [1, 2], [], [1, 2, *[3] * 9]):
        assert discounts(np.array(odd, int)) == Discounts(FALLBACK, True)


def test_the_order_of_sentences_does_not_matter() -> None:
    sentences = sentences_of("abcdefgh", 100, seed=5)
    first, second = train(sentences, 3), train(sentences[::-1], 3)
    assert first.words == second.words
    for ours, theirs in zip(first.automaton, second.automaton, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_short_sentences_and_high_orders() -> None:
    model = train([["a"], ["b"]], 6)
    assert model.ngrams == [5, 4, 2, 0, 0, 0]
    total = sum(math.exp(model.score(list(words))) for n in range(7) for words in itertools.product("ab", repeat=n))
    assert 0.7 < total < 1


@pytest.mark.parametrize(
    ("prune", "message"),
    [
        ((0, 0, 0, 1), "4 thresholds for a model of order 3"),
        ((1,), "the first must be 0; to leave out rare words limit the vocabulary"),
        ((0, 2, 1), "thresholds must not fall"),
    ],
)
def test_impossible_pruning(prune: tuple[int, ...], message: str) -> None:
    with pytest.raises(LanguageModelError, match=message):
        train([["a"]], 3, prune)
    assert check_pruning((0, 1), 4) == [0, 1, 1, 1]
