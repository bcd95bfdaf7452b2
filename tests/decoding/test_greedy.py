from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr.decoding.greedy import greedy
from asr.decoding.hypothesis import Word
from asr.text import Tokenizer

TOKENIZER = Tokenizer.from_characters("abc")  # blank 0, space 1, a 2, b 3, c 4


def spelt(path: list[int], tokens: int = 5) -> Tensor:
    """Log-probs `[frames, tokens]` whose best path is `path`."""
    logits = torch.zeros(len(path), tokens)
    logits[range(len(path)), path] = 5.0
    return logits.log_softmax(-1)


def reference(path: list[int]) -> tuple[list[int], list[int]]:
    """Tokens and their first frames of a best path: merge runs, drop blanks."""
    runs = [(token, next(run)[0]) for token, run in itertools.groupby(enumerate(path), key=lambda item: item[1])]
    kept = [(token, frame) for token, frame in runs if token != 0]
    return [token for token, _ in kept], [frame for _, frame in kept]


@settings(deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(0, 40), min_size=1, max_size=6))
def test_random_log_probs_decode_as_the_definition_says(seed: int, lengths: list[int]) -> None:
    generator = torch.Generator().manual_seed(seed)
    log_probs = torch.randn(len(lengths), 40, 5, generator=generator).log_softmax(-1)
    hypotheses = greedy(log_probs, torch.tensor(lengths), TOKENIZER)
    assert len(hypotheses) == len(lengths)
    for hypothesis, row, length in zip(hypotheses, log_probs, lengths, strict=True):
        best = [max(range(5), key=lambda token: frame[token]) for frame in row[:length].tolist()]
        assert (hypothesis.tokens, hypothesis.frames) == reference(best)
        assert hypothesis.text == TOKENIZER.decode(hypothesis.tokens)
        expected = sum(max(frame) for frame in row[:length].double().tolist())
        assert hypothesis.score == pytest.approx(expected, abs=1e-4)


def test_repeats_merge_and_a_blank_between_keeps_them_apart() -> None:
    path = [0, 2, 2, 0, 2, 3, 3, 1, 1, 4, 0, 0]
    (hypothesis,) = greedy(spelt(path)[None], torch.tensor([len(path)]), TOKENIZER)
    assert hypothesis.tokens == [2, 2, 3, 1, 4]
    assert hypothesis.frames == [1, 4, 5, 7, 9]
    assert hypothesis.text == "aab c"
    assert hypothesis.words == [Word("aab"), Word("c")]


def test_token_in_the_first_frame_is_emitted() -> None:
    (hypothesis,) = greedy(spelt([4, 4, 2])[None], torch.tensor([3]), TOKENIZER)
    assert (hypothesis.text, hypothesis.frames) == ("ca", [0, 2])


def test_outer_and_doubled_spaces_are_not_in_the_text() -> None:
    path = [1, 2, 1, 0, 1, 3, 1]
    (hypothesis,) = greedy(spelt(path)[None], torch.tensor([len(path)]), TOKENIZER)
    assert hypothesis.text == "a b"
    assert [word.text for word in hypothesis.words] == ["a", "b"]


@pytest.mark.parametrize("garbage", [1e30, -1e30])
def test_padding_is_not_looked_at(garbage: float) -> None:
    log_probs = torch.randn(3, 20, 5).log_softmax(-1)
    lengths = torch.tensor([20, 7, 0])
    expected = greedy(log_probs, lengths, TOKENIZER)
    for row, length in zip(log_probs, lengths, strict=True):
        row[length:] = garbage
    assert greedy(log_probs, lengths, TOKENIZER) == expected


@pytest.mark.parametrize("garbage", [float("nan"), float("-inf")])
def test_padding_that_is_not_finite_does_not_reach_the_score(garbage: float) -> None:
    log_probs = torch.randn(1, 20, 5).log_softmax(-1)
    (expected,) = greedy(log_probs[:, :7], torch.tensor([7]), TOKENIZER)
    log_probs[:, 7:] = garbage
    (hypothesis,) = greedy(log_probs, torch.tensor([7]), TOKENIZER)
    assert hypothesis.score == pytest.approx(expected.score)


def test_alone_and_in_a_batch_are_the_same() -> None:
    log_probs, lengths = torch.randn(4, 30, 5).log_softmax(-1), [30, 1, 12, 29]
    together = greedy(log_probs, torch.tensor(lengths), TOKENIZER)
    for hypothesis, row, length in zip(together, log_probs, lengths, strict=True):
        (alone,) = greedy(row[None, :length], torch.tensor([length]), TOKENIZER)
        assert (alone.tokens, alone.frames, alone.words) == (hypothesis.tokens, hypothesis.frames, hypothesis.words)
        assert alone.score == pytest.approx(hypothesis.score, abs=1e-4)


@pytest.mark.parametrize("frames", [0, 5])
def test_no_frames_give_no_text(frames: int) -> None:
    hypotheses = greedy(torch.randn(2, frames, 5).log_softmax(-1), torch.tensor([0, 0]), TOKENIZER)
    for hypothesis in hypotheses:
        assert (hypothesis.tokens, hypothesis.text, hypothesis.frames, hypothesis.words) == ([], "", [], [])
        assert hypothesis.score == 0


def test_only_blanks_give_no_text_and_a_score() -> None:
    log_probs = spelt([0, 0, 0])
    (hypothesis,) = greedy(log_probs[None], torch.tensor([3]), TOKENIZER)
    assert (hypothesis.tokens, hypothesis.text) == ([], "")
    assert hypothesis.score == pytest.approx(log_probs[:, 0].sum().item())


def test_empty_batch() -> None:
    assert greedy(torch.zeros(0, 4, 5), torch.zeros(0, dtype=torch.long), TOKENIZER) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_gpu_gives_the_hypotheses_of_the_cpu() -> None:
    log_probs, lengths = torch.randn(8, 200, 5).log_softmax(-1), torch.tensor([200, 0, 1, 33, 199, 120, 64, 7])
    for one, other in zip(
        greedy(log_probs.cuda(), lengths.cuda(), TOKENIZER), greedy(log_probs, lengths, TOKENIZER), strict=True
    ):
        assert (one.tokens, one.text, one.frames, one.words) == (other.tokens, other.text, other.frames, other.words)
        assert one.score == pytest.approx(other.score, rel=1e-5)
