"""What is speech and what is not, by level and by how the sound changes: neither knows any words."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

FLOOR = -90.0
"""dB of full scale. Below lies the last bit of 16-bit audio: nothing that was recorded."""
QUIET, LOUD = 10, 95
"""Percentiles of the level that stand for pauses and for speech."""
LARGEST_RANGE = 40.0
"""dB below speech: what is quieter says nothing about the noise of the recording (digital silence, edited pauses)."""
LEAST_RANGE = 6.0
"""dB between speech and pauses: with less, the level does not tell one from the other."""
PAUSE_SHARE = 0.15
"""A pause is quieter than this share of the way from pauses to speech, as in `asr.decoding.times`."""
PREEMPHASIS = 0.97
"""As in the features: it keeps fricatives, and takes hum away."""
SMOOTHED = 5
"""Hops of 10 ms over which the level is averaged."""

FRAME_SECONDS = 0.032
BAND_EDGES = (60, 190, 310, 440, 620, 870, 1200, 1600, 2250, 3200, 4400)
"""Hz; ten bands of speech, narrow below and wide above."""
PIECE_SECONDS = 2.0
"""Over which a sound has to change to be speech."""
LEAST_CHANGE = 2.3
"""dB, standard deviation over time of the level of a band, averaged over bands. Measured on pieces of 2 s and more:
white, pink and brown noise and hum 1.1 to 2.1 at any level; AN4 and LibriSpeech above 11 as recorded, and in white or
pink noise above 4.3 at 10 dB SNR, 3.3 at 5 dB, 2.4 at 0 dB; single spoken digits above 4.8."""


def powers(samples: np.ndarray, hop: int, before: float) -> np.ndarray:
    """Mean square of each whole hop of `samples` after pre-emphasis, `[hops]`; `before` is the sample before them."""
    count = len(samples) // hop
    whole = samples[: count * hop]
    emphasised = whole - PREEMPHASIS * np.concatenate([[np.float32(before)], whole[:-1]])[: len(whole)]
    rows = emphasised.reshape(count, hop)
    return np.einsum("ij,ij->i", rows, rows) / np.float32(hop)


def levels(power: np.ndarray) -> np.ndarray:
    """dB of full scale of `powers` `[hops]`, smoothed."""
    smooth = np.convolve(power, np.ones(SMOOTHED) / SMOOTHED, mode="same") if len(power) >= SMOOTHED else power
    return 10 * np.log10(np.maximum(smooth, 1e-12))


def pause_level(context: np.ndarray) -> float:
    """dB below which a hop of `context` `[hops]` (levels) belongs to a pause."""
    loud = float(np.percentile(context, LOUD))
    heard = context[context > loud - LARGEST_RANGE]
    quiet = float(np.percentile(heard, QUIET)) if len(heard) else loud
    return max(FLOOR, quiet + PAUSE_SHARE * (loud - quiet)) if loud - quiet >= LEAST_RANGE else FLOOR


def may_be_speech(waveform: np.ndarray, sample_rate: int) -> bool:
    """Whether a waveform `[samples]` changes as speech does, anywhere in it.

    False for silence, steady noise and hum at any level, for which a recogniser that normalises each utterance would
    invent words; and for what is shorter than two frames of 32 ms, in which no word fits. True for speech and music.
    """
    frame = round(FRAME_SECONDS * sample_rate)
    count = len(waveform) // frame
    if count < 2:  # too short to change, and for a word
        return False
    rows = waveform[: count * frame].reshape(count, frame) * np.hanning(frame).astype(np.float32)
    power = np.square(np.abs(np.fft.rfft(rows, axis=1)))
    edges = [round(hz * frame / sample_rate) for hz in BAND_EDGES if hz <= sample_rate / 2]
    bands = np.stack([power[:, low : max(high, low + 1)].mean(1) for low, high in pairwise(edges)], 1)
    decibels = 10 * np.log10(bands / frame + 1e-10)
    length = max(2, round(PIECE_SECONDS / FRAME_SECONDS))
    starts = range(0, max(1, count - length // 2), length // 2)
    return any(float(decibels[start : start + length].std(0).mean()) >= LEAST_CHANGE for start in starts)
