from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from asr.transcription.windows import (
    CONTEXT_SECONDS,
    MARGIN_SECONDS,
    OVERLAP_SECONDS,
    WHOLE_SHARE,
    WINDOW_SECONDS,
    Window,
    windows,
)

RATE = 1000


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(round(seconds * RATE)).astype(np.float32) * 0.1


def talk(seconds: float, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """Noise as loud as four syllables a second."""
    time = np.arange(round(seconds * rate)) / rate
    syllables = 0.1 + np.maximum(0, np.sin(2 * np.pi * 4 * time))
    return (np.random.default_rng(seed).normal(0, 0.1, len(time)) * syllables).astype(np.float32)


def with_pauses(seconds: float, seed: int, lengths: tuple[float, float] = (0.1, 2.0)) -> np.ndarray:
    """Talk that stops every few seconds."""
    rng = np.random.default_rng(seed)
    waveform, start = talk(seconds, seed), 0.0
    while start < seconds:
        start += rng.uniform(0.5, 8.0)
        length = rng.uniform(*lengths)
        waveform[round(start * RATE) : round((start + length) * RATE)] *= 0.001
        start += length
    return waveform


def in_blocks(waveform: np.ndarray, sizes: Iterator[int]) -> Iterator[np.ndarray]:
    start = 0
    while start < len(waveform):
        size = next(sizes)
        yield waveform[start : start + size]
        start += size


def spans(found: list[Window]) -> list[tuple[int, int, bool]]:
    return [(window.start, window.end, window.overlaps) for window in found]


@pytest.mark.parametrize("largest", [10, 1000, 29_999, 30_001, 100_000, 400_000])
@pytest.mark.parametrize("longest", [5.0, 30.0])
def test_without_skips_and_overlaps_the_windows_are_the_recording(largest: int, longest: float) -> None:
    rng = np.random.default_rng(largest)
    waveform = with_pauses(125.7 if largest == 10 else 333.3, largest)
    sizes = iter(lambda: int(rng.integers(0, largest + 1)), -1)
    cut = list(windows(in_blocks(waveform, sizes), RATE, longest, overlap=False, skip=False))
    np.testing.assert_array_equal(np.concatenate([window.waveform for window in cut]), waveform)
    assert all(before.end == after.start for before, after in pairwise(cut))
    assert not any(window.overlaps for window in cut)


@pytest.mark.parametrize("seed", range(8))
def test_every_window_is_its_stretch_of_the_recording_and_no_loud_sample_is_lost(seed: int) -> None:
    waveform = with_pauses(200, seed)
    found = list(windows([waveform], RATE, 6.0))
    covered = np.zeros(len(waveform), int)
    for window in found:
        np.testing.assert_array_equal(window.waveform, waveform[window.start : window.end])
        covered[window.start : window.end] += 1
    assert (np.abs(waveform[covered == 0]) < 0.02).all()
    for before, after in pairwise(found):
        assert after.overlaps == (after.start < before.end)
        assert before.end < after.end
    assert covered.max() <= 2


@pytest.mark.parametrize("waveform", [with_pauses(200, 3), noise(200)], ids=["pauses", "noise"])
def test_the_cuts_do_not_depend_on_the_blocks(waveform: np.ndarray) -> None:
    cuts = [
        spans(list(windows(in_blocks(waveform, iter(lambda n=n: n, -1)), RATE, 7.0)))  # type: ignore[misc]
        for n in (777, 30_000, 200_000)
    ]
    assert cuts[0] == cuts[1] == cuts[2]


@pytest.mark.parametrize("seconds", [0.001, 0.02, 29.999, 30.0, WHOLE_SHARE * WINDOW_SECONDS])
def test_a_recording_that_fits_is_one_window(seconds: float) -> None:
    waveform = with_pauses(seconds, 1)
    (only,) = windows([waveform], RATE)
    np.testing.assert_array_equal(only.waveform, waveform)


@pytest.mark.parametrize("blocks", [[], [np.zeros(0, np.float32)]])
def test_a_recording_without_samples_has_no_windows(blocks: list[np.ndarray]) -> None:
    assert list(windows(blocks, RATE)) == []


@pytest.mark.parametrize("pause", [12.0, 23.456, 29.0])
@pytest.mark.parametrize("rate", [1000, 8000, 11025, 16000])
def test_a_pause_ends_a_window_and_keeps_a_margin_on_both_sides(pause: float, rate: int) -> None:
    waveform = talk(60, 1, rate)
    first, last = round(pause * rate), round((pause + 3) * rate)
    waveform[first:last] *= 0.01
    before, after = list(windows([waveform], rate))[:2]
    assert not after.overlaps
    assert before.end == pytest.approx(first + MARGIN_SECONDS * rate, abs=0.16 * rate)
    assert after.start == pytest.approx(last - MARGIN_SECONDS * rate, abs=0.16 * rate)


def test_of_two_short_pauses_the_longer_is_cut() -> None:
    waveform = talk(60)
    waveform[12_000:12_320] *= 0.001
    waveform[16_000:16_450] *= 0.01
    assert 16_000 < next(windows([waveform], RATE)).end < 16_450


def test_in_the_closure_of_a_consonant_windows_overlap() -> None:
    waveform = talk(60)
    waveform[16_080:16_280] *= 0.01
    first, second = list(windows([waveform], RATE))[:2]
    assert second.overlaps
    assert (first.end + second.start) / 2 == pytest.approx(16_180, abs=60)
    assert first.end - second.start == 2 * OVERLAP_SECONDS * RATE


def test_speech_without_any_pause_is_cut_at_its_quietest_with_overlap() -> None:
    waveform = noise(100) * (1 + 0.1 * np.sin(np.arange(100_000) / 5000)).astype(np.float32)
    found = list(windows([waveform], RATE, 20.0))
    assert all(after.overlaps for _, after in pairwise(found))
    assert max(len(window.waveform) for window in found) <= (20 + 3 * OVERLAP_SECONDS) * RATE


def test_hours_of_silence_leave_almost_nothing_and_are_not_kept() -> None:
    blocks = (np.zeros(30_000, np.float32) for _ in range(1000))
    assert sum(len(window.waveform) for window in windows(blocks, RATE)) <= 2 * MARGIN_SECONDS * RATE


def test_a_word_after_long_silence_keeps_its_place() -> None:
    waveform = np.zeros(200_000, np.float32)
    waveform[150_000:151_000] = noise(1)
    heard = [window for window in windows([waveform], RATE) if np.abs(window.waveform).max() > 0]
    assert len(heard) == 1
    assert heard[0].start == pytest.approx(150_000 - MARGIN_SECONDS * RATE, abs=50)
    assert heard[0].end == pytest.approx(151_000 + MARGIN_SECONDS * RATE, abs=50)


def test_windows_come_as_soon_as_their_audio_is_there() -> None:
    read: list[int] = []

    def blocks() -> Iterator[np.ndarray]:
        for index in range(100):
            read.append(index)
            yield noise(30, index)

    stream = windows(blocks(), RATE)
    for _ in range(20):
        next(stream)
    assert len(read) <= 20 + (CONTEXT_SECONDS + WINDOW_SECONDS) / 30


@pytest.mark.parametrize("ends", [(2.0, 3.0), (0.0, 5.0), (4.0, 0.0)])
def test_long_silence_at_the_ends_of_a_short_recording_is_left_out(ends: tuple[float, float]) -> None:
    before, after = (np.zeros(round(seconds * RATE), np.float32) for seconds in ends)
    waveform = np.concatenate([before, talk(4.0), after])
    (only,) = windows([waveform], RATE)
    assert only.start == pytest.approx(max(0, ends[0] - MARGIN_SECONDS) * RATE, abs=0.2 * RATE)
    assert only.end == pytest.approx((4 + ends[0] + min(ends[1], MARGIN_SECONDS)) * RATE, abs=0.2 * RATE)
    np.testing.assert_array_equal(only.waveform, waveform[only.start : only.end])
    (all_of_it,) = windows([waveform], RATE, skip=False)
    assert len(all_of_it.waveform) == len(waveform)


def test_short_silence_at_the_ends_stays_as_evaluation_hears_it() -> None:
    waveform = np.concatenate([np.zeros(300, np.float32), talk(4.0), np.zeros(300, np.float32)])
    (only,) = windows([waveform], RATE)
    assert (only.start, only.end) == (0, len(waveform))
