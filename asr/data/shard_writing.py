"""Write Lhotse Shar: a manifest with its audio, packed into tar files that are read from one end to the other."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import multiprocessing
import shutil
import signal
import tarfile
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from asr.data.index import ManifestIndex
from asr.data.problems import Problem
from asr.data.reading import load_utterance
from asr.data.shards import INDEX, SHAR, Shard, paired_shards
from asr.data.utterance import Utterance
from asr.errors import AsrError, AudioError, ManifestError
from asr.files import replacing

FORMATS = {"flac": ("FLAC", "PCM_16"), "wav": ("WAV", "PCM_16"), "opus": ("OGG", "OPUS"), "mp3": ("MP3", None)}
"""libsndfile's names for the formats that a shard's recordings can have. FLAC and WAV keep 16 bits exactly."""
UNFINISHED = f"{SHAR}.unfinished"
"""The name of the folder of shards until the last one is in it."""


@dataclass(frozen=True)
class Sharded:
    """What `write_shards` wrote, and what it had to leave out."""

    folder: Path
    shards: list[Shard]
    problems: list[Problem]


def write_shards(
    manifest: str | Path,
    output: str | Path,
    *,
    size: int = 1000,
    format: str = "flac",
    sample_rate: int | None = None,
    seed: int | None = 0,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Sharded:
    """Pack a manifest and its audio into `output/shar`, which Lhotse's `CutSet.from_shar` reads too.

    Recordings become mono, of 16 bits; what is louder than full scale is clipped. Utterances that cannot be read are
    left out and come back as problems. `output/shar` appears when all are in it, then `output/shards.json`, which a URL
    needs; when something goes wrong, neither does. The same data give the same bytes.

    Args:
        manifest: a folder or file for `read_manifest`.
        output: a folder without shards or a manifest in it.
        size: utterances in a shard; at 16 kHz FLAC, 1000 of 10 s are about 170 MB.
        format: `flac`, `wav`, `opus` or `mp3`.
        sample_rate: Hz to resample to; None keeps each recording's.
        seed: of the order; training shuffles whole shards and mixes a few of them, so that neighbours should not be of
            one speaker. None keeps the manifest's order.
        jobs: processes.
        progress: called with (shards written, shards in all).

    Raises:
        ManifestError: the manifest is empty or unusable, `output` holds shards already or cannot be written.
        AudioError: no utterance could be read.
        AsrError: the system killed a process.
    """
    output = Path(output)
    if format not in FORMATS:
        raise ManifestError(f"format {format!r}: choose of {', '.join(FORMATS)}")
    if size < 1 or jobs < 1:
        raise ManifestError(f"size {size} and jobs {jobs} must be at least 1")
    if (output / SHAR).exists() or (output / INDEX).exists() or any(output.glob("cuts*.jsonl*")):
        raise ManifestError(f"{output}: holds shards or a manifest already; choose another folder or delete it")
    index = ManifestIndex.open(manifest)
    if not len(index):
        raise ManifestError(f"{manifest}: no utterances to pack")
    order = np.arange(len(index)) if seed is None else np.random.default_rng(seed).permutation(len(index))
    pieces = [order[first : first + size] for first in range(0, len(order), size)]
    unfinished = output / UNFINISHED
    shards, problems = [], []
    try:
        if unfinished.exists():  # a run before was killed
            shutil.rmtree(unfinished)
        unfinished.mkdir(parents=True)
        writer = _Writer(index, unfinished, format, sample_rate)
        with closing(_written(writer, pieces, min(jobs, len(pieces)))) as written:
            for done, (shard, bad) in enumerate(written, start=1):
                shards += [shard] if shard else []
                problems += bad
                if progress:
                    progress(done, len(pieces))
        if not shards:
            raise AudioError(f"{manifest}: none of the {len(index)} recordings could be read; {problems[0].message}")
        unfinished.rename(output / SHAR)
        _write_index(output, shards)
    except OSError as error:
        raise ManifestError(f"{output}: cannot be written ({error.strerror or error}); make room") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return Sharded(output, shards, problems)


def index_shards(folder: str | Path, output: str | Path) -> Sharded:
    """Write `output/shards.json` for shards in a folder below `output`, so that they can be read from a URL.

    The shards may be Lhotse's, or what is left of ours.

    Raises:
        ManifestError: there are no shards, one is unusable, they lie elsewhere, or `output` cannot be written.
    """
    folder, output = Path(folder), Path(output)
    parts = paired_shards(folder)
    if not parts:
        raise ManifestError(f"{folder}: no pairs of cuts.000000.jsonl.gz and recording.000000.tar here")
    if output.resolve() not in parts[0].cuts.resolve().parent.parents:
        raise ManifestError(
            f"{folder}: must lie below {output}, where {INDEX} goes: its names are relative, and Lhotse takes every "
            f"file beside the shards for one of them; try --output {parts[0].cuts.resolve().parent.parent}"
        )
    index = ManifestIndex(parts)
    shards = []
    try:
        for part, members in zip(parts, index.shards or [], strict=True):
            assert part.shard is not None
            place = part.cuts.resolve().parent.relative_to(output.resolve()).as_posix()
            seconds = sum(index[number].duration for number in members)
            shards.append(_entry(part.cuts, part.shard, place, len(members), seconds))
        _write_index(output, shards)
    except OSError as error:
        raise ManifestError(f"{output}: cannot be written, or its shards read ({error.strerror or error})") from error
    return Sharded(output, shards, [])


def _write_index(output: Path, shards: list[Shard]) -> None:
    listing = {"shards": [asdict(shard) for shard in shards]}
    with replacing(output / INDEX) as unfinished:
        unfinished.write_text(json.dumps(listing, indent=1) + "\n", encoding="utf-8")


def _entry(cuts: Path, tar: Path, place: str, utterances: int, seconds: float) -> Shard:
    names = [f"{place}/{path.name}" for path in (cuts, tar)]
    return Shard(names[0], names[1], utterances, round(seconds, 3), _sha256(cuts), _sha256(tar))


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _StoppedError(Exception):
    """The rest of the work has failed, or Ctrl-C was pressed."""


@dataclass(frozen=True)
class _Writer:
    """Writes one shard after the other into `folder`."""

    index: ManifestIndex
    folder: Path
    format: str
    sample_rate: int | None

    def write(self, number: int, members: np.ndarray, stop: Event | None = None) -> tuple[Shard | None, list[Problem]]:
        """Write a shard of these utterances; none when no recording can be read."""
        cuts, tar = self.folder / f"cuts.{number:06d}.jsonl.gz", self.folder / f"recording.{number:06d}.tar"
        count, seconds, problems = 0, 0.0, []
        # No name and date in the gzip header: the same data give the same bytes.
        with (
            tarfile.open(tar, "w") as archive,
            open(cuts, "wb") as file,
            gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as lines,
        ):
            for member in members.tolist():
                if stop is not None and stop.is_set():
                    raise _StoppedError
                utterance = self.index[member]
                rate = self.sample_rate or utterance.sample_rate
                try:
                    waveform = load_utterance(utterance, rate)
                    data = self._encoded(waveform, rate, utterance)
                except AudioError as error:
                    problems.append(Problem(utterance.id, "unreadable audio", str(error)))
                    continue
                cut = _cut(utterance, len(waveform), rate)
                _add(archive, f"{utterance.id}.{self.format}", data)
                _add(archive, f"{utterance.id}.json", json.dumps(cut["recording"]).encode() + b"\n")
                lines.write(json.dumps(cut, ensure_ascii=False).encode() + b"\n")
                count, seconds = count + 1, seconds + len(waveform) / rate
        if not count:
            cuts.unlink()
            tar.unlink()
            return None, problems
        return _entry(cuts, tar, SHAR, count, seconds), problems

    def _encoded(self, waveform: np.ndarray, rate: int, utterance: Utterance) -> bytes:
        container, subtype = FORMATS[self.format]
        # libsndfile would scale by 32767 and change every sample of a 16-bit recording.
        samples = np.clip(np.round(waveform * 32768), -32768, 32767).astype(np.int16)
        stream = io.BytesIO()
        try:
            soundfile.write(stream, samples, rate, format=container, subtype=subtype)
        except (soundfile.LibsndfileError, ValueError) as error:
            raise AudioError(
                f"{utterance.audio}: {rate} Hz cannot be written as {self.format} ({error}); give a sample rate, such "
                "as 16000"
            ) from None
        return stream.getvalue()


def _cut(utterance: Utterance, samples: int, rate: int) -> dict[str, Any]:
    """The utterance as a cut of a recording of its own, to be found in the shard."""
    alone = replace(
        utterance,
        start=0.0,
        duration=samples / rate,
        sample_rate=rate,
        channel=None,
        recording_samples=None,
        member=None,
    )
    cut = alone.to_cut()
    cut["recording"]["sources"] = [{"type": "shar", "channels": [0], "source": ""}]
    return cut


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def _written(
    writer: _Writer, pieces: Sequence[np.ndarray], jobs: int
) -> Generator[tuple[Shard | None, list[Problem]], None, None]:
    """The shards in order, written in `jobs` processes (1: in this one)."""
    if jobs == 1:
        yield from map(writer.write, range(len(pieces)), pieces)
        return
    context = multiprocessing.get_context("spawn")  # forking a process with threads can hang the child
    stop = context.Event()
    with ProcessPoolExecutor(jobs, context, _start, (writer, stop)) as pool:
        try:
            # Ctrl-C reaches every process of the terminal; the workers inherit that they do not hear it.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                waiting = [pool.submit(_write, number, piece) for number, piece in enumerate(pieces)]
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            for future in waiting:
                yield future.result()
        except BrokenProcessPool:
            raise AsrError(
                "a process that writes shards was killed, by the system for want of memory or by a damaged recording; "
                "try fewer --jobs, and `asr data doctor` to find the recording"
            ) from None
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


_state: tuple[_Writer, Event] | None = None


def _start(writer: _Writer, stop: Event) -> None:
    global _state
    _state = (writer, stop)


def _write(number: int, members: np.ndarray) -> tuple[Shard | None, list[Problem]]:
    assert _state is not None
    writer, stop = _state
    return writer.write(number, members, stop)
