from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")

REPOSITORY = Path(__file__).resolve().parents[2]
MEASURE = """
import resource
from contextlib import suppress

import torch

from asr.training.allocation import memory_kept

LARGE = 2**24  # values: 64 MiB of float32, more than glibc ever keeps by itself
PAGES = 4 * LARGE // resource.getpagesize()


def faults():
    "Share of a large block's pages that the system handed out while it was made, filled and freed again."
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(LARGE)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / PAGES


def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) / PAGES


faults()
assert faults() > 0.9
before = resident()
with memory_kept():
    inside = min(faults() for _ in range(4))
    kept = resident() - before
    assert inside < 0.1, inside
    assert kept > 0.75, kept
assert resident() - before < 0.5
assert faults() > 0.9
with suppress(KeyError), memory_kept():
    raise KeyError
assert faults() > 0.9
print("as it should be")
"""
"""In a process of its own, as a training has: what else was allocated in this one may lie in the way."""


def test_freed_memory_is_used_again_inside_and_returned_outside_also_after_an_error() -> None:
    ran = subprocess.run([sys.executable, "-c", MEASURE], cwd=REPOSITORY, capture_output=True, text=True)
    assert ran.stdout == "as it should be\n", ran.stderr
