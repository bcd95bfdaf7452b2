from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy import signal

from asr.data.noise import BABBLE_TALKERS, SoundFolder, add_noise, babble, pink, white
from asr.errors import AudioError, ConfigError

RATE = 16000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def decibels(signal: np.ndarray, noise: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(signal.astype(np.float64) ** 2) / np.mean(noise.astype(np.float64) ** 2)))


def slope(noise: np.ndarray, low: float, high: float) -> float:
    """Exponent of the frequency that the power follows."""
    hertz, power = signal.welch(noise, RATE, nperseg=8192)
    band = (hertz > low) & (hertz < high)
    return float(np.polyfit(np.log(hertz[band]), np.log(power[band]), 1)[0])


def test_white_noise_is_flat_and_pink_falls_as_1_over_f() -> None:
    assert slope(white(60 * RATE, rng()), 50, 7500) == pytest.approx(0, abs=0.03)
    made = pink(60 * RATE, RATE, rng())
    assert made.dtype == np.float32
    assert slope(made, 50, 7500) == pytest.approx(-1, abs=0.03)
    assert slope(made, 50, 500) == pytest.approx(-1, abs=0.1)
    hertz, power = signal.periodogram(made, RATE)
    assert power[hertz < 19].sum() < 1e-3 * power.sum()
    octaves = [power[(hertz >= low) & (hertz < 2 * low)].sum() for low in (100, 200, 400, 800, 1600, 3200)]
    assert max(octaves) / min(octaves) < 1.25


@pytest.mark.parametrize("samples", [1, 2, 100, 1601, 16001])
def test_noise_has_any_length(samples: int) -> None:
    for made in (white(samples, rng()), pink(samples, RATE, rng()), babble([np.ones(7, np.float32)], samples, rng())):
        assert made.shape == (samples,)
        assert made.dtype == np.float32
        assert np.isfinite(made).all()
        assert made.any()


@pytest.mark.parametrize("ratio", [-20.0, 0.0, 12.3, 60.0])
def test_signal_to_noise_ratio_is_exact(ratio: float) -> None:
    speech = 0.1 * white(RATE, rng(1)) * np.hanning(RATE).astype(np.float32)
    noisy = add_noise(speech, 17 * pink(RATE, RATE, rng(2)), ratio)
    assert noisy.dtype == np.float32
    assert decibels(speech, noisy.astype(np.float64) - speech) == pytest.approx(ratio, abs=0.01)


def test_silent_speech_and_silent_noise_stay_without_nan() -> None:
    silence = np.zeros(RATE, np.float32)
    np.testing.assert_array_equal(add_noise(silence, white(RATE, rng()), 10.0), silence)
    speech = white(RATE, rng())
    np.testing.assert_array_equal(add_noise(speech, silence, 10.0), speech)
    assert not babble([silence, silence], RATE, rng()).any()


def test_babble_is_five_different_talkers_equally_loud() -> None:
    times = np.arange(3 * RATE) / RATE
    tones = [100 * (k + 1) for k in range(8)]
    talkers = [((k + 1) * np.sin(2 * np.pi * hertz * times)).astype(np.float32) for k, hertz in enumerate(tones)]
    chosen = set()
    for seed in range(10):
        power = np.abs(np.fft.rfft(babble(talkers, RATE, rng(seed)))) ** 2
        heard = power[tones]
        present = heard > 0.5 * heard.max()
        assert present.sum() == BABBLE_TALKERS
        assert heard[present].max() / heard[present].min() < 1.1
        assert power.sum() < 1.01 * heard[present].sum()
        chosen |= set(np.flatnonzero(present).tolist())
    assert chosen == set(range(8))
    with pytest.raises(AudioError, match="babble needs other utterances"):
        babble([], RATE, rng())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "noise"
    (root / "street" / "deep").mkdir(parents=True)
    ramp = np.linspace(0.1, 0.9, 4 * RATE).astype(np.float32)  # the value says the place
    soundfile.write(root / "street" / "deep" / "ramp.wav", ramp, RATE, subtype="FLOAT")
    soundfile.write(root / "short.flac", ramp[:800], RATE)
    (root / "README.txt").write_text("not audio")
    (root / "._short.flac").write_bytes(b"what a Mac leaves behind")
    return root


