"""What the benchmarks share: CPU-seconds in alternation, a table for people, one JSON object for programs."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def alternate(jobs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """CPU-seconds of this process for each job in each round; they take turns, so that all meet the same machine."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for job in jobs.values():
        job()  # imports, caches, and the disk
    for _ in range(rounds):
        for name, job in jobs.items():
            started = time.process_time()
            job()
            seconds[name].append(time.process_time() - started)
    return seconds


def ratio(ours: list[float], theirs: list[float]) -> float:
    """How many times faster ours is: the median over the rounds of theirs / ours."""
    return statistics.median(b / a for a, b in zip(ours, theirs, strict=True))


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table on standard output, wide enough for a line a row."""
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    for row in rows:
        table.add_row(*row)
    Console(width=120).print(table)


def print_json(values: Mapping[str, Any]) -> None:
    """One JSON object as the last line."""
    sys.stdout.write(json.dumps(values) + "\n")
