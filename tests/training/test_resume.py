from __future__ import annotations

import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from asr.config import Config, save_config
from asr.errors import CheckpointError, ManifestError, TrainingError
from asr.model.checkpoint import create_folder, load_tensors
from asr.text import Tokenizer
from asr.training import train
from asr.training.log import read_log
from asr.training.resume import check_resumable
from asr.training.step import Step
from tests.trainings import last_checkpoint

if TYPE_CHECKING:
    from tests.conftest import Speech

REPOSITORY = Path(__file__).resolve().parents[2]
EPOCHS = 3


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, speech: Speech, small_config: Callable[..., Config]) -> Config:
    """A training with everything random switched on, a checkpoint after every step, ten or so steps an epoch."""
    root = tmp_path_factory.mktemp("data")
    sentences = speech.sentences(36, seed=3)
    return small_config(
        data={
            "train": str(speech.corpus(root / "train", sentences[:30], "train")),
            "dev": str(speech.corpus(root / "dev", sentences[30:], "dev")),
            "batch_seconds": 6.0,
        },
        augmentation={"speed": {"range": (0.9, 1.1)}, "noise": {"probability": 0.5}, "gain": {}},
        model={"hidden": 16, "dropout": 0.3},
        training={"epochs": EPOCHS, "checkpoint_minutes": 1e-6},
    )


