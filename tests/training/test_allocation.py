from __future__ import annotations

import platform
import resource

import pytest
import torch

from asr.training.allocation import memory_kept

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")

LARGE = 2**24
"""Values: 64 MiB of float32, more than glibc ever keeps by itself."""


def faults() -> int:
    """Pages that the system handed out while a large block was made, filled and freed again."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(LARGE)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident() -> int:
    """Bytes."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def test_freed_memory_is_used_again_inside_and_returned_outside() -> None:
    pages = 4 * LARGE // resource.getpagesize()
    faults()
    assert faults() > 0.9 * pages
    before = resident()
    with memory_kept():
        assert min(faults() for _ in range(4)) < 0.1 * pages
        assert resident() > before + 3 * LARGE
    assert resident() < before + 2 * LARGE
    assert faults() > 0.9 * pages


def test_it_ends_when_the_training_fails() -> None:
    with pytest.raises(KeyError), memory_kept():
        raise KeyError
    assert faults() > 0.9 * 4 * LARGE // resource.getpagesize()
