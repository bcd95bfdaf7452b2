"""Trainings killed with SIGKILL at random moments and continued, compared bit for bit with an undisturbed one.

python benchmarks/crashes.py --kills 20 --json
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import json
import random
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import soundfile
import torch
import typer
from killable import Training
from measure import print_json, print_table

from asr.cli.common import run_script
from asr.config import Config, parse_config, save_config
from asr.data.manifest import Utterance, write_manifest
from asr.model.checkpoint import load_tensors
from asr.training.log import read_log

RATE = 8000
EVERYTHING = {
    "data": {"batch_seconds": 8.0},
    "augmentation": {"speed": {}, "noise": {"probability": 0.5}, "gain": {}, "spec_augment": {}},
    "features": {"sample_rate": RATE, "mels": 40},
    "model": {"layers": 2, "hidden": 24, "dropout": 0.3, "subsampling": {"channels": 8}},
    "training": {"learning_rate": 5e-3, "epochs": 4, "ema": 0.98, "checkpoint_steps": 7, "log_steps": 1},
}
"""A small model with everything that draws random numbers or carries state from step to step."""
MOMENTS = {"step": 6, "write": 3, "start": 1}
"""When a process is killed, and how often: some milliseconds after a step; while a checkpoint is being written; while
it starts or looks for its checkpoint."""
DAMAGED = 0.25
"""Share of the kills after which the newest checkpoint is damaged too, as a power cut may leave it."""


def say(text: str, rng: np.random.Generator) -> np.ndarray:
    """Float32 `[samples]`: each letter a tone of its own, of varying length, in a little noise."""
    parts = [np.zeros(800)]
    for letter in text:
        times = np.arange(round(RATE * rng.uniform(0.09, 0.13))) / RATE
        hertz = 0 if letter == " " else 300 + 350 * "abcdefgh".index(letter)
        parts.append(np.sin(2 * np.pi * hertz * times) * np.hanning(len(times)))
    clean = 0.2 * np.concatenate([*parts, np.zeros(800)])
    return (clean + rng.normal(0, 0.005, len(clean))).astype(np.float32)


def make_corpus(folder: Path, name: str, count: int) -> Path:
    """A manifest of `count` recordings of words that mean nothing."""
    rng = np.random.default_rng(count)
    (folder / name).mkdir()
    utterances = []
    for number in range(count):
        words = ["".join(rng.choice(list("abcdefgh"), rng.integers(2, 6))) for _ in range(rng.integers(1, 5))]
        path, waveform = folder / name / f"{name}-{number:03d}.wav", say(" ".join(words), rng)
        soundfile.write(path, waveform, RATE)
        utterances.append(Utterance(path.stem, path, len(waveform) / RATE, RATE, " ".join(words), f"s{number % 5}"))
    write_manifest(folder / name / "cuts.jsonl", utterances)
    return folder / name


def losses(folder: Path) -> dict[int, Any]:
    """Loss and learning rate of each step in the log, and by minus its number what an epoch came to."""
    rows: dict[int, Any] = {}
    for row in read_log(folder):
        if row["kind"] == "train":
            rows[row["step"]] = (row["loss"], row["learning_rate"])
        elif row["kind"] == "epoch":
            rows[-row["epoch"]] = (row["loss"], row.get("dev_wer"), row.get("dev_cer"))
    return rows


def different_tensors(one: Path, other: Path) -> tuple[int, list[str]]:
    """How many tensors the files of a finished training hold, and those that are not the same, bit for bit."""
    names = [{str(p.relative_to(folder)) for p in folder.rglob("*.safetensors")} for folder in (one, other)]
    count, different = 0, sorted(names[0] ^ names[1])
    for name in sorted(names[0] & names[1]):
        mine, theirs = (
            {key: (tensor.dtype, tensor.shape, tensor.reshape(-1).view(torch.uint8).tolist()) for key, tensor in file}
            for file in (load_tensors(folder / name)[0].items() for folder in (one, other))
        )
        count += len(mine)
        keys = sorted(mine.keys() | theirs.keys())
        different += [f"{name}: {key}" for key in keys if mine.get(key) != theirs.get(key)]
    return count, different


@dataclass
class Crashed:
    """What became of one training that was killed."""

    kills: list[str] = field(default_factory=list)
    """Of each the last step in the log, how, and whether a checkpoint was damaged too."""
    resumed: list[int] = field(default_factory=list)
    writing: int = 0
    damaged: int = 0
    compared: int = 0
    """Losses and results of epochs of steps after the first kill, repeated ones counted again."""
    different: list[int] = field(default_factory=list)
    """The steps, or minus the epochs, where they are not the same."""
    tensors: int = 0
    different_tensors: list[str] = field(default_factory=list)


def crash(training: Training, plan: list[tuple[int, str]], reference: Path, rng: random.Random) -> Crashed:
    """Train to the end with a kill at each of the planned steps."""
    expected, result, last = losses(reference), Crashed(), 0

    def compare() -> None:
        went_on = training.resumed()[-1] if training.resumed() else 0
        for step, values in losses(training.folder).items():
            if result.kills and (step > went_on or (step < 0 and ends[-step] > went_on)):
                result.compared += 1
            if values != expected.get(step):
                result.different.append(step)

    ends = {row["epoch"]: row["step"] for row in read_log(reference) if row["kind"] == "epoch"}
    for target, moment in plan:
        if training.process is None or training.process.poll() is not None:
            training.start()
        if moment == "start":
            time.sleep(rng.uniform(0, training.startup))
        elif not training.wait_for_step(max(target, last)):
            break
        elif moment == "write":
            if not training.wait_until(training.writing, 0.0003):
                break
            time.sleep(rng.uniform(0, 0.003))
        else:
            time.sleep(rng.uniform(0, training.pace))
        before, last = training.before, training.step()
        how = training.kill(rng)
        if how != "rank":  # which goes on at once
            last = training.step()
        compare()
        left = any(name.startswith(".") for name in training.checkpoints() - before)
        result.writing += left
        damaged = how != "rank" and rng.random() < DAMAGED and training.damage(rng)
        result.damaged += damaged
        marks = ("w" if left else "") + ("d" if damaged else "") + ("r" if how == "rank" else "")
        result.kills.append(f"{last}{marks}")
    if training.process is None or training.process.poll() is not None:
        training.start()
    training.wait_until(lambda: False, 0.05)
    compare()
    if losses(training.folder).keys() != expected.keys():
        result.different += sorted(losses(training.folder).keys() ^ expected.keys())
    result.resumed = training.resumed()
    result.tensors, result.different_tensors = different_tensors(training.folder, reference)
    return result


def undisturbed(training: Training) -> int:
    """Train without a break; the number of steps, after noting the times."""
    began = time.monotonic()
    training.start()
    training.wait_until(lambda: training.step() > 0)
    training.startup = time.monotonic() - began
    training.wait_until(lambda: False)
    training.pace = (time.monotonic() - began - training.startup) / max(training.step(), 1)
    return training.step()


def planned(kills: int, steps: int, rng: random.Random) -> list[list[tuple[int, str]]]:
    """The kills spread evenly over the whole training, dealt out to trainings with one to three each."""
    targets = [
        rng.randrange(steps * i // kills, max(steps * (i + 1) // kills, steps * i // kills + 1)) for i in range(kills)
    ]
    rng.shuffle(targets)
    runs = []
    while targets:
        mine = sorted(targets.pop() for _ in range(min(rng.choice([1, 1, 2, 3]), len(targets))))
        runs.append([(target, rng.choices(list(MOMENTS), list(MOMENTS.values()))[0]) for target in mine])
    return runs


def main(
    kills: Annotated[int, typer.Option(min=1, help="Kills in all.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the moments; they still depend on the machine.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Data workers of each process.")] = 1,
    ranks: Annotated[int, typer.Option(min=1, help="Processes that train together, under torchrun with gloo.")] = 1,
    train: Annotated[Path | None, typer.Option(help="Manifest to train on instead of made-up speech.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object as the last line.")] = False,
) -> None:
    """Train once undisturbed, then again and again with kills, and compare."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        root = Path(name)
        config = configuration(root, train, workers)
        reference = Training(root / "undisturbed", root / "config.yaml", ranks)
        save_config(config, reference.config)
        stack.callback(reference.stop)
        steps = undisturbed(reference)
        runs = []
        for number, plan in enumerate(planned(kills, steps, rng), 1):
            training = Training(root / f"run{number}", reference.config, ranks, reference.startup, reference.pace)
            stack.callback(training.stop)
            runs.append(crash(training, plan, reference.folder, rng))
            typer.echo(f"run {number}: killed at {' '.join(runs[-1].kills)}", err=True)
    report(runs, steps, json_=json_, workers=workers, ranks=ranks)
    if any(run.different or run.different_tensors for run in runs):
        raise typer.Exit(1)


