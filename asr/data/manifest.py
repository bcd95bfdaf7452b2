"""Manifests: Lhotse cuts as JSON lines, one utterance a line; what training, evaluation and transcription read."""

from __future__ import annotations

import gzip
import json
import zlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from asr.data.lines import is_table, table_remedy
from asr.data.utterance import Utterance
from asr.errors import ManifestError
from asr.files import replacing

__all__ = ["Utterance", "manifest_path", "read_manifest", "write_manifest"]

MANIFEST_NAMES = ("cuts.jsonl", "cuts.jsonl.gz")


def manifest_path(path: str | Path) -> Path:
    """The manifest file behind `path`: the file itself, or `cuts.jsonl[.gz]` in that folder.

    Raises:
        ManifestError: there is none, or it is a table.
    """
    path = Path(path)
    if path.is_dir():
        for name in MANIFEST_NAMES:
            if (path / name).is_file():
                return path / name
        raise ManifestError(
            f"{path}: the folder holds no {' or '.join(MANIFEST_NAMES)}; `asr prepare` and `asr data import` write one"
        )
    if not path.is_file():
        raise ManifestError(
            f"{path}: no such manifest; give a .jsonl file or a folder written by `asr prepare` or `asr data import`"
        )
    if is_table(path):
        raise ManifestError(f"{path}: a table, not a manifest; {table_remedy(path)}")
    return path


@dataclass(frozen=True, slots=True)
class Part:
    """A file of cuts and, where their recordings are in a shard, its tar file."""

    cuts: Path
    shard: Path | None = None

    def open(self) -> BinaryIO:
        """The lines, unpacked."""
        return gzip.open(self.cuts) if self.cuts.suffix == ".gz" else open(self.cuts, "rb")  # type: ignore[return-value]


def manifest_parts(path: str | Path) -> list[Part]:
    """The one manifest file behind `path`, or the shards of a local folder of them.

    Raises:
        ManifestError: there is neither.
    """
    from asr.data.shards import local_shards

    shards = local_shards(path)
    return shards or [Part(manifest_path(path))]


def read_manifest(path: str | Path) -> Iterator[Utterance]:
    """Yield the utterances of a manifest, or of a local folder of shards, in order, one in memory at a time.

    Relative audio paths are taken from the manifest's own folder. That ids are unique is checked at the end, from
    eight bytes an utterance.

    Raises:
        ManifestError: with file and line, for a line that is not JSON, not a usable cut, or repeats an id.
    """
    parts = manifest_parts(path)
    ids = UniqueIds()
    for part in parts:
        with part.open() as file:
            for _, _, utterance in scan(file, part):
                ids.add(utterance.id)
                yield utterance
    check_unique(ids, parts)


def scan(file: BinaryIO, part: Part) -> Iterator[tuple[int, int, Utterance]]:
    """Yield (byte offset of the line, line number from 1, utterance) of an open file of cuts.

    Raises:
        ManifestError: naming file and line.
    """
    number = offset = 0
    try:
        for number, raw in enumerate(file, start=1):
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            if line.strip():
                yield offset, number, Utterance.from_line(line, part.cuts.parent, part.shard)
            offset += len(raw)
    except ManifestError as error:
        raise ManifestError(f"{part.cuts}, line {number}: {error}") from None
    except UnicodeDecodeError as error:
        raise ManifestError(f"{part.cuts}, line {number}: not UTF-8 text ({error.reason})") from None
    except (OSError, EOFError, zlib.error) as error:
        raise ManifestError(f"{part.cuts}, after line {number}: {error}") from None


class UniqueIds:
    """Finds repeated ids among very many, from eight bytes each."""

    def __init__(self) -> None:
        self._hashes = array("q")

    def add(self, identifier: str) -> None:
        """Note one."""
        self._hashes.append(hash(identifier))

    def __len__(self) -> int:
        return len(self._hashes)

    def suspects(self) -> set[int]:
        """Hashes that occur more than once: of repeated ids, or very rarely of two different ones."""
        values = np.sort(np.frombuffer(self._hashes, dtype=np.int64)) if self._hashes else np.empty(0, np.int64)
        return set(values[:-1][values[1:] == values[:-1]].tolist())


def check_unique(ids: UniqueIds, parts: Iterable[Part]) -> None:
    """Read the lines again when an id seems to repeat, and say which.

    Raises:
        ManifestError: naming id, file and both lines.
    """
    suspects = ids.suspects()
    if not suspects:
        return
    seen: dict[str, tuple[Path, int]] = {}
    for part in parts:
        with part.open() as file:
            for _, number, utterance in scan(file, part):
                if hash(utterance.id) not in suspects:
                    continue
                cuts, first = seen.setdefault(utterance.id, (part.cuts, number))
                if (cuts, first) != (part.cuts, number):
                    place = f"on line {first}" if cuts == part.cuts else f"in {cuts}, line {first},"
                    raise ManifestError(
                        f"{part.cuts}, line {number}: id {utterance.id!r} stands {place} already; ids must be unique"
                    )


def write_manifest(path: str | Path, utterances: Iterable[Utterance]) -> int:
    """Write utterances to `path` (a `.jsonl` or `.jsonl.gz` file) atomically; returns how many.

    Raises:
        ManifestError: an id repeats, or the file cannot be written; then nothing is left behind.
    """
    path = Path(path)
    opener = gzip.open if path.suffix == ".gz" else open
    ids = UniqueIds()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            with opener(partial, "wt", encoding="utf-8") as out:
                for utterance in utterances:
                    ids.add(utterance.id)
                    out.write(json.dumps(utterance.to_cut(), ensure_ascii=False) + "\n")
            _check_written(ids, path, partial)
    except OSError as error:
        raise ManifestError(f"{path}: cannot be written ({error.strerror or error})") from error
    return len(ids)


def _check_written(ids: UniqueIds, path: Path, partial: Path) -> None:
    suspects, seen = ids.suspects(), set()
    if not suspects:
        return
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(partial, "rt", encoding="utf-8") as lines:
        for line in lines:
            identifier = json.loads(line)["id"]
            if identifier in seen:
                raise ManifestError(f"{path}: id {identifier!r} occurs twice; ids must be unique")
            if hash(identifier) in suspects:
                seen.add(identifier)
