"""A picture of a manifest: how long its utterances are, how fast they are spoken, how much each speaker says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from asr.data.statistics import Statistics
from asr.files import save_png

BINS = 40
NAMED_SPEAKERS = 30
"""As many names fit under the bars; of more speakers only the shape is shown."""

NAME_LETTERS = 16
"""Of a longer name the beginning is shown; some corpora have names of 128."""
MIN_SLOTS = 6
"""Room for so many bars, or a single one would fill the picture."""


def statistics_picture(found: Statistics, path: Path) -> None:
    """Histograms of duration and speaking rate, and minutes of each speaker, as a PNG.

    Raises:
        OutputError: it cannot be written.
    """
    figure = Figure(figsize=(11, 7), layout="constrained")
    axes = figure.subplot_mosaic([["durations", "rates"], ["speakers", "speakers"]])
    names = ", ".join(str(manifest.path) for manifest in found.manifests)
    counted = f"{len(found.durations):,} utterances, {found.seconds / 3600:.2f} hours"
    figure.suptitle(f"{names if len(names) < 90 else f'{len(found.manifests)} manifests'}\n{counted}", parse_math=False)
    _histogram(axes["durations"], found.durations, "duration (seconds)", "longer")
    _histogram(axes["rates"], found.character_rates, "speaking rate (characters per second)", "faster")
    _speakers(axes["speakers"], found)
    save_png(figure, path)


def _histogram(axes: Axes, values: np.ndarray, label: str, beyond: str) -> None:
    axes.set(xlabel=label, ylabel="utterances")
    _plain(axes)
    if not len(values):
        axes.text(0.5, 0.5, "no transcripts", ha="center", va="center", transform=axes.transAxes, color="0.4")
        axes.set(xticks=[], yticks=[])
        return
    # A few extreme values would press all others into one bar: they are counted in words instead.
    end = float(np.percentile(values, 99.5)) * 1.5
    inside = values[values <= end]
    axes.hist(inside, bins=BINS, range=(0, float(inside.max())), color="tab:blue", edgecolor="white", linewidth=0.4)
    axes.set_xlim(left=0)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    median = float(np.median(values))
    axes.axvline(median, color="tab:red", linewidth=1.2)
    note = f"median {median:.3g}"
    if len(inside) < len(values):
        note = f"{len(values) - len(inside):,} {beyond}, up to {values.max():,.1f}; {note}"
    _note(axes, note)


def _speakers(axes: Axes, found: Statistics) -> None:
    ordered = sorted(found.speaker_seconds.items(), key=lambda item: -item[1])
    _plain(axes)
    if not ordered:
        axes.text(0.5, 0.5, "no utterance names a speaker", ha="center", va="center", transform=axes.transAxes)
        axes.set(xticks=[], yticks=[])
        return
    unit, seconds = ("hours", 3600) if ordered[0][1] >= 2 * 3600 else ("minutes", 60)
    heights = [length / seconds for _, length in ordered]
    median = float(np.median(heights))
    if len(ordered) <= NAMED_SPEAKERS:
        axes.bar(range(len(ordered)), heights, color="tab:blue", width=0.8)
        names = [name if len(name) <= NAME_LETTERS else f"{name[: NAME_LETTERS - 1]}…" for name, _ in ordered]
        axes.set_xticks(range(len(ordered)), names, parse_math=False)
        if max(map(len, names)) * len(names) > 120:
            axes.tick_params(axis="x", labelrotation=90)
        axes.set_xlim(-0.6, max(len(ordered), MIN_SLOTS) - 0.4)
        axes.set_xlabel("speaker")
    else:
        axes.stairs(heights, fill=True, color="tab:blue")
        axes.set_xlim(0, len(ordered))
        axes.set_xlabel(f"{len(ordered):,} speakers, from most to least")
    axes.set_ylabel(f"{unit} of speech")
    axes.axhline(median, color="tab:red", linewidth=1.2)
    note = f"median {median:.3g} {unit}"
    if found.without_speaker:
        note = f"{found.without_speaker:,} utterances name no speaker; {note}"
    _note(axes, note)


def _note(axes: Axes, note: str) -> None:
    """Above the axes, where nothing is drawn; red as the line of the median."""
    axes.set_title(note, loc="right", fontsize=10, color="tab:red")


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
