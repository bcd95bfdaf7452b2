"""A checking process that is killed while the next chunk is being prepared."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from asr.data.doctor.checker import Checked, Checker
from asr.data.doctor.workers import Chunk, check_all
from asr.data.utterance import Utterance
from asr.errors import AsrError


class Killed:
    """In place of the checks: ends its process as the system would."""

    def check(self, *_: Any) -> Checked:
        os._exit(1)


def chunk(identifier: str) -> Chunk:
    made = Chunk("train")
    made.add(1, Utterance(identifier, Path("a.wav"), 1.0, 8000, "a"))
    return made


def test_submitting_to_killed_processes_is_an_error_that_names_the_first_chunk_without_a_result() -> None:
    def chunks() -> Iterator[Chunk]:
        yield chunk("first")
        deadline = time.monotonic() + 60
        while multiprocessing.active_children() and time.monotonic() < deadline:
            time.sleep(0.05)  # until the pool has noticed, and refuses more work
        assert not multiprocessing.active_children()
        yield chunk("second")

    with pytest.raises(AsrError, match=r"checking process was killed.*train utterances 'first' to 'first'"):
        list(check_all(cast(Checker, Killed()), chunks(), jobs=2))
