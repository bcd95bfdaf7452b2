"""What the tests share: speech that the suite makes itself, a small model that learns it, and the command line."""

from __future__ import annotations

import os
import random
import resource
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: the models here are too small for more threads

import hypothesis
import numpy as np
import pytest
import soundfile

from asr.config import Config, parse_config
from asr.data.manifest import Utterance, write_manifest

if TYPE_CHECKING:
    from asr.training import TrainingResult
    from asr.transcription import Transcriber

# On a busy machine examples take as long as they take: that is no failure.
hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("busy")

REPOSITORY = Path(__file__).resolve().parents[1]
RATE = 8000
LETTERS = "abcdefgh"
WORDS = ("ab", "bad", "beach", "cafe", "dab", "deaf", "each", "fed", "gab", "head")


@dataclass(frozen=True)
class Speech:
    """Speech at 8 kHz in which each letter is a chord of two tones of its own, of varying length and level."""

    rate: int = RATE
    words: Sequence[str] = WORDS

    def say(self, text: str, seed: int = 0, noise: float = 0.005) -> np.ndarray:
        """Float32 `[samples]`: the letters of each word, a pause before, between and after the words."""
        rng = np.random.default_rng(seed)
        parts = [self._pause(rng)]
        for word in text.split():
            parts += [*(self._letter(letter, rng) for letter in word), self._pause(rng)]
        clean = np.concatenate(parts) * rng.uniform(0.1, 0.3)
        return (clean + rng.normal(0, noise, len(clean))).astype(np.float32)

    def sentences(self, count: int, seed: int) -> list[str]:
        """Different sentences of one to five words."""
        rng, found = random.Random(seed), dict[str, None]()
        while len(found) < count:
            found[" ".join(rng.choice(self.words) for _ in range(rng.randint(1, 5)))] = None
        return list(found)

    def corpus(self, folder: Path, sentences: Sequence[str], name: str = "utterance") -> Path:
        """Record `sentences` in `folder`; returns it, a manifest folder."""
        folder.mkdir(parents=True, exist_ok=True)
        utterances = []
        for index, text in enumerate(sentences):
            identifier = f"{name}-{index:03d}"
            utterances.append(self.record(folder / f"{identifier}.wav", text, seed=zlib.crc32(identifier.encode())))
        write_manifest(folder / "cuts.jsonl", utterances)
        return folder

    def record(self, path: Path, text: str, seed: int = 0) -> Utterance:
        """Record one sentence."""
        waveform = self.say(text, seed)
        soundfile.write(path, waveform, self.rate)
        return Utterance(path.stem, path, len(waveform) / self.rate, self.rate, text, f"speaker{seed % 3}")

    def _letter(self, letter: str, rng: np.random.Generator) -> np.ndarray:
        times = np.arange(round(self.rate * rng.uniform(0.09, 0.13))) / self.rate
        high, low = divmod(LETTERS.index(letter), 4)
        tones = (400 + 150 * low, 1800 + 500 * high + 120 * low)
        return sum(np.sin(2 * np.pi * hertz * times) for hertz in tones) * np.hanning(len(times))

    def _pause(self, rng: np.random.Generator) -> np.ndarray:
        return np.zeros(round(self.rate * rng.uniform(0.1, 0.2)))


@pytest.fixture(scope="session")
def speech() -> Speech:
    return Speech()


def merged(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`tree` with `changes` laid over it, section by section."""
    result = dict(tree)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return result


SMALL = {
    "data": {"batch_seconds": 8.0, "workers": 0},
    "augmentation": {
        "speed": {"range": (0.95, 1.05)},
        "spec_augment": {"frequency_width": 0.1, "time_width_ms": 40.0},
    },
    "features": {"sample_rate": RATE, "mels": 40},
    "model": {"layers": 1, "hidden": 32, "dropout": 0.05, "subsampling": {"channels": 8}},
    "training": {"learning_rate": 5e-3, "epochs": 8},
}


@pytest.fixture(scope="session")
def small_config() -> Callable[..., Config]:
    """`small_config(training={"epochs": 2}, ...)`: a model that trains in seconds, changed as told."""

    def make(**changes: Any) -> Config:
        return parse_config(merged(SMALL, changes))

    return make


@dataclass(frozen=True)
class Trained:
    """A trained model with the manifests it was made from and the lines that the training printed."""

    folder: Path
    train: Path
    dev: Path
    test: Path
    result: TrainingResult
    printed: str


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, speech: Speech, small_config: Callable[..., Config]) -> Trained:
    """A small model that has learnt the made speech. Not to be changed: copy the folder first."""
    from asr.training import train

    root = tmp_path_factory.mktemp("trained")
    sentences = speech.sentences(140, seed=1)
    parts = {"train": sentences[:100], "dev": sentences[100:120], "test": sentences[120:]}
    manifests = {name: speech.corpus(root / name, texts, name) for name, texts in parts.items()}
    config = small_config(data={"train": str(manifests["train"]), "dev": str(manifests["dev"])})
    console, printed = recording_console()
    result = train(config, root / "model", device="cpu", console=console)
    return Trained(root / "model", **manifests, result=result, printed=printed())


@pytest.fixture(scope="session")
def model(trained: Trained) -> Transcriber:
    from asr.transcription import load_model

    return load_model(trained.folder, device="cpu")


def recording_console() -> tuple[Any, Callable[[], str]]:
    """A console that is no terminal, and a function that returns what was printed on it."""
    import io

    from rich.console import Console

    out = io.StringIO()
    return Console(file=out, width=200), out.getvalue


@pytest.fixture
def printed() -> tuple[Any, Callable[[], str]]:
    """See `recording_console`."""
    return recording_console()


DiskFull = Callable[[int], AbstractContextManager[None]]


@pytest.fixture
def disk_full_after() -> DiskFull:
    """`with disk_full_after(100):` no file can grow beyond 100 bytes; writes fail with an error, as on a full disk."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))  # Python ignores the signal that comes with it
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    return limited


@dataclass(frozen=True)
class Ran:
    """What a command left: exit status, standard output and standard error."""

    status: int
    out: str
    err: str


@pytest.fixture
def asr_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """`asr_command("info", folder)`: the command line in this process, error handling and exit status included."""
    from asr.cli import main

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["asr", *map(str, arguments)])
        capsys.readouterr()
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    return run
