"""What a training leaves to read: log.jsonl, TensorBoard events, and a progress bar in the terminal."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from asr.errors import TrainingError
from asr.files import replacing

LOG = "log.jsonl"


class TrainingLog:
    """Rows to `log.jsonl` and TensorBoard; lines and a bar to the terminal.

    Args:
        folder: of the training.
        step: rows of later steps, left by a run that crashed after its last checkpoint, are dropped.
        console: None keeps the terminal silent.
    """

    def __init__(self, folder: Path, step: int, console: Console | None):
        from torch.utils.tensorboard import SummaryWriter

        self.path = folder / LOG
        kept = [row for row in read_log(folder) if row["step"] <= step] if step else []
        with replacing(self.path) as partial:
            partial.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)
        self.console = console
        self.reasons: Counter[str] = Counter()
        self.bar: Progress | None = None
        self.task: TaskID | None = None

    def start(self, total: int, done: int) -> None:
        """Show the bar; `total` and `done` in epochs."""
        if self.console is not None and self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rate]}"))
            self.bar = Progress(*columns, TimeRemainingColumn(), console=self.console, transient=True)
            self.task = self.bar.add_task("training", total=total, completed=done, rate="")
            self.bar.start()

    def row(self, step: int, values: dict[str, Any], kind: str) -> None:
        """Append one row; numbers also go to TensorBoard as `kind/name`. JSON has no NaN: null stands for it."""
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
        try:
            with open(self.path, "a", encoding="utf-8") as out:
                out.write(json.dumps({"kind": kind, "step": step, **finite}) + "\n")
        except OSError as error:
            raise TrainingError(
                f"{self.path}: cannot be written ({error.strerror or error}); free some space and use --resume"
            ) from None
        for name, value in values.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                self.board.add_scalar(f"{kind}/{name}", value, step)

    def show(self, epochs: float, description: str, rate: str) -> None:
        """Move the bar."""
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=epochs, description=description, rate=rate)

    def failures(self, step: int, failures: Sequence[tuple[str, str]]) -> None:
        """Note utterances (id, reason) that could not be read: a row each, a line for each reason new in this epoch."""
        for identifier, reason in failures:
            self.row(step, {"id": identifier, "reason": reason}, "failure")
            if reason not in self.reasons:
                self.say(f"left out: {identifier}: {reason}")
            self.reasons[reason] += 1  # a lost shard is one reason for many utterances

    def end_failures(self, epoch: int) -> None:
        """At the end of an epoch: how many there were, where not every one had a line."""
        if self.reasons.total() > len(self.reasons):
            self.say(f"left out of epoch {epoch + 1}: {self.reasons.total()} utterances, named in {LOG}")
        self.reasons.clear()

    def say(self, line: str) -> None:
        """One line of plain text."""
        if self.console is not None:
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Stop the bar and flush."""
        if self.bar is not None:
            self.bar.stop()
        self.board.close()


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Rows of `log.jsonl`; a last line cut short by a crash is left out."""
    path = folder / LOG
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows
