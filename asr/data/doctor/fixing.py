"""`fix`: manifests without what the doctor found, and a list of what was changed or dropped."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asr.data.doctor import kinds
from asr.data.doctor.reading import read_tolerantly
from asr.data.doctor.report import ExaminedSet, Report, write_rows
from asr.data.manifest import manifest_path, write_manifest
from asr.data.problems import Problem
from asr.data.selecting import check_targets
from asr.data.utterance import Utterance
from asr.errors import ManifestError

CHANGES = "changes.jsonl"
FIELDS = ("id", "text", "duration", "sample_rate")


@dataclass(frozen=True, slots=True)
class Change:
    """One utterance that was dropped, or a field of it that was changed."""

    part: str
    id: str
    action: str
    """`dropped`, or the name of the field."""
    reason: str | None = None
    """Why it was dropped."""
    before: Any = None
    after: Any = None

    def to_dict(self) -> dict[str, Any]:
        """One row of `changes.jsonl`."""
        row = {"set": self.part, "id": self.id, "action": self.action}
        if self.action == "dropped":
            return {**row, "reason": self.reason}
        return {**row, "before": self.before, "after": self.after}


def check_folder(folder: str | Path, overwrite: bool) -> None:
    """See, before hours of audio are decoded, that `fix` will not find an earlier repair in its folder.

    Raises:
        ConfigError: there is one, which `overwrite` does not give up.
    """
    check_targets([Path(folder) / CHANGES], [], overwrite, "--fix")


def fix(report: Report, folder: str | Path, *, overwrite: bool = False) -> list[Change]:
    """Write `FOLDER/train/cuts.jsonl` (and dev, test, ...) and `FOLDER/changes.jsonl`; returns the changes.

    Text is put in NFC with single spaces and plain apostrophes, invisible characters are removed; durations and sample
    rates are taken from the recordings; repeated ids get a number. Dropped are lines and recordings that cannot be
    read or used, repeated recordings in the training set, and what the training set shares with dev or test (dev with
    test). Recordings are not touched. What needs a judgement, such as clipping, digits or speakers, is left as it is.

    Args:
        report: of the manifests to repair.
        folder: a new one, or with `overwrite` that of an earlier repair.
        overwrite: replace that.

    Raises:
        ConfigError: an earlier repair is there.
        ManifestError: a manifest would be overwritten by its own repair or another is in the way, it is made of shards,
            no utterance of it can be kept, or the disk is full.
    """
    folder = Path(folder)
    check_folder(folder, overwrite)
    targets = {examined.name: folder / examined.name / "cuts.jsonl" for examined in report.sets}
    for examined in report.sets:
        if examined.parts[0].shard is not None:
            raise ManifestError(
                f"{examined.path}: shards cannot be repaired; repair their manifest and write them again"
            )
        if manifest_path(examined.path).resolve() in {target.resolve() for target in targets.values()}:
            raise ManifestError(f"{examined.path}: --fix would write over it; choose another folder")
        if targets[examined.name].exists() and not (folder / CHANGES).exists():
            raise ManifestError(
                f"{targets[examined.name]}: is there already, and is no earlier repair; choose a new folder"
            )
        lost = sum(kind != kinds.BAD_LINE for kind in examined.repairs.dropped.values())
        if lost == examined.utterances:
            raise ManifestError(f"{examined.path}: of {lost} utterances none can be kept; the problems above say why")
    changes: list[Change] = []
    taken = {item.id for item in _utterances(report.sets)}
    for examined in report.sets:
        write_manifest(targets[examined.name], _repaired(examined, taken, changes))
    write_rows(folder / CHANGES, (change.to_dict() for change in changes))
    return changes


def summarise_changes(changes: list[Change], folder: str | Path) -> list[str]:
    """Lines for the terminal."""
    counts = Counter(
        (c.part, f"dropped, {c.reason}" if c.action == "dropped" else f"{c.action} changed") for c in changes
    )
    lines = [f"{part:8} {count:7} utterances: {what}" for (part, what), count in counts.items()]
    return [*lines, f"cleaned manifests are in {folder}, and every change in {Path(folder) / CHANGES}"]


def _utterances(sets: list[ExaminedSet]) -> Iterator[Utterance]:
    for examined in sets:
        yield from (item for _, item in read_tolerantly(examined.parts) if isinstance(item, Utterance))


def _repaired(examined: ExaminedSet, taken: set[str], changes: list[Change]) -> Iterator[Utterance]:
    """The utterances that stay, as they should be; what is done to them is added to `changes`."""
    repairs = examined.repairs
    for line, item in read_tolerantly(examined.parts):
        if isinstance(item, Problem) or line in repairs.dropped:
            changes.append(Change(examined.name, item.id, "dropped", repairs.dropped[line]))
            continue
        # The manifest moves: a path relative to the old folder, or to the working directory, would lead nowhere.
        after = replace(repairs.changed.get(line, item), audio=Path(os.path.abspath(item.audio)))
        if line in repairs.repeated_ids:
            after = replace(after, id=_new_id(item.id, taken))
        for name in FIELDS:
            old, new = getattr(item, name), getattr(after, name)
            if old != new:
                changes.append(Change(examined.name, item.id, name, before=old, after=new))
        yield after


def _new_id(identifier: str, taken: set[str]) -> str:
    number = 2
    while f"{identifier}-{number}" in taken:
        number += 1
    taken.add(f"{identifier}-{number}")
    return f"{identifier}-{number}"
