"""Many evaluations as one table: on the terminal, and as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.errors import OutputError
from asr.files import write_text

if TYPE_CHECKING:
    from rich.table import Table

    from asr.evaluation.evaluate import Evaluation

NAMES = ("manifest", "model", "decoder")
"""What a row is told by."""


@dataclass(frozen=True)
class Row:
    """One evaluation, or why there is none.

    Attributes:
        manifest: what was evaluated.
        model: the folder.
        decoder: its settings.
        numbers: what `Evaluation.to_dict` gives; empty where it failed.
        error: why it failed.
    """

    manifest: str
    model: str
    decoder: str
    numbers: dict[str, Any] = field(default_factory=dict)
    error: str = ""

    @classmethod
    def of(cls, evaluation: Evaluation) -> Row:
        """The row of an evaluation that was done."""
        return cls(evaluation.manifest, evaluation.model, evaluation.decoder, evaluation.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Names and numbers, or names and `error`, ready for JSON."""
        names = {name: getattr(self, name) for name in NAMES}
        return {**self.numbers, **names} if self.numbers else {**names, "error": self.error}


def by_manifest(rows: Sequence[Row]) -> list[Row]:
    """Rows of the same manifest together, as what is to be compared; else in the order that they came."""
    order = list(dict.fromkeys(row.manifest for row in rows))
    return sorted(rows, key=lambda row: order.index(row.manifest))


def terminal_table(rows: Sequence[Row], title: str | None = None) -> Table:
    """A table for the terminal; a name that all rows share is in its title instead of a column."""
    from rich.table import Table

    shared = {name: getattr(rows[0], name) for name in NAMES if len({getattr(row, name) for row in rows}) == 1}
    if title is None:
        title = ", ".join(f"{name} {value}" for name, value in shared.items() if value)
    if len(shared) == len(NAMES):  # one row alone keeps a name
        shared.pop("manifest")
    table = Table(title=title, title_justify="left", title_style="bold")
    shown = [column for column in COLUMNS if column not in shared]
    for column in shown:
        left = column in NAMES
        table.add_column(column, justify="left" if left else "right", overflow="fold", no_wrap=not left)
    for row in rows:
        table.add_row(*(_text(row, column) for column in shown))
    return table


def format_table(rows: Sequence[Row], suffix: str) -> str:
    """The table as the text of a `.md`, `.csv` or `.json` file; CSV and JSON hold rates as fractions."""
    return FORMATS[suffix](rows)


def check_format(path: Path) -> None:
    """Whether a table can be written to a file of that name.

    Raises:
        OutputError: no.
    """
    if path.suffix not in FORMATS:
        raise OutputError(f"{path}: a table is written as {', '.join(FORMATS)}; give it such a name")


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write the table in the format that the name of the file asks for, whole or not at all.

    Raises:
        OutputError: no such format, or the file cannot be written.
    """
    check_format(path)
    write_text(path, format_table(rows, path.suffix))


def _text(row: Row, column: str) -> str:
    if column in NAMES or row.numbers:
        return COLUMNS[column](row.to_dict())
    return "failed" if column == "WER" else ""


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _interval(numbers: dict[str, Any]) -> str:
    low, high = numbers["wer_interval"]
    return f"{100 * low:.2f} - {100 * high:.2f} %"


COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "manifest": lambda numbers: str(numbers["manifest"]),
    "model": lambda numbers: str(numbers["model"]),
    "decoder": lambda numbers: str(numbers["decoder"]),
    "utterances": lambda numbers: str(numbers["utterances"]),
    "words": lambda numbers: str(numbers["words"]),
    "WER": lambda numbers: _percent(numbers["wer"]),
    "95 % interval": _interval,
    "CER": lambda numbers: _percent(numbers["cer"]),
    "SER": lambda numbers: _percent(numbers["sentence_error_rate"]),
    "S": lambda numbers: str(numbers["substitutions"]),
    "D": lambda numbers: str(numbers["deletions"]),
    "I": lambda numbers: str(numbers["insertions"]),
    "x real time": lambda numbers: f"{numbers['times_real_time']:.0f}",
}
"""Headers of the columns for people, and what stands in them."""


def _markdown(rows: Sequence[Row]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"

    rule = line(["---" if column in NAMES else "---:" for column in COLUMNS])
    body = "".join(line([_text(row, column) for column in COLUMNS]) for row in rows)
    notes = "".join(
        f"\nFailed: {row.manifest}, {row.model}, {row.decoder}: {row.error}\n" for row in rows if not row.numbers
    )
    unread = "".join(
        f"\n{row.numbers['failed_utterances']} utterances of {row.manifest} could not be read and are not in the score "
        f"({row.model}, {row.decoder}).\n"
        for row in rows
        if row.numbers.get("failed_utterances")
    )
    return line(list(COLUMNS)) + rule + body + notes + unread


def _csv(rows: Sequence[Row]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, [*NAMES, *CSV_COLUMNS, "error"], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        numbers = row.to_dict()
        rate = numbers.get("rates", {}).get("wer", {})
        low, high = rate.get("interval") or ("", "")
        speakers_low, speakers_high = rate.get("speaker_interval") or ("", "")
        numbers |= {"wer_low": low, "wer_high": high}
        numbers |= {"wer_low_over_speakers": speakers_low, "wer_high_over_speakers": speakers_high}
        writer.writerow({key: numbers.get(key, "") for key in (*NAMES, *CSV_COLUMNS, "error")})
    return out.getvalue()


def _json(rows: Sequence[Row]) -> str:
    return json.dumps([row.to_dict() for row in rows], indent=2, ensure_ascii=False) + "\n"


CSV_COLUMNS = (
    "normalisation",
    "utterances",
    "words",
    "wer",
    "wer_low",
    "wer_high",
    "wer_low_over_speakers",
    "wer_high_over_speakers",
    "cer",
    "sentence_error_rate",
    "substitutions",
    "deletions",
    "insertions",
    "audio_seconds",
    "decoding_seconds",
    "times_real_time",
    "failed_utterances",
)
FORMATS: dict[str, Callable[[Sequence[Row]], str]] = {".md": _markdown, ".csv": _csv, ".json": _json}
"""By the suffix of the file."""
