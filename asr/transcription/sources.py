"""What the user named, as recordings: files, folders, patterns, lists, manifests, standard input."""

from __future__ import annotations

import codecs
import glob
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from asr.audio import AUDIO_SUFFIXES
from asr.audio_headers import UNREAD_SUFFIXES
from asr.data.lines import is_table, table_remedy
from asr.data.manifest import MANIFEST_NAMES, UniqueIds, read_manifest
from asr.data.shards import local_shards
from asr.data.utterance import Utterance
from asr.errors import AsrError, AudioError, ConfigError, ManifestError
from asr.files import shown

STDIN = "-"
"""Names standard input: audio as an input, a list of paths as a list."""
_NOT_TEXT = re.compile(rb"[\x01-\x08\x0b\x0c\x0e-\x1f]")


@dataclass(frozen=True, slots=True)
class Recording:
    """One thing to transcribe.

    Attributes:
        path: of the file as it was named, `-` for standard input, or the id of the utterance; bytes of a file name that
            are no UTF-8 are surrogates in it, as in `os.fsdecode`.
        key: what its outputs are called: their path below the output folder without the suffix of the format. The path
            below the folder that was named, without its suffix; of a file named by itself, its name; an utterance's id.
        utterance: where the recording, or part of one, comes from a manifest.
    """

    path: str
    key: str
    utterance: Utterance | None = None

    @property
    def name(self) -> str:
        """The path for people and JSON: bytes that are not UTF-8 become replacement characters."""
        return shown(self.path)

    @property
    def source(self) -> Utterance | BinaryIO | str:
        """What a transcriber takes."""
        if self.utterance is not None:
            return self.utterance
        return sys.stdin.buffer if self.path == STDIN else self.path

    @property
    def label(self) -> str:
        """The key likewise, for the formats that name their recording with an id (ctm, trn)."""
        return shown(self.key)


