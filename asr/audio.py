"""Any recording, as a path, bytes or an open file, to a mono float32 waveform at the rate the model hears."""

from __future__ import annotations

import io
import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
import soundfile
import soxr

from asr.audio_headers import CONVERT, FETCH_AGAIN, View, check_header
from asr.errors import AudioError
from asr.interrupts import interrupts_held

AudioSource: TypeAlias = str | Path | bytes | bytearray | memoryview | BinaryIO
"""A path, the bytes of a whole file, or a file opened in binary mode (always read from its beginning)."""

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".sph", ".w64")
"""What counts as audio in a folder that also holds other files. Content decides what a file named by itself is."""
MIN_SAMPLE_RATE = 1_000
"""Hz. Speech cannot be understood below this; a lower value in a header means the header is damaged."""
MAX_SAMPLE_RATE = 768_000
"""Hz. The fastest audio converters made; a higher value in a header means the header is damaged."""
RESAMPLING_QUALITY = "HQ"
"""soxr's 20-bit filter: flat to 0.91 of the lower Nyquist rate, images below -120 dB, under float32's own noise."""
READ_VALUES = 2**18
"""Numbers decoded at a time over all channels (1 MiB of float32), so that memory does not grow with the channels."""
END_TOLERANCE = 0.01
"""Seconds a segment may reach past the end: manifests round times, and one feature frame is this long."""
MP3_FRAME = 1152
"""Samples of the longest MP3 frame: encoders disagree by up to one frame about the length they declare."""
MP3_PREROLL = 2.5
"""Seconds decoded before a segment of an MP3: its frames borrow up to 511 bytes from those before (the bit reservoir);
in stereo at 8 kbit/s that is 85 frames, 2 s; libmpg123 gives silence where they are missing."""
SPOOL_BYTES = 2**24
"""A stream that cannot seek (a pipe) is kept in memory up to this size, then in a temporary file."""

_UNKNOWN_LENGTH = 2**62  # libsndfile gives 2**63 - 1 for a FLAC written to a pipe
_FORMATS = "wav, flac, ogg (vorbis, opus), mp3, aiff, au, caf, NIST sph and the other formats of libsndfile are read"


@dataclass(frozen=True)
class AudioInfo:
    """What the header of a recording says: rate in Hz, channels, samples per channel, length in seconds."""

    sample_rate: int
    channels: int
    samples: int
    seconds: float


def audio_info(source: AudioSource) -> AudioInfo:
    """Read the header of a recording, without decoding it.

    Two lengths are not in any header: that of a FLAC written to a pipe is counted by decoding, that of an MP3 without
    a Xing header is the estimate its first frame gives.

    Raises `AudioError` when the recording cannot be opened, is not audio, is empty, or is visibly cut short.
    """
    with _opened(source) as recording:
        rate = recording.sample_rate
        return AudioInfo(rate, recording.sound.channels, recording.samples, recording.samples / rate)


def load_audio(
    source: AudioSource,
    rate: int = 16000,
    *,
    start: float = 0.0,
    duration: float | None = None,
    channel: int | None = None,
) -> np.ndarray:
    """Read a recording, or `duration` seconds of it from second `start`, as float32 mono `[samples]` at `rate` Hz.

    `channel` counts from 0; None takes the mean of all channels. Integer formats are scaled to [-1, 1), float formats
    are left as they are. n samples become n * rate / file rate, rounded half up. A segment is resampled by itself: its
    first and last milliseconds differ from those of the whole recording.

    Raises `AudioError`, naming the file, for what is missing, unreadable, not audio, cut short, empty, holds NaN or
    infinity, or lacks the segment or channel asked for. Cut-short files are found in wav, aiff, au, flac, sph and mp3
    with a length in its header, and in ogg unless it ends exactly between two pages; not in w64, voc and other rare
    formats. In compressed files the cut is found by decoding to it, so a segment before it is read without complaint.
    """
    with _opened(source) as recording:
        first, count = _segment(recording, start, duration)
        pieces = list(_waveform(recording, rate, first, count, channel))
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def stream_audio(
    source: AudioSource, rate: int = 16000, *, block_seconds: float = 30.0, channel: int | None = None
) -> Iterator[np.ndarray]:
    """Read a recording of any length in bounded memory: float32 mono blocks `[samples]` at `rate` Hz.

    The blocks joined together are exactly what `load_audio` returns; each has `block_seconds` but the last, which may
    be shorter. Raises the errors of `load_audio`: those of the header at the first block, those found while decoding
    (damage, NaN, a compressed file cut short) when the stream reaches them.
    """
    block_samples = round(block_seconds * rate) if math.isfinite(block_seconds) else 0
    if block_samples < 1:
        raise AudioError(f"{_name(source)}: block_seconds is {block_seconds}; give a positive number of seconds")
    with _opened(source) as recording:
        block, filled = np.empty(block_samples, np.float32), 0
        for piece in _waveform(recording, rate, 0, recording.samples, channel):
            while len(piece):
                taken = min(len(piece), block_samples - filled)
                block[filled : filled + taken] = piece[:taken]
                filled, piece = filled + taken, piece[taken:]
                if filled == block_samples:
                    yield block
                    block, filled = np.empty(block_samples, np.float32), 0
        if filled:
            yield block[:filled]


