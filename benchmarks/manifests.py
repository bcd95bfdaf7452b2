"""Resident memory and time to open manifests of 10^4, 10^5 and 10^6 utterances, beside Lhotse.

python benchmarks/manifests.py --json
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from measure import print_json, print_table

from asr.cli.common import run_script
from asr.data.utterance import Utterance

JOBS = {
    "read one after the other": "from asr.data.manifest import read_manifest\nn = sum(1 for _ in read_manifest(path))",
    "index for training": "from asr.data.index import ManifestIndex\nindex = ManifestIndex.open(path)\nn = len(index)",
    "Lhotse, lazy, one after the other": "from lhotse import CutSet\nn = sum(1 for _ in CutSet.from_file(path))",
    "Lhotse, in memory": "from lhotse import CutSet\nn = len(CutSet.from_file(path).to_eager())",
}
PROGRAM = """
import pathlib, re, sys, time
path = sys.argv[1]
{imports}
def kilobytes(name):
    return int(re.search(name + r":\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before, started = kilobytes("VmRSS"), time.process_time()
{body}
print(n, kilobytes("VmHWM") - before, time.process_time() - started)
"""


def write(path: Path, count: int) -> None:
    """A manifest of `count` utterances of a sentence of common length."""
    text = "the same words again and again until they are about as many as in a sentence that is read aloud"
    line = json.dumps(Utterance("ID", Path("/corpus/speaker/ID.flac"), 12.5, 16000, text, "speaker-17").to_cut())
    with open(path, "w", encoding="utf-8") as out:
        out.writelines(line.replace("ID", f"speaker-17-chapter-{number:08d}") + "\n" for number in range(count))


def measure(job: str, path: Path) -> dict[str, float]:
    """Peak of the resident memory added, and CPU-seconds, in a process of its own, imports not counted."""
    imports, body = JOBS[job].split("\n", 1)
    program = PROGRAM.format(imports=imports, body=body)
    run = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    _, grown, seconds = run.stdout.split()
    return {"megabytes": int(grown) * 1024 / 1e6, "cpu_seconds": float(seconds)}


def main(
    counts: Annotated[str, typer.Option(help="Numbers of utterances.")] = "10000,100000,1000000",
    json_: Annotated[bool, typer.Option("--json", help="One JSON object as the last line.")] = False,
) -> None:
    """Measure what opening a manifest costs."""
    results: dict[str, dict[str, dict[str, float]]] = {job: {} for job in JOBS}
    with tempfile.TemporaryDirectory() as folder:
        for count in map(int, counts.split(",")):
            path = Path(folder) / f"{count}.jsonl"
            write(path, count)
            for job in JOBS:
                results[job][str(count)] = measure(job, path)
            path.unlink()
    numbers = list(next(iter(results.values())))
    print_table(
        "Opening a manifest: peak of resident memory added, CPU-seconds",
        ["", *(f"{int(number):,} utterances" for number in numbers)],
        [
            [job, *(f"{row[n]['megabytes']:.1f} MB, {row[n]['cpu_seconds']:.1f} s" for n in numbers)]
            for job, row in results.items()
        ],
    )
    if json_:
        largest = numbers[-1]
        mine = results["read one after the other"][largest]
        theirs = results["Lhotse, lazy, one after the other"][largest]
        ratio = theirs["cpu_seconds"] / mine["cpu_seconds"]
        print_json(
            {"benchmark": "manifests", "ratio": ratio, "ratio_of": "CPU-seconds to read the largest", "rows": results}
        )


if __name__ == "__main__":
    run_script(main)
