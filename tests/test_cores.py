"""Cores to use: those that the process may run on, shared among the processes of torchrun."""

from __future__ import annotations

import os

import pytest

from asr.cores import cores


@pytest.mark.parametrize(("processes", "share"), [(None, 6), ("1", 6), ("4", 1), ("8", 1)])
def test_cores_are_those_allowed_and_shared(monkeypatch: pytest.MonkeyPatch, processes: str | None, share: int) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(6)), raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if processes is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert cores() == share


def test_all_cores_where_the_system_has_no_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert cores() == 64
