"""Memory: whether an error says that it ran out, what to say then, and how much of it a CPU has."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import torch

from asr.config import Config
from asr.data.loading import Batch
from asr.errors import TrainingError

MESSAGES = re.compile(
    r"""DefaultCPUAllocator:\ (can't\ allocate|not\ enough)\ memory  # on Linux, on Windows
    | could\ not\ create\ a\ primitive(?!\ descriptor)  # oneDNN's LSTM; with "descriptor" it cannot do what was asked
    | CUDA\ error:\ out\ of\ memory  # the driver, where torch's own allocator was not asked
    | CU(BLAS|DNN)_STATUS_ALLOC_FAILED""",
    re.VERBOSE,
)
"""How an error without a class of its own says that memory ran out."""
NAMED = 5
"""Ids in a message."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that a GPU or the machine has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and MESSAGES.search(str(error)) is not None


def explain(batch: Batch, config: Config) -> str:
    """What to tell of a batch that did not fit into memory: which it was, how large, and what to do."""
    rate, data, count = config.features.sample_rate, config.data, len(batch.ids)
    longest = batch.waveforms.shape[1] / rate
    names = ", ".join(batch.ids[:NAMED]) + (f" and {count - NAMED} more" if count > NAMED else "")
    if count == 1:
        remedy = f"Lower data.max_seconds (now {data.max_seconds:g}): a batch cannot be less than one utterance"
    else:
        remedy = (
            f"Lower data.batch_seconds (now {data.batch_seconds:g}), or data.max_seconds (now {data.max_seconds:g}) "
            "if a few long utterances are the trouble"
        )
    return (
        f"out of memory on a batch of {count} utterance{'s' * (count != 1)} ({names}), "
        f"{float(batch.lengths.sum()) / rate:.1f} s of audio, {count * longest:.1f} s with padding, the longest "
        f"{longest:.1f} s as augmented. {remedy}; `asr train CONFIG --probe` finds the largest batch that fits"
    )


def resident(*, peak: bool = False) -> int:
    """Bytes of memory that this process holds, or with `peak` the most it has held since `forget_peak`.

    Raises:
        TrainingError: this is not Linux.
    """
    fields = _table(Path("/proc/self/status"))
    return 1024 * fields["VmHWM" if peak else "VmRSS"]


def forget_peak() -> None:
    """Let the peak of `resident` begin anew; where the kernel cannot, it stays that of the whole process."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def available(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process could still take: of the machine, and of each control group (container, SLURM job).

    What a group holds of files counts as free, since the kernel drops it first.

    Raises:
        TrainingError: this is not Linux.
    """
    free = [1024 * _table(proc / "meminfo")["MemAvailable"]]
    for line in (proc / "self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, limit, used = cgroups, "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            root, limit, used = cgroups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(root) and (folder / limit).is_file() and (folder / used).is_file():
                most = (folder / limit).read_text().strip()
                if most != "max":
                    of = _table(folder / "memory.stat")
                    of |= {name.removeprefix("total_"): count for name, count in of.items()}  # groups inside included
                    files = of["inactive_file"] + of["active_file"]
                    free.append(int(most) - int((folder / used).read_text()) + files)
    return max(0, min(free))


def _table(path: Path) -> dict[str, int]:
    """The numbers of a table of names and numbers, such as /proc/meminfo."""
    try:
        rows = [line.replace(":", " ").split() for line in path.read_text().splitlines()]
    except OSError as error:
        raise TrainingError(
            f"{path}: cannot be read ({error.strerror or error}), so how much memory there is cannot be told; choose "
            "data.batch_seconds by hand, or lower it until training fits"
        ) from None
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}
