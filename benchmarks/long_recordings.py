"""A recording of hours against the same speech cut by hand: word errors, memory, and whether times run backwards.

The utterances of a manifest are written one after another, in random order or (`--in-order`) speaker after speaker,
again and again until the recording is as long as asked, with pauses between them. "By hand" is each utterance decoded
by itself. With `--vad`, the same recording is also cut by Silero's network (pip install silero-vad), for comparison.

python benchmarks/long_recordings.py --model exp/an4 --manifest data/an4/test --hours 3 --json
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # CPU-seconds of one thread: before numpy and torch are imported
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")  # as `asr transcribe` does

import json
import random
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import typer
from measure import print_json, print_table

from asr.cli.common import run_script
from asr.data.manifest import read_manifest
from asr.data.reading import load_utterance
from asr.data.utterance import Utterance
from asr.scoring import score
from asr.text import normalise
from asr.transcription import Transcriber, load_model

RATE = 16000
DITHER = 10 ** (-80 / 20)

# A process of its own, as `asr transcribe`: its peak of memory is that of the transcription, model and output included.
TRANSCRIBE = r"""
import json, re, sys, time
from pathlib import Path
from asr.decoding.recogniser import light_device
from asr.transcription import load_model
model = load_model(sys.argv[1], device=light_device(sys.argv[1]), decoding=json.loads(sys.argv[4]))
before = time.process_time()
transcript = model.transcribe(sys.argv[2])
seconds = time.process_time() - before
peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
words = [(word.start, word.end) for word in transcript.words]
result = {"text": transcript.text, "seconds": seconds, "peak_mb": peak, "times": words, "duration": transcript.duration}
Path(sys.argv[3]).write_text(json.dumps(result))
"""


def write_recording(path: Path, utterances: list[Utterance], hours: float, pauses: tuple[float, float], seed: int,
                    in_order: bool) -> list[Utterance]:  # fmt: skip
    """Write the recording; returns who speaks when, utterance by utterance."""
    rng, noise = random.Random(seed), np.random.default_rng(seed)
    said: list[Utterance] = []
    queue: list[Utterance] = []
    written = 0
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        while written < hours * 3600 * RATE:
            if not queue:
                queue = sorted(utterances, key=lambda u: (u.speaker or "", u.id), reverse=True)
                if not in_order:
                    rng.shuffle(queue)
            said.append(queue.pop())
            speech = load_utterance(said[-1], RATE)
            pause = noise.normal(0, DITHER, round(rng.uniform(*pauses) * RATE)).astype(np.float32)
            file.write(speech)
            file.write(pause)
            written += len(speech) + len(pause)
    return said


def transcribed(model: Path, recording: Path, decoding: dict[str, object]) -> dict[str, object]:
    with tempfile.NamedTemporaryFile(suffix=".json") as result:
        subprocess.run(
            [sys.executable, "-c", TRANSCRIBE, model, recording, result.name, json.dumps(decoding)], check=True
        )
        return json.loads(Path(result.name).read_text())


def silero(model: Transcriber, recording: Path) -> tuple[str, float]:
    """Text with Silero's cuts at pauses of 0.5 s, and its CPU-seconds without those of the recogniser."""
    import torch
    from silero_vad import get_speech_timestamps, load_silero_vad

    waveform, _ = soundfile.read(recording, dtype="float32")
    before = time.process_time()
    found = get_speech_timestamps(
        torch.from_numpy(waveform), load_silero_vad(), min_silence_duration_ms=500, speech_pad_ms=300,
        max_speech_duration_s=model.decoding.window_seconds or 30.0,
    )  # fmt: skip
    seconds = time.process_time() - before
    parts = [waveform[part["start"] : part["end"]] for part in found]
    texts = [model.transcribe(part, sample_rate=model.sample_rate).text for part in parts]
    return " ".join(filter(None, texts)), seconds


