from __future__ import annotations

import time
from itertools import product

import numpy as np
import pytest
import torch
from torchaudio.functional import forced_align

from asr.decoding.alignment import align
from asr.errors import AlignmentError
from asr.text import ctc_frames


def log_probs(frames: int, tokens: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(0, 2, (frames, tokens))
    return (rows - np.log(np.exp(rows).sum(1, keepdims=True))).astype(np.float32)


def collapse(path: tuple[int, ...]) -> list[int]:
    return [token for index, token in enumerate(path) if token and (not index or path[index - 1] != token)]


def test_the_best_of_all_paths_is_found() -> None:
    rng = np.random.default_rng(1)
    for case in range(40):
        frames, size = int(rng.integers(1, 7)), int(rng.integers(2, 5))
        values = log_probs(frames, size, case)
        for tokens in ([1], [1, 1], [1, size - 1, 1], []):
            paths = [path for path in product(range(size), repeat=frames) if collapse(path) == tokens]
            if not paths:
                continue
            scores = [sum(float(values[t, token]) for t, token in enumerate(path)) for path in paths]
            found = align(values, tokens)
            assert found.score == pytest.approx(max(scores), abs=1e-5)
            assert tuple(found.path()) == paths[int(np.argmax(scores))]


@pytest.mark.parametrize("block", [1024, 1, 2, 7])
def test_same_path_and_score_as_torchaudio(block: int) -> None:
    rng = np.random.default_rng(block)
    compared = 0
    while compared < 150:
        frames, size = int(rng.integers(1, 60)), int(rng.integers(2, 8))
        tokens = rng.integers(1, size, rng.integers(1, frames + 1)).tolist()
        if ctc_frames(tokens) > frames:
            continue
        values = torch.from_numpy(log_probs(frames, size, compared))[None]
        path, scores = forced_align(values, torch.tensor([tokens], dtype=torch.int32), blank=0)
        found = align(values[0].numpy(), tokens, block)
        assert found.score == pytest.approx(float(scores.double().sum()), abs=1e-4)
        assert found.path().tolist() == path[0].tolist()
        assert found.tokens.tolist() == tokens
        compared += 1


def test_spans_are_in_order_and_as_long_as_the_path_says() -> None:
    values = np.log(np.full((6, 3), 0.05, np.float32))
    for frame, token in enumerate([0, 1, 1, 0, 1, 2]):
        values[frame, token] = np.log(0.9)
    found = align(values, [1, 1, 2])
    assert found.starts.tolist() == [1, 4, 5]
    assert found.ends.tolist() == [3, 5, 6]
    assert found.score == pytest.approx(6 * np.log(0.9), abs=1e-5)


def test_ten_minutes_are_aligned_hundreds_of_times_faster_than_they_last() -> None:
    values, tokens = log_probs(15_000, 29), np.random.default_rng(0).integers(1, 29, 8000).tolist()
    align(values[:100], tokens[:10])  # compiles
    started = time.process_time()
    found = align(values, tokens)
    assert time.process_time() - started < 600 / 100
    assert (found.starts < found.ends).all()
    assert (found.starts[1:] >= found.ends[:-1]).all()
    reference, scores = forced_align(torch.from_numpy(values)[None], torch.tensor([tokens], dtype=torch.int32))
    assert found.score == pytest.approx(float(scores.double().sum()), rel=1e-5)
    assert (found.path() == reference[0].numpy()).mean() > 0.999  # torchaudio adds up in float32


def test_other_float_types_and_layouts_are_taken() -> None:
    values = log_probs(20, 4)
    expected = align(values, [1, 2, 3]).path().tolist()
    assert align(values.astype(np.float64), [1, 2, 3]).path().tolist() == expected
    assert align(np.asfortranarray(values), [1, 2, 3]).path().tolist() == expected


def test_no_tokens_and_no_frames() -> None:
    values = log_probs(5, 3)
    assert align(values, []).score == pytest.approx(float(values[:, 0].sum()), abs=1e-5)
    assert align(values, []).path().tolist() == [0] * 5
    nothing = align(values[:0], [])
    assert (nothing.score, nothing.frames, len(nothing.tokens)) == (0.0, 0, 0)
    with pytest.raises(AlignmentError, match=r"1 tokens with 0 repeats need at least 1 frames.*has 0"):
        align(values[:0], [1])


def test_text_longer_than_the_audio_counts_repeats() -> None:
    assert align(log_probs(4, 3), [1, 1, 2]).starts.tolist()[0] == 0
    with pytest.raises(AlignmentError, match="3 tokens with 1 repeats need at least 4 frames, and the audio has 3"):
        align(log_probs(3, 3), [1, 1, 2])


def test_broken_log_probs_are_named() -> None:
    broken = log_probs(5, 3)
    broken[3, 2] = np.nan
    with pytest.raises(AlignmentError, match="NaN"):
        align(broken, [1])
    with pytest.raises(AlignmentError, match=r"reach 0\.9"):
        align(np.full((5, 3), 0.9, np.float32), [1])
    with pytest.raises(AlignmentError, match="inf"):
        align(np.full((5, 3), np.inf, np.float32), [1])
    with pytest.raises(AlignmentError, match=r"\[frames, tokens\]"):
        align(np.zeros((1, 5, 3), np.float32), [1])


def test_tokens_outside_the_table_are_named() -> None:
    for token in (3, 0, -1):
        with pytest.raises(AlignmentError, match=f"token {token} cannot be aligned"):
            align(log_probs(5, 3), [1, token])


def test_minus_infinity_is_avoided_and_an_impossible_text_is_an_error() -> None:
    with np.errstate(divide="ignore"):
        values = np.log(np.array([[0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0, 1]], np.float32))
    assert align(values, [1, 2]).path().tolist() == [1, 2, 2]
    with pytest.raises(AlignmentError, match="probability 0"):
        align(values, [2, 1])
