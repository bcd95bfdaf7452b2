"""`asr diagnose`: what goes on inside a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.common import Json, Threads, error_console, print_json, set_threads
from asr.errors import ConfigError

if TYPE_CHECKING:
    from asr.training.gradients import LayerFlow, Shares

CELLS = "rnn_tanh,rnn_relu,gru,lstm"
LOSS = "Of the gradient of the loss at frame t, the share that reaches the layer's input at frame t-k:"
STATE = "Size of the Jacobian of the layer's output at frame t by its state at frame t-k:"
GATES = "Gates: mean, and how often above 0.9. Slope: derivative of tanh or ReLU, in place of gates:"

app = typer.Typer(no_args_is_help=True, help="Look inside a model.")


@app.command("gradients")
def gradients(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Configurations (initial weights); model folders, or names from `asr models` (trained weights too)."
        ),
    ],
    cells: Annotated[
        str | None,
        typer.Option(help=f"Cells with initial weights, with commas: {CELLS}, the default; of a folder its own cell."),
    ] = None,
    manifest: Annotated[Path | None, typer.Option(help="Speech to measure on; data.train by default.")] = None,
    utterances: Annotated[int, typer.Option(min=1, help="How many: the longest that training would use.")] = 8,
    output: Annotated[Path | None, typer.Option(help="PNG to write.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a value of the configurations: section.key=value.")
    ] = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Measure how much of the loss at frame t reaches frame t-k, in each recurrent layer, on real speech."""
    chosen = None if cells is None else [cell.strip() for cell in cells.split(",")]
    unknown = sorted(set(chosen or ()) - set(CELLS.split(",")))
    if unknown:
        raise ConfigError(f"--cells {cells}: {unknown[0]!r} is not one of {CELLS}")
    set_threads(threads)
    from asr.training.gradient_models import gradients as measured

    console = error_console()
    models = measured(
        sources,
        chosen,
        manifest=manifest,
        utterances=utterances,
        overrides=set_ or [],
        say=lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True),
    )
    if output:
        from asr.training.gradients_picture import gradients_picture

        gradients_picture(models, output)
    if json:
        layers = [{"model": name, **flow.to_dict()} for name, flows in models.items() for flow in flows]
        print_json({"layers": layers})
        return
    for title, rows in (
        (LOSS, _shares(models, lambda flow: flow.loss)),
        (STATE, _shares(models, lambda flow: flow.state)),
        (GATES, _gates(models)),
    ):
        typer.echo(f"{title}\n" + "\n".join(_aligned(rows)) + "\n")


def _shares(models: dict[str, list[LayerFlow]], shares_of: Callable[[LayerFlow], Shares]) -> list[list[str]]:
    from asr.training.gradients import LAGS, below

    rows = [["", "layer", *(f"k={lag}" for lag in LAGS[1:]), "half left", "1 % left"]]
    for name, flows in models.items():
        for flow in flows:
            shares = shares_of(flow)
            far = sum(share is not None for share in shares) - 1
            lags = [below(shares, level) for level in (0.5, 0.01)]
            ends = [f"> {far}" if lag is None else f"{lag:.1f} = {lag * flow.frame_seconds:.2f} s" for lag in lags]
            if far < 0:  # no gradient arrives at all
                ends = ["-", "-"]
            rows.append([name, str(flow.layer), *(_share(shares[lag]) for lag in LAGS[1:]), *ends])
    return rows


def _share(share: float | None) -> str:
    if share is None:
        return "-"
    return f"{share:.3f}" if 0.001 <= share < 1000 else f"{share:.0e}"


def _gates(models: dict[str, list[LayerFlow]]) -> list[list[str]]:
    names = list(dict.fromkeys(name for flows in models.values() for flow in flows for name in flow.gates))
    rows = [["", "layer", *names]]
    for name, flows in models.items():
        for flow in flows:
            values = (flow.gates.get(gate) for gate in names)
            shown = ("" if value is None else f"{value[0]:.2f} {value[1]:4.0%}" for value in values)
            rows.append([name, str(flow.layer), *shown])
    return rows


def _aligned(rows: list[list[str]]) -> list[str]:
    """Columns two spaces apart: the first to the left, the others to the right."""
    first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    return ["  ".join([row[0].ljust(first), *map(str.rjust, row[1:], widths)]) for row in rows]