def main(
    model: Annotated[Path, typer.Option(help="Model folder, 16 kHz.")],
    manifest: Annotated[Path, typer.Option(help="Utterances with transcripts.")],
    hours: Annotated[float, typer.Option(min=0.01)] = 3.0,
    shortest_pause: float = 0.3,
    longest_pause: float = 1.5,
    in_order: Annotated[bool, typer.Option("--in-order", help="Speaker after speaker.")] = False,
    window: Annotated[float | None, typer.Option(help="decoding.window_seconds instead of the model's.")] = None,
    seed: int = 0,
    vad: Annotated[bool, typer.Option("--vad", help="Also cut by silero-vad.")] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    decoding: dict[str, object] = {} if window is None else {"window_seconds": window}
    recogniser = load_model(model, device="cpu", decoding=decoding)
    utterances = list(read_manifest(manifest))
    rules = recogniser.config.text
    with tempfile.TemporaryDirectory() as folder:
        short, long = Path(folder) / "short.wav", Path(folder) / "long.wav"
        write_recording(short, utterances, hours / 10, (shortest_pause, longest_pause), seed, in_order)
        said = write_recording(long, utterances, hours, (shortest_pause, longest_pause), seed, in_order)
        different = {utterance.id: utterance for utterance in said}
        before = time.process_time()
        texts = {}
        for key, utterance in different.items():
            waveform = load_utterance(utterance, recogniser.sample_rate)
            texts[key] = recogniser.decode([waveform])[0].text
        hand_seconds = (time.process_time() - before) * sum(u.duration for u in said)
        hand_seconds /= sum(u.duration for u in different.values())
        reference = " ".join(normalise(u.text or "", rules.case, rules.remove) for u in said)
        hand = score([reference], [" ".join(texts[u.id] for u in said)])
        tenth = transcribed(model, short, decoding)
        whole = transcribed(model, long, decoding)
        timed = transcribed(model, short, decoding | {"word_times": True})
        ours = score([reference], [str(whole["text"])])
        rows = [
            ["cut by hand", f"{hand.wer:.2%}", _counts(hand), "", f"{hand_seconds:.0f}", ""],
            ["one recording", f"{ours.wer:.2%}", _counts(ours), f"{100 * (ours.wer - hand.wer):+.2f}",
             f"{whole['seconds']:.0f}", f"{whole['peak_mb']:.0f}"],
        ]  # fmt: skip
        result = {
            "hand_wer": hand.wer,
            "wer": ours.wer,
            "difference": ours.wer - hand.wer,
            "ratio": ours.wer / hand.wer,
        }
        if vad:
            text, seconds = silero(recogniser, long)
            theirs = score([reference], [text])
            rows.append(["cut by silero-vad", f"{theirs.wer:.2%}", _counts(theirs),
                         f"{100 * (theirs.wer - hand.wer):+.2f}", f"{seconds:.0f} to cut", ""])  # fmt: skip
            result |= {"silero_wer": theirs.wer, "silero_seconds": seconds}
    times = [moment for word in timed["times"] for moment in word]  # type: ignore[attr-defined]
    backwards = sum(after < before for before, after in pairwise(times))
    duration = float(whole["duration"])  # type: ignore[arg-type]
    print_table(
        f"{duration / 3600:.2f} h of {manifest}, {len(reference.split())} words, {model}",
        ["", "WER", "S, D, I", "difference", "CPU-seconds", "peak MB"],
        rows,
    )
    print(f"a tenth of it: peak {tenth['peak_mb']:.0f} MB; times that run backwards there: {backwards} of {len(times)}")
    if as_json:
        print_json(result | {"peak_mb": whole["peak_mb"], "tenth_peak_mb": tenth["peak_mb"], "backwards": backwards,
                             "seconds": whole["seconds"], "hours": duration / 3600})  # fmt: skip


def _counts(scored: object) -> str:
    return ", ".join(str(getattr(scored, kind)) for kind in ("substitutions", "deletions", "insertions"))


if __name__ == "__main__":
    run_script(main)
