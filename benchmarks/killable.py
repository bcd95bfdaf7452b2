"""`asr train` in a process of its own that can be killed, and continued, as often as one likes."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from asr.training.log import LOG

PATIENCE = 300.0
"""Seconds without the awaited step before the script gives up."""


@dataclass
class Training:
    """One training in a folder of its own, which is started, killed and continued."""

    folder: Path
    config: Path
    ranks: int
    startup: float = 0.0
    """Seconds from the start to the first step, and between steps, of the undisturbed training."""
    pace: float = 0.0
    process: subprocess.Popen[bytes] | None = None
    before: set[str] = field(default_factory=set)
    """What lay in `checkpoints/` when the process was started."""

    @property
    def errors(self) -> Path:
        """What the processes printed, one after the other."""
        return self.folder.with_suffix(".txt")

    def start(self) -> None:
        """`asr train --resume`, which begins where there is nothing yet; under `torchrun` where there are ranks."""
        several = ["torch.distributed.run", "--standalone", f"--nproc-per-node={self.ranks}", "--max-restarts=3", "-m"]
        command = [sys.executable, "-m", *(several if self.ranks > 1 else []), "asr", "train", str(self.config)]
        self.before = self.checkpoints()
        with open(self.errors, "ab") as out:
            self.process = subprocess.Popen(
                [*command, "--output", str(self.folder), "--device", "cpu", "--resume"],
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def running(self) -> bool:
        """Whether it is not over.

        Raises:
            RuntimeError: it failed by itself.
        """
        assert self.process is not None
        if self.process.poll() is None:
            return True
        if self.process.returncode:
            raise RuntimeError(f"exit status {self.process.returncode}: {self.errors.read_text()[-3000:]}")
        return False

    def wait_until(self, reached: Callable[[], bool], interval: float = 0.003) -> bool:
        """False when the training is over before."""
        deadline = time.monotonic() + PATIENCE
        while not reached():
            if not self.running():
                return False
            if time.monotonic() > deadline:
                raise RuntimeError(f"nothing happened for {PATIENCE:.0f} s: {self.errors.read_text()[-3000:]}")
            time.sleep(interval)
        return self.running()

    def step(self) -> int:
        """The last step in the log."""
        try:
            with open(self.folder / LOG, "rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - 2000))
                return max(map(int, re.findall(rb'"step": (\d+)', log.read())), default=0)
        except FileNotFoundError:
            return 0

    def wait_for_step(self, step: int) -> bool:
        """False when the training is over before the log has it."""
        return self.wait_until(lambda: self.step() >= step)

    def checkpoints(self) -> set[str]:
        """Names in `checkpoints/`, temporary ones too."""
        folder = self.folder / "checkpoints"
        return set(os.listdir(folder)) if folder.is_dir() else set()

    def writing(self) -> bool:
        """Whether a checkpoint is being written."""
        return any(name.startswith(".") for name in self.checkpoints() - self.before)

    def resumed(self) -> list[int]:
        """The steps from which processes went on, one after the other."""
        text = self.errors.read_text() if self.errors.exists() else ""
        return [int(step) for step in re.findall(r"continuing after epoch \d+, step (\d+)", text)]

    def kill(self, rng: random.Random) -> str:
        """SIGKILL for all processes at once, for the training process alone, or for one of the ranks; which."""
        assert self.process is not None
        everybody = family(self.process.pid)
        ranks = children(self.process.pid) if self.ranks > 1 else []
        if ranks and rng.random() < 0.5:  # torchrun kills the others and starts all of them again
            restarts = len(self.resumed())
            os.kill(rng.choice(ranks), signal.SIGKILL)
            self.wait_until(lambda: len(self.resumed()) > restarts or not any(map(alive, ranks)))
            return "rank"
        alone = self.ranks == 1 and rng.random() < 0.5
        end(everybody[:1] if alone else everybody)
        self.process.wait()
        deadline = time.monotonic() + 30
        while any(map(alive, everybody)):  # data workers see that their training is gone
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.folder}: data workers still run 30 s after their training was killed")
            time.sleep(0.02)
        return "alone" if alone else "all"

    def stop(self) -> None:
        """Leave nothing running."""
        if self.process is not None and self.process.poll() is None:
            end(family(self.process.pid))
            self.process.wait()

    def damage(self, rng: random.Random) -> bool:
        """Cut the newest checkpoint short or turn one of its bits, if there is one before it."""
        steps = sorted((self.folder / "checkpoints").glob("step-*.safetensors"))
        if len(steps) < 2:
            return False
        content = bytearray(steps[-1].read_bytes())
        place = rng.randrange(len(content))
        if rng.random() < 0.5:
            del content[place:]
        else:
            content[place] ^= 1 << rng.randrange(8)
        steps[-1].write_bytes(content)
        return True


def children(process: int) -> list[int]:
    """Of a process, without those that are dead and not yet buried."""
    try:
        listed = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
    return [child for child in map(int, listed) if alive(child)]


def family(process: int) -> list[int]:
    """A process and all that descend from it."""
    return [process, *(member for child in children(process) for member in family(child))]


def end(processes: list[int]) -> None:
    """SIGKILL."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def alive(process: int) -> bool:
    """Whether it runs."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
