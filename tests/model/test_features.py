from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch

from asr.config import FeaturesConfig
from asr.model.features import LogMel

CONFIGS = {
    "16 kHz": FeaturesConfig(),
    "8 kHz": FeaturesConfig(sample_rate=8000),
    "band": FeaturesConfig(low_hz=60, high_hz=7600, mels=64),
    "22 kHz": FeaturesConfig(sample_rate=22050, mels=40, preemphasis=0.0),
}


def noise(samples: int, seed: int = 0) -> np.ndarray:
    """Noise with a slow swell and a tone, in [-1, 1]."""
    time = np.arange(samples)
    swell = 0.05 + 0.2 * np.sin(time / 3000) ** 2
    hiss = np.random.default_rng(seed).standard_normal(samples)
    return np.clip(swell * (hiss + np.sin(time * 0.2)), -1, 1).astype(np.float32)


def librosa_log_mel(waveform: np.ndarray, config: FeaturesConfig, fft: int, window: int, hop: int) -> np.ndarray:
    """`[frames, mels]`, as the documentation of the features says it in librosa's words."""
    x = waveform.astype(np.float64)
    emphasised = np.append(x[:1], x[1:] - config.preemphasis * x[:-1])
    power = librosa.feature.melspectrogram(
        y=emphasised,
        sr=config.sample_rate,
        n_fft=fft,
        win_length=window,
        hop_length=hop,
        window="hann",
        center=True,
        pad_mode="constant",
        power=2,
        n_mels=config.mels,
        fmin=config.low_hz,
        fmax=config.high_hz if config.high_hz is not None else config.sample_rate / 2,
        htk=False,
        norm="slaney",
    )
    floor = power.mean() * 10 ** (-config.dynamic_range / 10) if config.dynamic_range else config.log_floor
    return np.log(np.maximum(power, floor)).T


def alone(layer: LogMel, waveform: np.ndarray) -> torch.Tensor:
    """Features `[frames, mels]`, not normalised, of one utterance."""
    return layer.log_mel(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)]))[0]


