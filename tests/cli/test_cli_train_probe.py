"""`asr train --probe` as a user calls it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from asr.config import Config
from asr.data.manifest import Utterance, write_manifest
from tests.conftest import Ran


@pytest.fixture
def config_file(small_config: Callable[..., Config], tmp_path: Path) -> Path:
    """A configuration whose training set has recordings of 2 and 3 s, and that names no dev set."""
    utterances = [Utterance(f"u{n}", tmp_path / f"{n}.wav", 2.0 + n % 2, 8000, "bad cafe") for n in range(4)]
    write_manifest(tmp_path / "train.jsonl", utterances)
    config = small_config(data={"train": str(tmp_path / "train.jsonl")}, model={"hidden": 8})
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_probe_needs_no_output_and_prints_lines_to_paste(asr_command: Callable[..., Ran], config_file: Path) -> None:
    ran = asr_command("train", config_file, "--probe", "--device", "cpu")
    assert ran.status == 0, ran.err
    assert "batch_seconds" in ran.err
    assert "Largest that was tried and fits this CPU" in ran.out
    pasted = yaml.safe_load(ran.out[ran.out.index("data:") :])
    assert 0 < pasted["data"]["batch_seconds"] <= 12.0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_probe_prints_json(asr_command: Callable[..., Ran], config_file: Path) -> None:
    ran = asr_command("train", config_file, "--probe", "--device", "cpu", "--json")
    result = json.loads(ran.out)
    assert result["batch_seconds"] <= result["safe"] < result["largest"] <= 12.0
    assert result["trials"][0]["batch_seconds"] == 3.0
    assert result["trials"][0]["shapes"] == [{"utterances": 1, "seconds": 3.0}]


def test_training_still_needs_an_output(asr_command: Callable[..., Ran], config_file: Path) -> None:
    ran = asr_command("train", config_file)
    assert ran.status == 2
    assert "--output is missing" in ran.err
