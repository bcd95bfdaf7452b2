"""What the corpus modules share: fetching archives, reading recordings, taking over Lhotse's recipes, writing parts."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from asr.audio import audio_info
from asr.data.download import Progress, download, extract
from asr.data.lines import read_lines
from asr.data.manifest import write_manifest
from asr.data.problems import Problem, summarise
from asr.data.utterance import Utterance
from asr.errors import AsrError, AudioError, CorpusError, ManifestError

if TYPE_CHECKING:
    from lhotse import RecordingSet, SupervisionSegment

logger = logging.getLogger(__name__)

Row: TypeAlias = tuple[Path, str, str, str | None]
"""A file that is one utterance: path, id, text, speaker."""

UNPACK_AGAIN = "the copy is damaged or incomplete, unpack the official archive again"


@dataclass(frozen=True, slots=True)
class Archive:
    """One file of a corpus as its publisher offers it, with the checksum that the publisher (or a toolkit) gives."""

    url: str
    sha256: str | None = None
    md5: str | None = None
    holds: str = "."
    """A file or folder that is there once the archive is unpacked, such as `LibriSpeech/dev-clean`."""
    into: str = "."
    """Sub-folder to unpack into, for archives without a top folder of their own."""

    @property
    def name(self) -> str:
        """The name of the file that is downloaded."""
        return self.url.split("?")[0].rsplit("/", 1)[-1]


def fetch(archives: Iterable[Archive], folder: Path) -> Path:
    """Download and unpack `archives` into `folder`, each going on where an earlier call stopped; returns `folder`.

    An archive that is unpacked already is left alone, even where the user has deleted it to make room. With a terminal
    on standard error there is a progress bar.

    Raises:
        CorpusError: the download failed, a checksum differs, an archive is damaged or writes outside the folder, or the
            disk is full.
    """
    folder = Path(folder)
    for archive in archives:
        target = folder / archive.into
        marker = target / f".{archive.name}.unpacked"
        if marker.is_file():
            if (target / archive.holds).exists():
                continue
            marker.unlink()  # somebody deleted what was unpacked
        with _progress(archive.name) as (progress, unpacking):
            path = download(
                archive.url, folder / archive.name, sha256=archive.sha256, md5=archive.md5, progress=progress
            )
            unpacking()
            extract(path, target)
        if not (target / archive.holds).exists():
            raise CorpusError(
                f"{path}: unpacked, but there is no {archive.holds} in {target}; the archive is damaged or another "
                "version: delete it and run again"
            )
    return folder


@contextmanager
def _progress(name: str) -> Iterator[tuple[Progress | None, Callable[[], None]]]:
    """A progress bar on standard error when it is a terminal: what `download` calls, and what to call after it."""
    if not sys.stderr.isatty():
        yield None, lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bars(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bars:
        task = bars.add_task(name, total=None)
        yield (
            lambda done, total: bars.update(task, completed=done, total=total),
            lambda: bars.update(task, description=f"{name}: unpacking"),
        )


def corpus_root(source: Path, title: str, marker: str | Sequence[str], names: Sequence[str] = ()) -> Path:
    """The corpus folder, absolute: `source` or one of its sub-folders `names`, the first that has a `marker`.

    Args:
        source: what the user gave.
        title: of the corpus, for the message.
        marker: a file or folder of the official layout (or a pattern of `Path.glob`); of several, one is enough.
        names: what the corpus folder may be called in its parent; patterns of `Path.glob`.

    Raises:
        CorpusError: there is no such folder; the message tells the layout.
    """
    source, markers = Path(source), [marker] if isinstance(marker, str) else list(marker)
    if not source.is_dir():
        raise CorpusError(f"{source}: no such folder; give the folder of the unpacked official archive")
    for root in (source, *(folder for name in names for folder in sorted(source.glob(name)))):
        if any(next(root.glob(pattern), None) is not None for pattern in markers):
            return root.resolve()
    missing = f"{markers[0]} is missing" if len(markers) == 1 else f"none of {', '.join(markers)} is there"
    called = f" ({' or '.join(names)})" if names else ""
    raise CorpusError(
        f"{source}: no {title} here, {missing}; give the folder of the unpacked official archive{called} or its parent"
    )


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line number and line of a text file of the corpus.

    Raises:
        CorpusError: it is missing, or is not text.
    """
    try:
        yield from read_lines(path)
    except ManifestError as error:
        raise CorpusError(f"{error}; {UNPACK_AGAIN}") from error


def table_rows(path: Path, fields: int, separator: str | None = None) -> Iterator[list[str]]:
    """The rows of a transcript table, blank lines left out, split at `separator` (None: white space).

    The last of the fields may hold white space when they are separated by it.

    Raises:
        CorpusError: the file is missing or is not text, or, naming the line, a row has fewer or more fields.
    """
    for number, line in text_lines(path):
        if not line.strip():
            continue
        row = line.strip().split(None, fields - 1) if separator is None else line.split(separator)
        if len(row) != fields:
            raise CorpusError(
                f"{path}, line {number}: {len(row)} fields instead of {fields}: {line[:60]!r}; {UNPACK_AGAIN}"
            )
        yield row


def recording(path: Path, *, id: str, text: str | None, speaker: str | None) -> Utterance:
    """A whole file as one utterance, by its header.

    Raises:
        CorpusError: the file is missing or is not audio.
    """
    try:
        info = audio_info(path)
    except AudioError as error:
        raise CorpusError(f"{error}; {UNPACK_AGAIN}") from error
    return Utterance(id, path, info.seconds, info.sample_rate, text, speaker)


