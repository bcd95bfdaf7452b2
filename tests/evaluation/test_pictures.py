from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib.image import imread

from asr.decoding.confidence import FEATURES, NBEST, Calibration
from asr.decoding.recogniser import Recogniser
from asr.errors import AudioError, OutputError
from asr.evaluation.pictures import training_curve, utterance_picture

if TYPE_CHECKING:
    from asr.transcription import Transcriber
    from tests.conftest import Speech, Trained


def test_the_picture_is_of_the_hypothesis_with_times_and_confidences(
    model: Transcriber, speech: Speech, tmp_path: Path
) -> None:
    waveform = speech.say("bad cafe", seed=5)
    found = utterance_picture(model, waveform, tmp_path / "new" / "picture.png", "two words, $5")
    assert found.text == model.decode([waveform])[0].text == "bad cafe"
    flat = [time for word in found.words for time in (word.start, word.end) if time is not None]
    assert len(flat) == 4
    assert flat == sorted(flat)
    picture = imread(tmp_path / "new" / "picture.png")
    assert picture.shape[0] >= 700
    assert picture.shape[1] >= 1000
    assert picture.std() > 0.1


def test_the_words_are_those_of_the_models_decoder(trained: Trained, speech: Speech, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("bad\nbeach\n")
    recogniser = Recogniser.load(trained.folder, "cpu", {"lexicon": str(tmp_path / "words.txt"), "nbest": 3, "beam": 8})
    waveform = speech.say("bad cafe", seed=5)
    calibration = Calibration((*FEATURES, NBEST), (0.0, 0.0, 0.0, -1.0), 0.0, 100)
    found = utterance_picture(recogniser, waveform, tmp_path / "picture.png", calibration=calibration)
    assert found.text == recogniser.decode([waveform])[0].text != "bad cafe"
    assert [word.text for word in found.words] == found.text.split()
    assert all(word.confidence is not None for word in found.words)


def test_a_calibration_changes_the_confidences(model: Transcriber, speech: Speech, tmp_path: Path) -> None:
    waveform = speech.say("bad", seed=5)
    never = Calibration(FEATURES, (0.0, 0.0, 0.0), -3.0, 100)
    found = utterance_picture(model, waveform, tmp_path / "picture.png", calibration=never)
    assert [word.confidence for word in found.words] == [pytest.approx(1 / (1 + np.exp(3)), abs=1e-4)]


def test_silence_has_a_picture_too(model: Transcriber, tmp_path: Path) -> None:
    for samples in (1, 8000):
        assert utterance_picture(model, np.zeros(samples, np.float32), tmp_path / "p.png").words == []
        assert imread(tmp_path / "p.png").size


def test_no_samples_and_no_room_are_errors(
    model: Transcriber, tmp_path: Path, disk_full_after: Callable[[int], AbstractContextManager[None]]
) -> None:
    with pytest.raises(AudioError, match="zero samples"):
        utterance_picture(model, np.zeros(0, np.float32), tmp_path / "p.png")
    with disk_full_after(100), pytest.raises(OutputError, match=r"p\.png: cannot be written"):
        utterance_picture(model, np.zeros(800, np.float32), tmp_path / "p.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rows", [[], [{"epoch": 1, "loss": 2.0}], [{"epoch": 1, "loss": 2.0, "dev_wer": 0.5}] * 2])
def test_training_curves_with_and_without_dev(rows: list[dict[str, float]], tmp_path: Path) -> None:
    training_curve(rows, tmp_path / "curve.png", "title")
    assert imread(tmp_path / "curve.png").shape[2] == 4
