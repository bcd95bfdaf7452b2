"""Manifests for other toolkits: Kaldi data directories and NeMo's JSON lines."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import soundfile

from asr.data.manifest import Utterance, read_manifest
from asr.data.problems import Problem, summarise
from asr.errors import AudioError, ManifestError
from asr.files import replacing


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was written."""

    path: Path
    utterances: int
    problems: list[Problem]
    """Utterances that were left out."""
    notes: list[str]
    """What the other format could not keep as it was, a sentence each."""


def export_nemo(manifest: str | Path, path: str | Path) -> ExportResult:
    """Write JSON lines with NeMo's keys: audio_filepath, duration, text, and where they apply offset and speaker.

    Two keys are ours, and NeMo leaves them alone: `id`, and `channel` where one of several is to be read. No transcript
    becomes an empty one. `asr.data.importing.import_data` reads the same utterances back.

    Raises:
        ManifestError: the manifest cannot be read or has no utterances, or the file cannot be written; then nothing is.
    """
    path, counts, count = Path(path), Counter[str](), 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial, open(partial, "w", encoding="utf-8") as out:
            for utterance in _files(manifest):
                out.write(json.dumps(_nemo_object(utterance), ensure_ascii=False) + "\n")
                counts["without text"] += utterance.text is None
                counts["channels"] += utterance.channel is not None
                count += 1
            _refuse_none(manifest, count)
    except OSError as error:
        raise ManifestError(f"{path}: cannot be written ({error.strerror or error})") from error
    notes = {
        "without text": "utterances without a transcript got an empty one",
        "channels": "utterances are one channel of several, in the key `channel`, which NeMo does not read",
    }
    return ExportResult(path, count, [], _notes(counts, notes))


def _nemo_object(utterance: Utterance) -> dict[str, object]:
    part = {} if utterance.whole else {"offset": utterance.start}
    values = {
        "audio_filepath": str(utterance.audio.absolute()),
        **part,
        "duration": utterance.duration,
        "text": utterance.text or "",
        "speaker": utterance.speaker,
        "id": utterance.id,
        "channel": utterance.channel,
    }
    return {key: value for key, value in values.items() if value is not None}


def export_kaldi(manifest: str | Path, folder: str | Path) -> ExportResult:
    """Write a Kaldi data directory: wav.scp, text, utt2spk, spk2utt, utt2dur, reco2dur, and segments where needed.

    Kaldi's rules change some things, and the notes of the result say how many:

    - Kaldi reads mono WAV of 16 bits. Other recordings become commands: `flac` and `sph2pipe` as in Kaldi's recipes,
      `ffmpeg` for the rest, for other sample formats and to take or mix channels.
    - Utterances sort by speaker, so an id that does not begin with its speaker gets it as a prefix. Where the speaker
      is not known, the id of the utterance is the speaker, as Kaldi advises.
    - Whitespace in ids and speakers becomes `_`, and any in a transcript one space; no transcript becomes an empty one.

    Everything else comes back through `asr.data.importing.import_data`. All lines are sorted, so the utterances are
    held in memory, about 1 kB each.

    Raises:
        ManifestError: the manifest cannot be read or holds no utterance that can be used, two ids or speakers become
            equal, the folder is not empty, or it cannot be written; then nothing is.
    """
    folder = Path(folder)
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise ManifestError(f"{folder}: is not empty; old files beside new ones would contradict them, delete it")
        directory = _KaldiDirectory()
        for utterance in _files(manifest):
            directory.add(utterance)
        if not directory.rows:
            _refuse_none(manifest, len(directory.problems), directory.problems)
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:  # each file takes its name when all are written
            for name, lines in directory.files().items():
                partial = stack.enter_context(replacing(folder / name))
                with open(partial, "w", encoding="utf-8", newline="\n") as out:
                    out.writelines(f"{line}\n" for line in lines)
    except OSError as error:
        raise ManifestError(f"{folder}: cannot be written ({error.strerror or error})") from error
    return ExportResult(folder, len(directory.rows), directory.problems, directory.notes())


