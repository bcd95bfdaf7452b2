from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from asr.config import Config
from asr.decoding.greedy import greedy
from asr.decoding.recogniser import Recogniser, choose_device
from asr.errors import CheckpointError, ConfigError
from asr.model.acoustic import AcousticModel
from asr.model.checkpoint import create_folder, save_tensors
from asr.text import Tokenizer


def recogniser(seed: int = 0) -> Recogniser:
    torch.manual_seed(seed)
    config = Config.model_validate(
        {
            "features": {"sample_rate": 8000, "mels": 16},
            "model": {"layers": 1, "hidden": 8, "subsampling": {"factor": 2, "channels": 2}},
        }
    )
    tokenizer = Tokenizer.from_characters("abc")
    model = AcousticModel(config, len(tokenizer)).eval()
    with torch.no_grad():
        model.classifier.head.weight.mul_(20)  # far from even, so that untrained weights say something
    return Recogniser(model, tokenizer, torch.device("cpu"))


def network(machine: Recogniser) -> AcousticModel:
    assert isinstance(machine.model, AcousticModel)
    return machine.model


def waveforms(*lengths: int) -> list[np.ndarray]:
    source = np.random.default_rng(0)
    return [(0.2 * source.standard_normal(length)).astype(np.float32) for length in lengths]


def test_decodes_what_model_and_greedy_search_say() -> None:
    machine, (waveform,) = recogniser(), waveforms(8000)
    (hypothesis,) = machine.decode([waveform])
    assert hypothesis.text
    with torch.no_grad():
        log_probs, lengths = network(machine)(torch.from_numpy(waveform)[None], torch.tensor([8000]))
    assert [hypothesis] == greedy(log_probs, lengths, machine.tokenizer)
    assert hypothesis.frames[-1] < network(machine).output_frames(8000)


def test_text_does_not_depend_on_the_rest_of_the_batch() -> None:
    machine, several = recogniser(), waveforms(8000, 1, 79, 3001, 5000)
    together = machine.decode(several)
    for waveform, hypothesis in zip(several, together, strict=True):
        (alone,) = machine.decode([waveform])
        assert (alone.text, alone.tokens, alone.frames) == (hypothesis.text, hypothesis.tokens, hypothesis.frames)
        assert alone.score == pytest.approx(hypothesis.score, abs=1e-3)


def test_arrays_and_tensors_of_any_float_type_are_taken() -> None:
    machine, (waveform,) = recogniser(), waveforms(4000)
    expected = machine.decode([waveform])
    assert machine.decode([waveform.astype(np.float64)]) == expected
    assert machine.decode([torch.from_numpy(waveform)]) == expected


def test_nothing_and_silence_and_no_samples() -> None:
    machine = recogniser()
    assert machine.decode([]) == []
    assert [h.text for h in machine.decode([np.zeros(0, np.float32)])] == [""]
    assert machine.decode([np.zeros(0, np.float32), *waveforms(800)])[0].text == ""
    assert np.isfinite(machine.decode([np.zeros(8000, np.float32)])[0].score)


def test_decoding_uses_evaluation_mode_and_puts_training_mode_back() -> None:
    machine, (waveform,) = recogniser(), waveforms(8000)
    expected = machine.decode([waveform])
    network(machine).train()
    assert machine.decode([waveform]) == expected == machine.decode([waveform])
    assert network(machine).training
    assert network(machine).classifier.training


def test_loaded_from_its_folder_it_says_the_same(tmp_path: Path) -> None:
    machine, several = recogniser(), waveforms(8000, 2000)
    create_folder(tmp_path, machine.config, machine.tokenizer)
    save_tensors(tmp_path / "model.safetensors", network(machine).state_dict())
    loaded = Recogniser.load(tmp_path, device="cpu")
    assert loaded.decode(several) == machine.decode(several)
    assert loaded.sample_rate == 8000
    assert loaded.config == machine.config
    with pytest.raises(CheckpointError, match="no such model folder"):
        Recogniser.load(tmp_path / "none")


def test_automatic_device_is_the_gpu_where_there_is_one() -> None:
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "auto:1"])
def test_unknown_device_is_an_error_that_lists_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError, match="expected auto, cpu, cuda or cuda:N"):
        choose_device(name)


def test_gpu_that_is_not_there_is_an_error() -> None:
    count = torch.cuda.device_count()
    with pytest.raises(ConfigError, match=f"--device cuda:{count + 7}: this machine has {count} CUDA devices"):
        choose_device(f"cuda:{count + 7}")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has Metal")
def test_other_device_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ConfigError, match="mps"):
        choose_device("mps")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_gpu_says_what_the_cpu_says() -> None:
    machine, several = recogniser(), waveforms(8000, 1, 3001)
    expected = machine.decode(several)
    on_gpu = Recogniser(network(machine).cuda(), machine.tokenizer, torch.device("cuda")).decode(several)
    for one, other in zip(on_gpu, expected, strict=True):
        assert one.score == pytest.approx(other.score, rel=0.02, abs=0.1)  # cuDNN may use TF32
    assert on_gpu[0].text
