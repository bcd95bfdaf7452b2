"""Mixtures of n-gram models against the mean of what the models say, word by word."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from asr.errors import LanguageModelError
from asr.lm.compact import levels
from asr.lm.mixing import fitted_weights, mix
from asr.lm.ngram import NgramModel
from asr.lm.training import train_ngram

if TYPE_CHECKING:
    from tests.conftest import Ran


def lines(vocabulary: Sequence[str], count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(vocabulary, k=rng.randint(1, 8))) for _ in range(count)]


FIRST = [f"w{number}" for number in range(8)]
SECOND = [f"w{number}" for number in range(4, 14)]


def trained(
    folder: Path, vocabulary: Sequence[str], seed: int, order: int = 3, prune: Sequence[int] = (0,)
) -> NgramModel:
    path = folder / f"text-{seed}"
    path.write_text("".join(f"{line}\n" for line in lines(vocabulary, 60, seed)))
    return train_ngram([path], order, prune=prune).model


def spoken(model: NgramModel, history: Sequence[str], word: str) -> float:
    """P(word | history), where the history begins with `<s>`."""
    if word not in model.labels:
        return 0.0
    return math.exp(model.scores([*history[1:], word], bos=True, eos=False)[-1])


@pytest.mark.parametrize(
    ("orders", "prune"), [((1, 1), (0,)), ((2, 2), (0, 1)), ((3, 3), (0,)), ((3, 2), (0, 1)), ((2, 4), (0,))]
)
def test_every_ngram_has_the_weighted_mean(orders: tuple[int, int], prune: Sequence[int], tmp_path: Path) -> None:
    models = [trained(tmp_path, FIRST, 1, orders[0], prune), trained(tmp_path, SECOND, 2, orders[1], prune)]
    mixed = mix(models, [3, 1])
    assert mixed.order == max(orders)
    assert mixed.words == list(dict.fromkeys([*models[0].words, *models[1].words]))
    found: list[list[tuple[str, ...]]] = [[()]]
    for level in levels(mixed):
        history, label = np.divmod(level.keys, len(mixed.words))
        found.append([(*found[-1][place], mixed.words[word]) for place, word in zip(history, label, strict=True)])
    theirs: set[tuple[str, ...]] = set()
    for model in models:
        own: list[list[tuple[str, ...]]] = [[()]]
        for level in levels(model):
            history, label = np.divmod(level.keys, len(model.words))
            own.append([(*own[-1][place], model.words[word]) for place, word in zip(history, label, strict=True)])
            theirs.update(own[-1])
    grams = [gram for level_grams in found[1:] for gram in level_grams]
    assert set(grams) == theirs
    for *before, word in grams:
        if before[:1] == ["<s>"]:  # `spoken` begins with a sentence
            mean = 0.75 * spoken(models[0], before, word) + 0.25 * spoken(models[1], before, word)
            assert spoken(mixed, before, word) == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize("prune", [(0,), (0, 1)])
def test_probabilities_add_up_to_one_behind_any_history(prune: Sequence[int], tmp_path: Path) -> None:
    mixed = mix([trained(tmp_path, FIRST, 1, 3, prune), trained(tmp_path, SECOND, 2, 3, prune)], [0.4, 0.6])
    rng = random.Random(0)
    for _ in range(40):
        history = rng.choices([*FIRST, *SECOND, "unheard"], k=rng.randint(0, 3))
        total = math.exp(mixed.scores(history)[-1])  # the end of the sentence
        total += sum(spoken(mixed, ["<s>", *history], word) for word in mixed.words if word not in ("<s>", "</s>"))
        assert total == pytest.approx(1, abs=1e-4)


def test_a_model_mixed_with_itself_is_itself(tmp_path: Path) -> None:
    model = trained(tmp_path, FIRST, 1)
    mixed = mix([model, model], [0.2, 0.8])
    assert mixed.ngrams == model.ngrams
    for line in lines([*FIRST, "unheard"], 30, 9):
        np.testing.assert_allclose(mixed.scores(line), model.scores(line), rtol=1e-4, atol=1e-5)


def test_fitted_weights_are_the_best_ones_there_are(tmp_path: Path) -> None:
    models = [trained(tmp_path, FIRST, 1), trained(tmp_path, SECOND, 2)]
    dev = [line.split() for line in [*lines(FIRST, 30, 5), *lines(SECOND, 10, 6), "unheard w4"]]

    def log_likelihood(first: float) -> float:
        total = 0.0
        for sentence in dev:
            for place, word in enumerate([*sentence, "</s>"]):
                each = []
                for model in models:
                    known = word in model.labels or not any(word in other.labels for other in models)
                    score = model.scores(sentence)[place]
                    each.append(math.exp(score) if known else 0.0)
                total += math.log(first * each[0] + (1 - first) * each[1])
        return total

    weights = fitted_weights(models, dev)
    assert sum(weights) == pytest.approx(1)
    best = log_likelihood(weights[0])
    assert all(log_likelihood(weights[0] + step) < best for step in (-0.02, 0.02))


def test_models_that_do_not_mix_and_weights_that_are_none_are_refused(tmp_path: Path) -> None:
    model = trained(tmp_path, FIRST, 1)
    letters = train_ngram([tmp_path / "text-1"], 2, "characters").model
    with pytest.raises(LanguageModelError, match="models of words, characters"):
        mix([model, letters], [1, 1])
    with pytest.raises(LanguageModelError, match="two or more"):
        fitted_weights([model], [["w1"]])
    for weights in ([1.0], [1.0, 0.0], [1.0, math.nan]):
        with pytest.raises(LanguageModelError, match="2 numbers above 0"):
            mix([model, model], weights)
    with pytest.raises(LanguageModelError, match="no sentence"):
        fitted_weights([model, model], [])


def test_mix_fits_to_a_text_and_says_what_it_brings(asr_command: Callable[..., Ran], tmp_path: Path) -> None:
    paths = [tmp_path / "first.lm", tmp_path / "second.arpa"]
    for path, vocabulary, seed in zip(paths, (FIRST, SECOND), (1, 2), strict=True):
        trained(tmp_path, vocabulary, seed).save(path)
    dev = tmp_path / "dev"
    dev.write_text("".join(f"{line}\n" for line in [*lines(FIRST, 30, 5), *lines(SECOND, 10, 6)]))
    ran = asr_command("lm", "mix", *paths, "--dev", dev, "--output", tmp_path / "mixed.lmz", "--json")
    assert ran.status == 0, ran.err
    printed = json.loads(ran.out)
    assert printed["weights"][0] > printed["weights"][1] > 0
    perplexities = printed["perplexities"]
    assert perplexities[str(tmp_path / "mixed.lmz")] < min(perplexities[str(path)] for path in paths)
    assert NgramModel.load(tmp_path / "mixed.lmz").ngrams == printed["ngrams"]

    ran = asr_command("lm", "mix", *paths, "--weights", "3, 1", "--output", tmp_path / "given.lm")
    assert ran.status == 0, ran.err
    assert f"{paths[0]}  weight 0.750\n" in ran.out
    for options in ((), ("--dev", dev, "--weights", "1 1"), ("--weights", "a b"), ("--weights", "0 0")):
        ran = asr_command("lm", "mix", *paths, *options, "--output", tmp_path / "none.lm")
        assert ran.status in (1, 2), options
        assert "error" in ran.err
    assert not (tmp_path / "none.lm").exists()
