from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asr.config import Config, save_config
from asr.data.manifest import Utterance, read_manifest, write_manifest

if TYPE_CHECKING:
    from tests.conftest import Ran, Trained

    Command = Callable[..., Ran]

REPOSITORY = Path(__file__).resolve().parents[2]
COMMANDS = ("prepare", "data", "train", "transcribe", "evaluate", "diagnose", "score", "info", "models", "pack")
DATA = ("doctor", "export", "filter", "import", "listen", "merge", "shard", "split", "stats")
HELP = [[command, "-h"] for command in COMMANDS] + [["data", command, "-h"] for command in DATA]
HELP.append(["diagnose", "gradients", "-h"])


@pytest.fixture
def config_file(small_config: Callable[..., Config], trained: Trained, tmp_path: Path) -> Path:
    """A configuration that trains for a second."""
    write_manifest(tmp_path / "few.jsonl", list(read_manifest(trained.train))[:8])
    config = small_config(
        data={"train": str(tmp_path / "few.jsonl"), "dev": str(trained.dev)},
        model={"hidden": 8},
        training={"epochs": 1},
    )
    save_config(config, tmp_path / "config.yaml")
    return tmp_path / "config.yaml"


# The command line as such

LIGHT = """
import sys
from asr.cli import main

for arguments in {runs}:
    sys.argv = ["asr", *arguments]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, (arguments, stop.code)
heavy = {{"torch", "torchaudio", "librosa", "lhotse", "matplotlib", "accelerate"}} & set(sys.modules)
assert not heavy, heavy
"""


def test_help_and_listings_import_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two\n")
    runs = [["--help"], ["--version"], ["prepare", "--list"], *HELP]
    runs.append(["score", str(tmp_path / "a.txt"), str(tmp_path / "a.txt")])
    done = subprocess.run(
        [sys.executable, "-c", LIGHT.format(runs=runs)], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in COMMANDS + DATA)


@pytest.mark.parametrize("arguments", [["--version"], ["-h"], *HELP])
def test_help_exits_0(asr_command: Command, arguments: list[str]) -> None:
    ran = asr_command(*arguments)
    assert ran.status == 0
    assert ran.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["transcribble", "a.wav"],
        ["info"],
        ["transcribe"],
        ["transcribe", "a.wav", "--model", "m", "--format", "docx"],
        ["score", "a", "b", "--format", "docx"],
        ["train", "a.yaml", "--output", "m", "--threads", "0"],
        ["train", "a.yaml", "--output", "m", "--resumee"],
    ],
)
def test_wrong_usage_exits_2(asr_command: Command, arguments: list[str]) -> None:
    ran = asr_command(*arguments)
    assert ran.status == 2
    assert ran.err
    assert not ran.out


# train


def test_train_makes_a_model_and_says_how_good_it_is(asr_command: Command, config_file: Path, tmp_path: Path) -> None:
    output = tmp_path / "a model"
    ran = asr_command("train", config_file, "--output", output, "--device", "cpu", "--threads", "1")
    assert ran.status == 0, ran.err
    assert ran.out.startswith(f"{output}: dev WER ")
    assert "epoch   1" in ran.err
    assert ran.err.splitlines()[-1].startswith("dev WER 100%: the model has learnt next to nothing. Try more epochs")
    assert (output / "model.safetensors").is_file()


def test_train_json_is_one_object(asr_command: Command, config_file: Path, tmp_path: Path) -> None:
    ran = asr_command("train", config_file, "--output", tmp_path / "m", "--device", "cpu", "--json")
    assert ran.status == 0, ran.err
    result = json.loads(ran.out)
    assert result["model"] == str(tmp_path / "m")
    assert result["best_epoch"] == 1
    assert result["dev_wer"] > 0
    assert "learnt next to nothing" in result["advice"][0]
    assert result["parameters"] > 1000


def test_train_json_still_names_what_is_left_out(asr_command: Command, config_file: Path, tmp_path: Path) -> None:
    rows = list(read_manifest(tmp_path / "few.jsonl"))
    gone = Utterance("gone", tmp_path / "gone.wav", 1.0, 8000, "ab")
    write_manifest(tmp_path / "few.jsonl", [*rows, gone])
    ran = asr_command("train", config_file, "--output", tmp_path / "m", "--device", "cpu", "--json")
    assert json.loads(ran.out)["best_epoch"] == 1
    assert "gone.wav: no such file" in ran.err


def test_set_overrides_a_value(asr_command: Command, config_file: Path, tmp_path: Path) -> None:
    ran = asr_command("train", config_file, "--output", tmp_path / "m", "--set", "model.hidden=6", "--device", "cpu")
    assert ran.status == 0, ran.err
    info = asr_command("info", tmp_path / "m", "--json")
    assert json.loads(info.out)["hidden"] == 6


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.epoch=3", "unknown key 'training.epoch', did you mean 'training.epochs'?"),
        ("model.learning_rate=3", "did you mean 'training.learning_rate'?"),
        ("training.epochs=many", "training.epochs"),
        ("model.cell=transformer", "model.cell"),
        ("training.epochs", "expected section.key=value"),
    ],
)
def test_a_wrong_setting_is_explained_and_exits_2(
    asr_command: Command, config_file: Path, tmp_path: Path, setting: str, message: str
) -> None:
    ran = asr_command("train", config_file, "--output", tmp_path / "m", "--set", setting)
    assert ran.status == 2
    assert message in ran.err
    assert not (tmp_path / "m").exists()


def test_a_missing_configuration_exits_2(asr_command: Command, tmp_path: Path) -> None:
    ran = asr_command("train", tmp_path / "none.yaml", "--output", tmp_path / "m")
    assert ran.status == 2
    assert "none.yaml: no such configuration file" in ran.err


def test_a_folder_in_use_exits_1_and_names_both_ways_on(
    asr_command: Command, config_file: Path, trained: Trained
) -> None:
    ran = asr_command("train", config_file, "--output", trained.folder, "--device", "cpu")
    assert ran.status == 1
    assert "--resume continues it, --overwrite starts it again" in ran.err
