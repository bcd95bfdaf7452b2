"""A few utterances, and a configuration that trains on them for a moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asr.config import Config
from asr.data.manifest import Utterance, read_manifest, write_manifest

if TYPE_CHECKING:
    from tests.conftest import Speech


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, speech: Speech) -> list[Utterance]:
    """A dozen utterances that can be trained on."""
    folder = speech.corpus(tmp_path_factory.mktemp("good"), speech.sentences(12, seed=5), "good")
    return list(read_manifest(folder))


@pytest.fixture
def brief(small_config: Callable[..., Config], tmp_path: Path) -> Callable[..., Config]:
    """`brief(utterances)`: one epoch over these utterances, a few of them a batch."""

    def make(utterances: Sequence[Utterance], **training: Any) -> Config:
        write_manifest(tmp_path / "train.jsonl", utterances)
        data = {"train": str(tmp_path / "train.jsonl"), "batch_seconds": 5.0}
        plain = {"speed": None}
        return small_config(data=data, augmentation=plain, model={"hidden": 8}, training={"epochs": 1} | training)

    return make
