"""Several processes of one run, as torchrun starts them on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

REPOSITORY = Path(__file__).resolve().parents[1]
MARK = "ASR_TEST_RUN"
"""Name of an environment variable by which all processes of a run are found."""
TIMEOUT = 240
"""Seconds after which a run counts as hanging; on an idle machine these take ten or twenty."""


def torchrun(processes: int, *options: object) -> list[str]:
    """The command up to the module or script."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [*launcher, *map(str, options)]


@contextmanager
def running(command: list[str], cwd: Path = REPOSITORY) -> Iterator[subprocess.Popen[str]]:
    """The command, of which no process is left when the context ends."""
    mark = {MARK: uuid4().hex}
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), "PYTHONFAULTHANDLER": "1"}
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=environment | mark,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            _signal(_marked(mark), signal.SIGKILL)  # torchrun gives each of its processes a session of its own


def run(command: list[str], cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    """Run to the end."""
    with running(command, cwd) as process:
        out, err = finished(process)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def finished(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it printed to the end on standard output and error; a hang is a failure that shows where each one stood."""
    try:
        return process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        _signal(_marked(_environ(process.pid)), signal.SIGABRT)  # faulthandler answers it with the stacks
        out, err = process.communicate(timeout=10)
        raise AssertionError(f"hung for {TIMEOUT} s: {out}\n{err}") from None


def workers(launcher: subprocess.Popen[str]) -> list[int]:
    """Process ids of what torchrun has started, by rank."""
    found: dict[int, int] = {}
    for child in Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split():
        variables = _environ(int(child))
        if "RANK" in variables:
            found[int(variables["RANK"])] = int(child)
    return [found[rank] for rank in sorted(found)]


def _signal(processes: list[int], number: int) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)


def _marked(variables: Mapping[str, str]) -> list[int]:
    """The processes of one run: each inherits its mark."""
    numbers = [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]
    return [number for number in numbers if _environ(number).get(MARK) == variables[MARK]]


def _environ(process: int) -> dict[str, str]:
    try:
        pairs = Path(f"/proc/{process}/environ").read_text(errors="replace").split("\0")
    except OSError:  # it has ended, or is another user's
        return {}
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}