class _SequentialFile(soundfile.SoundFile):
    """A SoundFile that reads straight on: soundfile seeks after each block, which FLAC from a pipe cannot do.

    What calls back into Python is not interrupted: an exception there would look like the end of the file.
    """

    @interrupts_held()
    def __init__(self, view: View) -> None:
        super().__init__(view)

    @interrupts_held()
    def read(self, frames: int) -> np.ndarray:
        """Up to `frames` samples `[samples, channels]` of all channels, float32."""
        return super().read(frames, dtype="float32", always_2d=True)

    @interrupts_held()
    def seek(self, frames: int, whence: int = io.SEEK_SET) -> int:
        return super().seek(frames, whence)

    def seekable(self) -> bool:
        return False


@dataclass
class _Recording:
    """An open recording: its name for messages, its bytes, their number, the decoder and samples per channel."""

    name: str
    view: View
    size: int
    sound: _SequentialFile
    samples: int

    @property
    def sample_rate(self) -> int:
        return int(self.sound.samplerate)


def _name(source: AudioSource) -> str:
    if isinstance(source, bytes | bytearray | memoryview):
        return "<bytes>"
    if isinstance(source, str | Path):
        return str(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) and name else f"<{type(source).__name__}>"


@contextmanager
def _opened(source: AudioSource) -> Iterator[_Recording]:
    name = _name(source)
    with ExitStack() as stack:
        file = _binary_file(source, name, stack)
        size = file.seek(0, io.SEEK_END)
        if size == 0:
            raise AudioError(f"{name}: empty file, 0 bytes; record or download it again")
        view = View(file)
        check_header(view, size, name)
        sound = stack.enter_context(_decoder(view, name))
        if not MIN_SAMPLE_RATE <= sound.samplerate <= MAX_SAMPLE_RATE:
            raise AudioError(
                f"{name}: the header gives a sample rate of {sound.samplerate} Hz, outside {MIN_SAMPLE_RATE} to "
                f"{MAX_SAMPLE_RATE}; the header is damaged: fetch the file again or correct its rate"
            )
        recording = _Recording(name, view, size, sound, sound.frames)
        if recording.samples >= _UNKNOWN_LENGTH:
            recording.samples = sum(len(block) for block in _decoded(recording, None))
            recording.sound = stack.enter_context(_decoder(view, name))
        if recording.samples == 0:
            raise AudioError(f"{name}: zero samples: a header without audio; record it again or leave it out")
        yield recording


def _binary_file(source: AudioSource, name: str, stack: ExitStack) -> BinaryIO:
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(bytes(source))
    if isinstance(source, str | Path):
        try:
            if Path(source).is_dir():
                raise AudioError(f"{name}: is a directory; give the audio files in it")
            file: BinaryIO = stack.enter_context(open(source, "rb"))  # noqa: SIM115  # the stack is the caller's
        except FileNotFoundError:
            raise AudioError(f"{name}: no such file; check the path (the working directory is {Path.cwd()})") from None
        except PermissionError:
            raise AudioError(f"{name}: permission denied; make it readable with `chmod +r`") from None
        except (OSError, ValueError) as error:
            raise AudioError(f"{name}: cannot be opened ({error}); check the path and the disk") from error
    elif isinstance(source, io.TextIOBase) or not hasattr(source, "read"):
        raise AudioError(f"{name}: {type(source).__name__} is not a binary file; open it with mode 'rb'")
    else:
        file = source
    if file.seekable():
        return file
    spool = stack.enter_context(tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES))  # noqa: SIM115
    shutil.copyfileobj(file, spool)
    return spool  # type: ignore[return-value]  # the type stubs call it IO[bytes]


def _decoder(view: View, name: str) -> _SequentialFile:
    view.seek(0)
    try:
        return _SequentialFile(view)
    except soundfile.LibsndfileError as error:
        said = error.error_string.rstrip(".")
        if error.code == 7:  # its text speaks of a missing file, but libmpg123 has given up on the frames
            said = "begins like an MP3 but has no whole frames"
    raise AudioError(f"{name}: not audio that can be read (libsndfile: {said}); {_FORMATS}; {CONVERT}")


def _segment(recording: _Recording, start: float, duration: float | None) -> tuple[int, int]:
    """First sample and number of samples, at the recording's own rate, of a segment given in seconds."""
    rate, samples, name = recording.sample_rate, recording.samples, recording.name
    if not (math.isfinite(start) and start >= 0 and round(start * rate) < samples):
        raise AudioError(f"{name}: start {start} s is outside the recording, which has {samples / rate:.3f} s")
    first = round(start * rate)
    if duration is None:
        return first, samples - first
    if not (math.isfinite(duration) and round(duration * rate) > 0):
        raise AudioError(f"{name}: duration {duration} s; give a positive number of seconds")
    if start + duration > samples / rate + END_TOLERANCE:
        raise AudioError(
            f"{name}: the segment from {start} s to {start + duration:.3f} s ends outside the recording, "
            f"which has {samples / rate:.3f} s; correct the manifest"
        )
    return first, min(round(duration * rate), samples - first)


