"""Ctrl-C where Python cannot raise it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Ctrl-C inside the block raises `KeyboardInterrupt` at its end.

    For C libraries that call Python back: cffi prints what a callback raises and goes on, so that the Ctrl-C would be
    lost and its read counted as the end of the file. A handler of the caller's own, and other threads than the main one
    (which Python never interrupts), are left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    asked = False

    def ask(number: int, frame: object) -> None:
        nonlocal asked
        asked = True

    signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if asked:
            raise KeyboardInterrupt
