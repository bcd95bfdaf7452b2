from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")

REPOSITORY = Path(__file__).resolve().parents[1]
MEASURE = """
import resource
from contextlib import suppress

import torch

import asr.training.run  # what a training has loaded
from asr.allocation import memory_kept

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


RETURNED = """
import numpy as np

from asr.allocation import memory_returned


def lasting():
    "MiB that stay when blocks of 1.5 MiB below a small one are freed."
    with open("/proc/self/statm") as statm:
        before = int(statm.read().split()[1])
    blocks = [np.ones(3 * 2**16) for _ in range(40)]
    above = bytes(2**19)
    del blocks
    with open("/proc/self/statm") as statm:
        return (int(statm.read().split()[1]) - before) / 256


np.ones(2**21)  # glibc learns from it to keep 16 MiB
assert lasting() > 30
with memory_returned():
    assert lasting() < 5
print("as it should be")
"""


@pytest.mark.parametrize("script", [MEASURE, RETURNED], ids=["kept", "returned"])
def test_freed_memory_is_kept_or_returned_as_asked_for(script: str) -> None:
    ran = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True)
    assert ran.stdout == "as it should be\n", ran.stderr
