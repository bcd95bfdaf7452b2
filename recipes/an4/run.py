"""CMU AN4: prepare, train, score.

python recipes/an4/run.py --source data/corpora/an4 --output exp/an4 --seed 0
python recipes/an4/run.py --source data/corpora/an4 --output exp/an4-tuned --seed 0 --init en-small
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import asr
from asr import recipe
from asr.cli.common import Device, Threads, run_script, set_threads


def main(
    source: recipe.Source = None,
    output: recipe.Output = Path("exp/an4"),
    data: recipe.Data = Path("data/an4"),
    seed: recipe.Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
    overwrite: recipe.Overwrite = False,
    set_: recipe.Set = None,
    init: Annotated[
        str | None, typer.Option(help="Model to start from, such as en-small, instead of from nothing.")
    ] = None,
) -> None:
    """Train a model of phones on AN4 and report its word error rate on the official test set."""
    set_threads(threads)
    recipe.start(device)
    manifests = recipe.prepare("an4", source=source, output=data)
    overrides = [f"data.train={manifests['train']}", f"data.dev={manifests['dev']}", f"training.seed={seed}"]
    overrides.append(f"text.lexicon={Path(__file__).with_name('lexicon.txt')}")
    if init is not None:
        overrides.append(f"training.init={init}")
    settings = Path(__file__).with_name("config.yaml" if init is None else "tuned.yaml")
    config = asr.load_config(settings, [*overrides, *(set_ or [])])
    console = recipe.console()
    training, scores = recipe.train_and_evaluate(
        config, output, {"test": manifests["test"]}, device=device, overwrite=overwrite, console=console
    )
    beams, tuned = recipe.compare_decoders(
        output, manifests, {"test": manifests["test"]}, device=device, threads=threads, console=console
    )
    decoders = {"decoders": {name: found.to_dict() for name, found in beams.items()}, "tuned": tuned}
    recipe.write_results(output, recipe.results(scores["test"], training, config, **decoders))
    scores = {"test, greedy": scores["test"], **beams}
    console.print(recipe.score_table(f"AN4, seed {seed}, {training.train_seconds:.0f} s of training", scores))


if __name__ == "__main__":
    run_script(main)
