"""Words that come out where nobody speaks: words a minute on silence, noise, hum, tones, drums and a room.

The audio is made here from a seed, 16 kHz, in clips, so that every program hears the same 16-bit WAV files. Whisper's
tiny.en hears them too where `--peers` names the Python of an environment that has it (transcription_peers.py says how
to make one).

python benchmarks/insertions.py --model exp/an4 --model exp/digits --peers /tmp/transcription-peers/bin/python --json
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import numpy as np
import soundfile
import typer
from measure import print_json, print_table
from transcription_peers import System, asr_system, can_run, run, whisper

from asr.cli.common import run_script

RATE = 16000
FADE = 0.01
"""Seconds in which tones begin and end."""
LITTLE = 0.1
"""Words a minute added to both sides of the ratio, or a program that never errs would divide by zero."""

Sound = Callable[[int, np.random.Generator], np.ndarray]
"""So many samples, random numbers, to a waveform `[samples]`."""


def level(waveform: np.ndarray, db: float) -> np.ndarray:
    """The waveform with its root mean square at so many dB of full scale."""
    return waveform * 10 ** (db / 20) / max(float(np.sqrt(np.mean(np.square(waveform)))), 1e-12)


def coloured(samples: int, rng: np.random.Generator, slope: float) -> np.ndarray:
    """Noise whose power goes as frequency to the power of `-slope`: 0 white, 1 pink, 2 brown; nothing below 20 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    hertz = np.fft.rfftfreq(samples, 1 / RATE)
    return np.fft.irfft(np.where(hertz < 20, 0, spectrum * np.maximum(hertz, 20) ** (-slope / 2)), samples)


def noise(samples: int, rng: np.random.Generator, slope: float, db: float) -> np.ndarray:
    """Steady noise."""
    return level(coloured(samples, rng, slope), db)


def hum(samples: int, rng: np.random.Generator, db: float) -> np.ndarray:
    """Mains hum: 50 Hz, its harmonics falling by 6 dB an octave, a hiss 40 dB below."""
    time = np.arange(samples) / RATE
    tones = sum(np.sin(2 * np.pi * 50 * n * time + rng.uniform(0, 2 * np.pi)) / n for n in range(1, 9))
    return level(tones, db) + level(rng.standard_normal(samples), db - 40)


def envelope(samples: int, decay: float) -> np.ndarray:
    """The loudness of a struck note: up within `FADE`, falling to a third every `decay` seconds, down within `FADE`."""
    time = np.arange(samples) / RATE
    return np.minimum(1, time / FADE) * np.exp(-time / decay) * np.minimum(1, time[::-1] / FADE)


def note(hertz: float, samples: int, vibrato: float = 0.0) -> np.ndarray:
    """Six harmonics; `vibrato`: how far the pitch swings, as a share of it, 5.5 times a second."""
    time = np.arange(samples) / RATE
    phase = 2 * np.pi * hertz * (time - vibrato * np.cos(2 * np.pi * 5.5 * time) / (2 * np.pi * 5.5))
    return sum(np.sin(n * phase) / n**1.5 for n in range(1, 7) if n * hertz < RATE / 2)


def notes(samples: int, one: Callable[[int], np.ndarray], length: Callable[[], float]) -> np.ndarray:
    """One note after the other."""
    pieces: list[np.ndarray] = []
    while sum(map(len, pieces)) < samples:
        pieces.append(one(round(length() * RATE)))
    return np.concatenate(pieces)[:samples]


def chords(samples: int, rng: np.random.Generator, db: float) -> np.ndarray:
    """Triads struck every 0.5 to 2 s."""

    def chord(count: int) -> np.ndarray:
        root = 110 * 2 ** (rng.integers(0, 24) / 12)
        third = rng.choice([3, 4])
        return sum(note(root * 2 ** (step / 12), count) for step in (0, third, 7)) * envelope(count, 0.6)

    return level(notes(samples, chord, lambda: rng.uniform(0.5, 2)), db)


def melody(samples: int, rng: np.random.Generator, db: float) -> np.ndarray:
    """One voice, held notes of 0.2 to 0.8 s in a major scale, sung with vibrato."""

    def tone(count: int) -> np.ndarray:
        step = rng.choice([0, 2, 4, 5, 7, 9, 11, 12, 14, 16])
        return note(196 * 2 ** (step / 12), count, vibrato=0.01) * envelope(count, 5.0)

    return level(notes(samples, tone, lambda: rng.uniform(0.2, 0.8)), db)


def drums(samples: int, rng: np.random.Generator, db: float) -> np.ndarray:
    """Four beats a second of kick (a falling tone), snare and cymbal (bursts of noise)."""

    def beat(count: int) -> np.ndarray:
        time = np.arange(count) / RATE
        kind = rng.integers(0, 3)
        if kind == 0:
            return np.sin(2 * np.pi * (50 * time - 5 * np.exp(-time / 0.03))) * envelope(count, 0.1)
        hiss = rng.standard_normal(count)
        return 0.4 * (hiss if kind == 1 else np.diff(hiss, prepend=0)) * envelope(count, (0.06, 0.03)[kind - 1])

    return level(notes(samples, beat, lambda: 0.25), db)


