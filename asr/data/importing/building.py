"""Entries to utterances: what the recordings' headers say, times inside them, and ids that are unique."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from asr.audio import END_TOLERANCE, AudioInfo, audio_info
from asr.data.importing.entries import Entry, Found, Unusable
from asr.data.manifest import Utterance
from asr.data.problems import Problem
from asr.errors import AudioError

Progress = Callable[[int, int], None]
"""Called with the number of entries done and of all."""


@dataclass(slots=True)
class Survey:
    """What must be known of all entries before the first can be named."""

    total: int = 0
    shared_stems: set[str] = field(default_factory=set)
    """File names without suffix that several recordings have."""
    shared_audio: set[str] = field(default_factory=set)
    """Recordings that several entries are part of: their headers are worth keeping."""


def survey(found: Iterable[Found]) -> Survey:
    """Go over the source once."""
    result, stems, recordings = Survey(), set[str](), set[str]()
    for entry in found:
        result.total += 1
        if isinstance(entry, Problem):
            continue
        audio, stem = str(entry.audio), entry.audio.stem
        if audio in recordings:
            result.shared_audio.add(audio)
        elif stem in stems:
            result.shared_stems.add(stem)
        recordings.add(audio)
        stems.add(stem)
    return result


class Builder:
    """Makes utterances of entries, and keeps the account.

    Attributes:
        problems: what was left out, in the order of the source.
        utterances, seconds, without_text: how many were made, their length together, and how many have no words.
        with_speaker: how many have a speaker.
    """

    def __init__(self, known: Survey, progress: Progress | None = None):
        self.problems: list[Problem] = []
        self.utterances, self.seconds, self.without_text, self.with_speaker = 0, 0.0, 0, 0
        self._survey, self._progress = known, progress
        self._headers: dict[str, AudioInfo | Unusable] = {}
        self._ids: dict[str, int] = {}

    def build(self, found: Iterable[Found]) -> Iterator[Utterance]:
        """Yield an utterance for each entry that can be used."""
        for number, entry in enumerate(found, start=1):
            try:
                if isinstance(entry, Problem):
                    self._report(entry)
                else:
                    utterance = self._utterance(entry)
                    self.utterances += 1
                    self.seconds += utterance.duration
                    self.without_text += not utterance.text
                    self.with_speaker += utterance.speaker is not None
                    yield utterance
            except Unusable as unusable:
                self._report(unusable.problem)
            if self._progress:
                self._progress(number, self._survey.total)

    def _report(self, problem: Problem) -> None:
        self.problems.append(Problem(_printable(problem.id), problem.kind, _printable(problem.message)))

    def _utterance(self, entry: Entry) -> Utterance:
        _check_unicode(entry)
        audio = _written_otherwise(entry)
        info = self._header(entry, audio)
        channel = entry.channel
        if channel is not None and channel >= info.channels:
            message = f"channel {channel} of {entry.audio}, which has {info.channels}; channels are counted from 0"
            raise Unusable(entry.where, "no such channel", message)
        start, duration = _span(entry, info)
        whole = start == 0 and round(duration * info.sample_rate) == info.samples
        return Utterance(
            id=self._id(entry, info),
            audio=audio,
            duration=info.seconds if whole else duration,
            sample_rate=info.sample_rate,
            text=entry.text,
            speaker=entry.speaker,
            start=start,
            channel=channel if info.channels > 1 else None,
            recording_samples=None if whole else info.samples,
        )

    def _header(self, entry: Entry, audio: Path) -> AudioInfo:
        named = str(entry.audio)
        header = self._headers.get(named)
        if header is None:
            header = _read_header(audio)
            if named in self._survey.shared_audio:
                self._headers[named] = header
        if isinstance(header, AudioInfo):
            return header
        raise Unusable(entry.where, header.problem.kind, header.problem.message)

    def _id(self, entry: Entry, info: AudioInfo) -> str:
        if entry.id is not None:
            if entry.id in self._ids:
                message = f"id {entry.id!r} is taken by an entry before; give each its own, or remove the ids"
                raise Unusable(entry.where, "repeated id", message)
            self._ids[entry.id] = 1
            return entry.id
        name = _readable(entry, info, self._survey)
        unique = name
        while unique in self._ids:
            self._ids[name] += 1
            unique = f"{name}-{self._ids[name]}"
        self._ids[unique] = 1
        return unique


def _check_unicode(entry: Entry) -> None:
    for what in (str(entry.audio), entry.text, entry.id or "", entry.speaker or ""):
        try:
            what.encode("utf-8")
        except UnicodeEncodeError:
            message = f"{_printable(what)[:80]!r} is not Unicode and cannot stand in a manifest; rename or correct it"
            raise Unusable(entry.where, "not Unicode", message) from None


def _written_otherwise(entry: Entry) -> Path:
    """The recording as its file system writes it: macOS once wrote `ü` in two characters, and tables write one."""
    audio = entry.audio
    if str(audio).isascii() or audio.is_file():
        return audio
    root = entry.root if audio.is_relative_to(entry.root) else Path(audio.anchor)
    name = str(audio.relative_to(root))
    for form in ("NFC", "NFD"):
        other = root / unicodedata.normalize(form, name)
        if other.is_file():
            return other
    return audio


def _printable(text: str) -> str:
    """Text with ? for what is not Unicode, such as the bytes of a file name in another encoding."""
    return text.encode("utf-8", errors="replace").decode()


def _read_header(path: Path) -> AudioInfo | Unusable:
    """The header, or what is wrong, for any entry of this recording."""
    if not path.is_file():
        remedy = "correct the path, or say with --audio-root where relative paths start"
        if "\\" in str(path):
            remedy = "write / instead of \\ between folders"
        return Unusable("", "missing audio", f"{path} does not exist; {remedy}")
    try:
        return audio_info(path)
    except AudioError as error:
        return Unusable("", "unreadable audio", str(error))


def _span(entry: Entry, info: AudioInfo) -> tuple[float, float]:
    """Start and duration in seconds; an end up to `END_TOLERANCE` behind the recording's is taken for the end."""
    if entry.start is None and entry.end is None:
        return 0.0, info.seconds
    start, length = entry.start or Decimal(0), Decimal(repr(info.seconds))
    end = length if entry.end is None else entry.end
    if end > length + Decimal(str(END_TOLERANCE)) or start >= length:
        message = f"{start} s to {end} s of {entry.audio}, which has {info.seconds:.3f} s; correct the times"
        raise Unusable(entry.where, "outside the recording", message)
    end = min(end, length)
    if round(float(end - start) * info.sample_rate) < 1:
        raise Unusable(entry.where, "impossible times", f"from {start} s to {end} s; the end must be after the start")
    return float(start), float(end - start)


def _readable(entry: Entry, info: AudioInfo, known: Survey) -> str:
    """The file's name without suffix, with its folders where several have that name, and where in it the speech is."""
    name = entry.audio.stem
    if name in known.shared_stems:
        path = entry.audio.with_suffix("")
        inside = path.relative_to(entry.root) if path.is_relative_to(entry.root) else path.relative_to(path.anchor)
        name = "-".join(inside.parts)
    if entry.channel is not None and info.channels > 1:
        name += f"-c{entry.channel}"
    if entry.start or (entry.end is not None and float(entry.end) < info.seconds - END_TOLERANCE):
        name += f"-{round((entry.start or 0) * 1000):07d}"
    return "_".join(name.split())
