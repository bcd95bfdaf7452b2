"""How fast, how large and how right transcription is, beside whisper and PocketSphinx on the same audio.

    python benchmarks/transcription.py --model exp/an4 --manifest data/an4/test --json \
        --librispeech data/corpora/LibriSpeech/dev-clean --peers /tmp/transcription-peers/bin/python

The peers live in an environment of their own; transcription_peers.py has the two lines that make it. Without `--peers`,
or where one is not installed there, it is left out and a line says so.

All get the same mono 16-bit WAV files at 16 kHz, one after the other, in a fresh process each time, which has loaded
its model and decoded one file before the clock starts. Whisper always computes 30 seconds: what is shorter is padded,
and its encoder costs as much. This project's recogniser puts short files together in batches, as `asr transcribe` does,
which changes no text; one row does without. Programs take turns; ours, being quick, decodes all files at each of its
turns, the others their share of them.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import random
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import soundfile
import typer
from measure import print_json, print_table
from transcription_peers import (
    POCKETSPHINX,
    WHISPERS,
    Run,
    System,
    asr_system,
    can_run,
    first_command,
    first_word,
    run,
    whisper,
)

from asr.audio import load_audio
from asr.cli.common import run_script
from asr.data.manifest import read_manifest
from asr.scoring import score
from asr.scoring.normalisation import normaliser

RATE = 16000
SENTENCES = (5.0, 15.0)
"""Shortest and longest sentence of LibriSpeech, in seconds."""
FIRST_SECONDS = 3.0
"""Length of the file with which start-up is measured."""

Installed = Sequence[tuple[Path, System]]
"""Recognisers and the Python that has each."""


@dataclass(frozen=True)
class Audio:
    """WAV files and what is said in them, where that is to be scored."""

    name: str
    files: list[Path]
    seconds: list[float]
    references: list[str] | None = None


@dataclass
class Row:
    """What one recogniser did with one set of audio; lists have a value for each turn."""

    system: System
    seconds: list[float] = field(default_factory=list)
    """Of audio."""
    one: list[Run] = field(default_factory=list)
    """On one thread."""
    two: list[Run] = field(default_factory=list)
    """On two; programs that are not ours have the first turn alone."""
    texts: dict[int, str] = field(default_factory=dict)

    def to_dict(self, audio: Audio) -> dict[str, Any]:
        """Plain numbers; speeds are times real time."""
        row: dict[str, Any] = {
            "audio": audio.name,
            "system": self.system.name,
            "one_thread_cpu": sum(self.seconds) / sum(run.cpu for run in self.one),
            "turns": [seconds / run.cpu for seconds, run in zip(self.seconds, self.one, strict=True)],
            "two_threads_wall": sum(self.seconds[: len(self.two)]) / sum(run.wall for run in self.two)
            if self.two
            else None,
            "load_cpu_seconds": median(run.load_cpu for run in self.one),
            "peak_mb": max(run.peak_mb for run in self.one),
        }
        if audio.references is not None:
            for name in ("none", "english"):
                change = normaliser(name)
                heard = [change(self.texts[index]) for index in range(len(audio.files))]
                found = score([change(text) for text in audio.references], heard)
                row[f"wer_{name}"], row[f"wer_{name}_interval"] = found.wer, found.wer_interval
        return row


def write(waveform: np.ndarray, path: Path) -> Path:
    """As 16-bit WAV."""
    soundfile.write(path, waveform, RATE, subtype="PCM_16")
    return path


def utterances(manifest: Path, seconds: float, folder: Path) -> Audio:
    """So many seconds of a manifest, drawn from all its speakers."""
    rows = list(read_manifest(manifest))
    random.Random(0).shuffle(rows)
    files: list[Path] = []
    lengths: list[float] = []
    texts: list[str] = []
    for row in rows:
        if sum(lengths) >= seconds:
            break
        waveform = load_audio(row.audio, RATE, start=row.start, duration=row.duration, channel=row.channel)
        files.append(write(waveform, folder / f"utterance-{len(files)}.wav"))
        lengths.append(len(waveform) / RATE)
        texts.append(row.text or "")
    return Audio(f"{manifest}", files, lengths, texts)


def sentences(source: Path, seconds: float, folder: Path) -> Audio:
    """So many seconds of LibriSpeech's sentences of 5 to 15 s."""
    paths = sorted(source.rglob("*.flac"))
    random.Random(0).shuffle(paths)
    files: list[Path] = []
    lengths: list[float] = []
    for path in paths:
        waveform = load_audio(path, RATE)
        if sum(lengths) < seconds and SENTENCES[0] <= len(waveform) / RATE <= SENTENCES[1]:
            files.append(write(waveform, folder / f"sentence-{len(files)}.wav"))
            lengths.append(len(waveform) / RATE)
    return Audio(f"{source}, sentences of 5 to 15 s", files, lengths)