def room(samples: int, rng: np.random.Generator, db: float) -> np.ndarray:
    """A room with nobody in it: brown noise that comes and goes, hiss, and knocks with their echo every few seconds."""
    slow = np.interp(
        np.arange(samples),
        np.arange(0, samples + RATE, RATE),
        rng.uniform(0.3, 1, samples // RATE + 2)[: len(range(0, samples + RATE, RATE))],
    )
    waveform = level(coloured(samples, rng, 2) * slow, db) + level(rng.standard_normal(samples), db - 15)
    for start in np.cumsum(rng.exponential(4 * RATE, samples // RATE)).astype(int):
        count = min(samples - start, RATE // 2)
        if count > 0:
            time = np.arange(count) / RATE
            waveform[start : start + count] += (
                10 ** ((db + 15) / 20) * rng.standard_normal(count) * np.exp(-time / 0.06)
            )
    return waveform


SOUNDS: dict[str, Sound] = {
    "digital silence": lambda samples, rng: np.zeros(samples),
    **{f"white noise, {db} dB": partial(noise, slope=0, db=db) for db in (-80, -60, -40, -20)},
    **{f"pink noise, {db} dB": partial(noise, slope=1, db=db) for db in (-80, -60, -40, -20)},
    **{f"hum of 50 Hz, {db} dB": partial(hum, db=db) for db in (-60, -30)},
    "chords, -20 dB": partial(chords, db=-20),
    "melody, -20 dB": partial(melody, db=-20),
    "drums, -20 dB": partial(drums, db=-20),
    **{f"empty room, {db} dB": partial(room, db=db) for db in (-60, -40)},
}
"""Levels are root mean squares relative to full scale; speech is at about -25 dB."""


def words(text: str) -> int:
    """Whisper writes dots and notes for what is no word."""
    return sum(any(character.isalnum() for character in word) for word in text.split())


def make(folder: Path, minutes: float, clip: float, seed: int) -> dict[str, list[Path]]:
    """WAV files of each sound."""
    files: dict[str, list[Path]] = {}
    for number, (name, sound) in enumerate(SOUNDS.items()):
        rng = np.random.default_rng([seed, number])
        files[name] = []
        for index in range(max(1, round(60 * minutes / clip))):
            files[name].append(folder / f"{number:02d}-{index:03d}.wav")
            waveform = np.clip(sound(round(clip * RATE), rng), -1, 1 - 2**-15)
            soundfile.write(files[name][-1], waveform, RATE, subtype="PCM_16")
    return files


def main(
    model: Annotated[list[Path], typer.Option(help="Model folder; several are compared.")],
    minutes: Annotated[float, typer.Option(help="Of each sound.")] = 3.0,
    clip: Annotated[float, typer.Option(help="Seconds a file.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Of the sounds.")] = 0,
    peers: Annotated[Path | None, typer.Option(help="Python of the environment with faster-whisper.")] = None,
    examples: Annotated[bool, typer.Option("--examples", help="Also show what came out most often.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object as the last line.")] = False,
) -> None:
    """Count words on audio without speech."""
    here = Path(sys.executable)
    systems: list[tuple[Path, System]] = [(here, asr_system(path.name, path)) for path in model]
    tiny = whisper("tiny.en", "int8", 5)
    if peers is None or not can_run(peers, tiny):
        print("whisper is left out: --peers names no Python that has faster-whisper and its weights")
    else:
        systems.append((peers, tiny))
    rates: dict[str, dict[str, float]] = {}
    clips: dict[str, dict[str, float]] = {}
    said: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = make(Path(folder), minutes, clip, seed)
        everything = [file for group in files.values() for file in group]
        for python, system in systems:
            texts = iter(run(python, system, everything).texts)
            rates[system.name], clips[system.name], said[system.name] = {}, {}, {}
            for name, group in files.items():
                found = [next(texts) for _ in group]
                rates[system.name][name] = sum(map(words, found)) / (len(group) * clip / 60)
                clips[system.name][name] = mean(words(text) > 0 for text in found)
                said[system.name][name] = max(set(found), key=lambda text: (found.count(text), text))
    names = [system.name for _, system in systems]
    rows = [[sound, *(f"{rates[name][sound]:.1f} ({clips[name][sound]:.0%})" for name in names)] for sound in SOUNDS]
    both = [(mean(rates[name].values()), mean(clips[name].values())) for name in names]
    rows.append(["mean", *(f"{rate:.1f} ({share:.0%})" for rate, share in both)])
    print_table(
        f"Words a minute where nobody speaks (files with words), {minutes:g} minutes of each in files of {clip:g} s",
        ["", *names],
        rows,
    )
    if examples:
        for sound in SOUNDS:
            print(f"{sound}: " + "; ".join(f"{name} {said[name][sound][:60]!r}" for name in names))
    if json_:
        ours, theirs = mean(rates[names[0]].values()), rates.get(tiny.name)
        result: dict[str, Any] = {"benchmark": "insertions", "words_per_minute": rates, "files_with_words": clips}
        # Of the first model; more is better: how many times fewer words.
        result["ratio"] = (mean(theirs.values()) + LITTLE) / (ours + LITTLE) if theirs else None
        print_json(result)


if __name__ == "__main__":
    run_script(main)
