from __future__ import annotations

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decoding.beam import BeamOptions, BeamSearch
from asr.decoding.hypothesis import Hypothesis
from asr.errors import ConfigError, DecodingError
from asr.text import Tokenizer

ALL = BeamOptions(beam=5000, token_min_log_prob=-math.inf, prune=math.inf, nbest=5000)
"""Nothing is pruned."""


def tokenizer(tokens: int) -> Tokenizer:
    """A blank and letters: no space, so that different tokens are different texts."""
    return Tokenizer(["<blank>", *"abcdefghijklmnopqrstuvwxyz"[: tokens - 1]])


def collapsed(path: tuple[int, ...]) -> tuple[int, ...]:
    """A path without repeats and blanks."""
    return tuple(token for token, _ in itertools.groupby(path) if token)


def enumerated(log_probs: np.ndarray) -> dict[tuple[int, ...], float]:
    """Log-probability of every token sequence, by adding up every path."""
    frames, tokens = log_probs.shape
    sums: dict[tuple[int, ...], float] = defaultdict(float)
    for path in itertools.product(range(tokens), repeat=frames):
        sums[collapsed(path)] += math.exp(sum(float(log_probs[frame, token]) for frame, token in enumerate(path)))
    return {sequence: math.log(total) for sequence, total in sums.items() if total > 0}


def random_log_probs(seed: int, frames: int, tokens: int, sharpness: float = 1.0, zeros: float = 0.0) -> np.ndarray:
    """Softmax of normal numbers, float32, some tokens impossible."""
    generator = np.random.default_rng(seed)
    logits = sharpness * generator.standard_normal((frames, tokens))
    impossible = generator.random((frames, tokens)) < zeros
    impossible[np.arange(frames), generator.integers(0, tokens, frames)] = False
    logits[impossible] = -np.inf
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def decode(log_probs: np.ndarray, options: BeamOptions = ALL, threads: int = 1) -> list[Hypothesis]:
    """The hypotheses of one utterance."""
    search = BeamSearch(tokenizer(log_probs.shape[1]), options, threads=threads)
    return search.decode(log_probs[None], np.array([len(log_probs)]))[0]


def same(hypotheses: list[Hypothesis], expected: dict[tuple[int, ...], float]) -> None:
    """The same sequences with the same scores, best first."""
    found = {tuple(hypothesis.tokens): hypothesis.score for hypothesis in hypotheses}
    assert found.keys() == expected.keys()
    for sequence, score in found.items():
        assert score == pytest.approx(expected[sequence], abs=1e-5)
    scores = [hypothesis.score for hypothesis in hypotheses]
    assert scores == sorted(scores, reverse=True)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    frames=st.integers(0, 7),
    tokens=st.integers(2, 4),
    sharpness=st.sampled_from([0.0, 1.0, 4.0, 30.0]),
    zeros=st.sampled_from([0.0, 0.4]),
)
def test_every_sequence_has_the_sum_of_all_its_alignments(
    seed: int, frames: int, tokens: int, sharpness: float, zeros: float
) -> None:
    log_probs = random_log_probs(seed, frames, tokens, sharpness, zeros)
    same(decode(log_probs), enumerated(log_probs))


def test_repeated_tokens_need_a_blank_between_them() -> None:
    log_probs = np.log(np.array([[0.2, 0.8], [0.6, 0.4], [0.3, 0.7]], np.float32))
    found = {hypothesis.text: math.exp(hypothesis.score) for hypothesis in decode(log_probs)}
    assert found.keys() == {"", "a", "aa"}
    assert found["aa"] == pytest.approx(0.8 * 0.6 * 0.7)
    assert found[""] == pytest.approx(0.2 * 0.6 * 0.3)


