from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

if TYPE_CHECKING:
    from asr.transcription import Transcriber
    from tests.conftest import Ran, Speech, Trained


def test_a_small_model_learns_made_speech(trained: Trained, model: Transcriber) -> None:
    import asr

    result = asr.evaluate(model, trained.test)
    assert result.score.words > 50
    assert result.wer <= 0.1
