"""Work shared among the processes of a distributed run: each does a part, all have the whole, none waits in vain.

Everything here is collective: all processes call it, in the same order. Alone, a process does the whole work, and
nothing is sent.
"""

from __future__ import annotations

import atexit
import heapq
import os
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import cache
from typing import TypeVar
from uuid import uuid4

import torch
import torch.distributed as dist
from torch.distributed.constants import default_pg_timeout
from torch.distributed.rendezvous import rendezvous

from asr.decoding.recogniser import choose_device
from asr.errors import AsrError, ConfigError

T = TypeVar("T")

POLL_SECONDS = 0.05
PATIENCE = timedelta(hours=12)
"""How long processes wait for what one does alone, such as a download; one that has died is noticed at once."""


def ranks() -> int:
    """Processes in this run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this is the process that prints and writes."""
    return ranks() == 1 or dist.get_rank() == 0


def join(device: str, *, training: bool = False) -> None:
    """Make one group of the processes that torchrun or `accelerate launch` has started; alone, nothing happens.

    Args:
        device: as `asr.load_model` takes it; with GPUs each process takes the one of its number on its machine.
        training: gradients are exchanged later, so NCCL is set up for the GPUs too.

    Raises:
        ConfigError: there are fewer GPUs than processes, or `device` is a single GPU.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        return
    chosen = choose_device(device)
    on_gpu = chosen.type == "cuda"
    if on_gpu:
        _take_gpu(chosen)
    store, rank, count = next(rendezvous("env://", timeout=default_pg_timeout))
    store.set_timeout(default_pg_timeout)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpu and training else "gloo",  # a test set's texts are no work for NCCL
        store=dist.PrefixStore(_meet(store, rank, count), store),
        rank=rank,
        world_size=count,
        timeout=None if training else PATIENCE,
    )
    atexit.register(dist.destroy_process_group)  # its threads must not outlive the interpreter


def _meet(store: dist.Store, rank: int, count: int) -> str:
    """A name for this start of the processes, on which all of them agree.

    torchrun keeps one store through all restarts. Addresses that dead processes have left there lead those that rejoin
    astray: they are refused, or wait half an hour for each other (pytorch/pytorch#135712). Under a name of its own
    each start has a clean one. The first process gives the name to whoever calls; it answers until the answer has been
    taken, as the call it finds may be a dead process's.
    """
    if rank == 0:
        name = uuid4().hex
        for other in range(1, count):
            while not store.check([f"asr/{name}/{other}"]):
                store.set(f"asr/answer/{other}", f"{store.get(f'asr/call/{other}').decode()} {name}")
                time.sleep(POLL_SECONDS)
        return name
    call = uuid4().hex
    store.set(f"asr/call/{rank}", call)
    answered = name = ""
    while answered != call:
        time.sleep(POLL_SECONDS)
        answered, _, name = store.get(f"asr/answer/{rank}").decode().partition(" ")
    store.set(f"asr/{name}/{rank}", "")
    return name


def _take_gpu(chosen: torch.device) -> None:
    if chosen.index is not None:
        raise ConfigError(f"--device {chosen}: each of several processes takes a GPU of its own; use --device cuda")
    number, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= count:
        raise ConfigError(
            f"process {number + 1} of this machine has no GPU, there are {count}; start as many processes "
            "(torchrun --nproc-per-node gpu), or use --device cpu"
        )
    torch.cuda.set_device(number)


def share(costs: Sequence[float]) -> list[int]:
    """The numbers of the jobs that are this process's, in order, when all together take about the same time.

    Every process must be given the same `costs`. The dearest job goes first, each to the process with the least work
    (Graham 1969: at worst 4/3 of the best division).
    """
    if ranks() == 1:
        return list(range(len(costs)))
    loads = [(0.0, rank) for rank in range(ranks())]
    mine = []
    for number in sorted(range(len(costs)), key=lambda n: (-costs[n], n)):
        load, rank = heapq.heappop(loads)
        heapq.heappush(loads, (load + costs[number], rank))
        if rank == dist.get_rank():
            mine.append(number)
    return sorted(mine)


def together(work: Callable[[], T]) -> T:
    """What `work` gives in this process, once all have done theirs.

    Raises:
        the first error of any process, in all of them; `RuntimeError` where another's is no `AsrError`.
    """
    if ranks() == 1:
        return work()
    result: T | None = None
    error: Exception | None = None
    try:
        result = work()
    except Exception as raised:  # whatever it is, the others must hear of it: they would wait for ever
        error = raised
    told: list[Exception | None] = [None] * ranks()
    dist.all_gather_object(told, _message(error))
    if error is not None:
        raise error
    for other in told:
        if other is not None:
            raise other
    return result  # type: ignore[return-value]


def gather(work: Callable[[], T]) -> list[T]:
    """What `work` gives in each process, in the order of their ranks; errors as in `together`."""
    mine = together(work)
    if ranks() == 1:
        return [mine]
    everyone: list[T | None] = [None] * ranks()
    dist.all_gather_object(everyone, mine)
    return everyone  # type: ignore[return-value]


def once(work: Callable[[], T]) -> T:
    """What `work` gives in the main process, in all of them; only that one does it, and the others wait for hours.

    Raises:
        the error of `work`, in all processes.
    """
    if ranks() == 1:
        return work()
    told: list[tuple[T | None, Exception | None]] = [(None, None)]
    error: Exception | None = None
    if is_main():
        try:
            told = [(work(), None)]
        except Exception as raised:
            told, error = [(None, _message(raised))], raised
    dist.broadcast_object_list(told, src=0, group=_patient(dist.group.WORLD))
    result, message = told[0]
    if message is not None:
        raise error or message
    return result  # type: ignore[return-value]


@cache
def _patient(world: dist.ProcessGroup | None) -> dist.ProcessGroup:
    """The processes of `world` again, as a group in which they wait for one another for hours."""
    atexit.register(_patient.cache_clear)  # before `join`'s end of both groups, whose threads live while one is held
    return dist.new_group(backend="gloo", timeout=PATIENCE)  # type: ignore[return-value]


def _message(error: Exception | None) -> Exception | None:
    """The error as it can be sent: any class but ours may need more than a message to be made again."""
    if error is None or isinstance(error, AsrError):
        return error
    return RuntimeError(f"process {dist.get_rank()} of {ranks()}: {error!r}")
