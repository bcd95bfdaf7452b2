from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from asr.errors import CheckpointError
from asr.model.checkpoint import load_tensors, save_tensors
from asr.training.checkpoints import Checkpoints

if TYPE_CHECKING:
    from tests.conftest import DiskFull


def state(value: float) -> dict[str, Tensor]:
    return {
        "weights": torch.full((3, 4), value),
        "half": torch.full((5,), value, dtype=torch.bfloat16),
        "step": torch.tensor(value, dtype=torch.float64),
        "flags": torch.tensor([True, False]),
        "none": torch.zeros(0, 2),
    }


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def step_name(step: int) -> str:
    return f"step-{step:09d}.safetensors"


def filled(folder: Path, steps: int = 3) -> Checkpoints:
    """Checkpoints of steps 10, 20, ..., all kept."""
    checkpoints = Checkpoints(folder, steps, 1)
    for step in range(10, 10 * steps + 1, 10):
        checkpoints.save(step, state(step), {"progress": f"at {step}"})
    return checkpoints


def found_step(folder: Path) -> int:
    found = Checkpoints(folder, 2, 1).newest()
    assert found is not None
    assert found.metadata == {"progress": f"at {found.step}"}
    assert found.tensors.keys() == state(0).keys()
    for name, tensor in state(found.step).items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor)
    return found.step


def test_the_newest_comes_back_as_it_was(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path, 2, 1).newest() is None
    assert not Checkpoints(tmp_path, 2, 1).any()
    path = Checkpoints(tmp_path / "deep" / "model", 2, 1).save(7, state(7), {"progress": "at 7"})
    assert path == tmp_path / "deep" / "model" / "checkpoints" / "step-000000007.safetensors"
    assert found_step(tmp_path / "deep" / "model") == 7


def test_steps_are_ordered_as_numbers(tmp_path: Path) -> None:
    for step in (999_999_999, 1_000_000_000):
        Checkpoints(tmp_path, 2, 1).save(step, state(step), {"progress": f"at {step}"})
    assert found_step(tmp_path) == 1_000_000_000


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_the_newest_few_are_kept(tmp_path: Path, kept: int) -> None:
    checkpoints = Checkpoints(tmp_path, kept, 1)
    for step in range(5):
        checkpoints.save(step, state(step), {})
        assert names(tmp_path) == [step_name(s) for s in range(max(0, step + 1 - kept), step + 1)]


def test_fewer_are_kept_after_a_change_of_mind(tmp_path: Path) -> None:
    filled(tmp_path, steps=5)
    Checkpoints(tmp_path, 2, 1).save(60, state(60), {})
    assert names(tmp_path) == [step_name(50), step_name(60)]


def save_scores(folder: Path, keep: int, scores: list[tuple[float, float] | None]) -> list[bool]:
    """Save epochs 1, 2, ... with these scores; whether each was among the best then."""
    saved = []
    for epoch, score in enumerate(scores, 1):
        path = Checkpoints(folder, 1, keep).save_best(epoch, score, state(epoch))
        saved.append(path is not None)
    return saved


@pytest.mark.parametrize(
    ("keep", "scores", "saved", "left"),
    [
        (1, [(0.5, 0.3), (0.4, 0.3), (0.6, 0.1), (0.4, 0.2), (0.4, 0.25)], [1, 1, 0, 1, 0], [4]),
        (1, [(0.5, 0.3), (0.5, 0.3)], [1, 1], [2]),
        (2, [(0.5, 0.3), (0.5, 0.3), (0.5, 0.3), (0.9, 0.9)], [1, 1, 1, 0], [2, 3]),
        (2, [(0.5, 0.3), (0.9, 0.5), (0.6, 0.3), (0.1, 0.0)], [1, 1, 1, 1], [1, 4]),
        (1, [None, None, None], [1, 1, 1], [3]),
        (2, [None, None, None], [1, 1, 1], [2, 3]),
        (1, [(float("nan"), 0.1), (0.9, 0.9), (float("nan"), 0.0)], [1, 1, 0], [2]),
        (0, [(0.5, 0.3), None], [0, 0], []),
    ],
)
def test_the_best_few_epochs_are_kept_and_of_equal_ones_the_later(
    tmp_path: Path, keep: int, scores: list[tuple[float, float] | None], saved: list[int], left: list[int]
) -> None:
    (tmp_path / "checkpoints").mkdir()
    assert save_scores(tmp_path, keep, scores) == list(map(bool, saved))
    assert names(tmp_path) == [f"epoch-{epoch:04d}.safetensors" for epoch in left]
    for epoch in left:
        tensors, metadata = load_tensors(tmp_path / "checkpoints" / f"epoch-{epoch:04d}.safetensors")
        assert torch.equal(tensors["weights"], state(epoch)["weights"])
        assert metadata["epoch"] == str(epoch)