@settings(deadline=None, max_examples=100)
@given(seed=st.integers(0, 10**6), frames=st.integers(0, 40), tokens=st.integers(2, 70), beam=st.integers(1, 20))
def test_hypotheses_of_a_narrow_beam_are_well_formed(seed: int, frames: int, tokens: int, beam: int) -> None:
    log_probs = random_log_probs(seed, frames, min(tokens, 27), 2.0, 0.2)
    hypotheses = decode(log_probs, BeamOptions(beam=beam, nbest=beam))
    assert 1 <= len(hypotheses) <= beam
    assert len({hypothesis.text for hypothesis in hypotheses}) == len(hypotheses)
    for hypothesis in hypotheses:
        assert hypothesis.score <= 1e-6
        assert hypothesis.acoustic_score == hypothesis.score
        assert len(hypothesis.frames) == len(hypothesis.tokens)
        assert all(0 <= frame < frames for frame in hypothesis.frames)
        assert all(one < other for one, other in itertools.pairwise(hypothesis.frames))


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10**6), frames=st.integers(1, 60), beam=st.integers(1, 30))
def test_scores_of_a_narrow_beam_never_exceed_the_sum_over_all_alignments(seed: int, frames: int, beam: int) -> None:
    log_probs = random_log_probs(seed, frames, 10, 2.0)
    for hypothesis in decode(log_probs, BeamOptions(beam=beam, nbest=3)):
        assert hypothesis.score <= log_probability(log_probs, hypothesis.tokens) + 1e-4


def log_probability(log_probs: np.ndarray, tokens: list[int]) -> float:
    """Sum over all alignments, by torch's CTC loss."""
    targets = torch.tensor([tokens], dtype=torch.long).reshape(1, -1)
    emissions = torch.from_numpy(log_probs)[:, None].double()
    lengths = torch.tensor([len(log_probs)]), torch.tensor([len(tokens)])
    return -torch.nn.functional.ctc_loss(emissions, targets, *lengths, reduction="sum").item()


def narrow(log_probs: np.ndarray, options: BeamOptions) -> dict[tuple[int, ...], float]:
    """The search as its definition says, with dictionaries: log-probability of each prefix left at the end."""
    beam: dict[tuple[int, ...], tuple[float, float]] = {(): (1.0, 0.0)}
    for row in log_probs.astype(np.float64):
        mass: dict[tuple[int, ...], list[float]] = defaultdict(lambda: [0.0, 0.0])
        order = sorted(range(1, len(row)), key=lambda token: -row[token])
        chosen = {token for token in order[: options.max_tokens] if row[token] >= options.token_min_log_prob}
        for prefix, (blank, other) in beam.items():
            mass[prefix][0] += (blank + other) * math.exp(row[0])
            if prefix:
                mass[prefix][1] += other * math.exp(row[prefix[-1]])
            for token in range(1, len(row)):
                longer = (*prefix, token)
                if token in chosen or longer in beam:
                    mass[longer][1] += (blank if prefix[-1:] == (token,) else blank + other) * math.exp(row[token])
        best = max(map(sum, mass.values()))
        ranked = sorted(mass, key=lambda prefix: -sum(mass[prefix]))[: options.beam]
        beam = {
            prefix: (mass[prefix][0], mass[prefix][1])
            for prefix in ranked
            if sum(mass[prefix]) > best * math.exp(-options.prune)
        }
    return {prefix: math.log(sum(both)) for prefix, both in beam.items()}


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    frames=st.integers(1, 40),
    tokens=st.sampled_from([2, 3, 6, 26]),
    beam=st.integers(1, 12),
    most=st.sampled_from([None, 1, 3]),
    prune=st.sampled_from([2.0, 6.0, math.inf]),
)
def test_a_narrow_beam_keeps_what_the_definition_keeps(
    seed: int, frames: int, tokens: int, beam: int, most: int | None, prune: float
) -> None:
    """Prefixes drop out and come back, and merge with what they become, which an unlimited beam never shows."""
    log_probs = random_log_probs(seed, frames, tokens, 2.0)
    options = BeamOptions(beam, token_min_log_prob=-6.0, max_tokens=most, prune=prune, nbest=beam)
    same(decode(log_probs, options), narrow(log_probs, options))


def spoken_log_probs(seed: int, frames: int = 200, tokens: int = 20) -> np.ndarray:
    """As of a trained model: mostly sure of blanks, some sure tokens, some doubtful ones."""
    generator = np.random.default_rng(seed)
    logits = generator.standard_normal((frames, tokens))
    said = np.where(generator.random(frames) < 0.4, generator.integers(1, tokens, frames), 0)
    logits[np.arange(frames), said] += generator.uniform(2, 14, frames)
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("beam", [4, 64])
def test_text_is_that_of_fast_ctc_decode(beam: int) -> None:
    peer = pytest.importorskip("fast_ctc_decode", reason="fast-ctc-decode is not installed")
    options = BeamOptions(beam, token_min_log_prob=math.log(1e-3), prune=math.inf)
    for seed in range(10):
        log_probs = spoken_log_probs(seed)
        text, _ = peer.beam_search(np.exp(log_probs), "_abcdefghijklmnopqrs", beam, beam_cut_threshold=1e-3)
        assert decode(log_probs, options)[0].text == text


