from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.audio import audio_info
from asr.config import Config, parse_config
from asr.data.doctor import kinds
from asr.data.doctor.audio_checks import (
    Signal,
    agreeing,
    decode,
    frames_problem,
    header_problem,
    length_problem,
    rate_problems,
)
from asr.data.utterance import Utterance
from tests.data.doctor.conftest import RATE, Recorder


def measured(waveform: np.ndarray, rate: int = RATE, block: int | None = None) -> Signal:
    signal = Signal(rate)
    for start in range(0, len(waveform), block or len(waveform)):
        signal.add(waveform[start : start + (block or len(waveform))])
    return signal


def found(waveform: np.ndarray) -> list[str]:
    return [problem.kind for problem in measured(waveform).problems("one")]


def overdriven(waveform: np.ndarray, decibels: float) -> np.ndarray:
    """A 16-bit recording whose loudest sample exceeds full scale by so many dB."""
    loud = waveform / np.abs(waveform).max() * 10 ** (decibels / 20)
    return (np.clip(np.round(loud * 32768), -32768, 32767) / 32768).astype(np.float32)


@pytest.fixture
def waveform(record: Recorder) -> np.ndarray:
    """Smooth, as speech is: noise below 1 kHz."""
    noise = record.waveform("one", 2.0)
    spectrum = np.fft.rfft(noise)
    spectrum[0] = spectrum[len(spectrum) // 8 :] = 0
    smooth = np.fft.irfft(spectrum, len(noise))
    return (0.3 * smooth / np.abs(smooth).max()).astype(np.float32)


def test_sound_recordings_have_no_problem(waveform: np.ndarray) -> None:
    assert found(waveform) == []
    assert found(overdriven(waveform, 0.0)) == []  # at full scale, not above
    assert found(waveform * 10 ** (-30 / 20)) == []  # soft


def test_clipping(waveform: np.ndarray) -> None:
    loud = overdriven(waveform, 6.0)
    assert found(loud) == [kinds.CLIPPING]
    assert found(np.clip(loud, -0.98, 0.98)) == [kinds.CLIPPING]  # as 8-bit and mu-law recordings are
    assert found(loud / 2) == []  # a clipped recording that was made softer cannot be told from its level


def test_clipped_samples_are_those_in_runs_of_three(waveform: np.ndarray) -> None:
    loud = overdriven(waveform, 3.0)
    level = np.abs(loud).max()
    expected = 0
    for at_peak, run in groupby(np.abs(loud) >= level * 0.9999):
        length = len(list(run))
        expected += length if at_peak and length >= 3 else 0
    assert expected > 0
    assert measured(loud).clipped == expected


def test_a_louder_block_later_starts_the_count_of_clipped_samples_anew(waveform: np.ndarray) -> None:
    soft_plateau = np.clip(overdriven(waveform, 6.0), -0.975, 0.975)
    peak = np.zeros(RATE, np.float32)
    peak[100] = 1.0
    assert measured(soft_plateau).clipped > 0
    assert measured(np.concatenate([soft_plateau, peak]), block=len(waveform)).clipped == 0
    assert measured(np.concatenate([peak, soft_plateau]), block=len(peak)).clipped == 0


@pytest.mark.parametrize("offset", [0.03, -0.03])
def test_dc_offset(waveform: np.ndarray, offset: float) -> None:
    (problem,) = measured(waveform + np.float32(offset)).problems("one")
    assert problem.kind == kinds.DC_OFFSET
    assert f"{offset:+.3f}" in problem.message
    assert found(waveform + np.float32(offset / 5)) == []


def test_offset_stronger_than_a_soft_sound(waveform: np.ndarray) -> None:
    soft = waveform * 0.05
    assert found(soft + np.float32(0.3 * soft.std())) == []
    assert found(soft + np.float32(1.5 * soft.std())) == [kinds.DC_OFFSET]


def test_near_silence_is_told_from_softness_and_from_no_sound(waveform: np.ndarray) -> None:
    assert found(waveform * 10 ** (-60 / 20)) == [kinds.NEAR_SILENCE]
    assert found(np.zeros(RATE, np.float32)) == [kinds.NO_SOUND]
    assert found(np.full(RATE, 0.01, np.float32)) == [kinds.NO_SOUND]
    assert found(np.random.default_rng(0).integers(-1, 2, RATE).astype(np.float32) / 2**17) == [kinds.NO_SOUND]


def test_a_word_in_a_long_pause_is_not_silence(waveform: np.ndarray) -> None:
    assert found(np.concatenate([np.zeros(20 * RATE, np.float32), waveform[:3200] * 0.02])) == []


def test_level_is_that_of_the_loudest_window() -> None:
    times = np.arange(RATE) / RATE
    sine = (0.1 * np.sin(2 * np.pi * 100 * times)).astype(np.float32)
    sine[RATE // 2 :] *= 0.01
    assert measured(sine).decibels == pytest.approx(20 * np.log10(0.1 / np.sqrt(2)), abs=0.01)


def test_content_is_that_of_the_samples_however_they_come(waveform: np.ndarray) -> None:
    whole = measured(waveform)
    expected = hashlib.blake2b(waveform.astype("<f4").tobytes(), digest_size=8).digest()
    assert whole.content == int.from_bytes(expected, "little")
    assert measured(waveform, block=999).content == whole.content
    assert measured(waveform[:-1]).content != whole.content
    assert measured(np.zeros(100, np.float32)).content == 0


def test_blocks_of_a_recording_and_of_a_segment_are_its_samples(tmp_path: Path, record: Recorder) -> None:
    waveform = record.waveform("long", 70.0)
    whole = record("long", waveform=waveform)
    info = audio_info(whole.audio)
    stored = soundfile.read(whole.audio, dtype="float32")[0]
    blocks = list(decode(whole.audio, whole, info))
    assert max(len(block) for block in blocks) == 30 * RATE
    assert np.array_equal(np.concatenate(blocks), stored)
    segment = replace(whole, start=3.5, duration=65.25, recording_samples=len(waveform))
    blocks = list(decode(segment.audio, segment, info))
    assert max(len(block) for block in blocks) == 30 * RATE
    assert np.array_equal(np.concatenate(blocks), stored[round(3.5 * RATE) : round(68.75 * RATE)])


def test_header_agrees_with_the_manifest_to_a_hundredth_of_a_second(record: Recorder) -> None:
    one = record("one", seconds=2.0)
    info = audio_info(one.audio)
    for right in (one, replace(one, duration=2.005), replace(one, duration=1.995)):
        assert header_problem(right, info) is None
        assert agreeing(right, info) == right
    inside = replace(one, start=0.5, duration=1.0, recording_samples=2 * RATE)
    assert header_problem(inside, info) is None


def test_duration_mismatch_and_what_can_be_put_right(record: Recorder) -> None:
    one = record("one", seconds=2.0)
    info = audio_info(one.audio)
    segment = replace(one, start=1.0, recording_samples=2 * RATE)
    cases: list[tuple[Utterance, str, float | None]] = [
        (replace(one, duration=3.0), "speech until 3.00 s", 2.0),
        (replace(one, duration=1.0), "says 1.00 s", 2.0),
        (replace(segment, duration=1.3), "speech until 2.30 s", 1.0),
        (replace(segment, duration=5.0), "speech until 6.00 s", None),
        (replace(segment, start=2.5, duration=0.2), "speech until 2.70 s", None),
    ]
    for wrong, told, duration in cases:
        problem = header_problem(wrong, info)
        assert problem is not None
        assert problem.kind == kinds.DURATION
        assert "is 2.00 s long" in problem.message
        assert told in problem.message
        corrected = agreeing(wrong, info)
        assert (corrected.duration if corrected else None) == duration
        assert corrected is None or header_problem(corrected, info) is None


def test_sample_rates(record: Recorder) -> None:
    one = record("one", rate=8000)
    info = audio_info(one.audio)
    at_8000 = parse_config({"features": {"sample_rate": 8000}})
    assert rate_problems(one, info, at_8000) == []
    assert [p.kind for p in rate_problems(one, info, Config())] == [kinds.LOW_RATE]
    wrong = replace(one, sample_rate=44100)
    (problem,) = rate_problems(wrong, info, at_8000)
    assert problem.kind == kinds.RATE_DIFFERS
    assert "8000 Hz, the manifest says 44100" in problem.message
    corrected = agreeing(wrong, info)
    assert corrected is not None
    assert (corrected.sample_rate, corrected.duration) == (8000, one.duration)


def test_too_long(record: Recorder) -> None:
    one = record("one", seconds=1.5)
    assert length_problem(one, Config()) is None
    problem = length_problem(one, parse_config({"data": {"max_seconds": 1.0}}))
    assert problem is not None
    assert problem.kind == kinds.TOO_LONG
    assert "data.max_seconds = 1;" in problem.message


def test_frames_for_labels_and_repeats(record: Recorder) -> None:
    """1600 samples are 11 feature frames of 10 ms and 3 frames of log-probs at subsampling 4."""
    one = record("one", text="abb")
    assert frames_problem(one, [1, 2, 3], 0.1, Config()) is None
    problem = frames_problem(one, [1, 2, 2], 0.1, Config())
    assert problem is not None
    assert problem.kind == kinds.TOO_SHORT
    assert "give 3 frames, 'abb' needs 4" in problem.message
    assert frames_problem(one, [1, 2, 2], 0.1, parse_config({"model": {"subsampling": {"factor": 2}}})) is None


def test_an_attention_head_writes_as_much_as_it_likes_about_a_frame(record: Recorder) -> None:
    config = parse_config({"model": {"head": "attention"}})
    assert frames_problem(record("one", text="abb"), [1, 2, 2] * 30, 0.1, config) is None
    problem = frames_problem(record("none", text="abb"), [1, 2, 2], 0.0, config)
    assert problem is not None
    assert "give 0 frames, 'abb' needs 1" in problem.message
