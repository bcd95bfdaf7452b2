"""Models by path and by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import asr
from asr.errors import CheckpointError, ConfigError
from asr.model import folders
from asr.model.folders import bundled_models, file_of, find_model, own_model

if TYPE_CHECKING:
    from tests.conftest import Ran, Trained


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Trained) -> Path:
    """An installation with one model, called en-small."""
    box = tmp_path / "models"
    shutil.copytree(trained.folder, box / "en-small", ignore=shutil.ignore_patterns("checkpoints", "tensorboard"))
    (box / "notes").mkdir()  # no model
    monkeypatch.setattr(folders, "MODELS", box)
    monkeypatch.chdir(tmp_path)
    return box


def test_a_name_finds_the_model_that_comes_with_the_package(box: Path) -> None:
    assert bundled_models() == {"en-small": box / "en-small"}
    assert find_model("en-small") == box / "en-small"


def test_a_folder_of_that_name_comes_first(box: Path, tmp_path: Path) -> None:
    (tmp_path / "en-small").mkdir()
    assert find_model("en-small") == Path("en-small")
    assert own_model("en-small") == Path("en-small")


@pytest.mark.parametrize("find", [find_model, own_model])
def test_an_unknown_name_is_an_error_that_lists_the_known_ones(box: Path, find: Callable[[str], Path]) -> None:
    with pytest.raises(CheckpointError, match=r"^en-large: no such model folder; .* come with asr: en-small$"):
        find("en-large")


def test_a_model_of_the_package_is_not_written_to(box: Path) -> None:
    for name in ("en-small", box / "en-small"):
        with pytest.raises(ConfigError, match=r"stays as it is; change a copy: cp -r \S+ en-small-mine"):
            own_model(name)


def test_load_model_takes_it_when_nothing_is_named(box: Path, trained: Trained) -> None:
    audio = next(trained.test.glob("*.wav"))
    default = asr.load_model(device="cpu")
    assert default.folder == box / "en-small"
    assert default.transcribe(audio).text == asr.load_model(trained.folder, device="cpu").transcribe(audio).text != ""


def test_commands_take_it_when_nothing_is_named(
    box: Path, trained: Trained, asr_command: Callable[..., Ran], tmp_path: Path
) -> None:
    audio = next(trained.test.glob("*.wav"))
    named = asr_command("transcribe", audio, "--model", trained.folder, "--device", "cpu")
    unnamed = asr_command("transcribe", audio, "--device", "cpu")
    assert unnamed.status == 0, unnamed.err
    assert unnamed.out == named.out != "\n"
    text = tmp_path / "said.txt"
    text.write_text(named.out)
    assert asr_command("align", audio, text, "--device", "cpu").status == 0
    assert asr_command("explain", audio, "--output", tmp_path / "a.png", "--device", "cpu").status == 0
    scored = asr_command("evaluate", trained.test, "--json", "--device", "cpu")
    assert scored.status == 0, scored.err
    assert '"wer"' in scored.out
    assert asr_command("info", "en-small").status == 0


def test_commands_that_write_into_a_model_refuse_it(
    box: Path, trained: Trained, asr_command: Callable[..., Ran]
) -> None:
    before = sorted(path.name for path in (box / "en-small").iterdir())
    ran = asr_command("calibrate", trained.dev, "--model", "en-small")
    assert ran.status == 2
    assert "change a copy" in ran.err
    assert sorted(path.name for path in (box / "en-small").iterdir()) == before


def test_models_are_listed(box: Path, asr_command: Callable[..., Ran]) -> None:
    ran = asr_command("models")
    assert ran.status == 0
    first, second = ran.out.splitlines()
    assert first.startswith("en-small  A speech recogniser: log-mel features")
    assert first.endswith("used when no --model is given")
    assert second.strip() == str(box / "en-small")
    assert '"name": "en-small"' in asr_command("models", "--json").out


def test_fine_tuning_starts_from_a_model_by_name(
    box: Path, trained: Trained, small_config: Callable[..., asr.Config], tmp_path: Path
) -> None:
    training = {"init": "en-small", "epochs": 1, "learning_rate": 1e-6}
    config = small_config(data={"train": str(trained.dev), "dev": str(trained.test)}, training=training)
    result = asr.train(config, tmp_path / "tuned", device="cpu")
    assert result.best_wer is not None
    assert result.best_wer < 0.5  # that of the model it starts from; a new one is at 1 after one epoch


def test_a_file_of_a_configuration_is_looked_for_in_the_folder_first(tmp_path: Path) -> None:
    (tmp_path / "lm.lm").touch()
    assert file_of(tmp_path, "lm.lm") == tmp_path / "lm.lm"
    assert file_of(tmp_path, "elsewhere/lm.lm") == Path("elsewhere/lm.lm")
    assert file_of(tmp_path, "/elsewhere/lm.lm") == Path("/elsewhere/lm.lm")
