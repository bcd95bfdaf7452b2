from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from asr.transcription.windows import PAUSE_SECONDS, SEARCH_SECONDS, WINDOW_SECONDS, windows

RATE = 1000
LONGEST = round(WINDOW_SECONDS * RATE)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(round(seconds * RATE)).astype(np.float32)


def in_blocks(waveform: np.ndarray, sizes: Iterator[int]) -> Iterator[np.ndarray]:
    start = 0
    while start < len(waveform):
        size = next(sizes)
        yield waveform[start : start + size]
        start += size


@pytest.mark.parametrize("largest", [10, 1000, 29_999, 30_001, 100_000, 400_000])
def test_windows_are_the_recording_whatever_the_blocks(largest: int) -> None:
    rng = np.random.default_rng(largest)
    waveform = noise(125.7 if largest == 10 else 333.3)
    sizes = iter(lambda: int(rng.integers(0, largest + 1)), -1)
    cut = list(windows(in_blocks(waveform, sizes), RATE))
    np.testing.assert_array_equal(np.concatenate(cut), waveform)
    assert max(map(len, cut)) <= LONGEST
    assert min(map(len, cut)) > 0
    assert min(map(len, cut[:-1])) >= LONGEST - SEARCH_SECONDS * RATE


def test_the_cuts_do_not_depend_on_the_blocks() -> None:
    waveform = noise(200)
    lengths = [
        [len(window) for window in windows(in_blocks(waveform, iter(lambda n=n: n, -1)), RATE)]  # type: ignore[misc]
        for n in (777, 30_000, 200_000)
    ]
    assert lengths[0] == lengths[1] == lengths[2]


@pytest.mark.parametrize("seconds", [0.001, 0.02, 29.999, 30.0])
def test_a_recording_that_fits_is_one_window(seconds: float) -> None:
    waveform = noise(seconds)
    (only,) = windows([waveform], RATE)
    np.testing.assert_array_equal(only, waveform)


@pytest.mark.parametrize("blocks", [[], [np.zeros(0, np.float32)]])
def test_a_recording_without_samples_has_no_windows(blocks: list[np.ndarray]) -> None:
    assert list(windows(blocks, RATE)) == []


@pytest.mark.parametrize("pause", [20.0, 23.456, 29.7])
@pytest.mark.parametrize("rate", [1000, 8000, 11025, 16000])
def test_the_cut_falls_into_the_pause(pause: float, rate: int) -> None:
    waveform = np.random.default_rng(1).standard_normal(45 * rate).astype(np.float32)
    first, last = round(pause * rate), round((pause + 0.3) * rate)
    waveform[first:last] *= 0.01
    cut = len(next(windows([waveform], rate)))
    assert first + 0.05 * rate <= cut <= last - 0.05 * rate


def test_of_two_pauses_the_quieter_is_cut() -> None:
    waveform = noise(45)
    waveform[22_000:22_500] *= 0.1
    waveform[26_000:26_500] *= 0.01
    assert 26_000 < len(next(windows([waveform], RATE))) < 26_500


def test_a_closure_shorter_than_a_pause_is_not_cut() -> None:
    waveform = noise(45)
    waveform[22_000:22_060] = 0  # the 60 ms of a stop consonant
    waveform[26_000:26_250] *= 0.05
    assert PAUSE_SECONDS > 0.06
    assert 26_000 < len(next(windows([waveform], RATE))) < 26_250


def test_windows_come_as_soon_as_their_audio_is_there() -> None:
    read: list[int] = []

    def blocks() -> Iterator[np.ndarray]:
        for index in range(100):
            read.append(index)
            yield noise(30, index)

    stream = windows(blocks(), RATE)
    for _ in range(20):
        next(stream)
    assert len(read) <= 21
