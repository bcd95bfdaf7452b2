from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from asr.decoding.alignment import align
from asr.decoding.confidence import (
    FEATURES,
    Calibration,
    confidences,
    nbest_posteriors,
    with_times_and_confidence,
    word_features,
)
from asr.decoding.greedy import greedy
from asr.decoding.hypothesis import Hypothesis, Word
from asr.errors import AlignmentError, CheckpointError, OutputError
from asr.text import Tokenizer

TOKENIZER = Tokenizer.from_characters("abc")
CALIBRATION = Calibration(FEATURES, (-0.4, -0.3, -0.1), -0.5, 500)


def frames_of(*rows: dict[int, float]) -> np.ndarray:
    """Log-probs with the named probabilities, the rest on the blank."""
    values = np.zeros((len(rows), len(TOKENIZER)))
    for row, named in zip(values, rows, strict=True):
        for token, probability in named.items():
            row[token] = probability
        row[0] += 1 - row.sum()
    return np.log(values.clip(1e-12)).astype(np.float32)


VALUES = frames_of({}, {2: 0.9}, {3: 0.6, 4: 0.3}, {}, {1: 0.95}, {}, {}, {}, {4: 0.99}, {}, {}, {})


def hypothesis(values: np.ndarray = VALUES) -> Hypothesis:
    (found,) = greedy(torch.from_numpy(values)[None], torch.tensor([len(values)]), TOKENIZER)
    return found


def said(text: str, score: float) -> Hypothesis:
    return Hypothesis([], text, score, [], [Word(word) for word in text.split()])


def test_features_are_logs_of_doubts() -> None:
    alignment = align(VALUES, TOKENIZER.encode("ab c"))
    rows = np.exp(word_features(VALUES, alignment, [[0, 1], [3]])) - 1e-3
    assert rows[0, 0] == pytest.approx(-np.log(0.6), abs=1e-5)
    assert rows[0, 1] == pytest.approx(-(np.log(0.9) + np.log(0.6)) / 2, abs=1e-5)
    entropies = [-sum(p * np.log(p) for p in ps) for ps in ((0.9, 0.1), (0.6, 0.3, 0.1), (0.95, 0.05))]
    assert rows[0, 2] == pytest.approx(sum(entropies) / 5, abs=1e-4)  # frames 0 to 4
    assert rows[1, :2] == pytest.approx(-np.log(0.99), abs=1e-5)


def test_the_less_sure_word_has_the_lower_confidence() -> None:
    for calibration in (None, CALIBRATION):
        found = with_times_and_confidence(hypothesis(), VALUES, TOKENIZER, 0.04, calibration=calibration)
        first, second = (word.confidence for word in found.words)
        assert first is not None
        assert second is not None
        assert 0 < first < second < 1
    assert with_times_and_confidence(hypothesis(), VALUES, TOKENIZER, 0.04).words[0].confidence == pytest.approx(
        np.sqrt(0.9 * 0.6), abs=1e-4
    )


def test_calibration_is_the_logistic_function() -> None:
    features = np.array([[0.0, 0.0, 0.0], [-1.0, -2.0, -3.0]])
    assert confidences(features, CALIBRATION) == pytest.approx([1 / (1 + np.exp(0.5)), 1 / (1 + np.exp(-0.8))])


def test_times_are_filled_in_and_nothing_else_changes() -> None:
    before = hypothesis()
    waveform = np.zeros(round(12 * 0.04 * 8000), np.float32)
    waveform[320:960] = waveform[2400:3040] = 0.3 * np.sin(np.arange(640))
    found = with_times_and_confidence(
        before, torch.from_numpy(VALUES), TOKENIZER, 0.04, waveform=waveform, sample_rate=8000
    )
    assert replace(found, words=before.words) == before
    assert [word.text for word in found.words] == ["ab", "c"]
    for word, (start, end) in zip(found.words, [(0.04, 0.12), (0.3, 0.38)], strict=True):
        assert word.start == pytest.approx(start, abs=0.05)
        assert word.end == pytest.approx(end, abs=0.05)


