"""Ctrl-C and SIGTERM as a request: finish the step, save, stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class StopRequest:
    """True once a signal has asked to stop."""

    def __init__(self) -> None:
        self.asked = False

    def __bool__(self) -> bool:
        return self.asked

    @contextmanager
    def listening(self) -> Iterator[None]:
        """The first Ctrl-C or SIGTERM sets the request; a second Ctrl-C stops at once."""

        def ask(number: int, frame: object) -> None:
            self.asked = True
            signal.signal(signal.SIGINT, signal.default_int_handler)

        try:
            before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread: whoever embeds the training owns the signals
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def ignore_interrupts(worker: int) -> None:
    """For data workers: signals reach the whole process group (Ctrl-C, SLURM's SIGTERM), but the training process alone
    may act on them; workers end with it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
