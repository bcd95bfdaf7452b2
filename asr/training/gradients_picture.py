"""A picture of how far back gradients go: a line for each model, a panel for each layer and measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asr.files import save_png
from asr.training.gradients import LAGS, LayerFlow

FLOOR = 1e-8
"""Shares below are as good as none, and would press all others together."""
COLOURS = {"rnn_tanh": "tab:red", "rnn_relu": "tab:orange", "gru": "tab:green", "lstm": "tab:blue"}
STYLES = ("-", "--", ":", "-.")


def gradients_picture(models: Mapping[str, Sequence[LayerFlow]], path: Path) -> None:
    """Draw the shares of every layer of every model over the lag, as a PNG.

    Args:
        models: the layers of each model by its name.
        path: where the picture goes.

    Raises:
        OutputError: it cannot be written.
    """
    layers = max(len(flows) for flows in models.values())
    figure = Figure(figsize=(12, 1.5 + 3.4 * layers), layout="constrained")
    panels = figure.subplots(layers, 2, sharex=True, sharey=True, squeeze=False)
    used: dict[str, int] = {}
    for name, flows in models.items():
        cell = flows[0].cell
        style = STYLES[used.setdefault(cell, 0) % len(STYLES)]
        used[cell] += 1
        for flow, (loss, state) in zip(flows, panels, strict=False):
            for axes, shares in ((loss, flow.loss), (state, flow.state)):
                heights = [share or float("nan") for share in shares]  # a logarithm has no place for 0
                axes.plot(heights, color=COLOURS[cell], linestyle=style, label=name)
    for number, (loss, state) in enumerate(panels, start=1):
        _label(loss, f"layer {number}: gradient of the loss, at the layer's input")
        _label(state, f"layer {number}: Jacobian of the state")
        loss.set_ylabel("share at lag k")
    for axes in panels[-1]:
        axes.set_xlabel("lag k (frames)")
    step = next(iter(models.values()))[0].frame_seconds
    if all(flow.frame_seconds == step for flows in models.values() for flow in flows):
        for axes in panels[0]:
            axes.secondary_xaxis("top", functions=(lambda lag: lag * step, lambda s: s / step)).set_xlabel("seconds")
    figure.legend(handles=panels[0, 0].get_lines()[: len(models)], loc="outside lower center", ncols=4)
    save_png(figure, path)


def _label(axes: Axes, title: str) -> None:
    axes.set_yscale("log")
    axes.set_title(title, fontsize=10)
    axes.set_xlim(0, LAGS[-1])
    for level, words in ((0.5, "half"), (0.01, "1 %")):
        axes.axhline(level, color="0.6", linewidth=0.8)
        axes.annotate(words, (LAGS[-1], level), ha="right", va="top", fontsize=8, color="0.4")
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, FLOOR), max(high, 2))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92")
