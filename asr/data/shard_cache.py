"""Shards behind a URL: fetched ahead of the batches that need them, kept while they are needed, then removed."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from threading import Event, Thread
from typing import BinaryIO, Self
from urllib.parse import quote

from asr.data.batches import Stage
from asr.data.download import BACKOFF_SECONDS, download
from asr.data.loading import Batch
from asr.data.manifest import Part
from asr.data.shards import FETCHING, INDEX, POLL_SECONDS, Shard, failure_note, read_index
from asr.errors import AsrError, CorpusError, ManifestError
from asr.files import replacing

STAGES_AHEAD = 1
"""Stages fetched beyond the one whose batches are being read: as much disk as `2 x data.buffer_shards` shards."""
JOIN_SECONDS = 5.0
"""How long the end of an epoch, or Ctrl-C, waits for a transfer to notice."""
BLOCK_BYTES = 2**20


class ShardCache:
    """The shards listed at a URL, in a temporary folder: their cuts all the time, their recordings when it is time.

    One thread fetches; whoever reads waits for a file to appear (`read_member`). A shard that cannot be had leaves a
    file that says why in its place, so that its utterances are reported, and nobody waits for ever.

    Args:
        url: of `shards.json`, or of the folder that holds it; http, https, or another protocol that fsspec knows.
        retries: attempts after the first for each file.

    Raises:
        ManifestError: the list or a file of cuts cannot be fetched, or is damaged.
    """

    def __init__(self, url: str, *, retries: int = 5):
        self.url = url if url.endswith(".json") else f"{url.rstrip('/')}/{INDEX}"
        self.retries = retries
        # A transfer that does not notice its end may still write here when the folder is removed.
        self._temporary = tempfile.TemporaryDirectory(prefix="asr-shards-", ignore_cleanup_errors=True)
        self.folder = Path(self._temporary.name)
        try:
            index = fetch(self.url, self.folder / INDEX, retries=retries)
            self.shards = read_index(index.read_bytes(), self.url)
            self.parts = [self._part(number, shard) for number, shard in enumerate(self.shards)]
        except BaseException as error:
            self.close()
            if isinstance(error, CorpusError):
                raise ManifestError(
                    f"{_reason(error)}; {url} must be the address of a folder with {INDEX} and all that it lists"
                ) from None
            raise

    def close(self) -> None:
        """Remove the folder; it goes with the object, too."""
        self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _part(self, number: int, shard: Shard) -> Part:
        packed = ".gz" if shard.cuts.endswith(".gz") else ""
        cuts = self.folder / f"cuts.{number:06d}.jsonl{packed}"
        fetch(self._address(shard.cuts), cuts, sha256=shard.cuts_sha256, retries=self.retries)
        return Part(cuts, self._tar(number))

    def _tar(self, number: int) -> Path:
        return self.folder / f"recording.{number:06d}.tar"

    def _address(self, name: str) -> str:
        # Not urllib's urljoin, which knows neither s3 nor gs.
        return f"{self.url.rpartition('/')[0]}/{quote(name) if _is_http(self.url) else name}"

    def batches(
        self, stages: Sequence[Stage], first: int, load: Callable[[], Iterable[Batch]]
    ) -> Generator[Batch, None, None]:
        """The batches that `load` gives, from number `first` of `stages` on, while shards come and go behind them.

        Close the generator when it is not read to its end: it stops the thread and removes the recordings.

        Raises:
            ManifestError: there is no room for the shards.
        """
        ends = list(accumulate(len(stage.batches) for stage in stages))
        fetcher = _Fetcher(self, stages, bisect_right(ends, first))
        try:
            with replacing(self.folder / FETCHING) as marker:
                marker.write_text(str(os.getpid()))
            # The iterator first: it forks worker processes, and a process should not be forked beside a busy thread.
            batches = iter(load())
            fetcher.start()
            for done, batch in enumerate(batches, start=first + 1):
                if fetcher.failure:
                    raise ManifestError(fetcher.failure)
                yield batch
                fetcher.at = bisect_right(ends, done)
        finally:
            self._stop_fetching(fetcher)

    def _stop_fetching(self, fetcher: _Fetcher) -> None:
        fetcher.stop.set()
        (self.folder / FETCHING).unlink(missing_ok=True)  # whoever still waits need not
        if fetcher.is_alive():
            fetcher.join(timeout=JOIN_SECONDS)
        for file in self.folder.glob("recording.*"):
            file.unlink(missing_ok=True)

    def fetch_recording(self, number: int, stop: Event) -> None:
        """Fetch the recordings of shard `number`; when it is lost, leave a note that says why.

        Raises:
            ManifestError: there is no room for it.
        """
        shard, tar = self.shards[number], self._tar(number)
        if tar.is_file() or failure_note(tar).is_file():
            return
        url = self._address(shard.recording)
        try:
            fetch(url, tar, sha256=shard.recording_sha256, retries=self.retries, stop=stop)
        except Exception as error:  # whatever it is, the workers that wait must hear of it
            tar.with_name(f"{tar.name}.part").unlink(missing_ok=True)
            if stop.is_set():
                return
            if _disk_is_full(error):
                raise ManifestError(
                    f"{self.folder}: no room for {url}; set TMPDIR to a folder on a larger disk, or lower "
                    f"data.buffer_shards: {1 + STAGES_AHEAD} x as many shards lie there"
                ) from None
            reason = _reason(error) if isinstance(error, CorpusError) else f"{url}: {error!r}"
            with replacing(failure_note(tar)) as partial:
                partial.write_text(
                    f"shard lost: {reason}; upload it again, or list anew what is there with `asr data shard --index`",
                    encoding="utf-8",
                )

    def remove_recording(self, number: int) -> None:
        """Give the room of shard `number` back."""
        for file in (self._tar(number), failure_note(self._tar(number))):
            file.unlink(missing_ok=True)


class _Fetcher(Thread):
    """Fetches stage after stage, at most `STAGES_AHEAD` ahead, and removes what no stage at hand needs.

    Attributes:
        at: the stage whose batches are being read; whoever reads them moves it on.
        stop: set to end the thread.
        failure: why the thread ended, where it could not go on.
    """

    def __init__(self, cache: ShardCache, stages: Sequence[Stage], at: int):
        super().__init__(name="shards", daemon=True)
        self.cache, self.stages, self.at = cache, stages, at
        self.stop = Event()
        self.failure = ""

    def run(self) -> None:
        """The life of the thread."""
        try:
            self._fetch_all()
        except Exception as error:
            self.failure = str(error) if isinstance(error, AsrError) else f"{self.cache.folder}: {error!r}"
            (self.cache.folder / FETCHING).unlink(missing_ok=True)

    def _fetch_all(self) -> None:
        held: set[int] = set()
        for number in range(self.at, len(self.stages)):
            while number > self.at + STAGES_AHEAD:
                if self.stop.wait(POLL_SECONDS):
                    return
            wanted = {shard for stage in self.stages[self.at : number + 1] for shard in stage.shards}
            for shard in held - wanted:
                self.cache.remove_recording(shard)
            held &= wanted
            for shard in self.stages[number].shards:
                if self.stop.is_set():
                    return
                held.add(shard)
                self.cache.fetch_recording(shard, self.stop)


def fetch(url: str, target: Path, *, sha256: str | None = None, retries: int = 5, stop: Event | None = None) -> Path:
    """Copy `url` to `target`, with retries for errors that may pass; http and https by `download`, others by fsspec.

    Raises:
        CorpusError: nobody knows the protocol, the file cannot be had, its checksum differs, `target` cannot be
            written, or `stop` was set.
    """
    if _is_http(url):
        return download(url, target, sha256=sha256, retries=retries, progress=lambda *_: _check_wanted(url, stop))
    import fsspec

    for attempt in range(retries + 1):
        try:
            with fsspec.open(url, "rb") as remote, replacing(target) as partial:
                _copy(remote, partial, url, sha256, stop)
            return target
        except CorpusError:
            raise
        except (ImportError, ValueError, FileNotFoundError, PermissionError) as error:
            raise CorpusError(f"{url}: {error}; check the address, its protocol and your rights") from None
        except Exception as error:  # each protocol has errors of its own
            if attempt == retries:
                raise CorpusError(f"{url}: {error}, after {attempt + 1} attempts; try again later") from None
            (stop or Event()).wait(min(30.0, BACKOFF_SECONDS * 2**attempt))
            _check_wanted(url, stop)
    raise AssertionError("not reached")


def _copy(remote: BinaryIO, target: Path, url: str, sha256: str | None, stop: Event | None) -> None:
    digest = hashlib.sha256()
    with open(target, "wb", buffering=0) as out:
        while block := remote.read(BLOCK_BYTES):
            _check_wanted(url, stop)
            digest.update(block)
            try:
                while block:
                    block = block[out.write(block) :]
            except OSError as error:
                raise CorpusError(f"{target}: cannot be written ({error.strerror}); make room") from error
    if sha256 is not None and digest.hexdigest() != sha256:
        raise CorpusError(f"{url}: sha256 is {digest.hexdigest()}, expected {sha256}; upload it again")


def _is_http(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _check_wanted(url: str, stop: Event | None) -> None:
    if stop is not None and stop.is_set():
        raise CorpusError(f"{url}: no longer needed")


def _disk_is_full(error: Exception) -> bool:
    cause = error.__cause__ or error
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)


def _reason(error: CorpusError) -> str:
    """What happened, without the advice that `download` gives for the archive of a corpus."""
    return re.sub(r" \(\S+ is kept: [^)]*\)|; .*", "", str(error))
