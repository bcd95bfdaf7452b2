"""What hot words bring and cost: how many rare words of a test set come out, and how often one comes out falsely.

python benchmarks/hotwords.py --model exp/an4-0 --train data/an4/train --test data/an4/test --json
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import tempfile
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from measure import print_json, print_table

import asr
from asr.cli.common import run_script
from asr.data.manifest import read_manifest
from asr.text import normalise


def words(manifest: Path) -> Counter[str]:
    """How often each word of the transcripts occurs."""
    return Counter(word for row in read_manifest(manifest) for word in normalise(row.text or "").split())


def main(
    model: Annotated[Path, typer.Option(help="Model folder.")],
    train: Annotated[Path, typer.Option(help="Manifest that it was trained on.")],
    test: Annotated[Path, typer.Option(help="Manifest to decode.")],
    most: Annotated[int, typer.Option(help="Words that training had at most so many times are rare.")] = 10,
    beam: Annotated[int, typer.Option(help="Prefixes kept.")] = 64,
    weights: Annotated[str, typer.Option(help="Weights of every hot word, natural log.")] = "3,5,8,12",
    json_: Annotated[bool, typer.Option("--json", help="One JSON object as the last line.")] = False,
) -> None:
    """Hot words are the words of the test set of three letters and more that are rare in training.

    They are taken from the test transcripts, as a user takes them from an address book: the figures say what happens
    when the list is right, and nothing about words that are not on it.
    """
    known = words(train)
    rare = sorted(word for word in words(test) if len(word) > 2 and known[word] <= most)
    rows = []
    for weight in [None, *map(float, weights.split(","))]:
        decoding: dict[str, object] = {"method": "beam", "beam": beam, "lm": None}
        with tempfile.TemporaryDirectory() as folder:
            if weight is not None:
                names = Path(folder) / "names.txt"
                names.write_text("".join(f"{word}\t{weight}\n" for word in rare), encoding="utf-8")
                decoding["hotwords"] = str(names)
            found = asr.evaluate(asr.load_model(model, device="cpu", decoding=decoding, threads=1), test)
        asked = right = false = 0
        for key, reference in found.references.items():
            said, heard = Counter(reference.split()), Counter(found.hypotheses[key].text.split())
            for word in rare:
                asked += said[word]
                right += min(said[word], heard[word])
                false += max(0, heard[word] - said[word])
        rows.append({"weight": weight, "asked": asked, "right": right, "false": false, "wer": found.wer})
    print_table(
        f"{len(rare)} hot words, {rows[0]['asked']} times in {test}",
        ["weight", "recognised", "falsely", "WER"],
        [
            [
                "none" if row["weight"] is None else f"{row['weight']:g}",
                f"{row['right']} of {row['asked']}",
                str(row["false"]),
                f"{row['wer']:.2%}",
            ]
            for row in rows
        ],
    )
    if json_:
        best = max(rows[1:], key=lambda row: (row["right"] - row["false"], -row["wer"]))
        print_json({"benchmark": "hotwords", "ratio": best["right"] / max(1, rows[0]["right"]), "rows": rows})


if __name__ == "__main__":
    run_script(main)