@dataclass(frozen=True, slots=True)
class _Row:
    id: str
    recording: str
    speaker: str
    text: str
    start: Decimal
    duration: Decimal


class _KaldiDirectory:
    def __init__(self) -> None:
        self.rows: list[_Row] = []
        self.problems: list[Problem] = []
        self.parts = False
        self._counts: Counter[str] = Counter()
        self._ids, self._speakers = _Fields("ids"), _Fields("speakers")
        self._recordings: dict[str, tuple[str, float]] = {}
        """Recording id -> wav.scp entry, seconds."""
        self._repeats: Counter[str] = Counter()
        self._shared: dict[tuple[Path, int | None], str] = {}
        """Recordings that utterances are parts of -> recording id."""

    def add(self, utterance: Utterance) -> None:
        speaker = self._speakers(utterance.speaker, self._counts) if utterance.speaker else None
        id_ = self._ids(utterance.id, self._counts)
        if speaker and not re.match(re.escape(speaker) + r"([\W_]|$)", id_):
            id_ = self._ids.taken(f"{speaker}-{id_}", utterance.id)
            self._counts["prefixed"] += 1
        recording = self._shared.get((utterance.audio, utterance.channel)) if not utterance.whole else None
        if recording is None:
            try:
                entry = self._entry(utterance)
            except AudioError as error:
                self.problems.append(Problem(utterance.id, "unreadable audio", str(error)))
                return
            recording = self._name(utterance, id_)
            samples = utterance.recording_samples
            length = utterance.duration if samples is None else samples / utterance.sample_rate
            self._recordings[recording] = entry, length
        self.parts = self.parts or not utterance.whole
        self._counts["without text"] += utterance.text is None
        start, duration = Decimal(repr(utterance.start)), Decimal(repr(utterance.duration))
        text = " ".join((utterance.text or "").split())
        self.rows.append(_Row(id_, recording, speaker or id_, text, start, duration))

    def _name(self, utterance: Utterance, id_: str) -> str:
        """An id for a recording: that of the utterance which is all of it, or from the file's name."""
        name = id_
        if not utterance.whole:
            channel = "" if utterance.channel is None else f"-c{utterance.channel}"
            name = "_".join(utterance.audio.stem.split()) + channel
        unique = name
        while unique in self._recordings:
            self._repeats[name] += 1
            unique = f"{name}-{self._repeats[name] + 1}"
        if not utterance.whole:
            self._shared[utterance.audio, utterance.channel] = unique
        return unique

    def _entry(self, utterance: Utterance) -> str:
        """The wav.scp entry of a recording: its path where Kaldi reads it by itself, otherwise a command."""
        path = str(utterance.audio.absolute())
        if "\n" in path or "\r" in path:
            raise AudioError(f"{path!r}: a line break in a file name; rename the file")
        try:
            header = soundfile.info(path)
        except soundfile.LibsndfileError as error:
            what = error.error_string.rstrip(".") if utterance.audio.is_file() else "no such file"
            raise AudioError(f"{path}: cannot be read ({what}); `asr data doctor` checks all recordings") from None
        quoted = shlex.quote(path)
        if header.channels == 1 and header.subtype == "PCM_16" and header.format in ("WAV", "WAVEX"):
            # A path that Kaldi would take for a command or for a place in an archive.
            return f"cat {quoted} |" if re.search(r"^[\s|]|[\s|]$|:\d+$", path) else path
        self._counts["commands"] += 1
        if header.channels == 1 and header.subtype == "PCM_16" and header.format == "FLAC":
            return f"flac -c -d -s {quoted} |"
        if header.channels == 1 and header.format == "NIST":
            return f"sph2pipe -f wav -p {quoted} |"
        taken = ""
        if header.channels > 1:  # `<` makes the weights add up to 1: the mean. `-ac 1` weights surround channels.
            mixed = "<" + "+".join(f"c{channel}" for channel in range(header.channels))
            taken = f"-af 'pan=mono|c0{mixed if utterance.channel is None else f'=c{utterance.channel}'}' "
        return f"ffmpeg -nostdin -v error -i {quoted} {taken}-acodec pcm_s16le -f wav - |"

    def files(self) -> dict[str, Iterator[str]]:
        """File name -> lines, in the order of the C locale, which is that of code points."""
        self.rows.sort(key=lambda row: row.id)
        recordings = sorted(self._recordings.items())
        speakers: dict[str, list[str]] = {}
        for row in self.rows:
            speakers.setdefault(row.speaker, []).append(row.id)
        files: dict[str, Iterator[str]] = {
            "wav.scp": (f"{name} {entry}" for name, (entry, _) in recordings),
            "text": (f"{row.id} {row.text}".rstrip() for row in self.rows),
            "utt2spk": (f"{row.id} {row.speaker}" for row in self.rows),
            "spk2utt": (f"{speaker} {' '.join(ids)}" for speaker, ids in sorted(speakers.items())),
            "utt2dur": (f"{row.id} {row.duration:f}" for row in self.rows),
            "reco2dur": (f"{name} {Decimal(repr(seconds)):f}" for name, (_, seconds) in recordings),
        }
        if self.parts:
            files["segments"] = (
                f"{row.id} {row.recording} {row.start:f} {row.start + row.duration:f}" for row in self.rows
            )
        return files

    def notes(self) -> list[str]:
        """What was changed, to be called after `files`."""
        notes = {
            "prefixed": "ids got their speaker as a prefix, by which Kaldi sorts",
            "blanks": "ids and speakers had whitespace, which became `_`",
            "without text": "utterances without a transcript got an empty one",
            "commands": "recordings are no mono WAV of 16 bits: wav.scp calls flac, sph2pipe or ffmpeg for them",
        }
        lines = _notes(self._counts, notes)
        for one, next_ in zip(self.rows, self.rows[1:], strict=False):
            if one.speaker > next_.speaker:
                lines.append(
                    f"the ids of speakers {next_.speaker} and {one.speaker} sort differently from the speakers; rename "
                    "one, or give Kaldi's validate_data_dir.sh the option --no-spk-sort"
                )
                break
        return lines


