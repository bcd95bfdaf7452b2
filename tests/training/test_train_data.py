from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from asr.config import Config, NoSpeechConfig, parse_config
from asr.data.manifest import Utterance, write_manifest
from asr.errors import ManifestError, TrainingError
from asr.training import train
from asr.training.log import read_log
from asr.training.step import Step


def test_unusable_utterances_are_named_and_the_rest_trains(
    brief: Callable[..., Config],
    good: list[Utterance],
    tmp_path: Path,
    printed: tuple[Any, Callable[[], str]],
) -> None:
    (tmp_path / "noise.wav").write_bytes(b"no audio in here")
    longer = tmp_path / "long.wav"
    soundfile.write(longer, np.zeros(8000 * 31, np.float32), 8000)
    bad = {
        "hurried": replace(good[0], id="hurried", text="abcdefgh" * 40),
        "endless": Utterance("endless", longer, 31.0, 8000, "ab"),
        "noise": replace(good[1], id="noise", audio=tmp_path / "noise.wav"),
        "gone": replace(good[2], id="gone", audio=tmp_path / "gone.wav"),
        "shortened": replace(good[3], id="shortened", duration=good[3].duration + 1),
        "speechless": replace(good[4], id="speechless", text="  "),
        "untold": replace(good[5], id="untold", text=None),
    }
    console, text = printed
    config = brief([*good, *bad.values()])
    result = train(config, tmp_path / "model", device="cpu", console=console)
    assert result.history[0]["loss"] > 0
    lines = text().splitlines()
    reasons = {key: next(line for line in lines if line.strip().startswith(f"{key}:")) for key in bad}
    assert "needs 320" in reasons["hurried"]
    assert "31.0 s, longer than data.max_seconds = 30" in reasons["endless"]
    assert "noise.wav" in reasons["noise"]
    assert "not audio" in reasons["noise"]
    assert "no such file" in reasons["gone"]
    assert "prepare the data again" in reasons["shortened"]
    assert "the transcript is empty" in reasons["speechless"]
    assert "the transcript is empty" in reasons["untold"]
    assert "12 utterances" in text()


def test_characters_outside_a_given_alphabet_are_named(
    brief: Callable[..., Config],
    good: list[Utterance],
    tmp_path: Path,
    printed: tuple[Any, Callable[[], str]],
) -> None:
    console, text = printed
    config = brief([*good, replace(good[0], id="foreign", text="bäd")])
    config.text.alphabet = "abcdefgh"
    train(config, tmp_path / "model", device="cpu", console=console)
    assert "foreign: 'bäd' has 'ä' (U+00E4) outside the alphabet" in text()


def test_nothing_to_train_on_is_an_error(brief: Callable[..., Config], good: list[Utterance], tmp_path: Path) -> None:
    hurried = [replace(utterance, text="abcdefgh" * 40) for utterance in good]
    with pytest.raises(TrainingError, match=r"train\.jsonl: no utterance can be trained on"):
        train(brief(hurried), tmp_path / "model", device="cpu")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("utterances", [1, 3])
def test_no_transcripts_is_an_error(
    brief: Callable[..., Config], good: list[Utterance], tmp_path: Path, utterances: int
) -> None:
    silent = [replace(utterance, text=None) for utterance in good[:utterances]]
    with pytest.raises(TrainingError, match="no training transcript has a character in it"):
        train(brief(silent), tmp_path / "model", device="cpu")


def test_no_training_set_is_an_error(small_config: Callable[..., Config], tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"data\.train is not set"):
        train(small_config(), tmp_path / "model", device="cpu")


def test_a_dev_utterance_that_is_also_in_train_is_an_error(
    brief: Callable[..., Config], good: list[Utterance], tmp_path: Path
) -> None:
    config = brief(good)
    write_manifest(tmp_path / "dev.jsonl", good[3:5])
    config.data.dev = str(tmp_path / "dev.jsonl")
    with pytest.raises(
        TrainingError, match=r"2 utterances of .*dev\.jsonl are in .*train\.jsonl too \(first 'good-003'"
    ):
        train(config, tmp_path / "model", device="cpu")


