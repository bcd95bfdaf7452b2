"""Memory and time of one training step on one long recording, whole and with the gradient cut every so many frames.

Each step runs in a process of its own; memory is its peak above what it had before the step. The recording is made up:
random features and labels, which cost what real ones do.

python benchmarks/truncated_memory.py --minutes 2 --minutes 10 --minutes 30
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

STEP = r"""
import json, re, sys, time
from pathlib import Path
import torch
from asr.config import parse_config
from asr.model.acoustic import TokenClassifier
from asr.model.truncated import truncated_log_probs
from asr.training.loss import ctc_loss

cell, minutes, labels, every = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(1)
config = parse_config({"model": {"cell": cell, "layers": 2, "hidden": 256, "bidirectional": False}})
classifier = TokenClassifier(config, tokens=29)
features = torch.randn(1, int(minutes * 6000), 80)
tokens = torch.randint(1, 29, (1, max(1, int(minutes * 60 * labels))))
lengths, token_lengths = torch.tensor([features.shape[1]]), torch.tensor([tokens.shape[1]])
peak = lambda: int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
before, start = peak(), time.process_time()
if every:
    log_probs, frames = truncated_log_probs(classifier, features, lengths, every)
else:
    log_probs, frames = classifier(features, lengths)
ctc_loss(log_probs, frames, tokens, token_lengths).sum().backward()
print(json.dumps({"megabytes": round(peak() - before), "cpu_seconds": round(time.process_time() - start, 1)}))
"""


def main(
    minutes: Annotated[list[float] | None, typer.Option(help="Length of the recording; repeatable.")] = None,
    cell: Annotated[str, typer.Option(help="lstm, gru, rnn_tanh or rnn_relu; two layers of 256.")] = "lstm",
    labels: Annotated[float, typer.Option(help="A second; CTC's own memory grows with frames times labels.")] = 0.05,
    every: Annotated[int, typer.Option(help="Frames of 40 ms between cuts.")] = 250,
    json_: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    rows = []
    for length in minutes or [2, 10, 30]:
        row: dict[str, float] = {"minutes": length}
        for name, cut in (("whole", 0), ("cut", every)):
            command = [sys.executable, "-c", STEP, cell, str(length), str(labels), str(cut)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            row |= {f"{name}_{key}": value for key, value in json.loads(done.stdout).items()}
        rows.append(row)
    if json_:
        print_json({"cell": cell, "labels_per_second": labels, "every": every, "rows": rows})
    else:
        columns = list(rows[0])
        title = f"{cell}, {labels:g} labels a second, cut every {every} frames"
        print_table(title, columns, [[f"{row[column]:g}" for column in columns] for row in rows])


if __name__ == "__main__":
    run_script(main)
