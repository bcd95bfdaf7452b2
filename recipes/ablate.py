"""What each part of a recipe does: train it with one thing changed at a time, over several seeds.

python recipes/ablate.py recipes/an4/ablations.yaml --output exp/ablations/an4 --seeds 3 --only plain --only gru

The list of variants names the recipe's configuration and, for each variant, what to set (see recipes/an4). Trainings
that are done are not repeated and one that was cut off goes on, so the same command finishes a table.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import yaml
from pydantic import Field, ValidationError

import asr
from asr import recipe
from asr.cli.common import Device, Threads, run_script, set_threads
from asr.config import parse_config, read_yaml
from asr.config.section import Section
from asr.errors import AsrError, ConfigError, Interrupted
from asr.files import write_text
from asr.scoring.seeds import MeanRate, mean_difference, mean_rate


class Plan(Section):
    """A list of variants."""

    config: str
    """Configuration of the recipe, beside the list."""
    test: str | None = None
    """Manifest that is reported beside dev; nothing is chosen by it."""
    set: list[str] = Field(default=[])
    """`section.key=value` for every variant."""
    variants: dict[str, list[str]] = Field(min_length=1)
    """Name to what is set; the first is what the others are compared with."""


def main(
    plan: Annotated[Path, typer.Argument(help="YAML list of variants.")],
    output: Annotated[Path, typer.Option(help="Folder for the models: OUTPUT/VARIANT/SEED.")],
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each variant, with seeds 0, 1, ...")] = 3,
    only: Annotated[list[str] | None, typer.Option(help="A variant to train; repeatable. All when not given.")] = None,
    table: Annotated[Path | None, typer.Option(help="Write the table to this .md file too.")] = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Train every variant with every seed; print dev and test error rates with 95 % intervals over both."""
    set_threads(threads)
    recipe.start(device)
    console = recipe.console()
    listed = _load(plan)
    if unknown := sorted(set(only or []) - set(listed.variants)):
        raise ConfigError(f"{plan}: no variant {', '.join(unknown)}; there are {', '.join(listed.variants)}")
    found: dict[str, list[dict[str, Any]]] = {}
    failed: dict[str, str] = {}
    for seed in range(seeds):  # all variants with one seed before the next: a table stands early
        for name in only or listed.variants:
            folder = output / name / f"seed-{seed}"
            console.print(f"{name}, seed {seed}")
            try:
                row = _run(plan, listed, name, seed, folder, device, console)
            except Interrupted:
                raise
            except AsrError as error:  # the others can still be had
                failed[f"{name}, seed {seed}"] = str(error)
                console.print(f"failed: {error}", markup=False)
            else:
                found.setdefault(name, []).append(row)
    if found:
        text = _table(found, listed.test is not None)
        console.print(text, markup=False, soft_wrap=True)
        if table:
            write_text(table, text)
    if failed:
        raise AsrError("\n".join(f"{name}: {reason}" for name, reason in failed.items()))


def _load(path: Path) -> Plan:
    try:
        return Plan.model_validate(read_yaml(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise ConfigError(f"{path}: no list of variants: {error}") from None


def _run(plan: Path, listed: Plan, name: str, seed: int, folder: Path, device: str, console: Any) -> dict[str, Any]:
    """Train, score and leave `results.json`; or read it where all that was done before."""
    config = asr.load_config(
        plan.parent / listed.config, [*listed.set, *listed.variants[name], f"training.seed={seed}"]
    )
    done = folder / "results.json"
    if done.exists():
        before: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
        if parse_config(before["config"]) != config:  # parsed: options that came later have their defaults
            raise ConfigError(f"{folder}: trained with another configuration; remove it or choose another --output")
        return before
    if config.data.dev is None:
        raise ConfigError(f"{plan}: variants are compared on data.dev, which is not set")
    tests = {"dev": Path(config.data.dev), **({"test": Path(listed.test)} if listed.test else {})}
    training, scores = recipe.train_and_evaluate(config, folder, tests, device=device, console=console)
    values = recipe.results(scores["dev"], training, config)
    values["by_utterance"] = {
        part: {one.id: [one.errors, one.words] for one in evaluation.score.utterances}
        for part, evaluation in scores.items()
    }
    recipe.write_results(folder, values)
    return values


def _counts(rows: list[dict[str, Any]], part: str) -> tuple[np.ndarray, np.ndarray]:
    """Errors `[seeds, utterances]` and words `[utterances]`."""
    ids = list(rows[0]["by_utterance"][part])
    counts = np.array([[row["by_utterance"][part][key] for key in ids] for row in rows])
    return counts[..., 0], counts[0, :, 1]


def _table(found: dict[str, list[dict[str, Any]]], tested: bool) -> str:
    """Markdown: mean error rates over seeds, and how far from the first variant."""
    parts = ["dev", *(["test"] if tested else [])]
    first = next(iter(found))
    heads = ["", "seeds", *(f"{part} WER {what}" for part in parts for what in ("%", "- " + first))]
    lines = [[*heads, "M parameters", "minutes", "s/s"], ["---"] * (len(heads) + 3)]
    for name, rows in found.items():
        cells = [name, str(len(rows))]
        for part in parts:
            errors, words = _counts(rows, part)
            cells.append(_cell(mean_rate(errors, words)))
            cells.append("" if name == first else _cell(mean_difference(errors, _counts(found[first], part)[0], words)))
        cells.append(f"{rows[0]['parameters'] / 1e6:.2f}")
        cells.append(f"{np.mean([row['train_seconds'] for row in rows]) / 60:.1f}")
        cells.append(f"{np.mean([row['audio_seconds_per_second'] for row in rows]):.0f}")
        lines.append(cells)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(rate: MeanRate) -> str:
    low, high = (100 * end for end in rate.interval)
    return f"{100 * rate.value:{'.2f' if rate.rates else '+.2f'}} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    run_script(main)
