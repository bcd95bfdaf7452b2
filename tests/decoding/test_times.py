from __future__ import annotations

import numpy as np
import pytest

from asr.decoding.alignment import Alignment
from asr.decoding.times import Timeline, quietness, word_times, word_tokens
from asr.text import BLANK, SPACE, Tokenizer

RATE, STEP = 8000, 0.04
NEAR = 0.05
"""Seconds: a sound that breaks off is given the tail of one that fades."""
TOKENIZER = Tokenizer.from_characters("abc")


def emitted(*spikes: tuple[int, float], frames: int) -> Alignment:
    """Each token in the one frame nearest to a second."""
    tokens = np.array([token for token, _ in spikes], np.int32)
    starts = np.array([round(second / STEP) for _, second in spikes], np.int32)
    return Alignment(tokens, starts, starts + 1, -1.0, frames)


def bursts(*spans: tuple[float, float], seconds: float, noise: float = 0.001, level: float = 0.3) -> np.ndarray:
    """Tones over quiet noise."""
    times = np.arange(round(seconds * RATE)) / RATE
    inside = sum(((times >= start) & (times < end)).astype(float) for start, end in spans)
    tone = level * np.sin(2 * np.pi * 900 * times) * inside
    return (tone + noise * np.random.default_rng(0).standard_normal(len(times))).astype(np.float32)


def times_of(waveform: np.ndarray, *spikes: tuple[int, float]) -> list[tuple[float, float]]:
    frames = round(len(waveform) / RATE / STEP)
    alignment = emitted(*spikes, frames=frames)
    words = word_tokens(alignment.tokens.tolist(), TOKENIZER)
    return word_times(alignment, words, Timeline.of(frames, STEP, waveform, RATE))


def test_words_end_and_begin_where_the_sound_does() -> None:
    spans = [(0.4, 0.9), (1.1, 1.6), (1.9, 2.5)]
    for noise in (0.0, 0.001, 0.01):
        found = times_of(bursts(*spans, seconds=3, noise=noise), (2, 0.5), (1, 0.8), (3, 1.2), (1, 1.7), (4, 2.0))
        assert np.abs(np.array(found) - spans).max() < NEAR


def test_a_closure_inside_a_word_is_no_boundary_where_a_longer_pause_follows() -> None:
    found = times_of(bursts((0.2, 0.5), (0.56, 0.8), (1.1, 1.5), seconds=2), (2, 0.3), (1, 1.0), (3, 1.2))
    assert np.abs(np.array(found) - [(0.2, 0.8), (1.1, 1.5)]).max() < NEAR


def test_words_without_a_pause_meet_in_the_quietest_moment() -> None:
    waveform = bursts((0.2, 0.6), (0.6, 1.2), seconds=1.4)
    waveform[round(0.58 * RATE) : round(0.6 * RATE)] *= 0.3  # far above the noise: no pause
    (_, end), (start, _) = times_of(waveform, (2, 0.28), (1, 0.7), (3, 1.0))
    assert end == start == pytest.approx(0.59, abs=0.03)


def test_a_click_before_the_first_word_is_not_its_beginning() -> None:
    waveform = bursts((0.1, 0.12), (0.9, 1.4), seconds=2)
    ((start, end),) = times_of(waveform, (2, 1.0))
    assert (start, end) == (pytest.approx(0.9, abs=NEAR), pytest.approx(1.4, abs=NEAR))


def test_words_reach_the_edges_of_audio_cut_tight() -> None:
    waveform = bursts((0, 0.4), (0.6, 1.0), seconds=1.0)
    found = times_of(waveform, (2, 0.12), (1, 0.5), (3, 0.72))
    assert np.abs(np.array(found) - [(0, 0.4), (0.6, 1.0)]).max() < NEAR
    assert found[0][0] == 0
    assert found[-1][1] == 1.0


@pytest.mark.parametrize("waveform", [np.zeros(RATE, np.float32), np.ones(RATE, np.float32), np.zeros(3, np.float32)])
def test_silence_and_constants_give_times_in_order(waveform: np.ndarray) -> None:
    alignment = emitted((2, 0.2), (1, 0.4), (3, 0.44), frames=25)
    found = word_times(alignment, [[0], [2]], Timeline.of(25, STEP, waveform, RATE))
    flat = [time for span in found for time in span]
    assert np.isfinite(flat).all()
    assert all(start <= end for start, end in found)


def test_without_a_waveform_words_meet_halfway_between_emissions() -> None:
    alignment = emitted((2, 0.2), (1, 0.4), (3, 0.6), frames=25)
    assert word_times(alignment, [[0], [2]], Timeline.of(25, STEP)) == [
        (pytest.approx(0.18), pytest.approx(0.4)),
        (pytest.approx(0.4), pytest.approx(0.62)),
    ]
    assert word_times(emitted(frames=25), [], Timeline.of(25, STEP)) == []
    assert word_times(emitted(frames=0), [], Timeline.of(0, STEP, np.zeros(0, np.float32), RATE)) == []


def test_joined_windows_give_the_times_of_the_whole() -> None:
    waveform = bursts((0.4, 0.9), (1.5, 1.9), (2.3, 2.8), seconds=3.2)
    spikes = ((2, 0.5), (1, 1.2), (3, 1.6), (1, 2.1), (4, 2.4))
    cut = round(1.2 * RATE)
    clocks = [
        Timeline.of(30, STEP, waveform[:cut], RATE),
        Timeline.of(50, STEP, waveform[cut:], RATE, start=1.2),
    ]
    found = word_times(emitted(*spikes, frames=80), [[0], [2], [4]], Timeline.joined(clocks))
    assert found == [pytest.approx(span, abs=0.02) for span in times_of(waveform, *spikes)]


def test_tokens_of_words_for_characters_and_for_pieces() -> None:
    assert word_tokens(TOKENIZER.encode("ab c"), TOKENIZER) == [[0, 1], [3]]
    assert word_tokens([1, 2, 1, 1, 3, 1], TOKENIZER) == [[1], [4]]
    assert word_tokens([], TOKENIZER) == []
    pieces = Tokenizer([BLANK, f"{SPACE}ca", "fe", f"{SPACE}a", SPACE])
    assert word_tokens([1, 2, 3, 4, 2], pieces) == [[0, 1], [2], [4]]


def test_quietness_is_relative_to_the_recording() -> None:
    waveform = bursts((0.5, 1.0), seconds=1.5)
    quiet = quietness(waveform, RATE)
    assert len(quiet) == 151
    assert (quiet[5:45] > 0).mean() > 0.9
    assert (quiet[55:95] < -20).all()
    assert quietness(waveform * 0.01, RATE) == pytest.approx(quiet, abs=0.1)
    assert len(quietness(np.zeros(0, np.float32), RATE)) == 0
