"""Shards: Lhotse Shar, pairs of `cuts.000000.jsonl.gz` and `recording.000000.tar`, in a folder or behind a URL.

`asr data shard` writes `OUT/shar/`, which `lhotse.CutSet.from_shar(in_dir=...)` reads too, and `OUT/shards.json`, the
list that a URL needs. It stands outside because Lhotse takes every file in the folder for one of a shard.
"""

from __future__ import annotations

import json
import os
import tarfile
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from asr.data.manifest import Part
from asr.errors import AudioError, ManifestError

INDEX = "shards.json"
"""Lists the shards with checksums. A folder of shards can do without; a URL, which cannot be listed, not."""
SHAR = "shar"

FETCHING = "fetching"
"""A file of this name, with its process id, stands in a folder of shards while a process fetches them."""
POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Shard:
    """One entry of `shards.json`; the names are relative to it."""

    cuts: str
    recording: str
    utterances: int
    seconds: float
    cuts_sha256: str
    recording_sha256: str


def is_remote(source: str | Path) -> bool:
    """Whether `source` is a URL (http, https, or any that fsspec knows) rather than a path."""
    return isinstance(source, str) and "://" in source


def local_shards(path: str | Path) -> list[Part]:
    """The shards that `path/shards.json` lists; without one, those in `path/shar` or else `path`, which may be none.

    Raises:
        ManifestError: a listed file is missing, the list is damaged, or of a pair of files one is missing.
    """
    path = Path(path)
    if path.name == INDEX:
        path = path.parent
    return _listed_shards(path / INDEX) if (path / INDEX).is_file() else paired_shards(path)


def paired_shards(path: Path) -> list[Part]:
    """The shards whose files are in `path/shar` or else `path`, whatever a list says; maybe none.

    Raises:
        ManifestError: of a pair of files one is missing.
    """
    if (path / SHAR).is_dir():
        path = path / SHAR
    cuts = {_number(file): file for file in [*path.glob("cuts.*.jsonl"), *path.glob("cuts.*.jsonl.gz")]}
    tars = {_number(file): file for file in path.glob("recording.*.tar")}
    for number in sorted(cuts.keys() ^ tars.keys()):
        if number.isdigit():
            there, missing = (cuts[number], "recordings") if number in cuts else (tars[number], "cuts")
            raise ManifestError(f"{there}: its {missing} are not beside it; copy the folder again")
    return [Part(cuts[number], tars[number]) for number in sorted(cuts) if number.isdigit()]


def _listed_shards(index: Path) -> list[Part]:
    try:
        shards = read_index(index.read_bytes(), str(index))
    except OSError as error:
        raise ManifestError(f"{index}: cannot be read ({error.strerror or error})") from None
    parts = [Part(index.parent / shard.cuts, index.parent / shard.recording) for shard in shards]
    for file in (file for part in parts for file in (part.cuts, part.shard)):
        if file is not None and not file.is_file():
            raise ManifestError(
                f"{file}: missing, though {index} lists it; copy it again, or list anew what is there with "
                "`asr data shard --index`"
            )
    return parts


def _number(file: Path) -> str:
    return file.name.split(".")[1]


def read_index(text: bytes, where: str) -> list[Shard]:
    """The entries of a `shards.json`.

    Raises:
        ManifestError: it is damaged, or lists nothing.
    """
    try:
        shards = [Shard(**entry) for entry in json.loads(text)["shards"]]
        for name in (name for shard in shards for name in (shard.cuts, shard.recording)):
            if not isinstance(name, str):
                raise TypeError(f"{name!r} is not a name")
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{where}: not a list of shards as `asr data shard` writes it ({error})") from None
    if not shards:
        raise ManifestError(f"{where}: lists no shards")
    return shards


def read_member(tar: Path, key: str) -> bytes:
    """The recording `key` of a shard, as it is in the tar file (FLAC, Opus, ...).

    A shard that another process or thread is fetching is waited for.

    Raises:
        AudioError: the tar file is missing, could not be fetched, is cut short before the end of this member, or never
            had it.
    """
    while True:
        try:
            return _read_member(tar, key)
        except FileNotFoundError:  # or fetched once, removed, and to be fetched again for a later stage
            _wait_for(tar)
        except (OSError, tarfile.TarError, ValueError) as error:
            raise AudioError(f"{tar}: the shard cannot be read ({error}); copy it again") from None


def failure_note(tar: Path) -> Path:
    """Where it is written why a shard could not be fetched."""
    return tar.with_suffix(".failed")


def _read_member(tar: Path, key: str) -> bytes:
    stat = os.stat(tar)
    members = _members(tar, stat.st_mtime_ns, stat.st_size)
    found = members.offsets.get(key)
    if found is None:
        if members.end is not None:
            raise AudioError(f"{tar}: the shard is cut short or damaged after {members.end} bytes; copy it again")
        raise AudioError(f"{tar}: the shard has no recording of {key!r}, though its cuts list one; write it again")
    offset, size = found
    with open(tar, "rb") as file:
        data = os.pread(file.fileno(), size, offset)
    if len(data) < size:
        raise AudioError(f"{tar}: the shard is cut short after {stat.st_size} bytes; copy it again")
    return data


def _wait_for(tar: Path) -> None:
    """Return when the shard is there."""
    while not tar.is_file():
        with suppress(FileNotFoundError):
            raise AudioError(failure_note(tar).read_text(encoding="utf-8"))
        if not _being_fetched(tar.parent):
            raise AudioError(f"{tar}: no such shard; copy it again")
        time.sleep(POLL_SECONDS)


def _being_fetched(folder: Path) -> bool:
    try:
        os.kill(int((folder / FETCHING).read_text()), 0)  # signal 0 does nothing but ask whether the process lives
    except (FileNotFoundError, ProcessLookupError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Members:
    offsets: dict[str, tuple[int, int]]
    """First byte and size of each recording."""
    end: int | None
    """Bytes that could be read of a tar file that is cut short or damaged; None for a whole one."""


@lru_cache(maxsize=128)  # some 300 kB each for 1000 utterances
def _members(tar: Path, modified: int, size: int) -> _Members:
    """Where each recording lies; `modified` and `size` make a replaced file be read again."""
    offsets: dict[str, tuple[int, int]] = {}
    with open(tar, "rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
        with suppress(tarfile.ReadError):
            while (member := archive.next()) is not None:
                key, _, kind = member.name.rpartition(".")
                if kind not in ("json", "nodata", "nometa"):
                    offsets[key] = (member.offset_data, member.size)
        # tarfile takes a file that ends between two members, or in a header, for a whole one; whole ones end in zeros.
        whole = os.pread(file.fileno(), tarfile.BLOCKSIZE, archive.offset) == bytes(tarfile.BLOCKSIZE)
        return _Members(offsets, None if whole else min(archive.offset, size))
