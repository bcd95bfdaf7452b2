"""The checkpoints of one training: the last few and the best few, checked on load, a broken one passed over."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from asr.errors import CheckpointError
from asr.model.checkpoint import read_tensors, save_tensors
from asr.model.reading import CHECKSUM

FOLDER = "checkpoints"
STEP, EPOCH = "step", "epoch"
"""How file names begin, and the key of the metadata that repeats the number in them."""
SCORE = "score"
"""Key of the metadata: dev WER and CER as a JSON list, or null."""
NAME = re.compile(rf"({STEP}|{EPOCH})-(\d+)\.safetensors")
STRAY = re.compile(r"\..+\.\d+\.part|\.tmp\w{6}")
"""What `asr.files.replacing`, and safetensors itself, leave when the process is killed while it writes."""


@dataclass(frozen=True)
class Found:
    """A whole checkpoint."""

    path: Path
    step: int
    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    """As it was given to `Checkpoints.save`."""
    skipped: list[str]
    """A message about each newer one that is broken."""


class Checkpoints:
    """The folder `checkpoints/` of a training: `step-000001234.safetensors` to go on from, `epoch-0012.safetensors`.

    One process writes; any may read.

    Args:
        folder: of the training.
        keep_last: how many of the newest steps are kept, at least 1.
        keep_best: how many epochs of the lowest score are kept.
    """

    def __init__(self, folder: Path, keep_last: int, keep_best: int):
        self.training, self.folder = folder, folder / FOLDER
        self.keep_last, self.keep_best = keep_last, keep_best

    def save(self, step: int, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Path:
        """Write the checkpoint of a step; once it is safely there, those no longer wanted go.

        Later steps go too: they are broken ones that were passed over, as training has gone back behind them.

        Raises:
            CheckpointError: it could not be written, e.g. the disk is full; those there before are untouched.
        """
        path = self.folder / f"{STEP}-{step:09d}.safetensors"
        self._write(path, tensors, {**metadata, STEP: str(step)})
        steps = self._numbered(STEP)
        before = [number for number in steps if number <= step]
        self._keep(STEP, before[: self.keep_last])
        return path

    def save_best(self, epoch: int, score: tuple[float, float] | None, tensors: Mapping[str, Tensor]) -> Path | None:
        """Write the weights of an epoch when they are among the `keep_best` best; None when they are not.

        Args:
            epoch: counted from 1.
            score: dev WER and CER; lower is better, of equal ones the later epoch. None: the later the better.
            tensors: the weights.

        Raises:
            CheckpointError: as `save`.
        """
        ranked = [((*_order(score), -epoch), epoch)]
        for number, path in self._numbered(EPOCH).items():
            if number < epoch:  # later ones: training has gone back behind them
                ranked.append(((*_stored_order(path), -number), number))
        best = [number for _, number in sorted(ranked)[: self.keep_best]]
        path = self.folder / f"{EPOCH}-{epoch:04d}.safetensors"
        if epoch in best:
            self._write(path, tensors, {EPOCH: str(epoch), SCORE: json.dumps(score)})
        self._keep(EPOCH, best)
        return path if epoch in best else None

    def newest(self) -> Found | None:
        """The checkpoint to go on from: of those that are whole, the one of the latest step. None: there is none.

        Raises:
            CheckpointError: there are some, and all are broken.
        """
        broken: list[tuple[Path, str]] = []
        for step, path in self._numbered(STEP).items():
            try:
                tensors, metadata = read_tensors(path)
                if CHECKSUM not in metadata or metadata.pop(STEP, None) != str(step):
                    raise ValueError("not written by this training under this name")
            except (OSError, ValueError) as error:
                broken.append((path, str(error)))
                continue
            del metadata[CHECKSUM]
            skipped = [f"{bad}: {reason}; going on from {path.name} instead" for bad, reason in broken]
            return Found(path, step, tensors, metadata, skipped)
        if broken:
            listed = "; ".join(f"{path.name}: {reason}" for path, reason in broken)
            raise CheckpointError(
                f"{self.folder}: no checkpoint is whole ({listed}); "
                "put back a copy of one, or start again from the beginning with --overwrite"
            )
        return None

    def any(self) -> bool:
        """Whether there is one to go on from, whole or not."""
        return bool(self._numbered(STEP))

    def clear(self) -> None:
        """Remove all of them, and the folder when nothing else is in it.

        Raises:
            CheckpointError: one cannot be removed.
        """
        self._remove([*self._numbered(STEP).values(), *self._numbered(EPOCH).values(), *self._strays()])
        if self.folder.is_dir() and not next(self.folder.iterdir(), None):
            self.folder.rmdir()

    def _write(self, path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"{self.folder}: cannot be made ({error.strerror or error})") from None
        self._remove(self._strays())  # of a process that was killed: they may be what fills the disk
        try:
            save_tensors(path, tensors, metadata)
        except CheckpointError as error:
            steps = self._numbered(STEP)
            kept = f", which goes on from {next(iter(steps.values())).name}" if steps else ""
            raise CheckpointError(f"{error}{kept}") from None

    def _numbered(self, kind: str) -> dict[int, Path]:
        """The files of one kind by step or epoch, the latest first."""
        files = [path for path in self.folder.iterdir() if path.is_file()] if self.folder.is_dir() else []
        names = [NAME.fullmatch(path.name) for path in files]
        found = {int(name[2]): self.folder / name[0] for name in names if name and name[1] == kind}
        return dict(sorted(found.items(), reverse=True))

    def _strays(self) -> list[Path]:
        folders = [folder for folder in (self.training, self.folder) if folder.is_dir()]
        return [path for folder in folders for path in folder.iterdir() if STRAY.fullmatch(path.name)]

    def _keep(self, kind: str, numbers: Sequence[int]) -> None:
        self._remove([path for number, path in self._numbered(kind).items() if number not in numbers])

    def _remove(self, paths: Sequence[Path]) -> None:
        for path in paths:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise CheckpointError(f"{path}: cannot be removed ({error.strerror or error})") from None


def _order(score: Sequence[float] | None) -> tuple[float, ...]:
    return tuple(math.inf if math.isnan(value) else value for value in score or (math.inf, math.inf))


def _stored_order(path: Path) -> tuple[float, ...]:
    """The order by the score in a file's header; a broken file comes last."""
    try:
        with safe_open(path, framework="pt") as file:
            return _order(json.loads(file.metadata()[SCORE]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return _order(None)
