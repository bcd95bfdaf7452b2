"""What can be wrong with the audio of an utterance: what its header says, and what its samples are."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from asr.audio import END_TOLERANCE, AudioInfo, load_audio, stream_audio
from asr.config import Config
from asr.data.doctor import kinds
from asr.data.problems import Problem
from asr.data.utterance import Utterance
from asr.frames import output_frames
from asr.text import ctc_frames

BLOCK_SECONDS = 30.0
"""Audio held at a time, so that memory does not grow with the recording."""
WINDOW_SECONDS = 0.1
"""Levels are measured over windows of this length, about a vowel."""
NO_SOUND_DB = -90.0
"""dB below full scale. Under the level of one 16-bit step: digital silence, with or without dither."""
NEAR_SILENCE_DB = -60.0
"""dB below full scale, of the loudest window. The softest utterance of AN4, FSDD and LibriSpeech is at -51."""
FULL_SCALE = 0.97
"""A peak at least this high can be clipped: 8-bit, mu-law and A-law recordings end at 0.98 to 0.99."""
CLIPPED_RUN = 3
"""Samples in a row at the peak; a wave that is not cut off touches its peak with one, rarely two."""
CLIPPED_SHARE = 2e-4
"""Of all samples, in such runs. LibriSpeech utterances driven 3 dB over full scale have 4e-4 in the median, undamaged
ones with their peak at full scale 4e-5 at most."""
DC_SHARE = 0.02
"""Of full scale. FSDD has up to 0.008 and LibriSpeech up to 0.014, which does no harm."""
CUT_SECONDS = 0.5
"""A segment that ends later than its recording by no more than this is taken to be rounded, and can be shortened."""


def length_problem(utterance: Utterance, config: Config) -> Problem | None:
    """Longer than `data.max_seconds`."""
    if utterance.duration <= config.data.max_seconds:
        return None
    return Problem(
        utterance.id,
        kinds.TOO_LONG,
        f"{utterance.duration:.1f} s, longer than data.max_seconds = {config.data.max_seconds:g}; "
        "cut it, or raise the limit",
    )


def header_problem(utterance: Utterance, info: AudioInfo) -> Problem | None:
    """The recording is shorter than the utterance, or is the utterance and longer."""
    end = utterance.start + utterance.duration
    if end > info.seconds + END_TOLERANCE:
        says = f"speech until {end:.2f} s"
    elif utterance.whole and info.seconds > end + END_TOLERANCE:
        says = f"{end:.2f} s"
    else:
        return None
    return Problem(
        utterance.id,
        kinds.DURATION,
        f"{utterance.audio} is {info.seconds:.2f} s long, the manifest says {says}; prepare the data again, "
        "or use `asr data doctor --fix`",
    )


def fewest_frames(tokens: Sequence[int], config: Config) -> int:
    """What CTC needs, labels and a blank between equal ones; an attention head needs no more than one."""
    return ctc_frames(tokens) if config.model.head == "ctc" else 1


def frames_problem(utterance: Utterance, tokens: Sequence[int], seconds: float, config: Config) -> Problem | None:
    """`seconds` of audio give fewer frames than the head needs for `tokens`."""
    needed = fewest_frames(tokens, config)
    frames = output_frames(int(seconds * config.features.sample_rate), config)
    if frames >= needed:
        return None
    return Problem(
        utterance.id,
        kinds.TOO_SHORT,
        f"{utterance.duration:.2f} s give {frames} frames, {(utterance.text or '')[:60]!r} needs {needed} (labels and "
        "repeats); check the transcript, or lower model.subsampling.factor",
    )


def rate_problems(utterance: Utterance, info: AudioInfo, config: Config) -> list[Problem]:
    """The manifest gives another sample rate than the file, or the features ask for a higher one."""
    found, wanted = [], config.features.sample_rate
    if info.sample_rate != utterance.sample_rate:
        message = (
            f"{utterance.audio} is at {info.sample_rate} Hz, the manifest says {utterance.sample_rate}; prepare the "
            "data again, or use --fix"
        )
        found.append(Problem(utterance.id, kinds.RATE_DIFFERS, message))
    if info.sample_rate < wanted:
        message = (
            f"{info.sample_rate} Hz: features above {info.sample_rate // 2} Hz will be empty; find the original, or "
            f"set features.sample_rate={info.sample_rate}"
        )
        found.append(Problem(utterance.id, kinds.LOW_RATE, message))
    return found


def agreeing(utterance: Utterance, info: AudioInfo) -> Utterance | None:
    """The utterance with rate and times as the recording has them; None where it cannot be said which times."""
    duration = utterance.duration
    if header_problem(utterance, info):
        duration = info.seconds - utterance.start
        if not utterance.whole and (duration <= 0 or utterance.duration - duration > CUT_SECONDS):
            return None
    if (duration, info.sample_rate) == (utterance.duration, utterance.sample_rate):
        return utterance
    samples = None if utterance.whole else info.samples
    return replace(utterance, duration=duration, sample_rate=info.sample_rate, recording_samples=samples)


def decode(source: Path | bytes, utterance: Utterance, info: AudioInfo) -> Iterator[np.ndarray]:
    """All samples of the utterance as blocks `[samples]` at the rate of the recording.

    Raises:
        AudioError: cut short, damaged, or without the channel.
    """
    rate, channel = info.sample_rate, utterance.channel
    if utterance.whole or utterance.member is not None:
        yield from stream_audio(source, rate, block_seconds=BLOCK_SECONDS, channel=channel)
        return
    first, last = round(utterance.start * rate), round((utterance.start + utterance.duration) * rate)
    step, last = round(BLOCK_SECONDS * rate), min(last, info.samples)
    for begin in range(first, last, step):
        seconds = (min(begin + step, last) - begin) / rate
        yield load_audio(source, rate, start=begin / rate, duration=seconds, channel=channel)


@dataclass
class Signal:
    """What is measured of a waveform that passes by in blocks."""

    rate: int
    samples: int = 0
    total: float = 0.0
    squares: float = 0.0
    level: float = 0.0
    """Highest magnitude so far."""
    clipped: int = 0
    """Samples in runs at that level."""
    loudest: float = 0.0
    """Highest variance of a window."""
    digest: hashlib.blake2b = field(default_factory=lambda: hashlib.blake2b(digest_size=8))

    def add(self, block: np.ndarray) -> None:
        """Measure a block `[samples]`; runs and windows do not reach across blocks."""
        block = np.ascontiguousarray(block, np.float32)
        self.digest.update(block.data)
        self.samples += len(block)
        self.total += float(block.sum(dtype=np.float64))
        self.squares += float(np.dot(block, block))
        self._add_level(block)
        size = min(len(block), max(1, round(WINDOW_SECONDS * self.rate)))
        windows = block[: len(block) // size * size].reshape(-1, size)
        self.loudest = max(self.loudest, float(windows.var(axis=1).max()))

    def _add_level(self, block: np.ndarray) -> None:
        magnitude = np.abs(block)
        level = float(magnitude.max())
        if level > self.level * 1.0001:
            self.level, self.clipped = level, 0
        if self.level >= FULL_SCALE and level >= self.level * 0.9999:
            at_peak = np.concatenate(([0], (magnitude >= self.level * 0.9999).view(np.int8), [0]))
            edges = np.flatnonzero(np.diff(at_peak))
            runs = edges[1::2] - edges[::2]
            self.clipped += int(runs[runs >= CLIPPED_RUN].sum())

    @property
    def content(self) -> int:
        """64-bit hash of the samples; 0 for silence, which any two recordings may share."""
        return 0 if self.decibels < NO_SOUND_DB else int.from_bytes(self.digest.digest(), "little") or 1

    @property
    def decibels(self) -> float:
        """RMS of the loudest window around its mean, dB below full scale."""
        return 10 * math.log10(max(self.loudest, 1e-20))

    def problems(self, identifier: str) -> list[Problem]:
        """Silence, clipping and offset."""
        found = []
        if self.decibels < NO_SOUND_DB:
            message = f"nothing above {NO_SOUND_DB:g} dB of full scale: the recording is empty; record it again"
            return [Problem(identifier, kinds.NO_SOUND, message)]
        if self.decibels < NEAR_SILENCE_DB:
            message = f"nowhere louder than {self.decibels:.0f} dB of full scale; listen to it, record it again"
            found.append(Problem(identifier, kinds.NEAR_SILENCE, message))
        if self.clipped > CLIPPED_SHARE * self.samples:
            message = (
                f"{self.clipped} samples ({self.clipped / self.samples:.2%}) are cut off at {self.level:.3f} of full "
                "scale; record it again at a lower level, or find the original"
            )
            found.append(Problem(identifier, kinds.CLIPPING, message))
        offset = self.total / self.samples
        spread = math.sqrt(max(self.squares / self.samples - offset**2, 0.0))
        if abs(offset) > DC_SHARE or (abs(offset) > spread and self.decibels >= NEAR_SILENCE_DB):
            message = (
                f"the mean is {offset:+.3f} of full scale, the sound around it {spread:.3f}; take the offset out with "
                "a high-pass filter, check the sound card and the sample format"
            )
            found.append(Problem(identifier, kinds.DC_OFFSET, message))
        return found
