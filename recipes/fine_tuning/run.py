"""What a few minutes of one's own speech are worth: AN4 from scratch and fine-tuned from the model that comes with asr.

python recipes/fine_tuning/run.py --source data/corpora/an4 --minutes 5,15,38 --threads 1
"""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

import asr
from asr import recipe
from asr.cli.common import Device, Threads, run_script, set_threads
from asr.data.selecting import Rules, filter_manifest
from asr.errors import ConfigError
from asr.evaluation import Evaluation
from asr.evaluation.sharing import is_main, once
from asr.model.folders import DEFAULT

STEPS = {"scratch": 1500, "fine-tuned": 1200}
"""Batches that a training takes, in as many epochs as that makes of its minutes."""
AN4 = Path(__file__).parents[1] / "an4"
CONFIGS = {"scratch": Path(__file__).with_name("scratch.yaml"), "fine-tuned": AN4 / "tuned.yaml"}


class Kind(StrEnum):
    """Where a training starts."""

    SCRATCH, TUNED = CONFIGS


def main(
    source: recipe.Source = None,
    output: recipe.Output = Path("exp/fine_tuning"),
    data: recipe.Data = Path("data/an4"),
    minutes: Annotated[str, typer.Option(help="Sizes of the training set, with commas; the last takes all.")] = (
        "5,15,38"
    ),
    kind: Annotated[
        list[Kind] | None, typer.Option(help="Only this kind; what is trained already is only scored.")
    ] = None,
    init: Annotated[str, typer.Option(help="Model to start from.")] = DEFAULT,
    seed: recipe.Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
    overwrite: recipe.Overwrite = False,
    set_: recipe.Set = None,
) -> None:
    """Train on parts of AN4, from scratch and fine-tuned; a table and a picture of the test WER over the minutes."""
    set_threads(threads)
    sizes = _sizes(minutes)
    recipe.start(device)
    console = recipe.console()
    manifests = recipe.prepare("an4", source=source, output=data)
    scores: dict[str, Evaluation] = {}
    rows: list[dict[str, Any]] = []
    for size in sizes:
        train = manifests["train"]
        if size != sizes[-1]:
            part = data / f"train-{size:g}"
            options = (manifests["train"], part, Rules())
            once(partial(filter_manifest, *options, hours=size / 60, seed=seed, overwrite=True))
            train = part / "cuts.jsonl"
        for name in kind or Kind:
            base = asr.load_config(CONFIGS[name])
            epochs = max(1, round(STEPS[name] * base.data.batch_seconds / (60 * size)))
            overrides = [f"data.train={train}", f"data.dev={manifests['dev']}", f"training.seed={seed}"]
            overrides.append(f"text.lexicon={AN4 / 'lexicon.txt'}")
            overrides += [f"training.epochs={epochs}", *([f"training.init={init}"] if name is Kind.TUNED else [])]
            config = asr.load_config(CONFIGS[name], [*overrides, *(set_ or [])])
            folder = output / f"{name}-{size:g}"
            console.print(f"\n{name}, {size:g} minutes, {config.training.epochs} epochs")
            training, found = recipe.train_and_evaluate(
                config, folder, {"test": manifests["test"]}, device=device, overwrite=overwrite, console=console
            )
            scores[f"{size:g} min, {name}"] = found["test"]
            recipe.write_results(folder, recipe.results(found["test"], training, config))
            row = {"minutes": size, "kind": str(name), "wer": found["test"].wer, "interval": found["test"].wer_interval}
            rows.append(row | {"train_seconds": training.train_seconds, "dev_wer": training.best_wer})
    if is_main():
        recipe.write_results(output, {"rows": rows, "seed": seed, "init": init, "commit": recipe.commit()})
        picture(rows, output / "fine_tuning.png")
    console.print(recipe.score_table(f"AN4, official test, greedy, seed {seed}", scores))


def _sizes(minutes: str) -> list[float]:
    """Minutes in rising order.

    Raises:
        ConfigError: they are not numbers above 0.
    """
    try:
        sizes = sorted(float(size) for size in minutes.split(","))
    except ValueError:
        sizes = []
    if not sizes or sizes[0] <= 0:
        raise ConfigError(f"--minutes {minutes}: give numbers above 0, such as 5,15,38")
    return sizes


def picture(rows: list[dict[str, Any]], path: Path) -> None:
    """WER over minutes, a line for each kind, with its 95 % intervals, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for kind in sorted({row["kind"] for row in rows}, reverse=True):
        mine = [row for row in rows if row["kind"] == kind]
        wer = [100 * row["wer"] for row in mine]
        spread = [[100 * abs(row["interval"][end] - row["wer"]) for row in mine] for end in (0, 1)]
        axes.errorbar([row["minutes"] for row in mine], wer, yerr=spread, marker="o", capsize=3, label=kind)
    axes.set(xscale="log", xlabel="minutes of training speech", ylabel="word error rate, %", ylim=(0, None))
    minutes = sorted({row["minutes"] for row in rows})
    axes.set_xticks(minutes, [f"{size:g}" for size in minutes], minor=False)
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    run_script(main)
