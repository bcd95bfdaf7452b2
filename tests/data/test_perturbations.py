from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import signal

from asr.data import perturbations

RATE = 16000
RANDOM = 0

LENGTH_KEEPING: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "pitch": lambda waveform: perturbations.change_pitch(waveform, RATE, 1.5),
    "reverberation": lambda waveform: perturbations.reverberate(waveform, response(0.3)),
    "equaliser": lambda waveform: perturbations.equalise(waveform, RATE, [3.0, -3.0, 6.0, 0.0, -6.0, 3.0, -1.0]),
    "gain": lambda waveform: perturbations.change_gain(waveform, 3.0),
    "clipping": lambda waveform: perturbations.clip(waveform, 6.0),
    "telephone": lambda waveform: perturbations.telephone(waveform, RATE, 3400.0),
    **{
        name: lambda waveform, name=name: perturbations.codec(waveform, RATE, 0.8, name)  # type: ignore[misc]
        for name in perturbations.CODEC_RATES
    },
}


def sine(hertz: float, samples: int = RATE, rate: int = RATE) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(samples) / rate)).astype(np.float32)


def noise(samples: int = RATE, seed: int = RANDOM, level: float = 0.1) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def voice(seconds: float = 2.0, rate: int = RATE) -> np.ndarray:
    """Syllables of a voice at 110 to 130 Hz: pulses that fall towards high frequencies, through three formants."""
    times = np.arange(round(seconds * rate)) / rate
    turns = np.floor(np.cumsum(120 * (1 + 0.1 * np.sin(2 * np.pi * 1.5 * times))) / rate)
    pulses = signal.lfilter([1], [1, -(0.95 ** (16000 / rate))], np.diff(turns, prepend=0))
    formants = [(hertz, gain) for hertz, gain in ((500, 1.0), (1200, 0.7), (2500, 0.5)) if hertz < 0.45 * rate]
    sound = sum(gain * signal.lfilter(*signal.iirpeak(hertz, 4, rate), pulses) for hertz, gain in formants)
    sound = sound * np.sin(np.pi * 3 * times) ** 2
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


def response(seconds: float, seed: int = RANDOM) -> np.ndarray:
    return perturbations.random_impulse_response(RATE, seconds, np.random.default_rng(seed))


def peak_hertz(waveform: np.ndarray, rate: int = RATE) -> float:
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)), 8 * len(waveform)))
    return float(spectrum.argmax()) * rate / (8 * len(waveform))


def rms(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.mean(waveform.astype(np.float64) ** 2)))


def lag(late: np.ndarray, early: np.ndarray) -> int:
    """Samples by which `late` comes after `early`."""
    return int(signal.correlate(late, early, method="fft").argmax()) - (len(early) - 1)


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


