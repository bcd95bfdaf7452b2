"""Random access to a manifest of any length: 16 bytes of memory an utterance, the rest is read when it is asked for."""

from __future__ import annotations

import bisect
import os
import shutil
import tempfile
import weakref
import zlib
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, overload

from asr.data.manifest import Part, UniqueIds, check_unique, manifest_parts, scan
from asr.data.utterance import Utterance
from asr.errors import ManifestError


class ManifestIndex(Sequence[Utterance]):
    """The utterances of a manifest or of shards, by number, without holding them.

    Worker processes share it at no cost: forked or pickled, it is a list of byte offsets and the name of a file.

    Attributes:
        shards: for shards, the numbers that each holds; None for a manifest.
    """

    def __init__(self, parts: Sequence[Part]):
        self.parts = list(parts)
        self._file = _PlainFile(self.parts)
        self._offsets = array("q")
        self._starts: list[int] = []
        ids = UniqueIds()
        for part, base in zip(self.parts, self._file.bases, strict=True):
            self._starts.append(len(self._offsets))
            with part.open() as lines:
                for offset, _, utterance in scan(lines, part):
                    self._offsets.append(base + offset)
                    ids.add(utterance.id)
        check_unique(ids, self.parts)
        ends = [*self._starts[1:], len(self._offsets)]
        in_shards = self.parts[0].shard is not None
        self.shards = [range(*ends) for ends in zip(self._starts, ends, strict=True)] if in_shards else None

    @classmethod
    def open(cls, path: str | Path) -> ManifestIndex:
        """Index the manifest or the folder of shards at `path`.

        Raises:
            ManifestError: it is missing, a line is unusable, or an id repeats.
        """
        return cls(manifest_parts(path))

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, number: int) -> Utterance: ...

    @overload
    def __getitem__(self, number: slice) -> list[Utterance]: ...

    def __getitem__(self, number: int | slice) -> Utterance | list[Utterance]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        if not -len(self) <= number < len(self):
            raise IndexError(number)
        number %= len(self)
        part = self.parts[bisect.bisect_right(self._starts, number) - 1]
        line = self._file.line(self._offsets[number])
        try:
            return Utterance.from_line(line.decode("utf-8-sig"), part.cuts.parent, part.shard)
        except (ManifestError, UnicodeDecodeError) as error:
            raise ManifestError(
                f"{part.cuts}: changed since it was opened, utterance {number + 1} is no longer a line ({error})"
            ) from None

    def __iter__(self) -> Iterator[Utterance]:
        for part in self.parts:
            with part.open() as lines:
                yield from (utterance for _, _, utterance in scan(lines, part))


class _PlainFile:
    """All lines in one file that can be read from any place: the only part, or a temporary copy of several or packed.

    Attributes:
        bases: the byte at which each part begins.
    """

    def __init__(self, parts: Sequence[Part]):
        self.path, self.bases = parts[0].cuts, [0]
        self._open: BinaryIO | None = None
        if len(parts) > 1 or self.path.suffix == ".gz":
            self.bases = self._copy(parts)

    def _copy(self, parts: Sequence[Part]) -> list[int]:
        bases, part = [], parts[0]
        try:
            descriptor, name = tempfile.mkstemp(prefix="asr-cuts-", suffix=".jsonl")
            weakref.finalize(self, _remove, name, os.getpid())
            self.path = Path(name)
            with open(descriptor, "wb") as out:
                for part in parts:
                    bases.append(out.tell())
                    with part.open() as lines:
                        shutil.copyfileobj(lines, out)
                    out.write(b"\n")  # should the last line have none
        except (OSError, EOFError, zlib.error) as error:
            raise ManifestError(
                f"{part.cuts}: cannot be unpacked into a temporary file ({error}); copy it again, or set TMPDIR to a "
                "folder on a disk with room"
            ) from None
        return bases

    def line(self, offset: int) -> bytes:
        """The line that begins at byte `offset`."""
        if self._open is None:
            self._open = open(self.path, "rb", buffering=0)  # noqa: SIM115  # as long as the index lives
        size = 1024
        while True:
            # Not seek and read: forked processes share the position of an open file.
            data = os.pread(self._open.fileno(), size, offset)
            end = data.find(b"\n")
            if end >= 0 or len(data) < size:
                return data[: end if end >= 0 else len(data)]
            size *= 8

    def __getstate__(self) -> tuple[Path, list[int]]:
        return self.path, self.bases

    def __setstate__(self, state: tuple[Path, list[int]]) -> None:
        (self.path, self.bases), self._open = state, None


def _remove(name: str, process: int) -> None:
    if os.getpid() == process:  # not in the workers
        Path(name).unlink(missing_ok=True)
