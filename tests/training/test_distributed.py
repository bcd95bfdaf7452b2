"""Several processes train one model: the same one as a single process, whatever happens to them on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
import torch

from asr.config import Config, save_config
from asr.data.manifest import read_manifest, write_manifest
from asr.data.shard_writing import write_shards
from asr.errors import CheckpointError
from asr.model.checkpoint import load_folder, load_tensors
from asr.training import train
from asr.training.log import read_log
from tests.launching import TIMEOUT, finished, run, running, torchrun, workers
from tests.servers import files_in, serving
from tests.trainings import last_checkpoint

if TYPE_CHECKING:
    import subprocess

    from tests.conftest import Speech

pytestmark = pytest.mark.slow

EARLY, EARLY_LOSS, LOSS, WEIGHTS = 50, 5e-6, 3e-3, 5e-3
"""How far two processes, which add up in another order, may be from one: relative difference of the loss in the first
50 steps and in all 146 (measured: 6e-7 and 3e-4; rounding grows as training goes on), and of any weight at the end
(measured: 5e-4)."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, speech: Speech) -> Path:
    """`train`, `dev`, and the training set in shards in `shards`."""
    root = tmp_path_factory.mktemp("corpus")
    sentences = speech.sentences(46, seed=3)
    speech.corpus(root / "train", sentences[:40], "train")
    speech.corpus(root / "dev", sentences[40:], "dev")
    write_shards(root / "train", root / "shards", size=5)
    return root


@pytest.fixture(scope="module")
def make_config(corpus: Path, small_config: Callable[..., Config]) -> Callable[..., Config]:
    """`make_config(...)`: some ten steps an epoch for two processes, each logged."""

    def make(**sections: Any) -> Config:
        data = {"train": str(corpus / "train"), "dev": str(corpus / "dev"), "batch_seconds": 3.0}
        return small_config(
            **{
                "data": data | sections.pop("data", {}),
                "augmentation": {"speed": {"range": (0.9, 1.1)}, "gain": {}, "spec_augment": None},
                "model": {"hidden": 16, "dropout": 0.0},
                "training": {"epochs": 2, "log_steps": 1} | sections.pop("training", {}),
                **sections,
            }
        )

    return make


@pytest.fixture(scope="module")
def random_config(make_config: Callable[..., Config]) -> Config:
    """The same with everything random switched on, and a checkpoint after every step."""
    return make_config(
        augmentation={"speed": {"range": (0.9, 1.1)}, "noise": {"probability": 0.5}, "gain": {}},
        model={"hidden": 16, "dropout": 0.3},
        training={"checkpoint_steps": 1, "ema": 0.9},
    )


@pytest.fixture(scope="module")
def undisturbed(random_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained by two processes of `accelerate launch`, without a break."""
    folder = tmp_path_factory.mktemp("undisturbed") / "model"
    # --multi_gpu is what makes it start several processes, on a machine without GPUs too.
    launch = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"]
    ran = run([sys.executable, "-m", *launch, *asr_train(random_config, folder)])
    assert ran.returncode == 0, ran.stderr
    return folder


def asr_train(config: Config, folder: Path, *more: str) -> list[str]:
    """The module and arguments that a launcher is given."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    save_config(config, folder.parent / "config.yaml")
    return [
        *("-m", "asr", "train", str(folder.parent / "config.yaml"), "--output", str(folder), "--device", "cpu"),
        *more,
    ]


def train_by_two(config: Config, folder: Path) -> str:
    """Train with two processes; what they printed."""
    ran = run([*torchrun(2), *asr_train(config, folder)])
    assert ran.returncode == 0, ran.stderr
    return ran.stderr


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in read_log(folder) if row["kind"] == "train"]


def epochs(folder: Path) -> list[dict[str, Any]]:
    return [row for row in read_log(folder) if row["kind"] == "epoch"]


def learnt(folder: Path) -> list[tuple[Any, ...]]:
    keys = ("kind", "step", "epoch", "loss", "learning_rate", "dev_wer", "dev_cer")
    return [tuple(row.get(key) for key in keys) for row in read_log(folder) if row["kind"] in ("train", "epoch")]


def progress(folder: Path) -> dict[str, Any]:
    while True:
        try:
            return json.loads(load_tensors(last_checkpoint(folder))[1]["progress"])
        except CheckpointError:  # removed for a newer one after it had been found
            continue


