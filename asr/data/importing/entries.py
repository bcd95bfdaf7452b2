"""What every format boils down to: entries, one an utterance, made from named values such as a table's columns."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeAlias

from asr.data.lines import read_lines
from asr.data.problems import Problem
from asr.errors import ConfigError, ManifestError

SYNONYMS: dict[str, tuple[str, ...]] = {
    "audio": ("path", "file", "file_name", "filename", "wav", "wav_filename", "audio_filepath", "audio_file"),
    "text": ("sentence", "transcript", "transcription"),
    "speaker": ("speaker_id", "client_id", "spk"),
    "start": ("start_time", "offset"),
    "end": ("end_time",),
    "duration": (),
    "id": ("utterance_id", "utt_id"),
    "channel": (),
}
"""What the columns of a table and the keys of JSON lines are called, beside our own names; case does not matter."""

REQUIRED = ("audio", "text")


@dataclass(frozen=True, slots=True)
class Entry:
    """One utterance as the source describes it; nothing is known yet of the recording itself.

    Times are in seconds, and decimal, so that the end 3.3 less the start 1.1 is 2.2.
    """

    where: str
    """Where it stands, for messages: `train.csv, line 12`."""
    audio: Path
    root: Path
    """The folder that audio paths start from; ids name what is below it."""
    text: str
    id: str | None = None
    speaker: str | None = None
    start: Decimal | None = None
    end: Decimal | None = None
    channel: int | None = None


Found: TypeAlias = Entry | Problem
"""What a reader yields, in the order of the source."""


class Unusable(Exception):
    """An entry that cannot be used; its first argument is a `Problem`."""

    def __init__(self, where: str, kind: str, message: str):
        super().__init__(Problem(where, kind, message))

    @property
    def problem(self) -> Problem:
        """What a reader yields in place of the entry."""
        return self.args[0]


@dataclass(frozen=True, slots=True)
class Options:
    """What the user says about a source: see `asr.data.importing.import_data`."""

    columns: Mapping[str, str] = field(default_factory=dict)
    audio_root: Path | None = None
    encoding: str | None = None


def source_lines(path: Path, encoding: str | None) -> Iterator[tuple[int, str]]:
    """`asr.data.lines.read_lines`, of a source whose encoding can be named."""
    return read_lines(path, encoding, remedy="name its encoding, such as --encoding cp1252")


class AudioRoot:
    """The folder that relative audio paths are taken from."""

    def __init__(self, folder: Path):
        self.folder = folder.resolve()
        self._resolved: dict[str, str] = {}

    def locate(self, name: str | Path) -> Path:
        """The absolute path of a recording, its folder without symbolic links (its own name is kept for the id)."""
        head, tail = os.path.split(os.path.join(self.folder, name))
        if head not in self._resolved:
            self._resolved[head] = os.path.realpath(head)
        return Path(self._resolved[head], tail)


def check_columns(columns: Mapping[str, str]) -> None:
    """Raises `ConfigError` for a name that is not one of ours."""
    for ours in columns:
        if ours not in SYNONYMS:
            raise ConfigError(f"--column {ours}={columns[ours]}: no such column; the columns are {', '.join(SYNONYMS)}")


def match_columns(found: Iterable[str], columns: Mapping[str, str]) -> dict[str, str]:
    """Our name -> theirs, for the columns that are there. Theirs are matched whatever their case.

    Raises:
        ManifestError: a required or asked-for column is missing, or two columns could be meant.
    """
    theirs: dict[str, str] = {}
    repeated = set()
    for name in found:
        key = name.strip().casefold()
        if key in theirs:
            repeated.add(key)
        theirs.setdefault(key, name)
    matched = {}
    for ours, synonyms in SYNONYMS.items():
        if ours in columns:
            name = columns[ours].strip().casefold()
            if name not in theirs:
                raise ManifestError(f"no column {columns[ours]!r} for --column {ours}; {_listed(theirs.values())}")
            matched[ours] = theirs[name]
            continue
        candidates = [theirs[name] for name in (ours, *synonyms) if name in theirs]
        if ours not in theirs and len(candidates) > 1:
            raise ManifestError(
                f"{' and '.join(map(repr, candidates))} could both be {ours!r}; "
                f"choose one with --column {ours}={candidates[0]}"
            )
        if candidates:
            matched[ours] = candidates[0]
        elif ours in REQUIRED:
            raise ManifestError(f"no column {ours!r}; {_listed(theirs.values())}; name it with --column {ours}=NAME")
    for name in matched.values():
        if name.strip().casefold() in repeated:
            raise ManifestError(f"several columns are called {name!r}; rename all but one")
    return matched


def _listed(names: Iterable[str]) -> str:
    return "there are " + (", ".join(map(repr, names)) or "none")


def make_entry(where: str, values: Mapping[str, Any], root: AudioRoot, *, duration_is_span: bool = False) -> Entry:
    """An entry from values under our names, strings as a table has them or whatever JSON holds.

    Args:
        where: the place in the source.
        values: our name -> value; None and blank strings count as not given.
        root: where relative audio paths start.
        duration_is_span: a duration without a start counts from 0. If not, it is taken for a remark on the recording.

    Raises:
        Unusable: a value is missing, of the wrong type, or not a number.
    """
    given = {ours: value for ours, value in values.items() if value is not None and str(value).strip()}
    audio = given.get("audio")
    if not isinstance(audio, str):
        what = "no path is given" if audio is None else f"the path is {audio!r}"
        raise Unusable(where, "missing audio", f"{what}; name the recording")
    text = values.get("text")
    if not isinstance(text, str):
        raise Unusable(where, "no transcript", f'the text is {text!r}, not a string; write it, or "" for no words')
    start, end = _seconds(where, given, "start"), _seconds(where, given, "end")
    if end is None and "duration" in given and (start is not None or duration_is_span):
        end = (start or Decimal(0)) + (_seconds(where, given, "duration") or Decimal(0))
    return Entry(
        where=where,
        audio=root.locate(audio.strip()),
        root=root.folder,
        text=text.strip(),
        id=_name(where, given, "id"),
        speaker=_name(where, given, "speaker"),
        start=start,
        end=end,
        channel=_channel(where, given),
    )


def _seconds(where: str, given: Mapping[str, Any], ours: str) -> Decimal | None:
    value = given.get(ours)
    if value is None:
        return None
    try:
        seconds = Decimal(str(value).strip())
    except InvalidOperation:
        seconds = Decimal("nan")
    if isinstance(value, bool) or not seconds.is_finite() or not 0 <= seconds < 1e9:
        raise Unusable(where, "impossible times", f"{ours} is {str(value)!r}; give seconds, such as 12.5")
    return seconds


def _name(where: str, given: Mapping[str, Any], ours: str) -> str | None:
    value = given.get(ours)
    if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
        return None if value is None else str(value).strip()
    raise Unusable(where, f"unusable {ours}", f"{ours} is {value!r}; give a string")


def _channel(where: str, given: Mapping[str, Any]) -> int | None:
    value = given.get("channel")
    if value is None:
        return None
    if not isinstance(value, bool) and str(value).strip().isdecimal():
        return int(value)
    raise Unusable(where, "no such channel", f"channel is {value!r}; channels are counted from 0")