def _decoded(recording: _Recording, count: int | None) -> Iterator[np.ndarray]:
    """Blocks `[samples, channels]` from where the decoder stands: `count` samples, or all there are."""
    sound, read = recording.sound, 0
    block_samples = max(1, READ_VALUES // sound.channels)
    while count is None or read < count:
        wanted = block_samples if count is None else min(block_samples, count - read)
        try:
            block = sound.read(wanted)
        except soundfile.LibsndfileError as error:
            rate = recording.sample_rate
            raise AudioError(
                f"{recording.name}: cut short or damaged: decoding fails after {sound.tell() / rate:.2f} s of "
                f"{'an unknown length' if count is None else f'{recording.samples / rate:.2f} s'} "
                f"({error.error_string or f'libsndfile error {error.code}'}); {FETCH_AGAIN}"
            ) from error
        read += len(block)
        if len(block):
            yield block
        if len(block) < wanted:
            return


def _mono(recording: _Recording, first: int, count: int, channel: int | None) -> Iterator[np.ndarray]:
    """Blocks `[samples]` of one channel or of the mean of all, at the recording's own rate, checked to the last."""
    name, rate, sound = recording.name, recording.sample_rate, recording.sound
    if channel is not None and not 0 <= channel < sound.channels:
        raise AudioError(f"{name}: no channel {channel}; it has {sound.channels}, counted from 0")
    landing = 0
    if soundfile.SoundFile.seekable(sound):  # GSM 6.10 and a few more are not: they decode only from the beginning
        landing = max(0, first - round(MP3_PREROLL * rate)) if sound.format == "MP3" else first
    if landing:
        try:
            sound.seek(landing)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{name}: cut short or damaged: nothing at {first / rate:.2f} s; {FETCH_AGAIN}") from error
    for _ in _decoded(recording, first - landing):
        pass
    read, bad, first_bad = 0, 0, 0
    for block in _decoded(recording, count):
        if channel is None and block.shape[1] > 1:
            mono = block.mean(axis=1)
        else:  # the mean of one channel would only copy it, and cost a tenth of reading a FLAC
            mono = np.ascontiguousarray(block[:, channel or 0])
        wrong = np.flatnonzero(~np.isfinite(mono))
        if len(wrong) and not bad:
            first_bad = first + read + int(wrong[0])
        bad, read = bad + len(wrong), read + len(mono)
        if not bad:  # from the first bad sample on, read only to count them
            yield mono
    if bad:
        raise AudioError(
            f"{name}: {bad} of {read} samples are NaN or infinite, the first at {first_bad / rate:.4f} s; "
            "write the recording again from its source, or leave it out"
        )
    _check_decoded(recording, first + read, first + count)


def _check_decoded(recording: _Recording, decoded: int, promised: int) -> None:
    """Compare what came out of the decoder with what the header promised."""
    name, rate, is_mp3 = recording.name, recording.sample_rate, recording.sound.format == "MP3"
    if is_mp3 and decoded == recording.samples:
        # libmpg123 stops exactly behind the last frame it counts. Encoders flush a frame or two after it; more
        # mean that the count is wrong.
        position = recording.view.tell()
        following = recording.view.read_at(position, 2)
        more = (recording.size - position) / position * decoded > 3 * MP3_FRAME
        if more and following[0] == 0xFF and following[1] >= 0xE0:
            raise AudioError(
                f"{name}: the MP3 header gives {decoded / rate:.2f} s but {recording.size - position} bytes of audio "
                "follow; write a right header with `ffmpeg -i INPUT -c copy OUTPUT.mp3`"
            )
    if decoded >= promised - (MP3_FRAME if is_mp3 else 0):
        return
    if is_mp3 and not any(tag in recording.view.read_at(0, 2**20) for tag in (b"Xing", b"Info", b"VBRI")):
        return  # the length was an estimate from the first frame, and the file was decoded to its end
    raise AudioError(
        f"{name}: cut short: the header promises {promised / rate:.2f} s and {decoded / rate:.2f} s are there; "
        f"{FETCH_AGAIN}"
    )


def _waveform(recording: _Recording, rate: int, first: int, count: int, channel: int | None) -> Iterator[np.ndarray]:
    """Blocks `[samples]` at `rate` Hz, of any length; at least one sample in all."""
    if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
        raise AudioError(f"{recording.name}: cannot resample to {rate} Hz; give {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE}")
    blocks, total = _mono(recording, first, count, channel), 0
    if rate == recording.sample_rate:
        yield from blocks
        return
    resampler = soxr.ResampleStream(recording.sample_rate, rate, 1, dtype="float32", quality=RESAMPLING_QUALITY)
    for block in blocks:
        resampled = resampler.resample_chunk(block)
        total += len(resampled)
        yield resampled
    rest = resampler.resample_chunk(np.empty(0, np.float32), last=True)
    if total + len(rest) == 0:
        raise AudioError(
            f"{recording.name}: zero samples: {count} at {recording.sample_rate} Hz are none at {rate} Hz; leave it out"
        )
    yield rest
