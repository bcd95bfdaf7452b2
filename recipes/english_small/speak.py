"""Synthetic speech beside the real: sentences of a text, spoken by a synthesiser.

python recipes/english_small/speak.py books.txt --engine hibari --hours 2 --output data/hibari
python recipes/english_small/speak.py books.txt --engine kokoro --voices package/voices --output data/kokoro

What the four engines are and need stands in synthesisers.py. A call that was cut off goes on; one with more hours adds
to what is there.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that `recipes` is found when run by its path

import random
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated

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
from recipes.english_small.synthesisers import Engine, Say, synthesiser

SAMPLE_RATE = 16_000
WORDS = (4, 24)
"""Words of a sentence; longer lines are cut into pieces of such lengths."""


def main(
    text: Annotated[list[Path], typer.Argument(help="Texts, a sentence a line.")],
    output: Annotated[Path, typer.Option(help="Folder for recordings and manifest.")],
    engine: Annotated[Engine, typer.Option(help="Who speaks.")] = Engine.HIBARI,
    voices: Annotated[Path | None, typer.Option(help="Folder of Kokoro's voices, NAME.bin.")] = None,
    hours: Annotated[float, typer.Option(min=0.001, help="How much speech there is to be.")] = 5.0,
    seed: recipe.Seed = 0,
) -> None:
    """Speak sentences of a text until there are so many hours; leave a manifest."""
    console = recipe.console()
    say = synthesiser(engine, voices)
    sentences = pieces((line for path in text for _, line in read_lines(path)), seed)
    console.print(f"{len(sentences)} sentences to choose from")
    utterances = speak(sentences, say, output, hours, seed, report=console.print)
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


def speak(
    sentences: Sequence[str],
    say: Say,
    output: Path,
    hours: float,
    seed: int,
    report: Callable[[str], object] = print,
) -> list[Utterance]:
    """Record sentences, in their order, until there are `hours`; write `output/cuts.jsonl`.

    Recording n depends on `seed`, n and its sentence alone and is named after them; those there are not made again, and
    who spoke them is read from their file.

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
            path = folder / f"{seed}-{index:06d}-{zlib.crc32(text.encode()):08x}.flac"
            if path.exists():
                with soundfile.SoundFile(path) as there:
                    speaker = there.artist
            else:
                speaker, waveform, rate = say(text, np.random.default_rng([seed, index]))
                resampled = np.clip(soxr.resample(waveform, rate, SAMPLE_RATE), -1, 1)
                with replacing(path) as partial:
                    shape = {"samplerate": SAMPLE_RATE, "channels": 1, "format": "FLAC", "subtype": "PCM_16"}
                    with soundfile.SoundFile(partial, "w", **shape) as made:
                        made.artist = speaker
                        made.write(resampled)
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
