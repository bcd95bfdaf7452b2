"""Which models and which utterances gradients are measured on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
import torch

from asr.config import Config, save_config
from asr.data.manifest import Utterance, read_manifest, write_manifest
from asr.errors import ConfigError, ManifestError, TrainingError
from asr.model.checkpoint import load_folder
from asr.text import Tokenizer
from asr.training import train
from asr.training.gradient_models import gradients, initial_model, longest_utterances

if TYPE_CHECKING:
    from tests.conftest import Trained

TOKENIZER = Tokenizer.from_characters("abcdefgh")


def test_the_longest_utterances_that_training_would_use_are_taken(
    good: list[Utterance], small_config: Callable[..., Config], tmp_path: Path
) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF no audio")
    soundfile.write(tmp_path / "long.wav", np.zeros(8000 * 9, np.float32), 8000)
    bad = [
        Utterance("broken", tmp_path / "broken.wav", 7.0, 8000, "ab"),
        Utterance("foreign", good[0].audio, 6.9, 8000, "xyz"),
        Utterance("too long", tmp_path / "long.wav", 9.0, 8000, "ab"),
        replace(good[0], id="no transcript", text=None),
    ]
    write_manifest(tmp_path / "cuts.jsonl", [*good, *bad])
    config = small_config(data={"max_seconds": 8.0})
    said: list[str] = []
    found = longest_utterances(tmp_path, TOKENIZER, config, 5, said.append)
    usual = sorted(good, key=lambda u: -u.duration)[:3]  # two of the five cannot be read or spelt
    assert [len(waveform) for waveform, _ in found] == [round(u.duration * 8000) for u in usual]
    assert [tokens.tolist() for _, tokens in found] == [TOKENIZER.encode(u.text or "") for u in usual]
    told = "\n".join(said)
    assert "broken" in told
    assert "foreign" in told
    assert "too long" not in told


def test_a_manifest_without_a_usable_utterance_is_an_error(
    good: list[Utterance], small_config: Callable[..., Config], tmp_path: Path
) -> None:
    write_manifest(tmp_path / "cuts.jsonl", [replace(good[0], text=None)])
    with pytest.raises(TrainingError, match=r"cuts\.jsonl.*none of the 8 longest"):
        longest_utterances(tmp_path / "cuts.jsonl", TOKENIZER, small_config(), 8, print)
    with pytest.raises(ManifestError, match="nowhere"):
        longest_utterances(tmp_path / "nowhere", TOKENIZER, small_config(), 8, print)


@pytest.mark.parametrize("cell", ["rnn_relu", "lstm"])
def test_initial_weights_are_those_that_training_starts_with(
    cell: str, good: list[Utterance], brief: Callable[..., Config], tmp_path: Path
) -> None:
    config = brief(good, learning_rate=1e-30, seed=7)  # a training that changes next to nothing
    config = config.model_copy(update={"model": config.model.model_copy(update={"cell": cell})})
    train(config, tmp_path / "model", device="cpu")
    trained, tokenizer = load_folder(tmp_path / "model")
    initial = initial_model(config, len(tokenizer), [])
    for name, tensor in initial.state_dict().items():
        torch.testing.assert_close(tensor, trained.state_dict()[name], atol=1e-20, rtol=0, msg=name)


def test_a_configuration_gives_all_cells_and_a_folder_its_own_before_and_after_training(
    trained: Trained, tmp_path: Path
) -> None:
    speech = trained.folder / "config.yaml"
    said: list[str] = []
    all_cells = gradients([speech], utterances=1, say=said.append)
    assert list(all_cells) == ["rnn_tanh initial", "rnn_relu initial", "gru initial", "lstm initial"]
    assert said == [f"{speech}: {name}" for name in all_cells]
    assert [flow.cell for flows in all_cells.values() for flow in flows] == ["rnn_tanh", "rnn_relu", "gru", "lstm"]

    folder = gradients([trained.folder], utterances=1)
    assert list(folder) == ["lstm initial", "lstm trained"]
    assert folder["lstm initial"] == all_cells["lstm initial"]
    assert folder["lstm trained"][0].loss != folder["lstm initial"][0].loss
    assert list(gradients([trained.folder], ["gru"], utterances=1)) == ["gru initial", "lstm trained"]

    both = gradients([speech, trained.folder], ["lstm"], utterances=1)  # the initial weights are the same: once
    assert list(both) == ["lstm initial", "lstm trained"]
    twice = tmp_path / "twice"
    shutil.copytree(trained.folder, twice)
    found = gradients([trained.folder, twice], utterances=1)
    assert list(found) == ["lstm initial", f"lstm trained ({trained.folder})", f"lstm trained ({twice})"]


def test_another_manifest_and_overrides(trained: Trained, small_config: Callable[..., Config], tmp_path: Path) -> None:
    save_config(small_config(), tmp_path / "config.yaml")
    with pytest.raises(ConfigError, match=r"config\.yaml: data\.train is not set.*--manifest"):
        gradients([tmp_path / "config.yaml"])
    one_way = ["model.bidirectional=false", "model.layers=2", "features.normalisation=global"]
    found = gradients([tmp_path / "config.yaml"], ["gru"], manifest=trained.dev, utterances=1, overrides=one_way)
    assert [flow.layer for flow in found["gru initial"]] == [1, 2]
    (utterance,) = longest_utterances(trained.dev, TOKENIZER, small_config(), 1, print)
    frames = 1 + len(utterance[0]) // 80 + 3  # of 10 ms, then four become one
    assert sum(share is not None for share in found["gru initial"][0].loss) == frames // 4
    assert max(u.duration for u in read_manifest(trained.dev)) == pytest.approx(len(utterance[0]) / 8000, abs=1e-3)
    with pytest.raises(ConfigError, match="trained model"):
        gradients([trained.folder], overrides=one_way)