def padded(waveforms: list[np.ndarray], garbage: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    batch = torch.full((len(waveforms), int(lengths.max())), garbage)
    for row, waveform in zip(batch, waveforms, strict=True):
        row[: len(waveform)] = torch.from_numpy(waveform)
    return batch, lengths


@pytest.mark.parametrize("name", CONFIGS)
def test_mel_filters_are_those_of_librosa(name: str) -> None:
    config, layer = CONFIGS[name], LogMel(CONFIGS[name])
    expected = librosa.filters.mel(
        sr=config.sample_rate,
        n_fft=layer.fft_size,
        n_mels=config.mels,
        fmin=config.low_hz,
        fmax=config.high_hz,
        htk=False,
        norm="slaney",
    )
    np.testing.assert_allclose(layer.filters.T.numpy(), expected, atol=1e-5, rtol=0)
    np.testing.assert_allclose(layer.filters.T.numpy(), expected, atol=1e-5 * expected.max(), rtol=0)


@pytest.mark.parametrize(
    ("name", "fft", "window", "hop"),
    [("16 kHz", 512, 400, 160), ("8 kHz", 256, 200, 80), ("band", 512, 400, 160), ("22 kHz", 1024, 551, 220)],
)
@pytest.mark.parametrize("samples", [1, 159, 160, 1000, 24000])
@pytest.mark.filterwarnings("ignore:n_fft=.*is too large")
def test_log_mel_is_that_of_librosa(name: str, fft: int, window: int, hop: int, samples: int) -> None:
    layer, waveform = LogMel(CONFIGS[name]), noise(samples)
    expected = librosa_log_mel(waveform, CONFIGS[name], fft, window, hop)
    features = alone(layer, waveform)
    assert features.dtype == torch.float32
    assert features.shape == expected.shape == (1 + samples // hop, CONFIGS[name].mels)
    assert int(layer.frames(torch.tensor(samples))) == 1 + samples // hop
    np.testing.assert_allclose(features.numpy(), expected, atol=1e-3, rtol=0)


def test_empty_waveform_has_no_frames() -> None:
    layer = LogMel(FeaturesConfig())
    features, lengths = layer(torch.zeros(2, 320), torch.tensor([0, 320]))
    assert lengths.tolist() == [0, 3]
    assert torch.isfinite(features).all()


def test_each_utterance_has_mean_0_and_variance_1_over_its_own_frames() -> None:
    waveforms = [noise(samples, seed) * scale for seed, (samples, scale) in enumerate([(9000, 1), (16000, 0.1)])]
    features, lengths = LogMel(FeaturesConfig())(*padded(waveforms, garbage=1e4))
    for row, length in zip(features.double(), lengths, strict=True):
        frames = row[:length]
        assert frames.mean(0).abs().max() < 1e-5
        assert (frames.var(0, unbiased=False) - 1).abs().max() < 1e-3
        assert (row[length:] == 0).all()


@pytest.mark.parametrize("normalisation", ["utterance", "none"])
def test_features_do_not_depend_on_loudness(normalisation: str) -> None:
    layer = LogMel(FeaturesConfig.model_validate({"normalisation": normalisation}))
    # A low tone that comes and goes: most of the time and most of the bins are far below the mean.
    waveform = (np.sin(np.arange(16000) * 0.3) * np.hanning(16000) ** 8).astype(np.float32) + 1e-5 * noise(16000)
    loud, _ = layer(*padded([waveform]))
    quiet, _ = layer(*padded([1e-3 * waveform]))
    softer = 0.0 if normalisation == "utterance" else np.log(1e-6)
    torch.testing.assert_close(quiet, loud + softer, atol=2e-3, rtol=0)
    assert (alone(layer, waveform).min(0).values == alone(layer, waveform).min()).sum() > 40


def test_models_of_before_have_an_absolute_floor() -> None:
    config = FeaturesConfig.model_validate({"log_floor": 2.0**-23})
    assert config.dynamic_range is None
    features = alone(LogMel(config), np.append(noise(8000), np.zeros(8000, np.float32)))
    torch.testing.assert_close(features.min(), torch.tensor(np.float32(np.log(2.0**-23))))
    assert FeaturesConfig.model_validate(config.model_dump()) == config
    assert FeaturesConfig.model_validate({"log_floor": 1e-9, "dynamic_range": 50}).dynamic_range == 50


def test_silence_holds_the_floor() -> None:
    features = alone(LogMel(FeaturesConfig()), np.zeros(8000, np.float32))
    torch.testing.assert_close(features, torch.full_like(features, np.log(1e-20)))


@pytest.mark.parametrize("padding", [0, 1000, 50000])
def test_normalised_silence_is_0(padding: int) -> None:
    features, _ = LogMel(FeaturesConfig())(torch.zeros(1, 8000 + padding), torch.tensor([8000]))
    torch.testing.assert_close(features, torch.zeros_like(features), atol=1e-5, rtol=0)


def test_global_statistics_are_those_of_numpy_over_all_frames() -> None:
    config = FeaturesConfig(normalisation="global")
    layer = LogMel(config)
    waveforms = [noise(samples, seed) for seed, samples in enumerate([4000, 16000, 700, 9001])]
    layer.fit([padded(waveforms[:3], garbage=1e4), padded(waveforms[3:])])
    frames = np.concatenate([librosa_log_mel(waveform, config, 512, 400, 160) for waveform in waveforms])
    np.testing.assert_allclose(layer.mean.numpy(), frames.mean(0), atol=1e-3)
    np.testing.assert_allclose(layer.deviation.numpy(), frames.std(0), atol=1e-3)
    features, lengths = layer(*padded(waveforms, garbage=1e4))
    every = torch.cat([row[:length] for row, length in zip(features, lengths, strict=True)])
    np.testing.assert_allclose(every.numpy(), (frames - frames.mean(0)) / frames.std(0), atol=5e-3)


@pytest.mark.parametrize("seconds", [0.1, 2.0])
def test_a_prior_counts_as_frames_with_the_statistics_of_the_training_set(seconds: float) -> None:
    config = FeaturesConfig(prior_seconds=seconds)
    layer, (waveform,) = LogMel(config), [noise(3000)]
    layer.fit([padded([noise(samples, seed) for seed, samples in enumerate([4000, 16000])])])
    frames = librosa_log_mel(waveform, config, 512, 400, 160)
    mean, deviation = (getattr(layer, name).double().numpy() for name in ("mean", "deviation"))
    # Half of the prior's frames at one deviation below the training set's mean, half above: they have its statistics.
    half = round(50 * seconds)
    joined = np.concatenate([frames, *[np.tile(mean + sign * deviation, (half, 1)) for sign in (-1, 1)]])
    features, _ = layer(*padded([waveform], garbage=1e4))
    np.testing.assert_allclose(features[0].numpy(), (frames - joined.mean(0)) / joined.std(0), atol=5e-3)


def test_global_statistics_are_saved_with_the_weights_and_nothing_else_is() -> None:
    for config in (FeaturesConfig(normalisation="global"), FeaturesConfig(prior_seconds=0.5)):
        assert sorted(LogMel(config).state_dict()) == ["deviation", "mean"]
    layer = LogMel(FeaturesConfig(normalisation="global"))
    assert not LogMel(FeaturesConfig()).state_dict()
    assert not list(layer.parameters())


def test_statistics_of_nothing_are_refused() -> None:
    layer = LogMel(FeaturesConfig(normalisation="global"))
    with pytest.raises(Exception, match="no"):
        layer.fit([])


@pytest.mark.parametrize(
    "settings",
    [{"normalisation": "utterance"}, {"normalisation": "global"}, {"normalisation": "none"}, {"prior_seconds": 0.5}],
    ids=str,
)
def test_batch_gives_what_each_utterance_gives_alone(settings: dict[str, object]) -> None:
    layer = LogMel(FeaturesConfig.model_validate(settings))
    waveforms = [noise(samples, seed) for seed, samples in enumerate([1, 160, 5003, 16000])]
    together, lengths = layer(*padded(waveforms, garbage=np.inf))
    for row, length, waveform in zip(together, lengths, waveforms, strict=True):
        expected, frames = layer(*padded([waveform]))
        assert frames.item() == length
        torch.testing.assert_close(row[:length], expected[0], atol=1e-5, rtol=0)
        assert (row[length:] == 0).all()


def test_features_are_float32_under_autocast_and_for_half_precision_audio() -> None:
    layer, (waveforms, lengths) = LogMel(FeaturesConfig()), padded([noise(8000)])
    expected, _ = layer(waveforms, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast, _ = layer(waveforms, lengths)
    assert under_autocast.dtype == torch.float32
    assert torch.equal(under_autocast, expected)
    assert layer(waveforms.half(), lengths)[0].dtype == torch.float32


def test_the_callers_waveforms_are_left_alone() -> None:
    waveforms, lengths = padded([noise(800), noise(1600)], garbage=7.0)
    before = waveforms.clone()
    LogMel(FeaturesConfig())(waveforms, lengths)
    assert torch.equal(waveforms, before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_gpu_gives_the_features_of_the_cpu() -> None:
    layer = LogMel(FeaturesConfig())
    waveforms, lengths = padded([noise(5003), noise(16000)])
    expected, _ = layer(waveforms, lengths)
    features, frames = layer.cuda()(waveforms.cuda(), lengths.cuda())
    assert frames.tolist() == [32, 101]
    torch.testing.assert_close(features.cpu(), expected, atol=1e-3, rtol=0)