@pytest.mark.parametrize("kind", ["empty", "without transcripts"])
def test_a_dev_set_that_cannot_be_scored_is_an_error_before_training(
    brief: Callable[..., Config],
    good: list[Utterance],
    tmp_path: Path,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = brief(good[:8])
    write_manifest(
        tmp_path / "dev.jsonl", [] if kind == "empty" else [replace(utterance, text=None) for utterance in good[8:]]
    )
    config.data.dev = str(tmp_path / "dev.jsonl")
    steps = count_steps(monkeypatch)
    with pytest.raises((ManifestError, TrainingError), match=r"dev\.jsonl"):
        train(config, tmp_path / "model", device="cpu")
    assert steps == []


def count_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    steps: list[int] = []
    real_step = Step.__call__

    def count(self: Step, batch: Any, number: int, *arguments: Any, **more: Any) -> None:
        steps.append(number)
        real_step(self, batch, number, *arguments, **more)

    monkeypatch.setattr(Step, "__call__", count)
    return steps


def spoil(path: Path, source: Path) -> Path:
    """A copy of a recording whose header is whole but which holds a sample that is no number."""
    samples, rate = soundfile.read(source, dtype="float32")
    samples[100] = np.nan
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return path


def test_a_recording_damaged_after_preparation_is_reported_and_left_out(
    brief: Callable[..., Config],
    good: list[Utterance],
    tmp_path: Path,
    printed: tuple[Any, Callable[[], str]],
) -> None:
    damaged = replace(good[0], id="damaged", audio=spoil(tmp_path / "damaged.wav", good[0].audio))
    console, text = printed
    result = train(brief([*good, damaged]), tmp_path / "model", device="cpu", console=console)
    assert "left out: damaged: " in text()
    assert "damaged.wav: 1 of" in text()
    assert [row["id"] for row in read_log(tmp_path / "model") if row["kind"] == "failure"] == ["damaged"]
    assert (result.history[0]["unusable"], result.history[0]["failed"]) == (0, 1)
    assert "without 1 of 13 utterances" in text()
    assert np.isfinite(result.history[0]["loss"])


@pytest.mark.parametrize("normalisation", ["utterance", "global"])
def test_a_training_in_which_no_recording_can_be_read_is_an_error(
    brief: Callable[..., Config], good: list[Utterance], tmp_path: Path, normalisation: str
) -> None:
    damaged = [replace(row, audio=spoil(tmp_path / row.audio.name, row.audio)) for row in good[:4]]
    tree = brief(damaged).model_dump()
    tree["features"]["normalisation"] = normalisation
    config = parse_config(tree)
    with pytest.raises(TrainingError, match="read"):
        train(config, tmp_path / "model", device="cpu")
    assert not (tmp_path / "model/model.safetensors").exists()


def test_an_empty_manifest_is_an_error(brief: Callable[..., Config], tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"train\.jsonl: no utterances to train on"):
        train(brief([]), tmp_path / "model", device="cpu")
    assert not (tmp_path / "model").exists()


def test_batches_without_a_single_word_are_trained_on(
    brief: Callable[..., Config], good: list[Utterance], tmp_path: Path
) -> None:
    config = brief(good, epochs=3)
    augmentation = config.augmentation.model_copy(update={"no_speech": NoSpeechConfig(probability=0.5)})
    data = config.data.model_copy(update={"batch_seconds": 0.5})  # one utterance a batch
    result = train(config.model_copy(update={"augmentation": augmentation, "data": data}), tmp_path / "model")
    assert all(np.isfinite(row["loss"]) and "skipped_steps" not in row for row in result.history)
    assert [row for row in read_log(tmp_path / "model") if row["kind"] == "epoch"][-1]["step"] == 3 * len(good)