def long_file(source: Path, minutes: float, folder: Path) -> Audio:
    """Sentences of LibriSpeech as they follow each other, in one file."""
    pieces: list[np.ndarray] = []
    for path in sorted(source.rglob("*.flac")):
        if sum(map(len, pieces)) < 60 * minutes * RATE:
            pieces.append(load_audio(path, RATE))
    waveform = np.concatenate(pieces)
    length = len(waveform) / RATE
    return Audio(f"one file of {length / 60:.1f} minutes", [write(waveform, folder / "long.wav")], [length])


def measure(systems: Installed, audio: Audio, warm: Path, turns: int, two: bool) -> list[Row]:
    """Every system on one set of audio, in turn, on one thread and, if asked, on `two`."""
    rows = [Row(system) for _, system in systems]
    turns = min(turns, len(audio.files))  # a single file is decoded once by every system
    for turn in range(turns):
        for (python, system), row in zip(systems, rows, strict=True):
            share = range(len(audio.files)) if system.kind == "asr" else range(turn, len(audio.files), turns)
            files, seconds = [audio.files[i] for i in share], sum(audio.seconds[i] for i in share)
            print(f"{audio.name}, turn {turn + 1} of {turns}: {system.name}", file=sys.stderr)
            row.one.append(run(python, system, files, warm=[warm]))
            row.seconds.append(seconds)
            row.texts.update(zip(share, row.one[-1].texts, strict=True))
            if two and (turn == 0 or system.kind == "asr"):
                row.two.append(run(python, system, files, threads=2, warm=[warm]))
    return rows