class Sources:
    """All that was named, in order. Files are found once, here; manifests are read again each time they are walked.

    A folder stands for the audio files (`AUDIO_SUFFIXES`) in and below it, sorted, hidden ones left out, symbolic links
    followed; for the manifest or shards in it, when it has some. A pattern such as `calls/**/*.wav` stands for what it
    matches, unless a file is called so. A list names a recording a line, relative to the list's own folder (to the
    working directory from standard input); NUL may separate them, as `find -print0` writes. What is named twice is
    taken once.

    Memory: about 170 bytes a file, 8 an utterance.

    Args:
        inputs: files, folders, patterns, manifests, or `-` for audio on standard input.
        lists: files of paths, or `-` for standard input.
        full_names: keys keep the suffix of the audio file.

    Attributes:
        count: recordings.
        repeated: inputs that were named before.
        unread: files with `UNREAD_SUFFIXES` that were passed over in folders, by suffix.
        problems: what was named and is not there or cannot be read, an error each; the rest is usable.
    """

    def __init__(self, inputs: Iterable[str], lists: Iterable[str] = (), *, full_names: bool = False):
        self.count = 0
        self.repeated = 0
        self.unread: Counter[str] = Counter()
        self.problems: list[AsrError] = []
        self._full_names = full_names
        self._files: list[tuple[str, str] | Path] = []  # folder and path below it; or a manifest
        self._keys = UniqueIds()
        self._seen: set[str] = set()
        inputs, lists = list(inputs), list(lists)
        if STDIN in inputs and STDIN in lists:
            raise ConfigError("standard input is either audio (-) or a list of paths (--list -), not both")
        for text in inputs:
            self._try(self._add_input, text)
        for text in lists:
            self._try(self._add_list, text)
        self._seen.clear()

    def __iter__(self) -> Iterator[Recording]:
        for found in self._files:
            if isinstance(found, Path):
                for utterance in read_manifest(found):
                    yield Recording(utterance.id, utterance.id, utterance)
            else:
                yield self._recording(*found)

    def clash(self) -> tuple[Recording, Recording] | None:
        """Two recordings with the same key, of which one would be written over the other; None when all differ."""
        suspects = self._keys.suspects()
        if not suspects:
            return None
        first: dict[str, Recording] = {}
        for recording in self:
            if hash(recording.key) in suspects:
                if recording.key in first:
                    return first[recording.key], recording
                first[recording.key] = recording
        return None

    def remedy(self, one: Recording, other: Recording) -> str:
        """How two recordings with the same key, which `clash` found, get different ones."""
        names = os.path.basename(one.name), os.path.basename(other.name)
        apart = "transcribe them in separate calls, each with an --output-dir of its own"
        if one.utterance or other.utterance:
            return apart
        if names[0] != names[1]:  # then it is the suffix that was taken off
            return f"--full-names keeps {names[0]} and {names[1]} apart, or rename one"
        return f"name the folder that both are below instead, which keeps the path of each, or {apart}"

    def _try(self, add: Callable[[str], None], text: str) -> None:
        try:
            add(text)
        except AsrError as error:
            self.problems.append(error)

    def _recording(self, folder: str, below: str) -> Recording:
        if below == STDIN and not folder:
            return Recording(STDIN, "stdin")
        return Recording(os.path.join(folder, below), below if self._full_names else os.path.splitext(below)[0])

    def _add_input(self, text: str) -> None:
        if not text:
            raise AudioError("an input is the empty string; name a file or a folder")
        if text == STDIN:
            if sys.stdin.isatty():
                raise AudioError("-: standard input is a terminal; pipe audio into it, or name a file")
            self._add_file("", STDIN)
        elif os.path.lexists(text):
            self._add_path(text)
        elif glob.has_magic(text):
            matches = sorted(glob.glob(text, recursive=True))
            if not matches:
                raise AudioError(f"{text}: no such file, and nothing matches this pattern; check the path")
            for match in matches:
                self._try(self._add_path, match)
        else:
            raise AudioError(f"{text}: no such file; check the path (the working directory is {Path.cwd()})")

    def _add_path(self, path: str) -> None:
        if os.path.isdir(path):
            if _holds_manifest(path):
                self._add_manifest(path)
            else:
                self._add_folder(path)
        elif path.endswith((".jsonl", ".jsonl.gz")):
            self._add_manifest(path)
        elif is_table(path):
            raise ManifestError(
                f"{path}: a table, not audio; {table_remedy(path)}, which can be transcribed; "
                "a list of paths, a line each, is given as --list FILE"
            )
        else:
            self._add_file(*os.path.split(path))

    def _add_file(self, folder: str, below: str) -> None:
        # Not realpath: two links to one file are two names that somebody gave.
        if self._new(STDIN if below == STDIN and not folder else os.path.abspath(os.path.join(folder, below))):
            self._files.append((folder, below))
            self._keys.add(self._recording(folder, below).key)
            self.count += 1

    def _new(self, path: str) -> bool:
        if path in self._seen:
            self.repeated += 1
            return False
        self._seen.add(path)
        return True

    def _add_manifest(self, path: str) -> None:
        """Read it once: a broken line is told before anything is transcribed."""
        if not self._new(os.path.abspath(path)):
            return
        count = 0
        for count, utterance in enumerate(read_manifest(path), start=1):  # noqa: B007
            self._keys.add(utterance.id)
        if not count:
            raise ManifestError(f"{path}: no utterances in this manifest")
        self._files.append(Path(path))
        self.count += count

    def _add_folder(self, folder: str) -> None:
        before, problems = self.count + self.repeated, len(self.problems)
        for below in self._walk(folder):
            self._add_file(folder, below)
        if self.count + self.repeated == before and len(self.problems) == problems:
            raise AudioError(
                f"{folder}: no audio files in this folder and below it ({' '.join(AUDIO_SUFFIXES)}); "
                "a file with another suffix must be named by itself"
            )

    def _walk(self, folder: str) -> Iterator[str]:
        """Paths below `folder` of its audio files, sorted. Without recursion: folders can be nested thousands deep."""
        waiting: list[tuple[str, frozenset[tuple[int, int]], bool]] = [("", frozenset(), True)]
        while waiting:
            below, above, is_folder = waiting.pop()
            if not is_folder:
                yield below
                continue
            path = os.path.join(folder, below) if below else folder
            try:
                status = os.stat(path)
                inode = (status.st_dev, status.st_ino)
                if inode in above:  # a link back to a folder that it is in: all its files are found already
                    continue
                with os.scandir(path) as entries:
                    inside = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                self.problems.append(
                    AudioError(f"{path}: this folder cannot be read ({error.strerror or error}); check its permissions")
                )
                continue
            within = above | {inode}
            found = [
                (os.path.join(below, entry.name), within, _is_folder(entry))
                for entry in inside
                if not entry.name.startswith(".") and (_is_folder(entry) or self._is_audio(entry))
            ]
            waiting.extend(reversed(found))

    def _is_audio(self, entry: os.DirEntry[str]) -> bool:
        suffix = os.path.splitext(entry.name)[1].lower()
        if suffix in UNREAD_SUFFIXES:
            self.unread[suffix] += 1
        if suffix not in AUDIO_SUFFIXES:
            return False
        try:
            if entry.is_file() or not os.path.exists(entry.path):  # a dangling link: reading it says what is wrong
                return True
        except OSError:  # a link to itself
            return True
        # Opening a pipe that nobody writes to would wait for ever.
        self.problems.append(AudioError(f"{entry.path}: no regular file but a pipe, socket or device; leave it out"))
        return False

    def _add_list(self, text: str) -> None:
        paths = _read_list(text)
        if not paths:
            raise ManifestError(f"{'standard input' if text == STDIN else text}: the list names no recordings")
        base = "" if text == STDIN else os.path.dirname(text)
        inside = os.path.join(os.path.abspath(base), "")
        for path in paths:
            below = path.removeprefix(inside)
            if os.path.isabs(below) or os.pardir in below.split(os.sep):
                self._add_file(*os.path.split(os.path.join(base, path)))
            elif below == STDIN and not base:  # a file that is called so
                self._add_file(os.curdir, below)
            else:
                self._add_file(base, os.path.normpath(below))


def _holds_manifest(folder: str) -> bool:
    try:
        return any(os.path.isfile(os.path.join(folder, name)) for name in MANIFEST_NAMES) or bool(local_shards(folder))
    except OSError:  # a folder that cannot be read: walking it says so
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _read_list(path: str) -> list[str]:
    """The paths in a list: UTF-8 or any bytes the file system takes, or UTF-16 with a byte-order mark."""
    name = "standard input" if path == STDIN else path
    try:
        data = sys.stdin.buffer.read() if path == STDIN else Path(path).read_bytes()
    except OSError as error:
        raise ManifestError(f"{name}: the list cannot be read ({error.strerror or error}); check the path") from None
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = data.decode("utf-16", errors="replace").encode()
    data = data.removeprefix(codecs.BOM_UTF8)
    if _NOT_TEXT.search(data, 0, 4096):
        raise ManifestError(f"{name}: not a list of paths, a line each; an audio file is named without --list")
    lines = data.split(b"\0") if b"\0" in data else [line.rstrip(b"\r") for line in data.split(b"\n")]
    return [os.fsdecode(line) for line in lines if line.strip()]
