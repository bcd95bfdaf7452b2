"""The network in NumPy against torch's, its features against librosa's, and that torch is not imported for it."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import soundfile
import torch
from threadpoolctl import threadpool_info

from asr.config import Config, parse_config
from asr.decoding.recogniser import Recogniser, light_device
from asr.errors import CheckpointError, ConfigError
from asr.model.acoustic import AcousticModel
from asr.model.checkpoint import create_folder, save_tensors
from asr.model.features import LogMel
from asr.model.numpy_features import NumpyLogMel, mel_filters
from asr.model.numpy_model import NumpyModel
from asr.text import Tokenizer

TOKENIZER = Tokenizer.from_characters("abc")
LENGTHS = (16000, 1, 7000, 12345, 79)


def waveforms(*lengths: int) -> list[np.ndarray]:
    source = np.random.default_rng(0)
    return [(0.1 * source.standard_normal(length)).astype(np.float32) for length in lengths]


def configuration(features: dict[str, Any] | None = None, **model: Any) -> Config:
    return parse_config({"features": features or {}, "model": {"hidden": 24, "layers": 2} | model})


def network(config: Config, seed: int = 0) -> AcousticModel:
    """One whose every parameter matters: biases and norms are no longer 0 and 1."""
    torch.manual_seed(seed)
    model = AcousticModel(config, len(TOKENIZER)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        if config.features.measured:
            model.features.mean.copy_(torch.randn(config.features.mels))
            model.features.deviation.copy_(1 + torch.rand(config.features.mels))
    return model


def in_numpy(model: AcousticModel) -> NumpyModel:
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    return NumpyModel(model.config, len(TOKENIZER), weights, Path("model.safetensors"))


def folder_of(model: AcousticModel, folder: Path) -> Path:
    create_folder(folder, model.config, TOKENIZER)
    save_tensors(folder / "model.safetensors", model.state_dict())
    return folder


@pytest.mark.parametrize(
    "config",
    [
        configuration(),
        configuration({"normalisation": "global", "sample_rate": 8000, "mels": 40}, subsampling={"depth": 2}),
        configuration({"prior_seconds": 0.5}),
        configuration({"normalisation": "none"}, cell="gru", subsampling={"factor": 2}),
        configuration(cell="rnn_tanh", bidirectional=False, subsampling={"kind": "stack", "factor": 3}),
        configuration(cell="rnn_relu", layers=3, residual=True, bidirectional=False),
        configuration(projection=24, residual=True),
        configuration({"window_ms": 23.3, "hop_ms": 7.5}, layers=3, intermediate=[1, 2], self_conditioning=True),
    ],
    ids=["lstm", "global", "prior", "gru", "tanh", "relu", "projection", "conditioning"],
)
def test_log_probs_are_those_of_torch_for_every_architecture(config: Config) -> None:
    model, several = network(config), waveforms(*LENGTHS)
    padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(one) for one in several], batch_first=True)
    with torch.inference_mode():
        expected, frames = model(padded, torch.tensor(LENGTHS))
    found, lengths = in_numpy(model)(several)
    assert found.dtype == np.float32
    assert lengths.tolist() == frames.tolist() == [model.output_frames(length) for length in LENGTHS]
    for row, count in enumerate(lengths):
        np.testing.assert_allclose(found[row, :count], expected[row, :count].numpy(), atol=2e-4)
        assert not found[row, count:].any()
    assert in_numpy(model).frame_seconds == model.frame_seconds


def test_an_utterance_does_not_depend_on_the_rest_of_the_batch() -> None:
    model, several = in_numpy(network(configuration())), waveforms(*LENGTHS)
    together, lengths = model(several)
    for row, waveform in enumerate(several):
        alone, (count,) = model([waveform])
        np.testing.assert_allclose(together[row, : lengths[row]], alone[0], atol=1e-5)
        assert count == lengths[row]


def test_nothing_and_no_samples() -> None:
    model = in_numpy(network(configuration()))
    log_probs, lengths = model([])
    assert log_probs.shape == (0, 0, len(TOKENIZER))
    assert lengths.tolist() == []
    log_probs, lengths = model([np.zeros(0, np.float32), *waveforms(800)])
    assert lengths.tolist() == [0, 2]
    assert np.isfinite(log_probs).all()


@pytest.mark.parametrize(
    ("section", "samples"),
    [({}, 16000), ({"sample_rate": 8000, "mels": 40, "low_hz": 60.0, "high_hz": 3700.0}, 799), ({"mels": 23}, 512)],
)
def test_features_are_librosas(section: dict[str, Any], samples: int) -> None:
    config = parse_config({"features": section}).features
    (waveform,) = waveforms(samples)
    emphasised = waveform - config.preemphasis * np.concatenate([[0], waveform[:-1]])
    front_end = NumpyLogMel(config)
    energies = librosa.feature.melspectrogram(
        y=emphasised.astype(np.float32),
        sr=config.sample_rate,
        n_fft=front_end.fft_size,
        hop_length=front_end.hop,
        win_length=len(front_end.window),
        n_mels=config.mels,
        fmin=config.low_hz,
        fmax=config.high_hz,
        pad_mode="constant",
    )
    assert config.dynamic_range is not None
    expected = np.log(np.maximum(energies, energies.mean() * 10 ** (-config.dynamic_range / 10))).T
    np.testing.assert_allclose(front_end.log_mel(waveform), expected, atol=1e-3)
    filters = librosa.filters.mel(
        sr=config.sample_rate, n_fft=front_end.fft_size, n_mels=config.mels, fmin=config.low_hz, fmax=config.high_hz
    )
    np.testing.assert_allclose(mel_filters(config, front_end.fft_size).T, filters, atol=1e-6)


@pytest.mark.parametrize("window", [20.0, 23.3, 25.0, 31.9])
def test_features_of_odd_windows_are_torchs(window: float) -> None:
    config = parse_config({"features": {"window_ms": window}}).features
    (waveform,) = waveforms(5000)
    expected, _ = LogMel(config)(torch.from_numpy(waveform)[None], torch.tensor([5000]))
    np.testing.assert_allclose(NumpyLogMel(config)(waveform), expected[0].numpy(), atol=1e-3)


def test_silence_is_zero() -> None:
    features = NumpyLogMel(parse_config({}).features)(np.zeros(4000, np.float32))
    assert not features.any()


def test_a_folder_says_the_same_with_either(tmp_path: Path) -> None:
    model, several = network(configuration()), waveforms(8000, 3000)
    folder = folder_of(model, tmp_path / "model")
    plain, light = (Recogniser.load(folder, device) for device in ("cpu", "numpy"))
    assert isinstance(light.model, NumpyModel)
    for one, other in zip(plain.decode(several), light.decode(several), strict=True):
        assert (one.text, one.frames) == (other.text, other.frames)
        assert one.score == pytest.approx(other.score, abs=0.05)
    padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(one) for one in several], batch_first=True)
    expected, frames = plain.log_probs(padded, torch.tensor([8000, 3000]))
    found, lengths = light.log_probs(padded, torch.tensor([8000, 3000]))
    assert lengths.tolist() == frames.tolist()
    torch.testing.assert_close(found[1, : lengths[1]], expected[1, : lengths[1]], atol=2e-4, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("classifier.head.bias"), "classifier.head.bias is missing"),
        (lambda weights: weights.update({"more": torch.ones(1)}), "more is not part of it"),
        (lambda weights: weights.update({"classifier.head.bias": torch.ones(7)}), r"classifier.head.bias is \[7\]"),
        (lambda weights: weights["classifier.norm.bias"].fill_(torch.nan), "classifier.norm.bias holds values that"),
    ],
)
def test_weights_of_another_model_are_refused_as_torch_refuses_them(change: Any, message: str, tmp_path: Path) -> None:
    model = network(configuration())
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    change(weights)
    folder = folder_of(model, tmp_path / "model")
    save_tensors(folder / "model.safetensors", weights)
    for device in ("cpu", "numpy"):
        with pytest.raises(CheckpointError, match=message):
            Recogniser.load(folder, device)


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    folder = folder_of(network(configuration()), tmp_path / "model")
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="does not match its checksum"):
        Recogniser.load(folder, "numpy")
    path.write_bytes(content[:-5])
    with pytest.raises(CheckpointError, match="truncated"):
        Recogniser.load(folder, "numpy")
    path.unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors missing"):
        Recogniser.load(folder, "numpy")


@pytest.mark.parametrize("model", [{"encoder": "transformer"}, {"head": "attention"}])
def test_what_it_cannot_compute_it_says_and_the_light_device_avoids(model: dict[str, Any], tmp_path: Path) -> None:
    folder = folder_of(network(configuration(**model)), tmp_path / "model")
    assert light_device(folder) == "auto"
    with pytest.raises(ConfigError, match=f"--device numpy: .*{next(iter(model.values()))}.*use cpu"):
        Recogniser.load(folder, "numpy")


def test_the_light_device_leaves_a_gpu_to_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(network(configuration()), tmp_path / "model")
    monkeypatch.setattr("asr.decoding.recogniser.has_gpu", lambda: True)
    assert light_device(folder) == "auto"
    monkeypatch.setattr("asr.decoding.recogniser.has_gpu", lambda: False)
    assert light_device(folder) == "numpy"


def test_threads_leave_blas_as_they_found_it() -> None:
    model = in_numpy(network(configuration()))
    before = [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: model(waveforms(9000, 5000))[0], range(40)))
    assert [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"] == before
    assert all(np.allclose(one, found[0], atol=1e-5) for one in found)


def test_transcribing_imports_no_torch(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", waveforms(16000)[0], 16000)
    code = (
        "import sys; from asr.cli import app; "
        f"app(['transcribe', {str(tmp_path / 'a.wav')!r}, '--device', 'numpy'], standalone_mode=False); "
        "print(sorted({'torch', 'librosa', 'matplotlib', 'lhotse'} & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.splitlines()[-1] == "[]"
