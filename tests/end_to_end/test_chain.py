from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

import asr
from asr.data.manifest import read_manifest
from asr.model.acoustic import AcousticModel
from asr.model.checkpoint import load_tensors

if TYPE_CHECKING:
    from asr.transcription import Transcriber
    from tests.conftest import Ran, Trained

MODEL_FOLDER = {"config.yaml", "tokens.txt", "model.safetensors", "README.md"}
TRAINING = {"checkpoints", "log.jsonl", "tensorboard"}


def test_a_small_model_learns_made_speech(trained: Trained, model: Transcriber) -> None:
    result = asr.evaluate(model, trained.test)
    assert result.score.words > 50
    assert not {row.text for row in read_manifest(trained.test)} & {row.text for row in read_manifest(trained.train)}
    assert result.wer <= 0.1


def test_the_commands_do_what_the_functions_do(
    trained: Trained, model: Transcriber, asr_command: Callable[..., Ran]
) -> None:
    test = list(read_manifest(trained.test))
    ran = asr_command("transcribe", *(row.audio for row in test), "--model", trained.folder, "--device", "cpu")
    texts = [line.partition(": ")[2] for line in ran.out.splitlines()]
    assert texts == [model.transcribe(row.audio).text for row in test]
    assert texts == [row.text for row in asr.evaluate(model, trained.test).hypotheses.values()]
    assert asr.score([row.text or "" for row in test], texts).wer == asr.evaluate(model, trained.test).wer


def test_the_model_folder_is_complete(trained: Trained) -> None:
    assert {path.name for path in trained.folder.iterdir()} == MODEL_FOLDER | TRAINING
    assert list((trained.folder / "tensorboard").glob("events.out.tfevents.*"))
    tree = yaml.safe_load((trained.folder / "config.yaml").read_text())
    assert (tree["model"]["hidden"], tree["model"]["cell"]) == (32, "lstm")
    assert (trained.folder / "tokens.txt").read_text().startswith("<blank> 0\n▁ 1\na 2\n")


def test_the_model_card_says_what_was_measured(trained: Trained) -> None:
    card = (trained.folder / "README.md").read_text()
    assert "100 utterances" in card
    assert "3 speakers" in card
    assert f"{trained.result.best_wer:.2%}" in card
    assert f"asr evaluate MANIFEST --model {trained.folder}" in card
    assert "8000 Hz" in card


def test_the_board_shows_loss_and_error_rates(trained: Trained) -> None:
    loading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = loading.EventAccumulator(str(trained.folder / "tensorboard")).Reload()
    assert {"train/loss", "train/learning_rate", "epoch/dev_wer"} <= set(board.Tags()["scalars"])
    assert [event.value for event in board.Scalars("epoch/dev_wer")] == pytest.approx(
        [row["dev_wer"] for row in trained.result.history]
    )


def test_four_files_of_the_folder_are_the_whole_model(trained: Trained, model: Transcriber, tmp_path: Path) -> None:
    for name in MODEL_FOLDER:
        (tmp_path / name).write_bytes((trained.folder / name).read_bytes())
    audio = next(read_manifest(trained.test)).audio
    assert asr.load_model(tmp_path, device="cpu").transcribe(audio) == model.transcribe(audio)
    assert isinstance(model.model, AcousticModel)
    assert set(load_tensors(tmp_path / "model.safetensors")[0]) == set(model.model.state_dict())


def test_every_public_name_is_there() -> None:
    assert all(getattr(asr, name) is not None for name in asr.__all__)
    assert set(asr.__all__) <= set(dir(asr))
    namespace: dict[str, object] = {}
    exec("from asr import *", namespace)
    assert set(asr.__all__) <= namespace.keys()


def test_public_names_are_those_of_their_rooms() -> None:
    from asr.errors import AsrError
    from asr.transcription import load_model

    assert asr.AsrError is AsrError
    assert asr.load_model is load_model


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'asr' has no attribute 'transcribble'"):
        _ = asr.transcribble
