"""What the doctor found: counts, lines for people, JSON, and one row a problem."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr.data.doctor.kinds import Finding
from asr.data.manifest import Part
from asr.data.utterance import Utterance
from asr.errors import ManifestError
from asr.files import replacing

SHOWN = 3
"""Utterances named for each kind of problem."""
LITTLE = 20 * 60
"""Seconds of audio: with less, training from nothing disappoints (recipes/fine_tuning: of five minutes, a third of the
words wrong), and with a minute or two nothing comes of it."""


@dataclass
class Repairs:
    """What `fix` will do to a manifest, by line."""

    dropped: dict[int, str] = field(default_factory=dict)
    """The kind of problem for which the line is left out."""
    changed: dict[int, Utterance] = field(default_factory=dict)
    """The utterance as it should be."""
    repeated_ids: set[int] = field(default_factory=set)
    """Lines whose id is another utterance's."""


@dataclass
class ExaminedSet:
    """One of the manifests."""

    name: str
    path: Path
    parts: list[Part]
    utterances: int = 0
    seconds: float = 0.0
    repairs: Repairs = field(default_factory=Repairs)


@dataclass
class Report:
    """Everything that was found, ordered by set, severity and kind."""

    sets: list[ExaminedSet]
    findings: list[Finding]
    alphabet: dict[str, int]
    """Each character of the training transcripts, and how many utterances it is in."""
    wall_seconds: float
    punctuation: str | None = None
    """What to know of punctuation that most training transcripts have."""

    @property
    def errors(self) -> list[Finding]:
        """The findings for which training should not start."""
        return [finding for finding in self.findings if finding.severity == "error"]

    @property
    def ready(self) -> bool:
        """Whether training can start: there is no error."""
        return not self.errors

    @property
    def seconds(self) -> float:
        """Of audio in all sets."""
        return sum(examined.seconds for examined in self.sets)

    def unmended(self) -> list[Finding]:
        """The errors that `fix` cannot mend: those of a set as a whole."""
        return [finding for finding in self.errors if finding.of_set]

    def groups(self) -> Iterator[list[Finding]]:
        """The findings of one kind in one set, errors of all sets first."""
        grouped: dict[tuple[str, str, str], list[Finding]] = {}
        for finding in self.findings:
            grouped.setdefault((finding.severity, finding.part, finding.problem.kind), []).append(finding)
        yield from sorted(grouped.values(), key=lambda group: group[0].severity != "error")

    def lines(self) -> list[str]:
        """A table for the terminal: per kind the count and the first ids, then the first message with its remedy."""
        rows = [f"{s.name:8} {s.utterances:7} utterances {s.seconds / 3600:9.2f} h  {s.path}" for s in self.sets]
        for group in self.groups():
            first = group[0]
            head = f"{first.severity:8} {len(group):7} {first.part:8} {first.problem.kind}"
            if first.of_set:
                rows += ["", head, f"{'':8} {first.problem.message}"]
                continue
            names = ", ".join(dict.fromkeys(finding.problem.id for finding in group[:SHOWN]))
            more = f" and {len(group) - SHOWN} more" if len(group) > SHOWN else ""
            rows += ["", f"{head}: {names}{more}", f"{'':8} {first.problem.id}: {first.problem.message}"]
        return rows

    def notes(self, from_nothing: bool = True) -> list[str]:
        """What is no defect, and good to know before a model is trained, be it `from_nothing` or from another."""
        told = [f"note: {self.punctuation}"] if self.punctuation else []
        if from_nothing and 0 < self.seconds < LITTLE:
            told.append(
                f"note: {self.seconds / 60:.1f} min of audio in all is little to train a model from nothing; "
                "fine-tuning needs less: asr train CONFIG --init en-small"
            )
        return told

    def verdict(self) -> str:
        """One line: may training start?"""
        errors, warnings = len(self.errors), len(self.findings) - len(self.errors)
        found = f"{_number(errors, 'error')}, {_number(warnings, 'warning')}"
        if self.ready:
            return f"{found if warnings else 'no problems'}: training can start"
        return f"{found}: mend the errors before training; --fix DIR writes manifests without those it can mend"

    def to_dict(self) -> dict[str, Any]:
        """The numbers, ready for JSON."""
        return {
            "ready": self.ready,
            "errors": len(self.errors),
            "warnings": len(self.findings) - len(self.errors),
            "sets": {
                s.name: {"manifest": str(s.path), "utterances": s.utterances, "seconds": round(s.seconds, 3)}
                for s in self.sets
            },
            "problems": [
                {
                    "set": group[0].part,
                    "severity": group[0].severity,
                    "kind": group[0].problem.kind,
                    "count": len(group),
                    "ids": [finding.problem.id for finding in group[:SHOWN]],
                }
                for group in self.groups()
            ],
            "alphabet": self.alphabet,
            "audio_seconds": round(self.seconds, 3),
            "wall_seconds": round(self.wall_seconds, 3),
        }

    def save(self, path: str | Path) -> None:
        """Write every problem as one JSON object a line: id, set, kind, severity, message.

        Raises:
            ManifestError: the file cannot be written.
        """
        write_rows(
            path,
            (
                {
                    "id": finding.problem.id,
                    "set": finding.part,
                    "kind": finding.problem.kind,
                    "severity": finding.severity,
                    "message": finding.problem.message,
                }
                for finding in self.findings
            ),
        )


def write_rows(path: str | Path, rows: Iterator[dict[str, Any]]) -> None:
    """Write one JSON object a line, atomically.

    Raises:
        ManifestError: the file cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial, open(partial, "w", encoding="utf-8") as out:
            for row in rows:
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
    except OSError as error:
        raise ManifestError(f"{path}: cannot be written ({error.strerror or error})") from error


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