def test_best_epochs_of_a_time_that_training_went_back_behind_do_not_count(tmp_path: Path) -> None:
    save_scores(tmp_path, 1, [(0.5, 0.5), (0.4, 0.4), (0.1, 0.1)])
    assert Checkpoints(tmp_path, 1, 1).save_best(2, (0.4, 0.4), state(2)) is not None
    assert names(tmp_path) == ["epoch-0002.safetensors"]


def test_a_broken_best_epoch_gives_way(tmp_path: Path) -> None:
    save_scores(tmp_path, 1, [(0.1, 0.1)])
    os.truncate(tmp_path / "checkpoints" / "epoch-0001.safetensors", 30)
    assert Checkpoints(tmp_path, 1, 1).save_best(2, (0.4, 0.4), state(2)) is not None
    assert names(tmp_path) == ["epoch-0002.safetensors"]


def empty(path: Path) -> None:
    os.truncate(path, 0)


def torn_in_the_header(path: Path) -> None:
    os.truncate(path, 100)


def never_reached_the_disk(path: Path) -> None:
    """Of the right size, and zeros: what file systems leave when the power fails before the data are written."""
    size = path.stat().st_size
    os.truncate(path, 0)
    os.truncate(path, size)


def a_lost_page(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-40:] = bytes(40)
    path.write_bytes(content)


def one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def a_word_of_the_metadata(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"at 30", b"at 31"))


def of_another_program(path: Path) -> None:
    save_file(state(30), path, {"progress": "at 30", "step": "30"})


def a_model(path: Path) -> None:
    save_tensors(path, state(30))


def a_copy_of_another_step(path: Path) -> None:
    shutil.copy(path.with_name(step_name(10)), path)


def a_pickle(path: Path) -> None:
    torch.save(state(30), path)


DAMAGE: dict[Callable[[Path], None], str] = {
    empty: "truncated, or not a safetensors file",
    torn_in_the_header: "truncated, or not a safetensors file",
    never_reached_the_disk: "truncated, or not a safetensors file",
    a_lost_page: "damaged, its content does not match its checksum",
    one_bit: "damaged, its content does not match its checksum",
    a_word_of_the_metadata: "damaged, its content does not match its checksum",
    of_another_program: "not written by this training under this name",
    a_model: "not written by this training under this name",
    a_copy_of_another_step: "not written by this training under this name",
    a_pickle: "truncated, or not a safetensors file",
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_broken_one_is_passed_over_for_the_one_before_and_named(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    checkpoints = filled(tmp_path)
    damage(tmp_path / "checkpoints" / step_name(30))
    found = checkpoints.newest()
    assert found is not None
    assert found_step(tmp_path) == found.step == 20
    assert found.path.name == step_name(20)
    assert len(found.skipped) == 1
    assert found.skipped[0].startswith(f"{tmp_path / 'checkpoints' / step_name(30)}: ")
    assert DAMAGE[damage] in found.skipped[0]
    assert found.skipped[0].endswith(f"; going on from {step_name(20)} instead")


def test_several_broken_ones_are_each_named(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path)
    one_bit(tmp_path / "checkpoints" / step_name(30))
    empty(tmp_path / "checkpoints" / step_name(20))
    found = checkpoints.newest()
    assert found is not None
    assert found.step == 10
    assert [step_name(step) in message for step, message in zip((30, 20), found.skipped, strict=True)] == [True] * 2
    assert all(f"going on from {step_name(10)}" in message for message in found.skipped)


def test_all_broken_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, steps=2)
    one_bit(tmp_path / "checkpoints" / step_name(20))
    empty(tmp_path / "checkpoints" / step_name(10))
    with pytest.raises(CheckpointError, match=r"no checkpoint is whole \(step-000000020.*checksum; step-000000010.*"):
        checkpoints.newest()
    assert checkpoints.any()
    with pytest.raises(CheckpointError, match=r"put back a copy of one, or start again .*--overwrite"):
        checkpoints.newest()


def test_no_flipped_bit_goes_unnoticed_in_any_byte(tmp_path: Path) -> None:
    path = Checkpoints(tmp_path, 2, 1).save(30, {"a": torch.arange(4.0)}, {"progress": "at 30"})
    content = path.read_bytes()
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        with pytest.raises(CheckpointError, match="no checkpoint is whole"):
            Checkpoints(tmp_path, 2, 1).newest()
    path.write_bytes(content)
    assert Checkpoints(tmp_path, 2, 1).newest() is not None


def test_going_on_from_the_one_before_removes_the_broken_one(tmp_path: Path) -> None:
    filled(tmp_path)
    one_bit(tmp_path / "checkpoints" / step_name(30))
    Checkpoints(tmp_path, 2, 1).save(25, state(25), {"progress": "at 25"})
    assert names(tmp_path) == [step_name(20), step_name(25)]
    assert found_step(tmp_path) == 25


def test_full_disk_keeps_what_was_there_and_says_where_to_go_on(tmp_path: Path, disk_full_after: DiskFull) -> None:
    checkpoints = filled(tmp_path, steps=2)
    before = {name: (tmp_path / "checkpoints" / name).read_bytes() for name in names(tmp_path)}
    with disk_full_after(500), pytest.raises(CheckpointError) as caught:
        checkpoints.save(30, state(30), {})
    assert f"{tmp_path / 'checkpoints' / step_name(30)}: cannot be written" in str(caught.value)
    assert str(caught.value).endswith(f"Free some space and use --resume, which goes on from {step_name(20)}")
    with disk_full_after(500), pytest.raises(CheckpointError, match=r"epoch-0001\.safetensors: cannot be written"):
        checkpoints.save_best(1, None, state(30))
    assert {name: (tmp_path / "checkpoints" / name).read_bytes() for name in names(tmp_path)} == before


def test_full_disk_at_the_first_promises_nothing(tmp_path: Path, disk_full_after: DiskFull) -> None:
    with disk_full_after(500), pytest.raises(CheckpointError, match=r"Free some space and use --resume$"):
        Checkpoints(tmp_path, 2, 1).save(0, state(0), {})
    assert names(tmp_path) == []


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"file/checkpoints: cannot be made"):
        Checkpoints(tmp_path / "file", 2, 1).save(0, state(0), {})


