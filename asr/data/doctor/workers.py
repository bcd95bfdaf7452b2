"""Checking in several processes: results in order, few in memory, and an end to it when one is killed or on Ctrl-C."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event

from asr.data.doctor.checker import Checked, Checker
from asr.data.utterance import Utterance
from asr.errors import AsrError

CHUNK_UTTERANCES = 32
CHUNK_SECONDS = 120.0
"""Audio in a chunk of work; at 2000 times real time a tenth of a second, so that the bar moves and Ctrl-C acts."""


@dataclass
class Chunk:
    """Utterances of one set that are checked together, and their lines in the manifest."""

    part: str
    lines: list[int] = field(default_factory=list)
    utterances: list[Utterance] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, line: int, utterance: Utterance) -> bool:
        """Put one more into it; returns whether it is full."""
        self.lines.append(line)
        self.utterances.append(utterance)
        self.seconds += utterance.duration
        return len(self.utterances) >= CHUNK_UTTERANCES or self.seconds >= CHUNK_SECONDS


def check_all(
    checker: Checker, chunks: Iterable[Chunk], jobs: int
) -> Generator[tuple[Chunk, list[Checked]], None, None]:
    """Check chunks in `jobs` processes (1: in this one); yields them in order with their results.

    Raises:
        AsrError: the system killed a worker.
    """
    if jobs == 1:
        for chunk in chunks:
            yield chunk, [checker.check(utterance, chunk.part) for utterance in chunk.utterances]
        return
    context = multiprocessing.get_context("spawn")  # forking a process with threads can hang the child
    stop = context.Event()
    with ProcessPoolExecutor(jobs, context, _start, (checker, stop)) as pool:
        waiting: deque[tuple[Chunk, Future[list[Checked]]]] = deque()
        try:
            for chunk in chunks:
                with _interrupts_held():  # the workers inherit it: Ctrl-C reaches every process of the terminal
                    future = pool.submit(_check, chunk)
                waiting.append((chunk, future))
                if len(waiting) > 3 * jobs:
                    yield waiting[0][0], waiting[0][1].result()
                    waiting.popleft()
            while waiting:
                yield waiting[0][0], waiting[0][1].result()
                waiting.popleft()
        except BrokenProcessPool:  # of a result that is waited for, or of submitting the next chunk
            raise AsrError(_killed(waiting[0][0] if waiting else chunk)) from None
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _killed(chunk: Chunk) -> str:
    first, last = chunk.utterances[0].id, chunk.utterances[-1].id
    return (
        f"a checking process was killed, by the system for want of memory or by a damaged recording, "
        f"at {chunk.part} utterances {first!r} to {last!r} or soon after; try fewer --jobs, "
        "or check those utterances alone"
    )


@contextmanager
def _interrupts_held() -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_state: tuple[Checker, Event] | None = None


def _start(checker: Checker, stop: Event) -> None:
    global _state
    _state = (checker, stop)


def _check(chunk: Chunk) -> list[Checked]:
    assert _state is not None
    checker, stop = _state
    results = []
    for utterance in chunk.utterances:
        if stop.is_set():
            break
        results.append(checker.check(utterance, chunk.part))
    return results
