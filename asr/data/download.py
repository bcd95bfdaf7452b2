"""Fetch and unpack the official archive of a corpus: resumable, checked, and never half done under the final name."""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from asr.errors import CorpusError
from asr.files import replacing

CHUNK_BYTES = 1 << 18
TIMEOUT_SECONDS = 60.0
BACKOFF_SECONDS = 0.5
"""Wait before the first retry; doubled each time, at most 30 s."""
PASSING_STATUS = frozenset({408, 425, 429})
"""HTTP statuses below 500 that a later attempt may not meet again."""

REMEDY = "get the archive another way, unpack it, and give its folder with `--source DIR`"

Progress = Callable[[int, int | None], None]
"""Called with the bytes there and the bytes in all (None: the server does not say)."""


class _InterruptedTransferError(Exception):
    """The connection ended early; another attempt may go on from here."""


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None,
    md5: str | None = None,
    retries: int = 5,
    progress: Progress | None = None,
) -> Path:
    """Download `url` to `target`, going on from `target.part` where an earlier attempt stopped.

    A server that ignores `Range` is read again from the start. The file takes its final name only when it is complete
    and its checksums agree; a `target` that is there already is checked and kept.

    Args:
        url: an http or https address.
        target: the file to write; its folder is made.
        sha256: expected checksum in hexadecimal; None where the publisher gives none.
        md5: the same, for publishers that give only this.
        retries: attempts in a row that bring no byte more, with growing waits, for errors that may pass.
        progress: called after each chunk.

    Returns:
        `target`.

    Raises:
        CorpusError: not such an address, the server refuses, the connection keeps failing, the disk is full, or a
            checksum differs.
    """
    if not url.startswith(("http://", "https://")):
        raise CorpusError(f"{url!r} is not an http or https address")
    target = Path(target)
    part = target.with_name(target.name + ".part")
    if target.is_file():
        _check(target, url, sha256, md5)
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CorpusError(f"{target.parent}: cannot make the folder ({error.strerror}); choose another") from error
    attempt = 0
    while True:
        before = _size(part)
        try:
            _transfer(url, part, progress)
            break
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code} {error.reason}"
            if error.code < 500 and error.code not in PASSING_STATUS:
                raise CorpusError(f"{url}: {reason}; {REMEDY}") from error
        except _InterruptedTransferError as error:
            reason = str(error)
        except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
            reason = str(getattr(error, "reason", None) or error) or type(error).__name__
        if _size(part) > before:  # it gets on: only attempts in a row that bring nothing count
            attempt = 0
        if attempt == retries:
            kept = f" ({part} is kept: the same command goes on from there)" if part.is_file() else ""
            raise CorpusError(f"{url}: {reason}, after {attempt + 1} attempts{kept}; try again later or {REMEDY}")
        time.sleep(min(30.0, BACKOFF_SECONDS * 2**attempt))
        attempt += 1
    _check(part, url, sha256, md5)
    os.replace(part, target)
    return target


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _transfer(url: str, part: Path, progress: Progress | None) -> None:
    """One attempt: append to `part` what is missing. Returns when it is complete, else raises."""
    done = _size(part)
    headers = {"User-Agent": "asr-corpus-download", "Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        # Nothing follows `done`: the part is complete, or is of another file.
        if error.headers.get("Content-Range") == f"bytes */{done}":
            return
        part.unlink()
        raise _InterruptedTransferError("the partial file did not fit the server's file and was dropped") from error
    with response:
        if response.status != 206:
            done = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            part.unlink()
            raise _InterruptedTransferError(
                f"the server answered another range than asked ({response.headers['Content-Range']!r})"
            )
        length = response.headers.get("Content-Length")
        total = done + int(length) if length is not None else None
        with _open_part(part, "ab" if done else "wb") as out:
            while True:
                try:
                    chunk = response.read(CHUNK_BYTES)
                except http.client.IncompleteRead as error:
                    chunk = error.partial
                if not chunk:
                    break
                _write(out, chunk, part)
                done += len(chunk)
                if progress is not None:
                    progress(done, total)
    if total is not None and done != total:
        raise _InterruptedTransferError(f"the connection ended after {done} of {total} bytes")


def _open_part(part: Path, mode: str) -> BinaryIO:
    try:
        return open(part, mode)  # type: ignore[return-value]
    except OSError as error:
        raise CorpusError(f"{part}: cannot be written ({error.strerror}); choose another output folder") from error


def _write(out: BinaryIO, chunk: bytes, part: Path) -> None:
    try:
        out.write(chunk)
        out.flush()  # so that a full disk shows here, not on closing
    except OSError as error:
        raise CorpusError(
            f"{part}: cannot be written ({error.strerror}); make room and run again, it goes on from there"
        ) from error


def _check(path: Path, url: str, sha256: str | None, md5: str | None) -> None:
    for name, expected in (("sha256", sha256), ("md5", md5)):
        if expected is None:
            continue
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, name).hexdigest()
        if found != expected.lower():
            finished = path.suffix != ".part"
            if not finished:
                path.unlink()
            raise CorpusError(
                f"{path}: {name} is {found}, expected {expected.lower()} for {url}; the file is damaged or has been "
                f"replaced. {'Delete it and run again' if finished else 'It was deleted; run again'}, or {REMEDY}"
            )


def extract(archive: Path, target: Path) -> Path:
    """Unpack a `.tar.gz` (any tar) or `.zip` into the folder `target`; returns `target`.

    When all is unpacked, a marker file `.NAME.unpacked` with the archive's size and date is left in `target`; a later
    call with the same archive does nothing. Unpacking that was cut short is done again.

    Raises:
        CorpusError: the archive is damaged or of another kind, a member would be written outside `target`, or the disk
            is full.
    """
    archive, target = Path(archive), Path(target)
    try:
        stat = archive.stat()
    except OSError as error:
        raise CorpusError(f"{archive}: cannot be read ({error.strerror})") from error
    stamp = f"{stat.st_size} {stat.st_mtime_ns}\n"
    marker = target / f".{archive.name}.unpacked"
    if marker.is_file() and marker.read_text() == stamp:
        return target
    try:
        target.mkdir(parents=True, exist_ok=True)
        if zipfile.is_zipfile(archive):
            _extract_zip(archive, target)
        elif tarfile.is_tarfile(archive):
            _extract_tar(archive, target)
        else:
            raise CorpusError(f"{archive}: neither a tar nor a zip archive; delete it and run again, or {REMEDY}")
        with replacing(marker) as partial:
            partial.write_text(stamp)
    except tarfile.FilterError as error:
        raise CorpusError(f"{archive}: refused to unpack, a member points outside the folder: {error}") from error
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise CorpusError(f"{archive}: the archive is damaged ({error}); delete it and run again") from error
    except OSError as error:
        raise CorpusError(f"{archive}: cannot be unpacked into {target} ({error.strerror or error})") from error
    return target


def _extract_tar(archive: Path, target: Path) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise CorpusError(
            f"{archive}: Python {sys.version.split()[0]} cannot unpack a tar archive safely; "
            "use Python 3.11.4 or later, or unpack it yourself and give the folder with `--source DIR`"
        )
    with tarfile.open(archive) as tar:
        tar.extractall(target, filter="data")


def _extract_zip(archive: Path, target: Path) -> None:
    root = target.resolve()
    with zipfile.ZipFile(archive) as zipped:
        for name in zipped.namelist():
            # ZipFile would quietly drop the `..`; an archive with such members is not the official one.
            if not (root / name).resolve().is_relative_to(root):
                raise CorpusError(f"{archive}: refused to unpack, member {name!r} points outside the folder")
        zipped.extractall(target)