def save_for_ever(folder: Path, saved: int) -> None:
    """What a training does, without the training; a byte goes to `saved` after each checkpoint."""
    checkpoints = Checkpoints(folder, 2, 1)
    found = checkpoints.newest()
    for step in itertools.count(found.step + 1 if found else 0):
        tensors = {str(index): torch.full((50_000,), step) for index in range(4)}
        checkpoints.save(step, tensors, {})
        os.write(saved, b"x")
        checkpoints.save_best(step + 1, None, tensors)


def test_kill_9_at_any_moment_leaves_whole_ones(tmp_path: Path) -> None:
    rng, before, strays, context = random.Random(1), -1, 0, multiprocessing.get_context("fork")
    for _ in range(20):
        reader, saved = os.pipe()
        process = context.Process(target=save_for_ever, args=(tmp_path, saved))
        process.start()
        assert os.read(reader, 1) == b"x"
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.join()
        os.close(reader)
        os.close(saved)
        strays += any(name.startswith(".") for name in names(tmp_path))
        found = Checkpoints(tmp_path, 2, 1).newest()
        assert found is not None
        assert found.skipped == []
        assert found.step > before
        assert all((tensor == found.step).all() for tensor in found.tensors.values())
        before = found.step
    assert strays  # some were killed while they wrote
    Checkpoints(tmp_path, 2, 1).save(before + 1, state(0), {})
    assert names(tmp_path)[-2:] == [step_name(before), step_name(before + 1)]
    assert not [name for name in names(tmp_path) if name.startswith(".")]


def test_stray_parts_of_a_crash_go_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    strays = [tmp_path / ".model.safetensors.4711.part", tmp_path / "checkpoints" / f".{step_name(10)}.4711.part"]
    strays.append(tmp_path / "checkpoints" / ".tmpFtIgnj")  # safetensors' own
    others = [tmp_path / "notes.part", tmp_path / ".hidden", tmp_path / "checkpoints" / "mine.txt"]
    for path in strays + others:
        path.write_text("x")
    Checkpoints(tmp_path, 2, 1).save(1, state(1), {})
    assert [path.exists() for path in strays] == [False] * 3
    assert [path.exists() for path in others] == [True, True, True]


def test_clear_removes_what_a_training_left(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path)
    save_scores(tmp_path, 1, [None])
    (tmp_path / "checkpoints" / f".{step_name(40)}.4711.part").write_text("x")
    (tmp_path / "config.yaml").write_text("x")
    checkpoints.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
    checkpoints.clear()
    filled(tmp_path)
    (tmp_path / "checkpoints" / "mine.txt").write_text("x")
    checkpoints.clear()
    assert names(tmp_path) == ["mine.txt"]