@pytest.mark.parametrize("factor", [0.5, 0.87, 1.0, 1.13, 2.0])
def test_speed_changes_length_and_frequency(factor: float) -> None:
    changed = perturbations.change_speed(sine(440.0), factor)
    assert changed.dtype == np.float32
    assert len(changed) == round(RATE / factor)
    assert peak_hertz(changed) == pytest.approx(440 * factor, rel=1e-3)
    assert rms(changed) == pytest.approx(rms(sine(440.0)), rel=0.01)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_tempo_changes_length_and_leaves_frequency(factor: float, rate: int) -> None:
    waveform = sine(440.0, 2 * rate, rate)
    waveform[: rate // 2] = 0
    changed = perturbations.change_tempo(waveform, rate, factor)
    assert changed.dtype == np.float32
    assert len(changed) == round(len(waveform) / factor)
    inside = changed[round(0.7 * rate / factor) : round(1.9 * rate / factor)]
    assert peak_hertz(inside, rate) == pytest.approx(440, rel=2e-3)
    assert rms(inside) == pytest.approx(rms(waveform[rate:]), rel=0.2)
    onset = np.flatnonzero(np.abs(changed) > 0.15)[0] / rate
    assert onset == pytest.approx(0.5 / factor, abs=0.02)


@pytest.mark.parametrize("semitones", [-4.0, 0.7, 3.0])
def test_pitch_changes_frequency_and_leaves_length(semitones: float) -> None:
    changed = perturbations.change_pitch(sine(440.0), RATE, semitones)
    assert len(changed) == RATE
    assert peak_hertz(changed[2000:-2000]) == pytest.approx(440 * 2 ** (semitones / 12), rel=2e-3)


def test_pitch_of_a_voice_as_pyin_hears_it() -> None:
    librosa = pytest.importorskip("librosa")

    def heard(waveform: np.ndarray) -> np.ndarray:
        return librosa.pyin(waveform, fmin=90, fmax=220, sr=RATE)[0]

    ratio = heard(perturbations.change_pitch(voice(1.0), RATE, 4.0)) / heard(voice(1.0))
    assert np.nanmedian(ratio) == pytest.approx(2 ** (4 / 12), rel=0.01)


def test_silence_is_added_in_seconds() -> None:
    padded = perturbations.add_silence(noise(), RATE, 0.25, 0.5)
    assert padded.dtype == np.float32
    np.testing.assert_array_equal(padded, np.concatenate([np.zeros(4000), noise(), np.zeros(8000)]))


@pytest.mark.parametrize("seconds", [0.15, 0.4, 1.0])
def test_random_room_decays_by_60_db_in_the_time_asked_for(seconds: float) -> None:
    room = response(seconds)
    assert room.dtype == np.float32
    # Schroeder 1965: the energy still to come, in dB, falls linearly; -5 to -25 dB of its tail are extrapolated to -60.
    decay = 10 * np.log10(np.cumsum(room[:0:-1].astype(np.float64) ** 2)[::-1])
    decay -= decay[0]
    part = np.flatnonzero((decay < -5) & (decay > -25))
    slope = np.polyfit(part / RATE, decay[part], 1)[0]
    assert -60 / slope == pytest.approx(seconds, rel=0.1)


def test_direct_sound_is_stronger_or_weaker_than_the_reflections_by_the_drawn_ratio() -> None:
    ratios = [10 * np.log10(room[0] ** 2 / np.sum(room[1:] ** 2)) for room in (response(0.3, s) for s in range(200))]
    low, high = perturbations.DIRECT_TO_REVERBERANT
    assert low - 1e-3 <= min(ratios) < low + 1
    assert high - 1 < max(ratios) <= high + 1e-3


def test_reverberation_is_a_convolution_that_keeps_level_length_and_time() -> None:
    measured = np.zeros(3000, np.float32)
    measured[[500, 900, 2100]] = [-0.8, 0.3, -0.2]  # arrives after 500 samples, upside down
    wet = perturbations.reverberate(noise(), measured)
    expected = np.convolve(noise().astype(np.float64), measured)[500 : 500 + RATE]
    expected *= rms(noise()) / rms(expected)
    np.testing.assert_allclose(wet, expected, atol=1e-5)
    assert wet.dtype == np.float32
    for seed in range(5):
        wet = perturbations.reverberate(voice(), response(0.5, seed))
        assert len(wet) == len(voice())
        assert rms(wet) == pytest.approx(rms(voice()), rel=1e-4)
        assert lag(perturbations.reverberate(noise(), response(0.5, seed)), noise()) == 0


def test_gain_is_in_decibels() -> None:
    np.testing.assert_allclose(perturbations.change_gain(sine(100.0), 20.0), 10 * sine(100.0), rtol=1e-6)
    np.testing.assert_allclose(perturbations.change_gain(sine(100.0), -6.0), 0.501187 * sine(100.0), rtol=1e-5)


def test_clipping_cuts_what_would_exceed_full_scale_and_leaves_the_rest() -> None:
    waveform = noise()
    clipped = perturbations.clip(waveform, 6.0)
    factor = 10 ** (6.0 / 20) / np.abs(waveform).max()  # makes it so loud that its peak is 6 dB over full scale
    np.testing.assert_allclose(clipped, np.clip(waveform * factor, -1, 1) / factor, rtol=1e-5)
    untouched = np.abs(waveform) < np.abs(waveform).max() / 2
    np.testing.assert_array_equal(clipped[untouched], waveform[untouched])
    np.testing.assert_array_equal(perturbations.clip(waveform, 0.0), waveform)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("upper", [2500.0, 3600.0])
def test_telephone_passes_its_band_and_30_db_less_outside(upper: float, rate: int) -> None:
    waveform = noise(4 * rate)
    line = perturbations.telephone(waveform, rate, upper)
    assert line.dtype == np.float32
    assert len(line) == len(waveform)
    hertz, before = signal.welch(waveform, rate, nperseg=2048)
    _, after = signal.welch(line, rate, nperseg=2048)

    def change(low: float, high: float) -> float:
        band = (hertz >= low) & (hertz <= high)
        return float(10 * np.log10(after[band].mean() / before[band].mean()))

    assert change(400, upper - 100) == pytest.approx(0, abs=1)
    assert change(0, 200) < -30
    assert change(upper + 250, rate / 2) < -30


def test_upper_edge_at_half_the_rate_of_the_line_needs_no_filter() -> None:
    hertz, power = signal.welch(perturbations.telephone(noise(4 * RATE), RATE, 4000.0), RATE, nperseg=2048)
    inside = power[(hertz > 400) & (hertz < 3500)]
    assert 10 * np.log10(power[hertz > 4300].mean() / inside.mean()) < -30


def test_telephone_has_the_values_of_g711() -> None:
    codes = [((2 * mantissa + 33) << exponent) - 33 for exponent in range(8) for mantissa in range(16)]
    table = np.array(sorted({sign * 4 * code for code in codes for sign in (-1, 1)})) / 32768
    line = perturbations.telephone(voice(rate=8000), 8000, 3400.0)
    assert np.abs(line[:, None] - table).min(axis=1).max() < 1e-6
    tone = sine(1000.0, 8000, 8000)
    coded = perturbations.telephone(tone, 8000, 3400.0)[2000:6000]
    basis = np.stack([f(2 * np.pi * np.arange(4000) / 8) for f in (np.sin, np.cos)])
    error = coded - (2 / 4000) * (basis @ coded) @ basis
    assert 33 < 20 * np.log10(rms(coded) / rms(error)) < 42  # 8-bit mu-law has about 38 dB


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100])
@pytest.mark.parametrize("name", ["opus", "vorbis", "mp3", "gsm"])
def test_codec_keeps_length_and_time(name: str, rate: int) -> None:
    waveform = voice(rate=rate)
    for compression in (0.0, 0.6, 1.0):
        coded = perturbations.codec(waveform, rate, compression, name)
        assert coded.dtype == np.float32
        assert len(coded) == len(waveform)
        assert abs(lag(coded, waveform)) <= rate * 0.0003  # 0.3 ms
        assert likeness(coded, waveform) > 0.85
        if compression == 0 and name != "gsm":
            assert lag(coded, waveform) == 0
            assert likeness(coded, waveform) > 0.995


