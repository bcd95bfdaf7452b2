"""Ctrl-C is never lost in a callback of a C library."""

import io
import os
import signal
import threading

import numpy as np
import pytest
import soundfile

from asr.audio import load_audio
from asr.interrupts import interrupts_held


class InterruptedFile(io.BytesIO):
    """Ctrl-C arrives during its n-th read."""

    def __init__(self, content: bytes, at: int):
        super().__init__(content)
        self.left = at

    def read(self, size: int | None = -1) -> bytes:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return super().read(size)


@pytest.fixture
def wav() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.sin(np.arange(200_000) / 20), 16000, format="WAV", subtype="PCM_16")
    return file.getvalue()


def test_ctrl_c_during_each_read_of_a_recording_is_raised(wav: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    whole = InterruptedFile(wav, 0)
    load_audio(whole)
    reads = -whole.left
    assert reads > 4  # our own look at the header, libsndfile's, and the audio
    for at in range(1, reads + 1):
        with pytest.raises(KeyboardInterrupt):
            load_audio(InterruptedFile(wav, at))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert "Exception ignored" not in capfd.readouterr().err


def test_without_ctrl_c_nothing_happens() -> None:
    with interrupts_held():
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_callers_own_is_left_alone() -> None:
    calls = []
    before = signal.signal(signal.SIGINT, lambda number, frame: calls.append(number))
    try:
        with interrupts_held():
            os.kill(os.getpid(), signal.SIGINT)
            assert calls == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_than_the_main_one(wav: bytes) -> None:
    lengths = []
    thread = threading.Thread(target=lambda: lengths.append(len(load_audio(wav))))
    thread.start()
    thread.join()
    assert lengths == [200_000]
