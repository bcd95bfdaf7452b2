"""The small form of n-gram models: the same n-grams, their numbers rounded."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from asr.errors import LanguageModelError, OutputError
from asr.lm.compact import MAGIC, VALUES, levels, rounded
from asr.lm.ngram import NgramModel
from asr.lm.perplexity import perplexity
from asr.lm.training import train_ngram

if TYPE_CHECKING:
    from tests.conftest import DiskFull, Ran


def trained(tmp_path: Path, order: int = 3, prune: Sequence[int] = (0,), units: str = "words") -> NgramModel:
    rng = random.Random(4)
    words = [f"w{n}" for n in range(60)]
    lines = [" ".join(rng.choice(words[: rng.randint(2, 60)]) for _ in range(rng.randint(1, 12))) for _ in range(400)]
    (tmp_path / "text.txt").write_text("\n".join(lines) + "\n")
    return train_ngram([tmp_path / "text.txt"], order, units, prune).model


def sentences(count: int = 50) -> list[list[str]]:
    rng = random.Random(5)
    return [[f"w{rng.randrange(66)}" for _ in range(rng.randint(0, 9))] for _ in range(count)]  # some are unknown


@pytest.mark.parametrize(
    ("order", "prune", "units"),
    [(1, (0,), "words"), (2, (0,), "words"), (3, (0, 0, 1), "words"), (5, (0,), "characters")],
)
def test_levels_make_the_very_model_again(order: int, prune: Sequence[int], units: str, tmp_path: Path) -> None:
    model = trained(tmp_path, order, prune, units)
    again = NgramModel.from_levels(model.words, levels(model), model.units)
    assert again.ngrams == model.ngrams
    for name, array, other in zip(model.automaton._fields, model.automaton, again.automaton, strict=True):
        np.testing.assert_array_equal(array, other, name)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_what_is_read_scores_as_what_was_written(order: int, tmp_path: Path) -> None:
    model = trained(tmp_path, order)
    model.save(tmp_path / "small.lmz")
    model.save(tmp_path / "large.lm")
    small = NgramModel.load(tmp_path / "small.lmz")
    assert (small.words, small.units, small.ngrams) == (model.words, model.units, model.ngrams)
    np.testing.assert_array_equal(small.automaton.arc_label, model.automaton.arc_label)
    np.testing.assert_array_equal(small.automaton.arc_next, model.automaton.arc_next)
    np.testing.assert_array_equal(small.automaton.back_off_state, model.automaton.back_off_state)
    for sentence in sentences():
        assert small.score(sentence) == pytest.approx(model.score(sentence), abs=0.15 * (1 + len(sentence)))
    assert perplexity(small, sentences()).perplexity == pytest.approx(
        perplexity(model, sentences()).perplexity, rel=0.01
    )
    sizes = [(tmp_path / name).stat().st_size for name in ("small.lmz", "large.lm")]
    assert sizes[0] < sizes[1] / (2 if order > 1 else 1)


def test_single_words_are_not_rounded(tmp_path: Path) -> None:
    model = trained(tmp_path, 2)
    model.save(tmp_path / "small.lmz")
    count = len(model.words)
    small = NgramModel.load(tmp_path / "small.lmz")
    np.testing.assert_array_equal(small.automaton.arc_weight[:count], model.automaton.arc_weight[:count])


def test_rounding_takes_means_of_equal_parts_and_leaves_zero() -> None:
    numbers = np.random.default_rng(0).normal(size=100_000)
    numbers[::7] = 0
    codes, values = rounded(numbers)
    assert set(codes[::7]) == {0}
    assert values[0] == 0
    near = values[codes]
    np.testing.assert_allclose(near.mean(), numbers.mean(), atol=1e-6)
    assert np.abs(near - numbers).mean() < 0.01
    shares = np.bincount(codes)[1:]
    assert len(shares) == VALUES
    assert shares.max() < 1.1 * shares.min()
    few = np.array([-3.0, 0.0, -1.0, -3.0, 2.5])
    codes, values = rounded(few)
    np.testing.assert_array_equal(values[codes], few)
    assert rounded(np.zeros(3)).codes.tolist() == [0, 0, 0]
    assert rounded(np.zeros(0)).codes.tolist() == []


def test_a_model_of_arpa_can_be_made_small(tmp_path: Path) -> None:
    trained(tmp_path).save(tmp_path / "model.arpa")
    model = NgramModel.load(tmp_path / "model.arpa")
    model.save(tmp_path / "model.lmz")
    assert NgramModel.load(tmp_path / "model.lmz").ngrams == model.ngrams


def test_damage_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.lmz"
    trained(tmp_path).save(path)
    whole = path.read_bytes()
    line = whole[len(MAGIC) :].split(b"\n")[0]
    header = json.loads(line)
    body = whole[len(MAGIC) + len(line) + 1 :]
    newer = MAGIC + json.dumps(header | {"version": 2}).encode() + b"\n" + body
    fewer = MAGIC + json.dumps(header | {"ngrams": [*header["ngrams"][:-1], 5]}).encode() + b"\n" + body
    cases = {
        whole[:-20]: "cut or damaged",
        whole[: len(whole) // 2]: "cut or damaged",
        whole[:-200] + bytes(200): "cut or damaged",
        MAGIC + b"{}\n": "cut or damaged",
        MAGIC: "cut or damaged",
        fewer: "cut or damaged",
        newer: "update asr",
        b"\\data\\\n": "no compact n-gram model",
        b"": "no compact n-gram model",
    }
    for damaged, message in cases.items():
        path.write_bytes(damaged)
        with pytest.raises(LanguageModelError, match=rf"model\.lmz: .*{message}"):
            NgramModel.load(path)
    with pytest.raises(LanguageModelError, match="cannot be read"):
        NgramModel.load(tmp_path / "none.lmz")


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, disk_full_after: DiskFull) -> None:
    model = trained(tmp_path)
    (tmp_path / "model.lmz").write_text("before")
    with disk_full_after(500), pytest.raises(OutputError, match="cannot be written"):
        model.save(tmp_path / "model.lmz")
    assert (tmp_path / "model.lmz").read_text() == "before"


def test_the_commands_take_it(tmp_path: Path, asr_command: Callable[..., Ran]) -> None:
    trained(tmp_path)
    ran = asr_command("lm", "train", tmp_path / "text.txt", "--output", tmp_path / "model.lmz")
    assert ran.status == 0, ran.err
    told = asr_command("lm", "perplexity", tmp_path / "model.lmz", tmp_path / "text.txt")
    assert told.status == 0, told.err
