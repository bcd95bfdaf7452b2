"""N-gram models: seconds and memory to train, perplexity on a held-out tenth of the text, time to open.

python benchmarks/language_models.py --text librispeech-train-clean-100.txt --json
python benchmarks/language_models.py --text librispeech-train-clean-100.txt --lmplz kenlm/build/bin/lmplz
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from measure import print_json, print_table

from asr.cli.common import run_script
from asr.lm.ngram import NgramModel

HELD_OUT = 10
"""Every tenth sentence is held out."""
PERTURBED = 0.3
"""Share of the words of a copy of the text that are replaced, so that it has n-grams of its own."""
INVENTED = 0.02
"""Share of the replaced words that are new ones."""
TRAIN = """
import pathlib, resource, sys, time
from asr.lm.training import train_ngram
text, order, model = sys.argv[1:]
few = pathlib.Path(model + ".few")
few.write_text("a b\\n")
train_ngram([few], 2)  # compiled code is there from the first training on
started = time.process_time()
trained = train_ngram([text], int(order))
seconds = time.process_time() - started
trained.model.save(model)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
print(trained.words, seconds, time.process_time() - started, peak, *trained.model.ngrams)
"""


def split(text: Path, folder: Path) -> tuple[Path, Path]:
    """Training and held-out sentences."""
    train, held_out = folder / "train.txt", folder / "held-out.txt"
    with open(text, encoding="utf-8") as lines, open(train, "w") as first, open(held_out, "w") as second:
        for number, line in enumerate(lines, start=1):
            (first if number % HELD_OUT else second).write(line.lower())
    return train, held_out


def perturbed(text: Path, words: int) -> Iterator[str]:
    """About so many words: shuffled copies of the text, with words replaced by other words of the text or new ones."""
    rng = random.Random(0)
    sentences = [line.split() for line in text.read_text(encoding="utf-8").lower().splitlines()]
    known = [word for sentence in sentences for word in sentence]
    for copy in range(-(-words // len(known))):
        rng.shuffle(sentences)
        for sentence in sentences:
            changed = list(sentence)
            if copy:
                for place in range(len(changed)):
                    if rng.random() < PERTURBED:
                        word = known[int(rng.random() * len(known))]
                        changed[place] = f"{word}{copy}" if rng.random() < INVENTED else word
            yield " ".join(changed) + "\n"
            words -= len(changed)
            if words <= 0:
                return


def train(text: Path, order: int, model: Path) -> dict[str, Any]:
    """Train in a process of its own."""
    command = [sys.executable, "-c", TRAIN, str(text), str(order), str(model)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    words, seconds, saved, peak, *ngrams = run.stdout.split()
    return {
        "words": int(words),
        "order": order,
        "ngrams": [int(count) for count in ngrams],
        "cpu_seconds": float(seconds),
        "cpu_seconds_with_arpa": float(saved),
        "peak_megabytes": float(peak),
        "arpa_megabytes": model.stat().st_size / 1e6,
    }


def train_lmplz(lmplz: Path, text: Path, order: int, model: Path) -> dict[str, float]:
    """Processor time of KenLM for the same, its ARPA file included."""
    before = os.times()
    with open(text, "rb") as source, open(model, "wb") as out:
        command = [str(lmplz), "-o", str(order), "-S", "2G", "--discount_fallback"]
        subprocess.run(command, stdin=source, stdout=out, stderr=subprocess.DEVNULL, check=True)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return {"cpu_seconds": used}


def seconds_of(job: Any) -> float:
    """The shortest of five."""
    found = []
    for _ in range(5):
        started = time.perf_counter()
        job()
        found.append(time.perf_counter() - started)
    return min(found)


def judge(model: Path, held_out: Path) -> dict[str, float]:
    """Perplexities, and seconds to read the ARPA file and to open the binary one."""
    from asr.lm.corpus import Sentences
    from asr.lm.perplexity import perplexity
    from asr.lm.units import splitter

    loaded = NgramModel.load(model)
    found = perplexity(loaded, Sentences([held_out], splitter("words")))
    binary = model.with_suffix(".lm")
    loaded.save(binary)
    started = time.perf_counter()
    NgramModel.load(model)
    return {
        "read_arpa_seconds": time.perf_counter() - started,
        "open_binary_seconds": seconds_of(lambda: NgramModel.load(binary)),
        "binary_megabytes": binary.stat().st_size / 1e6,
        "perplexity": found.perplexity,
        "perplexity_known": found.perplexity_known,
        "unknown_rate": found.unknown_rate,
    }


def main(
    text: Annotated[Path, typer.Option(help="A sentence a line.")],
    orders: Annotated[str, typer.Option(help="Lengths of the longest n-grams.")] = "2,3,4,5",
    large: Annotated[int, typer.Option(help="Words of the perturbed copies that time alone is measured on.")] = 10**7,
    lmplz: Annotated[Path | None, typer.Option(help="KenLM's trainer, to compare with.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object as the last line.")] = False,
) -> None:
    """Train on nine tenths of a text, judge on the last; then train on much more text made from it."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train_text, held_out = split(text, folder)
        for order in map(int, orders.split(",")):
            row = train(train_text, order, folder / "model.arpa")
            row |= judge(folder / "model.arpa", held_out)
            if lmplz:
                theirs = train_lmplz(lmplz, train_text, order, folder / "kenlm.arpa")
                row["lmplz"] = theirs | {"perplexity": judge(folder / "kenlm.arpa", held_out)["perplexity"]}
            rows.append(row)
        with open(folder / "large.txt", "w") as out:
            out.writelines(perturbed(text, large))
        row = train(folder / "large.txt", 3, folder / "model.arpa")
        if lmplz:
            row["lmplz"] = train_lmplz(lmplz, folder / "large.txt", 3, folder / "kenlm.arpa")
        rows.append(row)
    columns = ["words, order", "n-grams", "train", "+ ARPA", "peak", "perplexity", "known", "read", "open"]
    print_table("N-gram models", columns + (["lmplz", "its perplexity"] if lmplz else []), [cells(row) for row in rows])
    if json_:
        values: dict[str, Any] = {"benchmark": "language_models", "rows": rows}
        if lmplz:
            values["ratio"] = rows[-1]["lmplz"]["cpu_seconds"] / rows[-1]["cpu_seconds_with_arpa"]
            values["ratio_of"] = "CPU-seconds of lmplz to ours, ARPA file included, largest text"
        print_json(values)


def cells(row: dict[str, Any]) -> list[str]:
    shown = [
        f"{row['words']:,}, {row['order']}",
        f"{sum(row['ngrams']):,}",
        f"{row['cpu_seconds']:.1f} s",
        f"{row['cpu_seconds_with_arpa']:.1f} s",
        f"{row['peak_megabytes']:.0f} MB",
    ]
    if "perplexity" in row:
        shown += [f"{row['perplexity']:.2f}", f"{row['perplexity_known']:.2f}"]
        shown += [f"{row['read_arpa_seconds']:.1f} s", f"{1000 * row['open_binary_seconds']:.1f} ms"]
    else:
        shown += [""] * 4
    if theirs := row.get("lmplz"):
        shown += [f"{theirs['cpu_seconds']:.1f} s", f"{theirs['perplexity']:.2f}" if "perplexity" in theirs else ""]
    return shown


if __name__ == "__main__":
    run_script(main)