@pytest.mark.parametrize("beam", [4, 64])
def test_hypotheses_are_as_likely_as_those_of_flashlight_text(beam: int) -> None:
    """It holds a prefix that ends in a blank and the same without one for two, and so finds less with the same beam."""
    peer = pytest.importorskip("flashlight.lib.text.decoder", reason="flashlight-text is not installed")
    options = peer.LexiconFreeDecoderOptions(beam, 20, 1e9, 0.0, 0.0, True, peer.CriterionType.CTC)
    language = peer.ZeroLM()
    search = peer.LexiconFreeDecoder(options, language, 1, 0, [])
    ours, theirs = 0.0, 0.0
    for seed in range(10):
        log_probs = spoken_log_probs(seed)
        path = tuple(search.decode(log_probs.ctypes.data, *log_probs.shape)[0].tokens)
        theirs += log_probability(log_probs, list(collapsed(path)))
        ours += log_probability(log_probs, decode(log_probs, BeamOptions(beam))[0].tokens)
    assert ours >= theirs - 1e-6


def greedy(log_probs: np.ndarray) -> list[int]:
    return list(collapsed(tuple(log_probs.argmax(1).tolist())))


@settings(deadline=None, max_examples=200)
@given(seed=st.integers(0, 10**6), frames=st.integers(0, 30), tokens=st.integers(2, 6))
def test_a_beam_of_one_is_greedy_where_each_best_token_is_likelier_than_0_71(
    seed: int, frames: int, tokens: int
) -> None:
    """Above 1/sqrt(2), what stays in the blank or the token outweighs what leaves it, whatever the frames before."""
    generator = np.random.default_rng(seed)
    best = generator.uniform(0.7072, 1.0, frames)
    rest = np.exp(random_log_probs(seed, frames, tokens - 1, 3.0)) * (1 - best[:, None])
    probabilities = np.insert(rest, 0, best, axis=1) if frames else np.zeros((0, tokens))
    for row in probabilities:
        place = int(generator.integers(0, tokens))
        row[[0, place]] = row[[place, 0]]
    log_probs = np.log(np.maximum(probabilities, 1e-30)).astype(np.float32)
    assert decode(log_probs, BeamOptions(beam=1))[0].tokens == greedy(log_probs)


def test_no_frames_give_the_empty_text_with_probability_1() -> None:
    (hypothesis,) = decode(np.zeros((0, 5), np.float32))
    assert (hypothesis.tokens, hypothesis.text, hypothesis.frames, hypothesis.score) == ([], "", [], 0.0)
    assert BeamSearch(tokenizer(5)).decode(np.zeros((0, 3, 5), np.float32), np.zeros(0, np.int64)) == []


def test_only_blanks_and_certain_tokens() -> None:
    with np.errstate(divide="ignore"):
        blanks = np.log(np.eye(3, dtype=np.float32)[[0] * 5])
        certain = np.log(np.eye(3, dtype=np.float32)[[0, 1, 1, 0, 1, 2]])
    assert [(h.tokens, h.score) for h in decode(blanks)] == [([], 0.0)]
    assert [(h.tokens, h.score, h.frames) for h in decode(certain)] == [([1, 1, 2], 0.0, [1, 4, 5])]


def test_ties_are_broken_the_same_way_each_time() -> None:
    uniform = np.full((12, 20), -math.log(20), np.float32)
    first = decode(uniform, BeamOptions(beam=7, nbest=7))
    assert len(first) == 7
    assert all(decode(uniform, BeamOptions(beam=7, nbest=7)) == first for _ in range(3))


def test_improbable_tokens_keep_their_probability_when_nothing_else_is_left() -> None:
    log_probs = np.full((300, 3), -np.inf, np.float32)
    log_probs[:, 0] = 0.0
    log_probs[::2, 1] = -80.0
    scores = {hypothesis.text: hypothesis.score for hypothesis in decode(log_probs, ALL)}
    assert scores[""] == 0.0
    assert scores["a"] == pytest.approx(-80 + math.log(150), abs=1e-4)


