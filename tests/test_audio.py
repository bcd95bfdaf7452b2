from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import sys
import threading
import tracemalloc
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from scipy.io import wavfile
from scipy.signal import resample_poly

from asr.audio import READ_VALUES, AudioInfo, audio_info, load_audio, stream_audio
from asr.errors import AudioError

RATE = 16000


def sine(rate: int = RATE, seconds: float = 1.0, hertz: float = 440.0, amplitude: float = 0.5) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def speechlike(seconds: float = 4.0, rate: int = RATE) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(round(rate * seconds)).astype(np.float32)
    return sine(rate, seconds, amplitude=0.3) + 0.03 * noise


def encoded(samples: np.ndarray, format: str, subtype: str | None = None, rate: int = RATE) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=format, subtype=subtype)
    return buffer.getvalue()


def pcm_wav(samples: np.ndarray, rate: int = RATE, width: int = 2) -> bytes:
    """WAV of little-endian integers `[samples, channels]`, by the standard library."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        little_endian = samples.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :width]
        file.writeframes(little_endian.tobytes())
    return buffer.getvalue()


def sphere(samples: np.ndarray, order: str, coding: str = "pcm", count: int | None = None) -> bytes:
    """A NIST SPHERE file of 16-bit samples, `order` "01" little-endian or "10" big-endian."""
    header = (
        "NIST_1A\n   1024\n"
        "channel_count -i 1\n"
        f"sample_count -i {len(samples) if count is None else count}\n"
        f"sample_rate -i {RATE}\nsample_n_bytes -i 2\nsample_byte_format -s2 {order}\nsample_sig_bits -i 16\n"
        f"sample_coding -s{len(coding)} {coding}\nend_head\n"
    )
    return header.encode().ljust(1024) + samples.astype("<i2" if order == "01" else ">i2").tobytes()


def error_of(source: object, read: Callable = load_audio, **options: object) -> str:
    with pytest.raises(AudioError) as caught:
        read(source, **options)
    return str(caught.value)


# ---- what is read


def test_16_bit_wav_equals_the_standard_library(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    integers = np.random.default_rng(1).integers(-(2**15), 2**15, (1000, 1))
    path.write_bytes(pcm_wav(integers))
    waveform = load_audio(path)
    assert waveform.dtype == np.float32
    assert waveform.shape == (1000,)
    np.testing.assert_array_equal(waveform, integers[:, 0] / 2**15)
    assert audio_info(path) == AudioInfo(sample_rate=RATE, channels=1, samples=1000, seconds=1000 / RATE)


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int16", "int32"])
def test_wav_written_by_scipy_is_read_in_every_sample_type(dtype: str, tmp_path: Path) -> None:
    expected = np.round(speechlike(0.2) * 127) / 128  # values that every one of the types holds exactly
    offset, scale = {"float32": (0, 1), "float64": (0, 1), "uint8": (128, 2**7), "int16": (0, 2**15)}.get(
        dtype, (0, 2**31)
    )
    wavfile.write(tmp_path / "a.wav", RATE, (expected * scale + offset).astype(dtype))
    np.testing.assert_allclose(load_audio(tmp_path / "a.wav"), expected, atol=1e-7)


def test_float_wav_beyond_full_scale_is_not_clipped() -> None:
    np.testing.assert_array_equal(load_audio(encoded(sine() * 8, "WAV", "FLOAT")), sine() * 8)


def test_mu_law_wav_follows_g711() -> None:
    codes = np.arange(256, dtype=np.uint8)
    fmt = struct.pack("<HHIIHH", 7, 1, RATE, RATE, 1, 8)
    data = b"RIFF" + struct.pack("<I", 36 + 256) + b"WAVEfmt " + struct.pack("<I", 16) + fmt
    data += b"data" + struct.pack("<I", 256) + codes.tobytes()
    inverted = ~codes.astype(np.int32) & 0xFF
    magnitude = ((((inverted & 15) << 3) + 132) << ((inverted >> 4) & 7)) - 132
    expected = np.where(inverted & 128, -magnitude, magnitude) / 2**15
    np.testing.assert_allclose(load_audio(data), expected, atol=1e-7)


def test_eight_channels_at_96_khz_in_24_bits_become_mono_at_16_khz() -> None:
    one = sine(96000, 1.0, 1000.0)
    channels = np.stack([one * gain for gain in np.linspace(0.1, 0.8, 8)], axis=1)
    data = pcm_wav(np.round(channels * 2**23).astype(np.int64), 96000, width=3)
    assert audio_info(data) == AudioInfo(96000, 8, 96000, 1.0)
    waveform = load_audio(data)
    assert waveform.shape == (16000,)
    np.testing.assert_allclose(waveform[500:-500], 0.45 * sine(hertz=1000.0)[500:-500], atol=1e-5)
    np.testing.assert_allclose(load_audio(data, 96000, channel=7), channels[:, 7], atol=2**-22)
    np.testing.assert_allclose(load_audio(data, 96000), channels.mean(axis=1), atol=2**-22)


@pytest.mark.parametrize(
    ("format", "subtype", "tolerance"),
    [
        ("FLAC", "PCM_16", 2**-15),
        ("FLAC", "PCM_24", 2**-23),
        ("OGG", "VORBIS", 0.03),
        ("OGG", "OPUS", 0.03),
        ("MP3", "MPEG_LAYER_III", 0.03),
        ("AIFF", "PCM_16", 2**-15),
        ("AU", "PCM_16", 2**-15),
        ("CAF", "ALAC_16", 2**-15),
        ("NIST", "PCM_16", 2**-15),
        ("RF64", "PCM_24", 2**-23),
        ("WAV", "GSM610", 0.1),
        ("WAV", "IMA_ADPCM", 0.03),
    ],
)
def test_every_format_gives_back_the_sine_and_its_segments(format: str, subtype: str, tolerance: float) -> None:
    data = encoded(sine(seconds=3.0), format, subtype)
    waveform = load_audio(data)
    assert abs(len(waveform) - 48000) <= 1017  # ADPCM fills its last block
    np.testing.assert_allclose(waveform[2000:46000], sine(seconds=3.0)[2000:46000], atol=tolerance)
    segment = load_audio(data, start=1.25, duration=0.5)
    np.testing.assert_allclose(segment, waveform[20000:28000], atol=1e-6)


def test_a_segment_of_an_mp3_has_the_bytes_its_frames_borrow_from_those_before() -> None:
    buffer = io.BytesIO()
    stereo = np.stack([sine(24000, 8.0)] * 2, axis=1)
    soundfile.write(buffer, stereo, 24000, format="MP3", bitrate_mode="CONSTANT", compression_level=0.99)  # 8 kbit/s
    whole = load_audio(buffer.getvalue(), 24000)
    for start in (0.5, 3.77, 6.5):
        segment = load_audio(buffer.getvalue(), 24000, start=start, duration=0.5)
        first = round(start * 24000)
        np.testing.assert_allclose(segment, whole[first : first + 12000], atol=1e-6)


@pytest.mark.parametrize("order", ["01", "10"])
def test_sphere_is_read_in_both_byte_orders(order: str) -> None:
    integers = np.random.default_rng(2).integers(-(2**15), 2**15, 500)
    np.testing.assert_array_equal(load_audio(sphere(integers, order)), integers / 2**15)


def test_twenty_milliseconds_are_read() -> None:
    assert load_audio(encoded(sine(8000, 0.02), "WAV", rate=8000)).shape == (320,)
    assert [len(block) for block in stream_audio(encoded(sine(seconds=0.02), "FLAC"))] == [320]


def test_silence_is_read_as_zeros() -> None:
    assert not load_audio(encoded(np.zeros(44100, np.float32), "FLAC", rate=44100)).any()


def test_bytes_file_object_and_pipe_equal_the_path(tmp_path: Path) -> None:
    path = tmp_path / "größe 1.flac"
    path.write_bytes(encoded(speechlike(), "FLAC"))
    expected = load_audio(path)
    np.testing.assert_array_equal(load_audio(str(path)), expected)
    for kind in (bytes, bytearray, memoryview):
        np.testing.assert_array_equal(load_audio(kind(path.read_bytes())), expected)
    with pytest.raises(AudioError, match="<bytes>: empty file"):
        load_audio(bytearray())
    with path.open("rb") as file:
        assert audio_info(file).samples == len(expected)
        np.testing.assert_array_equal(load_audio(file), expected)  # from the beginning, wherever it stood
        assert not file.closed
    descriptor, other_end = os.pipe()
    with os.fdopen(descriptor, "rb") as reader, os.fdopen(other_end, "wb") as writer:

        def feed() -> None:
            writer.write(path.read_bytes())
            writer.close()

        thread = threading.Thread(target=feed)
        thread.start()
        np.testing.assert_array_equal(load_audio(reader), expected)
        thread.join()


def test_the_content_and_not_the_name_says_the_format(tmp_path: Path) -> None:
    for name in ("a.raw", "a.mp3", "a"):
        (tmp_path / name).write_bytes(encoded(sine(), "FLAC"))
        assert len(load_audio(tmp_path / name)) == RATE
    (tmp_path / "a.au").write_bytes(b"no audio at all " * 100)
    assert "not audio" in error_of(tmp_path / "a.au")


# ---- resampling


@pytest.mark.parametrize("rate", [8000, 11025, 12000, 22050, 24000, 32000, 44100, 48000, 96000, 192000])
def test_a_sine_keeps_its_phase_and_level_up_to_nine_tenths_of_nyquist(rate: int) -> None:
    for share in (0.05, 0.5, 0.9):
        hertz = share * min(rate, RATE) / 2
        waveform = load_audio(encoded(sine(rate, 1.0, hertz), "WAV", "FLOAT", rate))
        assert len(waveform) == RATE
        expected = sine(RATE, 1.0, hertz)
        assert np.abs(waveform - expected)[2000:-2000].max() < 1e-3  # 0.02 dB


@pytest.mark.parametrize("rate", [22050, 44100, 48000, 96000])
def test_what_the_new_rate_cannot_hold_is_removed(rate: int) -> None:
    waveform = load_audio(encoded(sine(rate, 1.0, 8800.0, amplitude=1.0), "WAV", "FLOAT", rate))
    assert 20 * np.log10(np.abs(waveform[2000:-2000]).max()) < -100


def test_resampling_agrees_with_scipy() -> None:
    noise = np.random.default_rng(3).standard_normal(8000)
    smooth = resample_poly(noise, 6, 1).astype(np.float32)[:48000] * 0.1  # noise up to 4 kHz, at 48 kHz
    ours, theirs = load_audio(encoded(smooth, "WAV", "FLOAT", 48000)), resample_poly(smooth, 1, 3)
    np.testing.assert_allclose(ours[500:-500], theirs[500:-500], atol=1e-3)


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 48000])
@pytest.mark.parametrize("samples", [7, 1000, 12345])
def test_the_length_is_the_rounded_ratio(rate: int, samples: int) -> None:
    expected = (2 * samples * RATE + rate) // (2 * rate)  # rounded half up, in integers
    assert len(load_audio(encoded(sine(rate, 2.0)[:samples], "WAV", rate=rate))) == expected


# ---- streaming


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 96000])
@pytest.mark.parametrize("format", ["WAV", "FLAC"])
def test_blocks_joined_equal_the_whole(rate: int, format: str) -> None:
    stereo = np.stack([speechlike(7.3, rate), sine(rate, 7.3)], axis=1)
    assert stereo.size > READ_VALUES or rate < 44100  # the decoder is called several times
    data = encoded(stereo, format, "PCM_24", rate)
    blocks = list(stream_audio(data, block_seconds=1.5))
    assert [len(block) for block in blocks] == [24000] * 4 + [20800]
    np.testing.assert_array_equal(np.concatenate(blocks), load_audio(data))
    np.testing.assert_array_equal(np.concatenate(list(stream_audio(data, channel=1))), load_audio(data, channel=1))


def test_streaming_resamples_as_if_the_file_were_one_piece() -> None:
    long = speechlike(30.0, 44100)
    streamed = np.concatenate(list(stream_audio(encoded(long, "WAV", "FLOAT", 44100))))
    np.testing.assert_allclose(streamed, soxr.resample(long, 44100, RATE), atol=1e-5)


def test_streaming_ten_minutes_of_eight_channels_takes_little_memory(tmp_path: Path) -> None:
    path, audio_bytes = tmp_path / "long.wav", 600 * 12000 * 8 * 3
    header = bytearray(pcm_wav(np.zeros((1, 8), np.int64), 12000, width=3)[:44])
    header[4:8], header[40:44] = struct.pack("<I", audio_bytes + 36), struct.pack("<I", audio_bytes)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(44 + audio_bytes)  # sparse: no disk is used
    tracemalloc.start()
    try:
        assert sum(len(block) for block in stream_audio(path, block_seconds=30.0)) == 600 * RATE
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12e6  # the whole is 230 MB as float32


# ---- sizes that the writer did not know


@pytest.mark.parametrize(
    ("riff", "data"),
    [(0, 0), (36, 0), (0xFFFFFFFF, 0), (0xFFFFFFFF, 0xFFFFFFFF), (0x7FFFF024, 0x7FFFF000), (0x80000024, 0x80000000)],
)
def test_wav_written_to_a_pipe_is_read_whole(riff: int, data: int) -> None:
    wav = bytearray(encoded(speechlike(), "WAV", "PCM_16"))
    expected = load_audio(bytes(wav))
    wav[4:8], wav[40:44] = struct.pack("<I", riff), struct.pack("<I", data)
    np.testing.assert_array_equal(load_audio(bytes(wav)), expected)
    assert audio_info(bytes(wav)).samples == len(expected)


def test_flac_written_to_a_pipe_is_counted_and_read_whole() -> None:
    flac = bytearray(encoded(speechlike(), "FLAC"))
    expected = load_audio(bytes(flac))
    flac[21] &= 0xF0  # the 36-bit number of samples in STREAMINFO
    flac[22:26] = bytes(4)
    np.testing.assert_array_equal(load_audio(bytes(flac)), expected)
    np.testing.assert_array_equal(load_audio(bytes(flac), start=2.0), expected[2 * RATE :])
    assert audio_info(bytes(flac)).seconds == 4.0
    assert "cut short" in error_of(bytes(flac[: len(flac) // 2]))


# ---- errors: each names the file, the value and the remedy


def test_a_missing_file_a_directory_and_an_unreadable_file(tmp_path: Path) -> None:
    assert re.search(r"gone\.wav: no such file; check the path", error_of(tmp_path / "gone.wav"))
    assert error_of(tmp_path) == f"{tmp_path}: is a directory; give the audio files in it"
    locked = tmp_path / "locked.wav"
    locked.write_bytes(encoded(sine(), "WAV"))
    locked.chmod(0)
    if sys.platform == "win32":
        return
    was_root = os.geteuid() == 0
    if was_root:  # root may read everything
        os.seteuid(65534)
    try:
        message = error_of(locked)
    finally:
        if was_root:
            os.seteuid(0)
    assert "locked.wav: permission denied; make it readable" in message


def test_what_is_not_audio_names_the_formats_and_a_conversion(tmp_path: Path) -> None:
    noise = np.random.default_rng(4).bytes(5000)
    for name, content in {"a.wav": b"hello " * 50, "b.m4a": b"\0\0\0\x20ftypM4A " + noise, "c.mp3": noise}.items():
        (tmp_path / name).write_bytes(content)
        for read in (load_audio, audio_info):
            message = error_of(tmp_path / name, read)
            assert re.search(rf"{name}: not audio .*flac.*`ffmpeg -i INPUT -ac 1", message)
    assert error_of(b"\xff\xfb" + noise).startswith("<bytes>: not audio")


def test_a_text_file_object_and_other_types_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with (tmp_path / "a.txt").open() as file:
        assert re.search(r"a\.txt: TextIOWrapper is not a binary file; .*'rb'", error_of(file))
    assert "float is not a binary file" in error_of(3.5)


@pytest.mark.parametrize("share", [0.3, 0.97])
@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "FLOAT"),
        ("WAV", "GSM610"),
        ("RF64", "PCM_16"),
        ("AIFF", "PCM_24"),
        ("AU", "PCM_16"),
        ("NIST", "PCM_16"),
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", "MPEG_LAYER_III"),
    ],
)
def test_a_file_cut_short_is_reported(format: str, subtype: str, share: float, tmp_path: Path) -> None:
    data = encoded(speechlike(8.0), format, subtype)
    path = tmp_path / "cut"
    path.write_bytes(data[: int(len(data) * share)])
    assert re.search(r"cut: cut short.* \d+.*; copy or download it again", error_of(path))
    with pytest.raises(AudioError, match="cut short"):
        list(stream_audio(path))


def test_the_report_of_a_cut_wav_says_what_was_promised_and_what_is_there() -> None:
    data = encoded(sine(), "WAV", "PCM_16")
    assert "the header promises 32000 bytes of audio and 9956 are there" in error_of(data[:10000], audio_info)
    assert "promises 32000 bytes of audio and 0 are there" in error_of(data[:44])
    assert "decoding fails after" in error_of(encoded(speechlike(), "FLAC")[:30000])


def test_mp3_and_ogg_with_more_audio_than_their_first_header_says() -> None:
    mp3, ogg = encoded(speechlike(), "MP3"), encoded(speechlike(), "OGG")
    assert "the MP3 header gives 4.00 s but" in error_of(mp3 + mp3)
    without_xing = mp3[mp3.index(mp3[:2], 4) :]  # the frame that holds the length is gone; the bit rate varies
    assert "-c copy" in error_of(without_xing)
    flushed = without_xing[: without_xing.index(mp3[:2], 4)]  # encoders write a frame more than they count
    assert len(load_audio(mp3 + flushed)) == 4 * RATE
    assert len(load_audio(mp3 + b"TAG" + bytes(125))) == 4 * RATE  # an ID3v1 tag is not audio
    assert "several Ogg recordings joined" in error_of(ogg + encoded(sine(), "OGG"))


def test_zero_samples() -> None:
    assert "empty file, 0 bytes" in error_of(b"")
    assert "zero samples" in error_of(encoded(np.zeros(0, np.float32), "WAV"))
    listed = bytearray(encoded(np.zeros(0, np.float32), "WAV", "PCM_16")) + b"LIST\x04\0\0\0INFO"
    listed[4:8] = struct.pack("<I", len(listed) - 8)
    assert "zero samples" in error_of(bytes(listed), audio_info)
    assert "zero samples: 2 at 96000 Hz are none at 16000 Hz" in error_of(encoded(sine()[:2], "WAV", rate=96000))


def test_nan_and_infinity_are_counted_and_placed() -> None:
    samples = speechlike(20.0)
    samples[[200000, 200003, 300000]] = np.nan, np.inf, -np.inf
    data = encoded(np.stack([samples, sine(seconds=20.0)], axis=1), "WAV", "FLOAT")
    message = error_of(data)
    assert "3 of 320000 samples are NaN or infinite, the first at 12.5000 s" in message
    assert "the first at 12.5000 s" in error_of(data, start=12.0)
    assert np.isfinite(load_audio(data, channel=1)).all()
    assert np.isfinite(load_audio(data, start=13.0, duration=2.0)).all()


def test_compressed_sphere_names_the_tool_that_expands_it() -> None:
    data = sphere(np.zeros(100), "10", coding="pcm,embedded-shorten-v2.00")
    assert re.search(r"`pcm,embedded-shorten-v2\.00`.*`sph2pipe -f wav", error_of(data))


def test_a_segment_outside_the_recording() -> None:
    data = encoded(sine(seconds=2.0), "WAV")
    for start in (-0.1, 2.0, float("nan"), float("inf")):
        assert f"start {start} s is outside the recording, which has 2.000 s" in error_of(data, start=start)
    for duration in (0.0, -1.0, float("nan")):
        assert f"duration {duration} s; give a positive" in error_of(data, duration=duration)
    assert "from 1.5 s to 2.100 s ends outside" in error_of(data, start=1.5, duration=0.6)
    assert len(load_audio(data, start=1.5, duration=0.505)) == RATE // 2  # a manifest may round


def test_a_channel_that_is_not_there_and_impossible_numbers() -> None:
    data = encoded(np.stack([sine(), sine()], axis=1), "WAV")
    assert "no channel 2; it has 2, counted from 0" in error_of(data, channel=2)
    assert "no channel -1" in error_of(data, channel=-1)
    assert "cannot resample to 10 Hz" in error_of(data, rate=10)
    assert "a sample rate of 10 Hz, outside 1000 to 768000" in error_of(encoded(sine(), "WAV", rate=10))
    for seconds in (0.0, -1.0, float("nan")):
        with pytest.raises(AudioError, match="block_seconds"):
            next(stream_audio(data, block_seconds=seconds))


def test_the_module_does_not_import_torch() -> None:
    subprocess.run([sys.executable, "-c", "import sys, asr.audio; assert 'torch' not in sys.modules"], check=True)
