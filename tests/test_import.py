"""What `import asr` does by itself."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from asr import caches

REPOSITORY = Path(__file__).resolve().parents[1]
WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "10000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),  # what the user says holds
        ({"OMP_WAIT_POLICY": "active"}, "None"),
    ],
)
def test_threads_that_wait_for_others_soon_sleep(given: dict[str, str], expected: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in WAITING}
    code = "import sys, os, asr; assert 'torch' not in sys.modules; print(os.environ.get('GOMP_SPINCOUNT'))"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, **given, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == expected


@pytest.mark.parametrize("place", ["package", "home", "given", "nowhere"])
def test_numba_has_a_cache_where_neither_package_nor_home_can_be_written(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shut = [tmp_path / "package", tmp_path / "home"]
    for folder in shut:
        folder.mkdir()
    monkeypatch.setattr(caches, "PACKAGE", str(shut[0]))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("HOME", str(shut[1]))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("NUMBA_CACHE_DIR", "mine" if place == "given" else "")
    open_ = {"package": shut[:1], "home": shut[1:]}.get(place, [])
    refused = {str(folder) for folder in shut if folder not in open_}
    access = os.access  # tests may run as root, whom no permission stops
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) not in refused and access(path, mode))
    caches.find_numba_cache()
    folder = tmp_path / f"asr-numba-{os.getuid()}"
    expected = {"given": "mine", "nowhere": str(folder)}.get(place, "")
    assert os.environ["NUMBA_CACHE_DIR"] == expected
    assert folder.is_dir() == (place == "nowhere")
    if place == "nowhere":
        folder.chmod(0o777)  # anyone may have put anything there
        monkeypatch.setenv("NUMBA_CACHE_DIR", "")
        caches.find_numba_cache()
        assert Path(os.environ["NUMBA_CACHE_DIR"]) not in (folder, Path())
