"""Recordings of the shape of speech (bursts of coloured noise) and manifests of them, without a defect unless asked."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from asr.data.manifest import Utterance, write_manifest

RATE = 16000
WORDS = ("bad", "cab", "deaf", "each", "fed", "gab", "head", "ice", "jade", "cafe", "beige", "fade")


@dataclass(frozen=True)
class Recorder:
    """Makes utterances in a folder; the name seeds everything about them."""

    folder: Path

    def waveform(self, name: str, seconds: float, rate: int = RATE) -> np.ndarray:
        """Float32 `[samples]`: noise with a peak of 0.3, four bursts a second."""
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        samples = round(seconds * rate)
        noise = rng.standard_normal(samples) * (1 + np.sin(2 * np.pi * 4 * np.arange(samples) / rate))
        return (0.3 * noise / np.abs(noise).max()).astype(np.float32)

    def text(self, name: str, words: int = 4) -> str:
        """Words by chance."""
        return " ".join(np.random.default_rng(zlib.crc32(name.encode())).choice(WORDS, words))

    def __call__(
        self,
        name: str,
        text: str | None = None,
        seconds: float = 1.5,
        rate: int = RATE,
        waveform: np.ndarray | None = None,
        **changes: Any,
    ) -> Utterance:
        """Record one utterance; `changes` are fields that the manifest then gives instead of the true ones."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}.wav"
        if waveform is None:
            waveform = self.waveform(name, seconds, rate)
        soundfile.write(path, waveform, rate, subtype="PCM_16")
        text = self.text(name) if text is None else text
        true = Utterance(name, path, len(waveform) / rate, rate, text, speaker=name.split("-")[0])
        return replace(true, **changes)

    def many(self, prefix: str, count: int) -> list[Utterance]:
        """Utterances without a defect."""
        return [self(f"{prefix}-{number:03d}") for number in range(count)]

    def manifest(self, name: str, utterances: Sequence[Utterance]) -> Path:
        """Write a manifest; returns its folder."""
        write_manifest(self.folder / name / "cuts.jsonl", utterances)
        return self.folder / name


@pytest.fixture
def record(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path)
