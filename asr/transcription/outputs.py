"""Where each transcript goes: a file for every format below an output folder, whole or absent."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from asr.errors import ConfigError, OutputError
from asr.files import write_text
from asr.transcription.formats import FORMATS, render
from asr.transcription.sources import Recording
from asr.transcription.transcript import Transcript

EVERY = "all"
"""Stands for every format."""
ONE_STREAM = ("txt", "json", "jsonl", "ctm", "trn")
"""Formats that hold many recordings one after the other. The others are a file a recording."""
BY_KEY = ("jsonl", "ctm", "trn")
"""Formats that name a recording by its key, so that many in one stream can be told apart."""


def chosen_formats(asked: Sequence[str]) -> list[str]:
    """The formats in `asked`, each once: names in any case, several with commas between them, or `all`.

    Raises:
        ConfigError: there is no such format.
    """
    by_name = {name.lower(): name for name in FORMATS}
    chosen: dict[str, None] = {}
    for name in ",".join(asked).split(","):
        name = name.strip().lower()
        if name == EVERY:
            chosen.update(dict.fromkeys(FORMATS))
        elif name in by_name:
            chosen[by_name[name]] = None
        else:
            raise ConfigError(f"--format {name}: no such format; choose of {', '.join(FORMATS)}, or {EVERY}")
    return list(chosen)


def rendered(recording: Recording, transcript: Transcript, format_: str) -> str:
    """The transcript as text; json calls the recording by its path; jsonl, ctm and trn by its key.

    Raises:
        OutputError: as `asr.transcription.formats.render`.
    """
    return render(transcript, recording.label if format_ in BY_KEY else recording.name, format_)


class Outputs:
    """Files `FOLDER/KEY.FORMAT`.

    Raises:
        ConfigError: the folder cannot be made, or nothing can be written in it.
    """

    def __init__(self, folder: Path, formats: Sequence[str]):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--output-dir {folder}: {error.strerror}; choose another folder") from None
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ConfigError(f"--output-dir {folder}: no permission to write in it; choose another folder")
        self.folder = folder
        self.formats = list(formats)

    def paths(self, recording: Recording) -> list[Path]:
        """The files of a recording, one for each format.

        Raises:
            OutputError: its key, an utterance id, does not name a file below the folder.
        """
        parts = recording.key.split("/")
        if "\0" in recording.key or any(part in ("", os.curdir, os.pardir) for part in parts):
            raise OutputError(f"{recording.name}: this id is no name for a file; change it in the manifest")
        return [self.folder.joinpath(*parts[:-1], f"{parts[-1]}.{format_}") for format_ in self.formats]

    def current(self, recording: Recording) -> bool:
        """Whether the recording has all its files, and none is older than its audio; else all are to be written."""
        paths = self.paths(recording)
        if not all(os.path.isfile(path) for path in paths):
            return False
        try:
            audio = os.path.getmtime(recording.utterance.audio if recording.utterance else recording.path)
            written = min(os.path.getmtime(path) for path in paths)
        except (OSError, ValueError):  # standard input, or a file that is gone: there is nothing newer to hear
            return True
        # A recorder whose clock is ahead would have its files transcribed again every time.
        return not written < audio <= time.time()

    def write(self, recording: Recording, transcript: Transcript) -> None:
        """Write all files of a recording, each whole or not at all.

        Raises:
            OutputError: one cannot be written or rendered; those before it are there.
        """
        for path, format_ in zip(self.paths(recording), self.formats, strict=True):
            try:
                text = rendered(recording, transcript, format_)
            except OutputError as error:
                raise OutputError(f"{path}: {error}") from None
            write_text(path, text)