def test_a_hypothesis_without_words_is_left_as_it_is() -> None:
    silent = frames_of({}, {})
    assert with_times_and_confidence(hypothesis(silent), silent, TOKENIZER, 0.04, calibration=CALIBRATION).words == []
    nothing = np.zeros((0, len(TOKENIZER)), np.float32)
    empty = Hypothesis([], "", 0.0)
    assert with_times_and_confidence(empty, nothing, TOKENIZER, 0.04) == empty


def test_impossible_probabilities_of_zero_are_no_nan() -> None:
    with np.errstate(divide="ignore"):
        values = np.log(np.eye(len(TOKENIZER), dtype=np.float32)[[0, 2, 0]])
    found = with_times_and_confidence(hypothesis(values), values, TOKENIZER, 0.04)
    assert found.words[0].confidence == pytest.approx(1.0, abs=1e-3)


def test_broken_log_probs_and_words_that_tokens_do_not_spell_are_errors() -> None:
    broken = VALUES.copy()
    broken[3] = np.nan
    with pytest.raises(AlignmentError, match="NaN"):
        with_times_and_confidence(hypothesis(), broken, TOKENIZER, 0.04)
    with pytest.raises(AlignmentError, match="need at least 4 frames"):
        with_times_and_confidence(hypothesis(), VALUES[:2], TOKENIZER, 0.04)
    other = replace(hypothesis(), words=[Word("word")])
    with pytest.raises(AlignmentError, match="1 words, and the tokens spell 2"):
        with_times_and_confidence(other, VALUES, TOKENIZER, 0.04)


def test_nbest_posteriors_are_shares_of_probability() -> None:
    lists = [said("a b c", np.log(0.5)), said("a c", np.log(0.3)), said("b b c", np.log(0.2))]
    assert nbest_posteriors(lists) == pytest.approx([0.8, 0.7, 1.0])
    assert nbest_posteriors([said("a", -1000.0), said("b", -1000.0)]) == pytest.approx([0.5])
    assert nbest_posteriors([said("", -1.0)]) == []


def test_alternatives_count_where_the_calibration_knows_them() -> None:
    with_nbest = Calibration((*FEATURES, "nbest"), (0.0, 0.0, 0.0, -1.0), 0.0, 500)
    best = hypothesis()
    other = replace(best, words=[Word("ab"), Word("a")])
    found = with_times_and_confidence(best, VALUES, TOKENIZER, 0.04, calibration=with_nbest, alternatives=[best, other])
    assert found.words[0].confidence == pytest.approx(1 / (1 + 1e-3), abs=1e-4)
    assert found.words[1].confidence == pytest.approx(1 / (1 + 0.501), abs=1e-3)
    with pytest.raises(CheckpointError, match="fit it again"):
        with_times_and_confidence(best, VALUES, TOKENIZER, 0.04, calibration=with_nbest)


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    assert Calibration.load(tmp_path) is None
    CALIBRATION.save(tmp_path)
    assert Calibration.load(tmp_path) == CALIBRATION
    assert [path.name for path in tmp_path.iterdir()] == ["confidence.json"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"features": ["least"]',
        json.dumps({"features": ["least"], "weights": [1.0], "bias": 0.0, "words": 9}),
        json.dumps({"features": FEATURES, "weights": [1.0], "bias": 0.0, "words": 9}),
        json.dumps({"features": FEATURES, "weights": [1.0, 2.0, float("nan")], "bias": 0.0, "words": 9}),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "confidence.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"confidence\.json: not a calibration.*delete it, or fit it again"):
        Calibration.load(tmp_path)


def test_a_full_disk_leaves_the_old_calibration(
    tmp_path: Path, disk_full_after: Callable[[int], AbstractContextManager[None]]
) -> None:
    CALIBRATION.save(tmp_path)
    with disk_full_after(20), pytest.raises(OutputError, match=r"confidence\.json"):
        replace(CALIBRATION, words=7).save(tmp_path)
    assert Calibration.load(tmp_path) == CALIBRATION
    assert len(list(tmp_path.iterdir())) == 1