def wait_for_step(launcher: subprocess.Popen[str], folder: Path, step: int) -> list[int]:
    """Wait for the checkpoint of a step; the ids of the processes that train."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline and launcher.poll() is None:
        if any(folder.glob("checkpoints/step-*.safetensors")) and progress(folder)["step"] >= step:
            return workers(launcher)
        time.sleep(0.01)
    launcher.kill()
    raise AssertionError(f"no step {step}: {launcher.communicate()}")


def test_two_processes_take_the_steps_of_one_with_twice_the_batch(
    make_config: Callable[..., Config], tmp_path: Path
) -> None:
    longer = {"model": {"hidden": 32, "dropout": 0.0}, "training": {"epochs": 8}}
    one, two = tmp_path / "one/model", tmp_path / "two/model"
    train(make_config(data={"batch_seconds": 6.0}, **longer), one, device="cpu")
    said = train_by_two(make_config(**longer), two)
    assert len(losses(one)) > 2 * EARLY
    np.testing.assert_allclose(losses(two)[:EARLY], losses(one)[:EARLY], rtol=EARLY_LOSS)
    np.testing.assert_allclose(losses(two), losses(one), rtol=LOSS)
    weights, others = (load_tensors(folder / "model.safetensors")[0] for folder in (one, two))
    for key, tensor in weights.items():
        torch.testing.assert_close(others[key], tensor, rtol=0, atol=WEIGHTS)
    for rates in ("dev_wer", "dev_cer"):
        assert [row[rates] for row in epochs(two)] == [row[rates] for row in epochs(one)]
    assert losses(two)[-1] < 0.7 * losses(two)[0]
    assert said.count("epoch   8 ") == 1  # one process speaks for all


def test_uneven_data_hang_nobody(make_config: Callable[..., Config], corpus: Path, tmp_path: Path) -> None:
    """Nine batches of one utterance, so that a process always has none; one that cannot be read; a dev set of one."""
    utterances = list(read_manifest(corpus / "train"))[:9]
    samples, rate = soundfile.read(utterances[4].audio, dtype="float32")
    samples[100] = np.nan  # behind a header that is whole
    soundfile.write(tmp_path / "damaged.wav", samples, rate, subtype="FLOAT")
    utterances[4] = replace(utterances[4], audio=tmp_path / "damaged.wav")
    write_manifest(tmp_path / "train.jsonl", utterances)
    write_manifest(tmp_path / "dev.jsonl", [next(read_manifest(corpus / "dev"))])
    data = {"train": str(tmp_path / "train.jsonl"), "dev": str(tmp_path / "dev.jsonl"), "batch_seconds": 0.1}
    config = make_config(data=data, training={"epochs": 3, "checkpoint_minutes": 0.0005})
    said = train_by_two(config, tmp_path / "model")
    assert [row["step"] for row in epochs(tmp_path / "model")] == [9, 18, 27]
    assert f"left out: {utterances[4].id}" in said
    load_folder(tmp_path / "model")


@dataclass(frozen=True)
class Disturbed:
    """A training one of whose two processes was killed; a copy of what it had left until then; what was printed."""

    folder: Path
    killed: Path
    said: str


@pytest.fixture(scope="module")
def disturbed(random_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Disturbed:
    root = tmp_path_factory.mktemp("disturbed")
    folder = root / "model"
    # The first restart may fail, when a process connects to a port that is not open again yet.
    command = [*torchrun(2, "--max-restarts", 3), *asr_train(random_config, folder, "--resume")]
    with running(command) as launcher:
        first, second = wait_for_step(launcher, folder, 6)
        os.kill(first, signal.SIGSTOP)  # so that what is copied holds still
        shutil.copytree(folder, root / "killed")
        os.kill(second, signal.SIGKILL)
        os.kill(first, signal.SIGCONT)
        _, said = finished(launcher)
    assert launcher.returncode == 0, said
    return Disturbed(folder, root / "killed", said)


def test_a_killed_process_rejoins_from_the_last_checkpoint(disturbed: Disturbed, undisturbed: Path) -> None:
    assert disturbed.said.count("continuing after epoch ") == 1, disturbed.said
    assert learnt(disturbed.folder) == learnt(undisturbed)
    for name in ("model.safetensors", last_checkpoint(undisturbed).relative_to(undisturbed)):
        tensors, others = load_tensors(disturbed.folder / name)[0], load_tensors(undisturbed / name)[0]
        assert tensors.keys() == others.keys()
        assert [key for key in tensors if not torch.equal(tensors[key], others[key])] == []


def test_one_process_goes_on_where_two_were(
    random_config: Config, disturbed: Disturbed, printed: tuple[Any, Callable[[], str]]
) -> None:
    at = progress(disturbed.killed)
    assert 0 < at["batch"] < at["batches"]
    console, text = printed
    result = train(random_config, disturbed.killed, resume=True, device="cpu", console=console)
    assert f"1 processes now, 2 before: epoch {at['epoch'] + 1} goes on at batch " in text()
    share = at["batch"] / at["batches"]
    (steps, _), (all_steps, _) = ((row["step"], row["epoch"]) for row in epochs(disturbed.killed)[-2:])
    epoch = all_steps - steps  # what one process takes for a whole one, more or less
    if at["epoch"] == 0:
        assert steps - at["step"] == pytest.approx((1 - share) * epoch, abs=3)
    assert np.isfinite([row["loss"] for row in result.history]).all()


def test_each_process_reads_shards_of_its_own(make_config: Callable[..., Config], corpus: Path, tmp_path: Path) -> None:
    data = {"buffer_shards": 2, "workers": 1}
    with serving(files_in(corpus / "shards")) as server:
        train_by_two(make_config(data={"train": server.url(""), **data}), tmp_path / "remote/model")
        fetched = [path for path in server.paths if path.endswith(".tar")]
    assert len(set(fetched)) == 8
    # Two epochs; a process with fewer batches than the other takes its first ones again to fill up.
    assert 16 <= len(fetched) <= 20
    train_by_two(make_config(data={"train": str(corpus / "shards"), **data}), tmp_path / "local/model")
    assert learnt(tmp_path / "remote/model") == learnt(tmp_path / "local/model")
    assert not any(row["kind"] == "failure" for row in read_log(tmp_path / "remote/model"))
