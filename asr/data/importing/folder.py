"""Folders of recordings: each with a `.txt` of the same name, or LibriSpeech's `*.trans.txt` beside the audio."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from asr.audio import AUDIO_SUFFIXES
from asr.audio_headers import UNREAD_SUFFIXES
from asr.data.importing.entries import AudioRoot, Entry, Found, Options, source_lines
from asr.data.problems import Problem
from asr.errors import ManifestError

RECORDING_SUFFIXES = frozenset([*AUDIO_SUFFIXES, *UNREAD_SUFFIXES])
"""What counts as a recording; some cannot be read, and are reported with a way to convert them."""

TRANSCRIPT_SUFFIX = ".txt"
LISTING_SUFFIX = ".trans.txt"


def walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Each folder below and with `folder`, with its sorted file names; symbolic links are followed, each folder once.

    Names that begin with a dot are left out: they are the file manager's (`._take1.wav`, `.Trash`).

    Raises:
        ManifestError: a folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise ManifestError(f"{error.filename}: cannot be listed ({error.strerror}); check the permissions")

    visited: set[str] = set()
    for path, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(path)
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if real not in visited else []
        if real not in visited:
            visited.add(real)
            yield Path(path), sorted(name for name in names if not name.startswith("."))


def is_audio(name: str) -> bool:
    """Whether a file of this name is a recording."""
    return os.path.splitext(name)[1].lower() in RECORDING_SUFFIXES


def is_transcript(name: str) -> bool:
    """Whether a file of this name is the transcript of one recording."""
    return name.lower().endswith(TRANSCRIPT_SUFFIX) and not is_listing(name)


def is_listing(name: str) -> bool:
    """Whether a file of this name holds LibriSpeech's `ID TEXT` lines."""
    return name.lower().endswith(LISTING_SUFFIX)


def read(source: Path, options: Options) -> Iterator[Found]:
    """Each recording with the whole of the `.txt` of the same name beside it, at any depth."""
    root = _root(source)
    for folder, names in walk(source):
        here = _Names(source, folder)
        recordings = _by_stem(names, is_audio)
        transcripts = _by_stem(names, is_transcript)
        for stem, (audio, *others) in recordings.items():
            for other in others:
                message = f"{here(audio)} has the same name and is used; remove one of them"
                yield Problem(here(other), "a second recording", message)
            if stem not in transcripts:
                message = f"{here(stem + TRANSCRIPT_SUFFIX)} does not exist; write its words there"
                yield Problem(here(audio), "no transcript", message)
                continue
            transcript = transcripts[stem][0]
            try:
                text = "\n".join(line for _, line in source_lines(folder / transcript, options.encoding)).strip()
            except ManifestError as error:
                yield Problem(here(audio), "unreadable transcript", str(error))
                continue
            yield Entry(here(audio), root.locate(folder.absolute() / audio), root.folder, text)
        for stem, (transcript, *_) in transcripts.items():
            if stem not in recordings:
                message = "no recording of the same name is beside it; add it, or move the text away"
                yield Problem(here(transcript), "missing audio", message)


def read_librispeech(source: Path, options: Options) -> Iterator[Found]:
    """The `ID TEXT` lines of each `*.trans.txt`, at any depth, with the recording `ID.flac` (or another format) beside.

    In LibriSpeech's layout, `SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt`, the speaker is known too.
    """
    root = _root(source)
    for folder, names in walk(source):
        here = _Names(source, folder)
        recordings = _by_stem(names, is_audio)
        listed: set[str] = set()
        for listing in filter(is_listing, names):
            speaker = folder.absolute().parent.name
            known = listing == f"{speaker}-{folder.absolute().name}{LISTING_SUFFIX}"
            try:
                for number, line in source_lines(folder / listing, options.encoding):
                    id_, *text = line.split(maxsplit=1) or [""]
                    if not id_:
                        continue
                    where = f"{here(listing)}, line {number}"
                    listed.add(id_)
                    if id_ not in recordings:
                        message = f"{here(id_)}.flac (or .wav, ...) does not exist; add it or remove the line"
                        yield Problem(where, "missing audio", message)
                        continue
                    path = root.locate(folder.absolute() / recordings[id_][0])
                    words = text[0].strip() if text else ""
                    yield Entry(where, path, root.folder, words, id=id_, speaker=speaker if known else None)
            except ManifestError as error:
                yield Problem(here(listing), "unreadable transcript", str(error))
        for stem, (audio, *_) in recordings.items():
            if stem not in listed:
                message = f"no *{LISTING_SUFFIX} beside it has a line that begins with {stem!r}; write one"
                yield Problem(here(audio), "no transcript", message)


class _Names:
    """File names of a folder, as seen from the source."""

    def __init__(self, source: Path, folder: Path):
        self._folder = folder.relative_to(source)

    def __call__(self, name: str) -> str:
        return str(self._folder / name)


def _root(source: Path) -> AudioRoot:
    if not source.is_dir():
        raise ManifestError(f"{source}: not a folder; give the folder that holds the recordings")
    return AudioRoot(source)


def _by_stem(names: list[str], wanted: Callable[[str], bool]) -> dict[str, list[str]]:
    stems: dict[str, list[str]] = {}
    for name in filter(wanted, names):
        stems.setdefault(os.path.splitext(name)[0], []).append(name)
    return stems