class _Fields:
    """Names as one field of a line, no two of them the same."""

    def __init__(self, what: str):
        self._what, self._owners = what, dict[str, str]()

    def __call__(self, name: str, counts: Counter[str]) -> str:
        field = "_".join(name.split())
        counts["blanks"] += field != name
        return self.taken(field, name)

    def taken(self, field: str, name: str) -> str:
        """`field`, which stands for `name` from now on."""
        owner = self._owners.setdefault(field, name)
        if owner != name or not field:
            raise ManifestError(f"{self._what} {owner!r} and {name!r} both become {field!r} for Kaldi; rename one")
        return field


def _files(manifest: str | Path) -> Iterator[Utterance]:
    for utterance in read_manifest(manifest):
        if utterance.member is not None:
            raise ManifestError(
                f"{manifest}: {utterance.id!r} is in the shard {utterance.audio}, and other toolkits want audio files; "
                "export the manifest that the shards were made of"
            )
        yield utterance


def _refuse_none(manifest: str | Path, count: int, problems: list[Problem] | None = None) -> None:
    if problems:
        reasons = "\n".join(summarise(problems, str(manifest)))
        raise ManifestError(f"{manifest}: none of {count} utterances can be exported, nothing is written\n{reasons}")
    if not count:
        raise ManifestError(f"{manifest}: holds no utterances; nothing is written")


def _notes(counts: Counter[str], sentences: Mapping[str, str]) -> list[str]:
    return [f"{counts[key]} {sentence}" for key, sentence in sentences.items() if counts[key]]


EXPORTERS: dict[str, Callable[[str | Path, str | Path], ExportResult]] = {"kaldi": export_kaldi, "nemo": export_nemo}