def configuration(root: Path, train: Path | None, workers: int) -> Config:
    """The training, on made-up speech or on `train`."""
    tree = json.loads(json.dumps(EVERYTHING))
    tree["data"] |= {"workers": workers, "train": str(train or make_corpus(root, "train", 120))}
    if train is None:
        tree["data"]["dev"] = str(make_corpus(root, "dev", 16))
    else:
        tree["data"]["batch_seconds"] = 60.0
        tree["features"] = {}
    return parse_config(tree)


def report(runs: list[Crashed], steps: int, *, json_: bool, workers: int, ranks: int) -> None:
    """The table, what differs, and the JSON object."""
    rows = [
        [
            str(number),
            " ".join(run.kills),
            " ".join(map(str, run.resumed)) or "the beginning",
            f"{run.compared - len(run.different)} of {run.compared}",
            f"{run.tensors - len(run.different_tensors)} of {run.tensors}",
        ]
        for number, run in enumerate(runs, 1)
    ]
    print_table(
        f"{steps} steps, {workers} data workers, {ranks} ranks; w: while a checkpoint was written, "
        "d: newest checkpoint damaged after it, r: one rank killed",
        ["run", "killed after step", "went on from", "later losses equal", "tensors equal"],
        rows,
    )
    for number, run in enumerate(runs, 1):
        for step in run.different[:5]:
            typer.echo(f"run {number}: {f'step {step}' if step > 0 else f'epoch {-step}'} differs")
        for key in run.different_tensors[:5]:
            typer.echo(f"run {number}: {key} differs")
    if json_:
        print_json(
            {
                "benchmark": "crashes",
                "kills": sum(len(run.kills) for run in runs),
                "runs": len(runs),
                "steps": steps,
                "workers": workers,
                "ranks": ranks,
                "while_writing": sum(run.writing for run in runs),
                "checkpoints_damaged": sum(run.damaged for run in runs),
                "losses_compared": sum(run.compared for run in runs),
                "losses_different": sum(len(run.different) for run in runs),
                "tensors_compared": sum(run.tensors for run in runs),
                "tensors_different": sum(len(run.different_tensors) for run in runs),
            }
        )


if __name__ == "__main__":
    run_script(main)
