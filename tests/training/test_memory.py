"""Out of memory: recognised when it happens, explained, and how much there is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from asr.config import Config
from asr.data.loading import Batch
from asr.training.memory import available, explain, forget_peak, is_out_of_memory, resident

MEGABYTE = 2**20
GROW = """
import resource, sys, torch
from asr.training.memory import is_out_of_memory
torch.set_num_threads(1)
train = torch.nn.LSTM(80, 64)
def lstm(size):
    train(torch.ones(20, size, 80))[0].sum().backward()
def floats(size):
    torch.ones(20, size, 80)
def objects(size):
    [0] * (1600 * size)
lstm(1)
virtual = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
for grow in (lstm, floats, objects):
    resource.setrlimit(resource.RLIMIT_AS, (virtual + 300 * 2**20, -1))
    for power in range(24):
        try:
            grow(2**power)
        except Exception as error:
            said = type(error).__name__, str(error).splitlines()[:1], is_out_of_memory(error)
            break
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
    print(grow.__name__, *said)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process as Linux does")
def test_a_cpu_without_memory_is_recognised_whoever_asked_for_it() -> None:
    run = subprocess.run([sys.executable, "-c", GROW], capture_output=True, text=True, check=True)
    lines = run.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["lstm", "floats", "objects"]
    assert all(line.endswith("True") for line in lines), run.stdout


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_without_memory_is_recognised() -> None:
    free, _ = torch.cuda.mem_get_info()
    with pytest.raises(RuntimeError) as caught:
        [torch.empty(free // 4, device="cuda", dtype=torch.uint8) for _ in range(8)]
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        torch.cuda.OutOfMemoryError("the older name"),
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
            "allocate 655360000 bytes. Error code 12 (Cannot allocate memory)"
        ),
        RuntimeError("[enforce fail] data. DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        RuntimeError("could not create a primitive"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_what_torch_says_of_memory_is_recognised(error: BaseException) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("could not create a primitive descriptor for an LSTM forward propagation primitive"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)"),
        ValueError("DefaultCPUAllocator: can't allocate memory"),
        KeyboardInterrupt(),
    ],
)
def test_other_errors_are_not_taken_for_it(error: BaseException) -> None:
    assert not is_out_of_memory(error)


def batch(seconds: list[float], rate: int) -> Batch:
    lengths = torch.tensor([round(length * rate) for length in seconds])
    waveforms = torch.zeros(len(seconds), int(lengths.max()))
    tokens = torch.ones(len(seconds), 1, dtype=torch.long)
    ids = [f"utterance{number}" for number in range(len(seconds))]
    return Batch(ids, waveforms, lengths, tokens, torch.ones(len(seconds), dtype=torch.long))


def test_a_batch_that_did_not_fit_is_named_with_its_size_and_the_remedies(small_config: Callable[..., Config]) -> None:
    config = small_config(data={"batch_seconds": 16, "max_seconds": 12})
    text = explain(batch([2.0, 1.0, 1.5, 1.0, 1.0, 1.0, 2.0], config.features.sample_rate), config)
    assert "batch of 7 utterances (utterance0, utterance1, utterance2, utterance3, utterance4 and 2 more)" in text
    assert "9.5 s of audio, 14.0 s with padding, the longest 2.0 s" in text
    assert "Lower data.batch_seconds (now 16), or data.max_seconds (now 12)" in text
    assert "`asr train CONFIG --probe`" in text


def test_for_one_utterance_alone_only_a_lower_max_seconds_helps(small_config: Callable[..., Config]) -> None:
    config = small_config()
    text = explain(batch([20.0], config.features.sample_rate), config)
    assert "batch of 1 utterance (utterance0), 20.0 s of audio" in text
    assert "Lower data.max_seconds (now 30)" in text
    assert "data.batch_seconds" not in text


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.fixture
def machine(tmp_path: Path) -> Callable[[str], int]:
    """`machine(cgroup)`: what is available on a machine with 8000 MB free to a process in that control group."""

    def free(cgroup: str) -> int:
        write(tmp_path / "proc", meminfo="MemTotal: 16384000 kB\nMemAvailable:    8192000 kB\n")
        write(tmp_path / "proc/self", cgroup=cgroup)
        return available(tmp_path / "proc", tmp_path / "cgroups") // MEGABYTE

    return free


def test_without_a_limit_the_memory_of_the_machine_is_available(machine: Callable[[str], int], tmp_path: Path) -> None:
    assert machine("0::/user.slice\n") == 8000
    write(tmp_path / "cgroups/user.slice", memory__max="max\n", memory__current="1000\n")
    assert machine("0::/user.slice\n") == 8000


def test_the_limits_of_a_control_group_and_of_those_around_it_count(
    machine: Callable[[str], int], tmp_path: Path
) -> None:
    outer, inner = tmp_path / "cgroups/slurm", tmp_path / "cgroups/slurm/job"
    files = f"anon 5\ninactive_file {100 * MEGABYTE}\nactive_file {50 * MEGABYTE}\n"
    write(inner, memory__max="max\n", memory__current=str(900 * MEGABYTE), memory__stat=files)
    write(outer, memory__max=str(4000 * MEGABYTE), memory__current=str(1000 * MEGABYTE), memory__stat=files)
    assert machine("0::/slurm/job\n") == 4000 - (1000 - 150)


def test_the_older_control_groups_are_read_too_also_inside_a_container(
    machine: Callable[[str], int], tmp_path: Path
) -> None:
    files = f"inactive_file 0\nactive_file 0\ntotal_inactive_file {200 * MEGABYTE}\ntotal_active_file 0\n"
    names = {"memory__limit_in_bytes": str(2000 * MEGABYTE), "memory__usage_in_bytes": str(500 * MEGABYTE)}
    write(tmp_path / "cgroups/memory", **names, memory__stat=files)
    assert machine("9:name=systemd:/\n4:memory:/docker/not-seen-from-inside\n1:cpu:/\n0::/\n") == 2000 - (500 - 200)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_what_psutil_says() -> None:
    psutil = pytest.importorskip("psutil")
    assert resident() == pytest.approx(psutil.Process().memory_info().rss, rel=0.05)
    assert 0 < available() <= 1.2 * psutil.virtual_memory().available


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_is_that_since_it_was_forgotten() -> None:
    forget_peak()
    before = resident()
    block = bytearray(150 * MEGABYTE)
    del block
    assert resident(peak=True) - before > 140 * MEGABYTE
    forget_peak()
    assert resident(peak=True) - before < 100 * MEGABYTE