def recordings(rows: Iterable[Row], name: str) -> Iterator[Utterance]:
    """Whole files of corpus `name` as utterances; those that are missing or damaged are left out and reported.

    Args:
        rows: the files, with what the corpus says of each.
        name: of the corpus (and part), for the report.
    """
    problems = []
    for path, id_, text, speaker in rows:
        try:
            utterance = recording(path, id=id_, text=text, speaker=speaker)
        except CorpusError as error:
            problems.append(Problem(id_, "missing or damaged in this copy", str(error)))
        else:
            yield utterance
    report(problems, name)


def report(problems: Sequence[Problem], name: str) -> None:
    """Say on standard error (through `logging`) which utterances of corpus `name` are left out, and why."""
    for line in summarise(problems, name):
        logger.warning("%s", line)


def report_untranscribed(files: Iterable[Path], transcribed: Container[str], name: str) -> None:
    """Name the recordings of corpus `name` whose file names (without suffix) no transcript table lists."""
    lost = [path for path in files if path.stem not in transcribed]
    message = "{}: no transcript table has it"
    report([Problem(path.stem, "no transcript", message.format(path)) for path in sorted(lost)], name)


def utterances_from_lhotse(recordings: RecordingSet, supervisions: Iterable[SupervisionSegment]) -> Iterator[Utterance]:
    """One utterance for each of Lhotse's supervisions, sorted by recording and start.

    Segments keep their place in the recording, and a supervision of one channel of several keeps its channel. An end
    that lies behind the recording's is cut to it.

    Raises:
        CorpusError: the recording is missing or is not one plain file, or a supervision has several of its channels or
            starts behind its end.
    """
    by_id = {whole.id: whole for whole in recordings}  # a RecordingSet searches from its start for every id
    for segment in sorted(supervisions, key=lambda s: (s.recording_id, s.start, s.id)):
        whole = by_id.get(segment.recording_id)
        if whole is None:
            raise CorpusError(f"{segment.id}: there is no recording {segment.recording_id!r}; {UNPACK_AGAIN}")
        if segment.start >= whole.duration:
            raise CorpusError(f"{segment.id}: starts at {segment.start} s of a recording of {whole.duration} s")
        path, channel = _file_and_channel(whole, segment)
        rate, samples = whole.sampling_rate, whole.num_samples
        duration = min(segment.duration, whole.duration - segment.start)
        complete = segment.start == 0 and round(duration * rate) == samples
        yield Utterance(
            id=segment.id,
            audio=path,
            duration=duration,
            sample_rate=rate,
            text=segment.text,
            speaker=segment.speaker,
            start=segment.start,
            channel=channel,
            recording_samples=None if complete else samples,
        )


def _file_and_channel(whole: Any, segment: Any) -> tuple[Path, int | None]:
    """The file that a supervision lies in, and the channel within it; None for all channels of the file."""
    if whole.transforms:
        raise CorpusError(f"{segment.id}: the recording {whole.id} has transforms, which are not applied here")
    wanted = set(segment.channel) if isinstance(segment.channel, list) else {segment.channel}
    for source in whole.sources:
        if source.type != "file" or not wanted & set(source.channels):
            continue
        path = Path(os.path.abspath(source.source))
        if wanted == set(source.channels):
            return path, None
        if len(wanted) == 1:
            return path, source.channels.index(min(wanted))
    raise CorpusError(
        f"{segment.id}: channels {sorted(wanted)} of recording {whole.id} are not one channel of one file"
    )


@contextmanager
def lhotse_recipe(name: str, source: Path, expected: str) -> Iterator[None]:
    """Run a recipe of Lhotse in this block: what it raises becomes a `CorpusError`, what it leaves out is reported.

    Args:
        name: of the corpus, for the messages.
        source: the corpus folder.
        expected: the official layout in a few words.

    Raises:
        CorpusError: for any error of the recipe, naming the folder and the expected layout.
    """
    collected = _Collector()
    root = logging.getLogger()
    root.addHandler(collected)  # Lhotse logs to the root; a handler also keeps logging from printing every line
    # Its progress bars are for terminals.
    bars = nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO())
    try:
        with bars:
            yield
    except (AsrError, MemoryError):
        raise
    except Exception as error:  # recipes raise whatever their code runs into, AssertionError to LibsndfileError
        said = (str(error).strip().splitlines() or ["no message"])[0].removesuffix(" Details:")
        raise CorpusError(
            f"{source}: Lhotse's recipe fails ({type(error).__name__}: {said}); expected {expected}. Unpack the "
            "official archive again, or remove the damaged recording to go on without it"
        ) from error
    finally:
        root.removeHandler(collected)
    report([Problem(source.name, "missing or damaged in this copy", message) for message in collected.messages], name)


class _Collector(logging.Handler):
    """Keeps the warnings of Lhotse's recipes."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def write_parts(parts: Mapping[str, Iterable[Utterance]], output: Path) -> dict[str, Path]:
    """Write `output/PART/cuts.jsonl` for each part, each whole or not at all; returns the manifests by part.

    Raises:
        CorpusError: a part has no utterances.
        ManifestError: an id repeats, or the file cannot be written.
    """
    manifests = {}
    for part, utterances in parts.items():
        rest = iter(utterances)
        first = next(rest, None)
        if first is None:
            raise CorpusError(f"{part}: not one usable utterance; is the folder complete?")
        manifests[part] = Path(output) / part / "cuts.jsonl"
        write_manifest(manifests[part], chain([first], rest))
    return manifests