@pytest.mark.parametrize("options", [BeamOptions(), BeamOptions(beam=3, max_tokens=2, blank_skip=0.6, nbest=3)])
def test_threads_and_batches_give_the_results_of_each_utterance_alone(options: BeamOptions) -> None:
    lengths = np.array([50, 0, 7, 33, 50, 1])
    log_probs = np.stack([random_log_probs(seed, 50, 12, 3.0) for seed in range(len(lengths))])
    alone = [decode(row[:length], options) for row, length in zip(log_probs, lengths, strict=True)]
    for row, length in zip(log_probs, lengths, strict=True):
        row[length:] = np.nan
    for threads in (1, 2, 5):
        assert BeamSearch(tokenizer(12), options, threads=threads).decode(log_probs, lengths) == alone


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), frames=st.integers(1, 7), skip=st.sampled_from([0.5, 0.6, 0.9]))
def test_blank_skip_sums_the_alignments_that_are_blank_in_frames_with_a_sure_blank(
    seed: int, frames: int, skip: float
) -> None:
    log_probs = random_log_probs(seed, frames, 3, 3.0)
    options = BeamOptions(beam=5000, token_min_log_prob=-math.inf, prune=math.inf, nbest=5000, blank_skip=skip)
    limited = log_probs.copy()
    limited[np.exp(log_probs[:, 0]) > skip, 1:] = -np.inf
    same(decode(log_probs, options), enumerated(limited))


def test_max_tokens_opens_only_the_likeliest() -> None:
    log_probs = np.log(np.array([[0.1, 0.2, 0.3, 0.4]], np.float32))
    options = BeamOptions(beam=10, max_tokens=2, nbest=10)
    assert [hypothesis.text for hypothesis in decode(log_probs, options)] == ["c", "b", ""]


def test_prune_drops_what_is_far_below_the_best() -> None:
    log_probs = np.log(np.array([[0.1, 0.2, 0.3, 0.4]], np.float32))
    options = BeamOptions(beam=10, prune=math.log(0.4 / 0.25), nbest=10)
    assert [hypothesis.text for hypothesis in decode(log_probs, options)] == ["c", "b"]


def test_long_audio_does_not_run_out_of_range() -> None:
    log_probs = random_log_probs(0, 20000, 6, 1.0)
    (hypothesis,) = decode(log_probs, BeamOptions(beam=8))
    assert -20000 * 2 < hypothesis.score < -1000
    assert len(hypothesis.tokens) > 1000


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda x: x + 0.1, "frame 0: probabilities sum to 1.1"),
        (lambda x: np.where(np.arange(6)[:, None] == 4, np.nan, x), "frame 4: probabilities sum to nan"),
        (lambda x: np.where(np.arange(6)[:, None] == 2, -np.inf, x), "frame 2: probabilities sum to 0"),
        (lambda x: np.where(np.arange(6)[:, None] == 3, np.inf, x), "frame 3: probabilities sum to"),
        (lambda x: x[:, :-1], r"shape \(1, 6, 4\)"),
    ],
)
def test_log_probs_that_are_none_are_refused(change, complaint: str) -> None:  # type: ignore[no-untyped-def]
    broken = change(random_log_probs(0, 6, 5)).astype(np.float32)
    with pytest.raises(DecodingError, match=complaint):
        BeamSearch(tokenizer(5), threads=1).decode(broken[None], np.array([6]))


@pytest.mark.parametrize("lengths", [[7], [-1], [3, 3], [[3]]])
def test_lengths_that_do_not_fit_are_refused(lengths: list[int]) -> None:
    with pytest.raises(DecodingError, match="lengths"):
        BeamSearch(tokenizer(5)).decode(random_log_probs(0, 6, 5)[None], np.array(lengths))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("beam", 0),
        ("beam", -3),
        ("beam", 2.5),
        ("nbest", 0),
        ("max_tokens", 0),
        ("prune", 0.0),
        ("prune", math.nan),
        ("lm_weight", -1.0),
        ("word_bonus", math.inf),
        ("blank_skip", 1.5),
        ("token_min_log_prob", math.nan),
    ],
)
def test_impossible_options_are_refused_by_name(option: str, value: float) -> None:
    with pytest.raises(ConfigError, match=option):
        BeamOptions(**{option: value})  # type: ignore[arg-type]
