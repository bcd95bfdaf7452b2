"""What is asked of the allocator and of torch: to keep what the next step needs, and no more."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
"""Of glibc's mallopt(3)."""


@contextmanager
def memory_kept() -> Iterator[None]:
    """Inside, what is freed stays with the process, ready for the next step.

    glibc maps every block above 32 MiB from the system and returns it when it is freed. Recurrent layers need several
    of these in each step, and the system fills them with zeros page by page: an eighth to a fifth of the time of a
    training.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(MMAP_MAX, 0)
    libc.mallopt(TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        libc.mallopt(MMAP_MAX, 65536)  # the defaults
        libc.mallopt(TRIM_THRESHOLD, 128 * 1024)
        libc.malloc_trim(0)


@contextmanager
def memory_returned() -> Iterator[None]:
    """Inside, blocks from 1 MiB on go back to the system when they are freed.

    Reading a model needs many of these for a moment, and glibc, which learns from each that is freed to keep the next,
    would hold on to a twentieth of a transcription's memory.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(MMAP_THRESHOLD, 2**20)
    try:
        yield
    finally:
        libc.mallopt(MMAP_THRESHOLD, 2**25)  # what glibc would have learnt at most, and what follows from it
        libc.mallopt(TRIM_THRESHOLD, 2**26)
        libc.malloc_trim(0)


def bound_kernel_cache() -> None:
    """Keep the compiled kernels of 64 shapes; to be called before torch computes anything.

    Recordings come in any length, and oneDNN keeps the kernels of 1024 shapes, and so does torch's layer above it: some
    300 MB more in an hour of recordings, over 1 GB more in five epochs of training, and no faster.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    os.environ.setdefault("LRU_CACHE_CAPACITY", "32")