@pytest.mark.parametrize("name", ["opus", "vorbis", "mp3"])
def test_more_compression_is_less_like_the_original(name: str) -> None:
    waveform = voice() + noise(2 * RATE, level=0.01)
    alike = [likeness(perturbations.codec(waveform, RATE, c, name), waveform) for c in (0.0, 0.5, 0.8, 1.0)]
    assert alike == sorted(alike, reverse=True)
    assert alike[0] > alike[-1] + 0.003


@pytest.mark.parametrize("name", ["vorbis", "gsm"])
def test_codec_gives_what_lhotse_gives(name: str) -> None:
    compress = pytest.importorskip("lhotse.augmentation").Compress
    waveform = voice(rate=8000)[:8000]  # whole frames of GSM, which Lhotse does not cut
    expected = compress(name, 0.7)(waveform[None], 8000)[0]
    np.testing.assert_allclose(perturbations.codec(waveform, 8000, 0.7, name), expected, atol=2e-4)


@pytest.mark.parametrize("name", ["gsm", "mp3", "mulaw"])
def test_what_exceeds_full_scale_is_cut_and_does_not_wrap(name: str) -> None:
    loud = 4 * voice()
    assert np.abs(loud).max() > 1.1
    if name == "mulaw":
        coded, reference = (perturbations.telephone(w, RATE, 3400.0) for w in (loud, loud.clip(-1, 1)))
        assert likeness(coded, reference) > 0.95
    else:
        assert likeness(perturbations.codec(loud, RATE, 0.3, name), loud.clip(-1, 1)) > 0.95


def test_vorbis_takes_minutes_at_once() -> None:
    waveform = np.tile(voice(), 150)
    assert likeness(perturbations.codec(waveform, RATE, 0.5, "vorbis"), waveform) > 0.99


@pytest.mark.filterwarnings("ignore:n_fft=")
@pytest.mark.parametrize("kind", LENGTH_KEEPING)
def test_any_length_and_silence_give_finite_float32_of_the_same_length(kind: str) -> None:
    change = LENGTH_KEEPING[kind]
    for waveform in (noise(1), noise(2), noise(333), noise(5001), np.zeros(4000, np.float32)):
        before = waveform.copy()
        changed = change(waveform)
        assert changed.dtype == np.float32
        assert changed.shape == waveform.shape
        assert np.isfinite(changed).all()
        np.testing.assert_array_equal(waveform, before)  # the argument is left alone
        if not before.any():
            assert np.abs(changed).max() < 1e-3


def test_an_equaliser_moves_each_octave_by_its_decibels_and_keeps_the_level() -> None:
    decibels = [6.0, -6.0, 3.0, 0.0, -3.0, 6.0, -6.0]
    assert perturbations.octaves(RATE).tolist() == [62.5, 125, 250, 500, 1000, 2000, 4000]
    assert perturbations.octaves(8000)[-1] == 2000
    sound = noise(4 * RATE)
    heard = perturbations.equalise(sound, RATE, decibels)
    assert rms(heard) == pytest.approx(rms(sound), rel=1e-4)
    hertz, before = signal.welch(sound, RATE, nperseg=4096)
    _, after = signal.welch(heard, RATE, nperseg=4096)
    gains = 10 * np.log10(after / before)
    measured = np.interp(perturbations.octaves(RATE), hertz, gains)
    np.testing.assert_allclose(measured - measured[3], decibels, atol=0.6)  # the level is put back: 500 Hz as 0 dB


def test_an_equaliser_that_changes_nothing_changes_nothing() -> None:
    for sound in (voice(), np.zeros(100, np.float32), noise(1)):
        np.testing.assert_allclose(perturbations.equalise(sound, RATE, [4.0] * 7), sound, atol=1e-6)