def test_folder_is_searched_to_any_depth_through_links(folder: Path, tmp_path: Path) -> None:
    assert SoundFolder(folder, "key").names == ["short.flac", "street/deep/ramp.wav"]
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "there").symlink_to(folder)
    assert len(SoundFolder(tmp_path / "linked", "key").names) == 2


def test_recorded_noise_comes_from_a_random_place(folder: Path) -> None:
    sounds = SoundFolder(folder, "key")
    starts = []
    for seed in range(40):
        stretch = sounds.stretch("street/deep/ramp.wav", RATE, RATE, rng(seed))
        assert stretch.shape == (RATE,)
        assert (np.diff(stretch) >= 0).all()  # one piece, not rolled over the end
        starts.append((stretch[0] - 0.1) / 0.8 * 4)
    assert min(starts) < 0.3
    assert max(starts) > 2.7  # of at most 3 s
    np.testing.assert_array_equal(stretch, sounds.stretch("street/deep/ramp.wav", RATE, RATE, rng(39)))


def test_short_noise_is_repeated_and_another_rate_resampled(folder: Path) -> None:
    stretch = SoundFolder(folder, "key").stretch("short.flac", RATE, 2000, rng())
    np.testing.assert_array_equal(stretch[:1200], stretch[800:])
    tone = np.sin(2 * np.pi * 1000 * np.arange(44100 * 2) / 44100)
    soundfile.write(folder / "tone.wav", 0.5 * tone, 44100)
    stretch = SoundFolder(folder, "key").stretch("tone.wav", RATE, RATE, rng())
    assert int(np.abs(np.fft.rfft(stretch)).argmax()) == 1000


def test_impulse_response_is_the_first_channel(folder: Path) -> None:
    channels = np.zeros((100, 2), np.float32)
    channels[10, 0] = channels[30, 1] = 0.5
    soundfile.write(folder / "room.wav", channels, RATE, subtype="FLOAT")
    soundfile.write(folder / "dead.wav", np.zeros(100), RATE)
    sounds = SoundFolder(folder, "key")
    np.testing.assert_array_equal(sounds.response("room.wav", RATE), channels[:, 0])
    with pytest.raises(AudioError, match=r"dead\.wav: an impulse response without a sound"):
        sounds.response("dead.wav", RATE)


def test_files_with_broken_headers_are_named_and_left_out(folder: Path) -> None:
    (folder / "broken.wav").write_bytes(b"RIFF, or so it says")
    (folder / "empty.mp3").write_bytes(b"")
    sounds = SoundFolder(folder, "key")
    assert sounds.names == ["short.flac", "street/deep/ramp.wav"]
    assert [Path(problem.id).name for problem in sounds.problems] == ["broken.wav", "empty.mp3"]
    assert all(problem.id in problem.message for problem in sounds.problems)


def test_file_that_breaks_off_inside_is_named_when_it_is_read(folder: Path) -> None:
    soundfile.write(folder / "cut.flac", 0.1 * white(4 * RATE, rng()), RATE)
    sounds = SoundFolder(folder, "key")
    whole = (folder / "cut.flac").read_bytes()
    (folder / "cut.flac").write_bytes(whole[: len(whole) // 10])
    with pytest.raises(AudioError, match=r"cut\.flac: cut short"):
        sounds.stretch("cut.flac", RATE, 5 * RATE, rng())


def test_folder_without_usable_audio_is_an_error_that_names_the_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"augmentation\.noise\.folder: .*nowhere: no such folder"):
        SoundFolder(tmp_path / "nowhere", "augmentation.noise.folder")
    (tmp_path / "list.txt").write_text("")
    with pytest.raises(ConfigError, match=r"augmentation\.noise\.folder: .*no audio file at any depth \(\.wav"):
        SoundFolder(tmp_path, "augmentation.noise.folder")
    (tmp_path / "bad.wav").write_bytes(b"nonsense")
    with pytest.raises(ConfigError, match=r"augmentation\.noise\.folder: none of 1 files can be read.*bad\.wav"):
        SoundFolder(tmp_path, "augmentation.noise.folder")