def start_up(commands: dict[str, list[str]], rounds: int) -> dict[str, dict[str, float]]:
    """Median seconds from a fresh process to its first line, by the clock and of CPU."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, command in commands.items():
            seconds, cpu, _ = first_word(command)
            if turn:  # the first reads everything from the disk
                found[name].append((seconds, cpu))
    return {
        name: {"wall": median(one[0] for one in pairs), "cpu": median(one[1] for one in pairs)}
        for name, pairs in found.items()
    }


def installed(python: Path | None, systems: Iterable[System]) -> list[tuple[Path, System]]:
    """Those that run; a line for each that does not."""
    found = []
    for system in systems:
        if python is None or not can_run(python, system):
            print(f"{system.name} is left out: --peers names no Python that has its packages")
        else:
            found.append((python, system))
    return found


def show(audio: Audio, rows: list[dict[str, Any]]) -> None:
    """Speeds in the table are times real time."""
    columns = ["", "1 thread", "2 threads", "peak MB"]
    if audio.references is not None:
        columns += ["WER", "normalised"]
    mean = sum(audio.seconds) / len(audio.files)
    print_table(
        f"{audio.name}: {len(audio.files)} files of {mean:.1f} s on average. Times real time, of the CPU on one thread "
        "and by the clock on two; WER as it comes and with whisper's English normaliser",
        columns,
        [
            [
                row["system"],
                f"{row['one_thread_cpu']:.1f}",
                "" if row["two_threads_wall"] is None else f"{row['two_threads_wall']:.1f}",
                f"{row['peak_mb']:.0f}",
                *(_rate(row, key) for key in ("wer_none", "wer_english") if key in row),
            ]
            for row in rows
        ],
    )


def _rate(row: dict[str, Any], key: str) -> str:
    low, high = row[f"{key}_interval"]
    return f"{row[key]:.1%} [{100 * low:.1f}, {100 * high:.1f}]"


def main(
    model: Annotated[Path, typer.Option(help="Model folder, or the name of one that comes with asr.")],
    manifest: Annotated[Path, typer.Option(help="Utterances that it is meant for.")],
    librispeech: Annotated[Path | None, typer.Option(help="Folder of LibriSpeech, for speed on longer audio.")] = None,
    peers: Annotated[Path | None, typer.Option(help="Python of the environment with the peers.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Peers whose names contain this alone; repeatable: PocketSphinx.")
    ] = None,
    lm: Annotated[Path | None, typer.Option(help="Also decode with beam search and this language model.")] = None,
    lm_weight: Annotated[float, typer.Option(help="Its weight.")] = 0.5,
    word_bonus: Annotated[float, typer.Option(help="Added for each word.")] = 0.0,
    seconds: Annotated[float, typer.Option(help="Audio of each set.")] = 120.0,
    minutes: Annotated[float, typer.Option(help="Length of the long file.")] = 5.0,
    two: Annotated[bool, typer.Option(help="Measure on two threads too.")] = True,
    turns: Annotated[int, typer.Option(help="In which programs take part of the files each.")] = 3,
    rounds: Annotated[int, typer.Option(help="Starts of each program; medians are shown.")] = 5,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object as the last line.")] = False,
) -> None:
    """Measure times real time, start-up, memory and word error rates."""
    here = Path(sys.executable)
    ours = asr_system("asr", model)
    mine = [(here, ours), (here, asr_system("asr, file by file", model, together=False))]
    if lm is not None:
        decoding = {"beam": 64, "lm": str(lm.absolute()), "lm_weight": lm_weight, "word_bonus": word_bonus}
        mine.append((here, asr_system("asr, beam 64, language model", model, decoding)))
    wanted = [one for one in (*WHISPERS, POCKETSPHINX) if not only or any(part in one.name for part in only)]
    others = installed(peers, wanted)
    quick = [(python, system) for python, system in others if system.options.get("compute") != "float32"]
    batched = [whisper(name, "int8", 5, batch=8) for name in ("tiny.en", "base")] if quick else []
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        short = utterances(manifest, seconds, folder)
        first = min(zip(short.seconds, short.files, strict=True), key=lambda one: abs(one[0] - FIRST_SECONDS))[1]
        sets: list[tuple[Audio, Installed]] = [(short, [*mine, *others])]
        if librispeech is not None:
            sets.append((sentences(librispeech, seconds, folder), [*mine[:2], *quick]))
            sets.append((long_file(librispeech, minutes, folder), [*mine[:1], *quick, *installed(peers, batched)]))
        for audio, systems in sets:
            found = [row.to_dict(audio) for row in measure(systems, audio, first, turns, two)]
            rows += found
            show(audio, found)
        commands = {"asr transcribe": [str(here), "-m", "asr", "transcribe", str(first), "--model", str(model)]}
        commands |= {
            system.name: first_command(python, system, first)
            for python, system in quick
            if system.options.get("beam") != 1
        }
        starts = start_up(commands, rounds)
    print_table(
        f"From the start of the process to the first transcript, one file of {FIRST_SECONDS:g} s, one thread",
        ["", "seconds", "CPU-seconds"],
        [[name, f"{one['wall']:.2f}", f"{one['cpu']:.2f}"] for name, one in starts.items()],
    )
    if json_:
        speed = {row["system"]: row["one_thread_cpu"] for row in rows if row["audio"] == short.name}
        tiny = [speed[one.name] for one in WHISPERS if one.name in speed and "tiny.en, int8" in one.name]
        result = {"benchmark": "transcription", "times_real_time": speed[ours.name], "rows": rows, "start_up": starts}
        # Times real time on one thread, ours by that of whisper tiny.en int8, beam 1 or 5, whichever is faster.
        print_json(result | {"ratio": speed[ours.name] / max(tiny) if tiny else None})


if __name__ == "__main__":
    run_script(main)
