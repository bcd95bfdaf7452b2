"""Speed and memory of encoders against the length of what they read: recurrent layers beside a Transformer.

One recording at a time, features that are made up: one training step (forward, CTC, backward), and log-probs alone.
Each in a process of its own on one thread; memory is its peak above what it had before.

python benchmarks/encoders.py --seconds 4 --seconds 16 --seconds 60 --seconds 240
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # CPU-seconds of one thread: before torch is imported

import json
import subprocess
import sys
from typing import Annotated

import typer
from measure import print_json, print_table

from asr.cli.common import run_script

RECURRENT = {"layers": 2, "hidden": 256}
ENCODERS: dict[str, dict[str, object]] = {
    **{cell: {**RECURRENT, "cell": cell} for cell in ("rnn_tanh", "rnn_relu", "gru", "lstm")},
    "lstm, one direction": {**RECURRENT, "cell": "lstm", "bidirectional": False},
    "transformer": {"encoder": "transformer", "layers": 4, "hidden": 256},
}
"""The models of recipes/an4's tables; the Transformer has about the parameters of the LSTM."""

COST = r"""
import json, re, sys, time
from pathlib import Path
import torch
from asr.config import parse_config
from asr.model.acoustic import TokenClassifier
from asr.training.loss import ctc_loss

settings, seconds, training = json.loads(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "training"
torch.set_num_threads(1)
classifier = TokenClassifier(parse_config({"model": settings}), tokens=29).train(training)
labels = max(1, round(seconds * 3))
tokens, token_lengths = torch.randint(1, 29, (1, labels)), torch.tensor([labels])
features = torch.randn(1, round(100 * seconds), 80)
lengths = torch.tensor([features.shape[1]])

def once():
    with torch.set_grad_enabled(training):
        log_probs, frames = classifier(features, lengths)
        if training:
            ctc_loss(log_probs, frames, tokens, token_lengths).sum().backward()

def peak():
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024

before = peak()
once()
memory = peak() - before
times = []
while len(times) < 3 or (sum(times) < 2 and len(times) < 50):
    start = time.process_time()
    once()
    times.append(time.process_time() - start)
print(json.dumps({
    "parameters": sum(weight.numel() for weight in classifier.parameters()),
    "megabytes": round(memory, 1),
    "times_real_time": round(seconds / min(times), 1),
}))
"""


def main(
    seconds: Annotated[list[float] | None, typer.Option(help="Length of the recording; repeatable.")] = None,
    encoder: Annotated[list[str] | None, typer.Option(help="One of the table's; repeatable. All by default.")] = None,
    json_: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    rows = []
    for name in encoder or ENCODERS:
        for length in seconds or [4, 16, 60, 240]:
            row: dict[str, float | str] = {"encoder": name, "seconds": length}
            for what in ("training", "decoding"):
                command = [sys.executable, "-c", COST, json.dumps(ENCODERS[name]), str(length), what]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                cost = json.loads(done.stdout)
                row["M parameters"] = round(cost["parameters"] / 1e6, 2)
                row |= {f"{what}, s/s": cost["times_real_time"], f"{what}, MB": cost["megabytes"]}
            rows.append(row)
    columns = list(rows[0])
    print_table("Encoders, one thread", columns, [[f"{row[column]}" for column in columns] for row in rows])
    if json_:
        print_json({"rows": rows, **_ratio(rows)})


def _ratio(rows: list[dict[str, float | str]]) -> dict[str, float]:
    """Training speed of the LSTM by that of the Transformer at the longest length, where both were measured."""
    last = {str(row["encoder"]): row for row in rows}
    if not {"lstm", "transformer"} <= set(last):
        return {}
    return {"ratio": float(last["lstm"]["training, s/s"]) / float(last["transformer"]["training, s/s"])}


if __name__ == "__main__":
    run_script(main)