@pytest.fixture(scope="module")
def undisturbed(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The training from beginning to end without a break."""
    folder = tmp_path_factory.mktemp("undisturbed") / "model"
    rare = config.model_copy(deep=True)
    rare.training.checkpoint_minutes = 60.0
    train(rare, folder, device="cpu")
    return folder


def start(config: Config, folder: Path) -> subprocess.Popen[str]:
    """`asr train` in a process group of its own, as a terminal starts it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    save_config(config, folder.parent / "config.yaml")
    return subprocess.Popen(
        [sys.executable, "-m", "asr", "train", folder.parent / "config.yaml", "--output", folder, "--device", "cpu"],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def progress(folder: Path) -> dict[str, Any]:
    while True:
        try:
            return json.loads(load_tensors(last_checkpoint(folder))[1]["progress"])
        except CheckpointError:  # it was removed for a newer one after it had been found
            continue


def stop_within_an_epoch(process: subprocess.Popen[str], folder: Path) -> int:
    """Halt the process when its last checkpoint lies within the second epoch; returns that checkpoint's step."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if any(folder.glob("checkpoints/step-*.safetensors")) and progress(folder)["epoch"] >= 1:
            process.send_signal(signal.SIGSTOP)
            at = progress(folder)
            if at["batch"] > 1:
                return at["step"]
            process.send_signal(signal.SIGCONT)
        time.sleep(0.005)
    raise AssertionError(f"never within the second epoch: {process.communicate()}")


def learnt(folder: Path) -> list[tuple[Any, ...]]:
    """What the log says of the learning: losses and error rates by step, not the times."""
    keys = ("kind", "step", "epoch", "loss", "learning_rate", "dev_wer", "dev_cer")
    return [tuple(row.get(key) for key in keys) for row in read_log(folder) if row["kind"] in ("train", "epoch")]


def assert_same_training(one: Path, other: Path) -> None:
    for name in ("model.safetensors", last_checkpoint(other).relative_to(other)):
        tensors, others = load_tensors(one / name)[0], load_tensors(other / name)[0]
        assert tensors.keys() == others.keys()
        assert [key for key in tensors if not torch.equal(tensors[key], others[key])] == []
    assert learnt(one) == learnt(other)


@pytest.fixture(scope="module")
def killed(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `kill -9` within the second epoch leaves. Not to be changed: copy it first."""
    folder = tmp_path_factory.mktemp("killed") / "model"
    process = start(config, folder)
    stop_within_an_epoch(process, folder)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    return folder


def test_after_kill_9_the_training_goes_on_bit_for_bit(
    config: Config, killed: Path, undisturbed: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(killed, tmp_path / "model")
    at = progress(folder)
    assert (at["epoch"], at["batch"] > 1) == (1, True)
    result = train(config, folder, resume=True, device="cpu")
    assert [row["epoch"] for row in result.history] == [1, 2, 3]
    assert_same_training(folder, undisturbed)


@pytest.mark.parametrize("step", [1, 7, 11, 12, 25])
def test_the_place_of_the_break_does_not_matter(
    config: Config, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    real_step = Step.__call__

    def power_cut(this: Step, batch: Any, number: int, *arguments: Any, **more: Any) -> None:
        if number == step:
            raise OSError("power cut")
        real_step(this, batch, number, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Step, "__call__", power_cut)
        with pytest.raises(OSError, match="power cut"):
            train(config, tmp_path, device="cpu")
    assert progress(tmp_path)["step"] == step
    train(config, tmp_path, resume=True, device="cpu")
    assert_same_training(tmp_path, undisturbed)


def test_ctrl_c_saves_says_resume_and_exits_130(config: Config, undisturbed: Path, tmp_path: Path) -> None:
    with_worker = config.model_copy(deep=True)
    with_worker.data.workers = 1
    with_worker.training.checkpoint_minutes = 60.0  # so that only the interruption can have saved within an epoch
    folder = tmp_path / "model"
    process = start(with_worker, folder)
    deadline = time.monotonic() + 120
    while not (any(folder.glob("checkpoints/step-*.safetensors")) and progress(folder)["epoch"] >= 1):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the data workers too
    _, err = process.communicate(timeout=60)
    at = progress(folder)
    if at["epoch"] == EPOCHS:
        pytest.skip("the training was over before Ctrl-C reached it")
    assert process.returncode == 130
    assert f"interrupted at step {at['step']}; saved. Go on with --resume; a recipe does by itself" in err
    assert "Traceback" not in err
    assert at["batch"] > 0
    train(config, folder, resume=True, device="cpu")
    assert_same_training(folder, undisturbed)


def test_a_finished_training_resumes_to_its_result_at_once(
    config: Config, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(undisturbed, tmp_path / "model")

    def no_step(*_: Any) -> None:
        raise AssertionError("a finished training took another step")

    monkeypatch.setattr(Step, "__call__", no_step)
    result = train(config, folder, resume=True, device="cpu")
    assert len(result.history) == EPOCHS
    assert result.best_wer == min(row["dev_wer"] for row in result.history)
    assert_same_training(folder, undisturbed)


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("training", "learning_rate", 0.004, r"training\.learning_rate was 0\.005, now 0\.004"),
        ("augmentation", "spec_augment", None, r"augmentation\.spec_augment"),
        ("model", "hidden", 8, r"model\.hidden was 16, now 8"),
        ("data", "batch_seconds", 7.0, r"data\.batch_seconds was 6\.0, now 7\.0"),
    ],
)
def test_resuming_with_another_configuration_is_refused(
    config: Config, undisturbed: Path, tmp_path: Path, section: str, key: str, value: Any, message: str
) -> None:
    folder = shutil.copytree(undisturbed, tmp_path / "model")
    changed = config.model_copy(deep=True)
    setattr(getattr(changed, section), key, value)
    with pytest.raises(TrainingError, match=message):
        train(changed, folder, resume=True, device="cpu")


def test_a_folder_with_a_training_is_not_overwritten_unasked(config: Config, undisturbed: Path) -> None:
    before = (undisturbed / "model.safetensors").read_bytes()
    with pytest.raises(TrainingError, match="holds a training already; --resume continues it, --overwrite"):
        train(config, undisturbed, device="cpu")
    assert (undisturbed / "model.safetensors").read_bytes() == before


def test_a_folder_with_a_model_alone_is_not_overwritten_unasked(
    config: Config, undisturbed: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(undisturbed, tmp_path / "model")
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(TrainingError, match=r"no checkpoint to continue from"):
        train(config, folder, device="cpu")


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_someone_else_are_not_replaced(tmp_path: Path, overwrite: bool) -> None:
    theirs = {"README.md": "notes", "config.yaml": "mine: 1"}
    for name, text in theirs.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(TrainingError, match=r"no training, but README\.md and config\.yaml.*choose another --output"):
        check_resumable(tmp_path, Config(), resume=not overwrite, overwrite=overwrite)
    with pytest.raises(TrainingError, match="choose another --output"):
        train(Config(data={"train": "nowhere"}), tmp_path, overwrite=overwrite, device="cpu")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == theirs


def test_a_training_stopped_before_its_first_checkpoint_starts_again(tmp_path: Path) -> None:
    create_folder(tmp_path, Config(), Tokenizer.from_characters("ab"))
    assert not check_resumable(tmp_path, Config(), resume=True, overwrite=False)
    (tmp_path / "config.yaml").unlink()  # it was stopped a moment earlier still
    assert not check_resumable(tmp_path, Config(), resume=True, overwrite=False)


def test_more_epochs_are_to_be_had_from_the_weights(config: Config, undisturbed: Path) -> None:
    longer = config.model_copy(deep=True)
    longer.training.epochs = EPOCHS + 1
    with pytest.raises(TrainingError, match=rf"was 3, now 4.*train on from its weights: --init {undisturbed} --output"):
        train(longer, undisturbed, resume=True, device="cpu")


def test_overwrite_starts_from_the_beginning(config: Config, undisturbed: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(undisturbed, tmp_path / "model")
    events = {path.name for path in (folder / "tensorboard").iterdir()}
    shorter = config.model_copy(deep=True)
    shorter.training.epochs = 1
    result = train(shorter, folder, overwrite=True, device="cpu")
    assert [row["epoch"] for row in result.history] == [1]
    assert {row["epoch"] for row in read_log(folder) if row["kind"] == "epoch"} == {1}
    assert not events & {path.name for path in (folder / "tensorboard").iterdir()}


def test_overwriting_in_vain_loses_nothing(config: Config, undisturbed: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(undisturbed, tmp_path / "model")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    misspelt = config.model_copy(deep=True)
    misspelt.data.train = str(tmp_path / "nowhere")
    with pytest.raises(ManifestError, match="no such manifest"):
        train(misspelt, folder, overwrite=True, device="cpu")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_other_data_within_an_epoch_is_told_and_its_share_goes_on(
    config: Config, killed: Path, tmp_path: Path, printed: tuple[Any, Callable[[], str]]
) -> None:
    folder = shutil.copytree(killed, tmp_path / "model")
    at, manifest = progress(folder), Path(config.data.train or "") / "cuts.jsonl"
    whole = manifest.read_text()
    console, text = printed
    try:
        manifest.write_text("".join(whole.splitlines(keepends=True)[:9]))
        result = train(config, folder, resume=True, device="cpu", console=console)
    finally:
        manifest.write_text(whole)
    said = f"{config.data.train} is not what it was when the training stopped: epoch {at['epoch'] + 1} goes on at batch"
    assert said in text().replace("\n", " ")
    assert all(math.isfinite(row["loss"]) for row in result.history)
    assert result.history[-1]["epoch"] == EPOCHS


@pytest.mark.parametrize("size", [0, 5, 2000])
def test_a_torn_checkpoint_is_passed_over_for_the_one_before(
    config: Config,
    undisturbed: Path,
    tmp_path: Path,
    printed: tuple[Any, Callable[[], str]],
    size: int,
) -> None:
    folder = shutil.copytree(undisturbed, tmp_path / "model")
    last, before = sorted((folder / "checkpoints").glob("step-*"), reverse=True)
    os.truncate(last, size)
    console, text = printed
    train(config, folder, resume=True, device="cpu", console=console)
    assert f"{last}: truncated" in text()
    assert f"going on from {before.name} instead" in text()
    assert_same_training(folder, undisturbed)


def test_where_every_checkpoint_is_torn_they_are_named(config: Config, undisturbed: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(undisturbed, tmp_path / "model")
    for path in (folder / "checkpoints").glob("step-*"):
        os.truncate(path, 2000)
    with pytest.raises(
        CheckpointError, match=r"no checkpoint is whole \(step-\d+\.safetensors: truncated.*--overwrite"
    ):
        train(config, folder, resume=True, device="cpu")


def test_a_checkpoint_of_another_kind_is_refused(config: Config, undisturbed: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(undisturbed, tmp_path / "model")
    for path in (folder / "checkpoints").glob("step-*"):
        shutil.copy(folder / "model.safetensors", path)
    with pytest.raises(CheckpointError, match=r"no checkpoint is whole .*: not written by this training"):
        train(config, folder, resume=True, device="cpu")


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The kernel refuses to let any file grow beyond `size` bytes, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_space_left_keeps_the_previous_checkpoint(
    config: Config, killed: Path, undisturbed: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(killed, tmp_path / "model")
    last = last_checkpoint(folder).relative_to(folder)
    before = {str(name): (folder / name).read_bytes() for name in (last, "model.safetensors")}
    with (
        largest_file(len(before["model.safetensors"]) // 2),
        pytest.raises(
            CheckpointError,
            match=rf"step-\d+\.safetensors: cannot be written.*--resume, which goes on from {last.name}",
        ),
    ):
        train(config, folder, resume=True, device="cpu")
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert list(folder.glob(".*part")) == []
    train(config, folder, resume=True, device="cpu")
    assert_same_training(folder, undisturbed)
