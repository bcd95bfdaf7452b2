"""Cut-short recordings, found in their headers: libsndfile quietly clips a promised length to the bytes there are."""

from __future__ import annotations

import math
import struct
from typing import BinaryIO

from asr.errors import AudioError

SIZE_SLACK = 64
"""Bytes a file may lack: some recorders count their own header (44 bytes) as audio."""

UNREAD_SUFFIXES = (".3gp", ".aac", ".amr", ".avi", ".m4a", ".m4b", ".mkv", ".mov", ".mp4", ".webm", ".wma")
"""Sound that libsndfile does not read, to be told of where it lies among what it does."""
CONVERT = "convert it with `ffmpeg -i INPUT -ac 1 -ar 16000 OUTPUT.wav`"
FETCH_AGAIN = "copy or download it again, or keep what is there with `ffmpeg -i INPUT OUTPUT.wav`"


class View:
    """The bytes of a file for libsndfile, without its name: the content alone says what the format is.

    With `unknown_size_at`, the four bytes there read as 0xFFFFFFFF, the mark of a size the writer did not know.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.unknown_size_at: int | None = None
        self.tell = file.tell
        self.seek = file.seek

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, as libsndfile asks for them."""
        begin = self._file.tell()
        data = self._file.read(size)
        mark = self.unknown_size_at
        if mark is None or begin >= mark + 4 or begin + len(data) <= mark:
            return data
        patched = bytearray(data)
        for position in range(max(mark, begin), min(mark + 4, begin + len(data))):
            patched[position - begin] = 0xFF
        return bytes(patched)

    def read_at(self, position: int, size: int) -> bytes:
        """`size` bytes from `position` on, as they are in the file."""
        self._file.seek(position)
        return self._file.read(size)


def check_header(view: View, size: int, name: str) -> None:
    """Find what libsndfile keeps quiet about: it clips a promised length to the bytes that are there."""
    head = view.read_at(0, 1024)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
        _check_chunks(view, size, name, ">" if head[:4] == b"RIFX" else "<", b"data")
    elif head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        _check_chunks(view, size, name, ">", b"SSND")
    elif head[:4] == b".snd" and len(head) >= 12:
        offset, promised = struct.unpack(">II", head[4:12])
        if not _placeholder(promised):
            _check_size(name, promised, size - offset)
    elif head[:7] == b"NIST_1A":
        _check_sphere(head, size, name)
    elif head[:4] == b"OggS":
        _check_ogg(view, size, name)


def _check_size(name: str, promised: int, found: int) -> None:
    if promised - found > SIZE_SLACK:
        raise AudioError(
            f"{name}: cut short: the header promises {promised} bytes of audio and {max(found, 0)} are there; "
            f"{FETCH_AGAIN}"
        )


def _placeholder(size: int) -> bool:
    """Whether a 32-bit size is one that writers to a pipe put down when they cannot know the real one.

    0xFFFFFFFF by ffmpeg, 0x7FFFFFFF less a header by sox, 0x80000000 by arecord.
    """
    return size >= 0xFFFFF000 or 0x7FFF0000 <= size <= 0x80000040


def _check_chunks(view: View, size: int, name: str, order: str, wanted: bytes) -> None:
    """Compare the size that the audio chunk of a WAV or AIFF file declares with the bytes there are."""
    outer = struct.unpack(order + "I", view.read_at(4, 4))[0]
    position, long_size = 12, 0
    while position + 8 <= size:
        tag, promised = struct.unpack(order + "4sI", view.read_at(position, 8))
        found = size - position - 8
        if tag == b"ds64":  # RF64 keeps the size of its data chunk here: EBU Tech 3306
            long_size = int.from_bytes(view.read_at(position + 16, 8), "little")
        if tag == wanted:
            # A writer that never came back to fill in its sizes; an empty recording has an outer size that is right.
            if promised == 0 and found and (outer + 8 <= position + 8 or _placeholder(outer)):
                view.unknown_size_at = position + 4
            elif promised == 0xFFFFFFFF and 0 < long_size < 2**63:
                _check_size(name, long_size, found)
            elif not _placeholder(promised):
                _check_size(name, promised, found)
            return
        position += 8 + promised + promised % 2


def _check_sphere(head: bytes, size: int, name: str) -> None:
    """Check a NIST SPHERE header: lines `name -i value` after two lines of identification."""
    fields = {words[0]: words[-1] for line in head.split(b"\n")[2:] if len(words := line.decode("latin-1").split()) > 2}
    coding = fields.get("sample_coding", "pcm")
    if "embedded-" in coding:
        raise AudioError(
            f"{name}: NIST SPHERE compressed as `{coding}`, which libsndfile does not read; expand it with "
            "`sph2pipe -f wav INPUT OUTPUT.wav`"
        )
    try:
        offset = int(head[8:16])
        promised = math.prod(int(fields[key]) for key in ("sample_count", "channel_count", "sample_n_bytes"))
    except (KeyError, ValueError):
        return  # not every writer gives all of them; libsndfile then goes by the size of the file
    _check_size(name, promised, size - offset)


def _check_ogg(view: View, size: int, name: str) -> None:
    """Check the last page of an Ogg file (RFC 3533, section 6): whole, and of a stream that begins the file."""
    tail_start = max(0, size - 2**16 - 1024)  # a page has at most 65307 bytes
    tail = view.read_at(tail_start, size - tail_start)
    page = tail[max(tail.rfind(b"OggS"), 0) :]
    segments = page[26] if len(page) > 26 else 255
    promised = 27 + segments + sum(page[27 : 27 + segments])
    if len(page) < promised:
        raise AudioError(
            f"{name}: cut short: the last Ogg page, at byte {size - len(page)}, promises at least {promised} bytes and "
            f"{len(page)} are there; {FETCH_AGAIN}"
        )
    position, serials = 0, set()
    while (first := view.read_at(position, 282))[:4] == b"OggS" and len(first) > 26 and first[5] & 2:  # stream begins
        serials.add(first[14:18])
        position += 27 + first[26] + sum(first[27 : 27 + first[26]])
    if page[:4] == b"OggS" and page[14:18] not in serials:
        raise AudioError(
            f"{name}: several Ogg recordings joined end to end, of which only the first would be read; {CONVERT}"
        )
