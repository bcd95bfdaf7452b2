from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from asr.config import Config
from asr.errors import CheckpointError
from asr.model.acoustic import AcousticModel
from asr.model.checkpoint import create_folder, load_folder, load_tensors, save_tensors
from asr.text import Tokenizer

if TYPE_CHECKING:
    from tests.conftest import DiskFull

FILES = ["config.yaml", "model.safetensors", "tokens.txt"]


def configuration(**model: Any) -> Config:
    tree = {"layers": 1, "hidden": 8, "subsampling": {"channels": 2}, **model}
    return Config.model_validate({"features": {"mels": 16, "normalisation": "global"}, "model": tree})


def saved(folder: Path, seed: int = 0, **model: Any) -> AcousticModel:
    """Write a whole model folder; returns its model."""
    torch.manual_seed(seed)
    tokenizer = Tokenizer.from_characters("abc'")
    whole = AcousticModel(configuration(**model), len(tokenizer))
    whole.features.mean.uniform_(-9, 0)
    create_folder(folder, whole.config, tokenizer)
    save_tensors(folder / "model.safetensors", whole.state_dict())
    return whole.eval()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_folder_reads_back_as_the_same_model(tmp_path: Path) -> None:
    model = saved(tmp_path / "deep" / "model")
    assert names(tmp_path / "deep" / "model") == FILES
    loaded, tokenizer = load_folder(tmp_path / "deep" / "model")
    assert loaded.config == model.config
    assert tokenizer.tokens == Tokenizer.from_characters("abc'").tokens
    assert not loaded.training
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    waveforms, lengths = 0.1 * torch.randn(2, 4000), torch.tensor([4000, 900])
    assert torch.equal(loaded(waveforms, lengths)[0], model(waveforms, lengths)[0])


def test_whoever_may_read_the_folder_may_read_its_weights(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        saved(tmp_path / "model")
    finally:
        os.umask(before)
    assert {(tmp_path / "model" / name).stat().st_mode & 0o777 for name in FILES} == {0o644}


def test_folder_can_be_moved(tmp_path: Path) -> None:
    saved(tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    load_folder(tmp_path / "there")


def test_tensors_and_metadata_round_trip(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6).reshape(2, 3).T, "b": torch.tensor(2.5, dtype=torch.float64)}
    save_tensors(tmp_path / "x.safetensors", tensors, {"epoch": "3"})
    loaded, metadata = load_tensors(tmp_path / "x.safetensors")
    assert metadata == {"epoch": "3"}
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)


def test_missing_folder_is_named_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none: no such model folder; `asr train CONFIG --output .*none`"):
        load_folder(tmp_path / "none")


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_named(tmp_path: Path, name: str) -> None:
    saved(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(CheckpointError) as caught:
        load_folder(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert f"not a complete model folder, {name} missing" in str(caught.value)


def test_tensors_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.safetensors: no such file"):
        load_tensors(tmp_path / "none.safetensors")


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_truncated_weights(tmp_path: Path, kept: int) -> None:
    saved(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError) as caught:
        load_folder(tmp_path)
    assert f"{path}: truncated, or not a safetensors file" in str(caught.value)


class Trap:
    """Unpickling it creates a file."""

    def __init__(self, sprung: Path):
        self.sprung = sprung

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.sprung,)


def test_pickle_is_never_loaded(tmp_path: Path) -> None:
    folder, sprung = tmp_path / "model", tmp_path / "sprung"
    saved(folder)
    trap = pickle.dumps(Trap(sprung))
    pickle.loads(trap)
    assert sprung.exists()
    sprung.unlink()

    for name in ("model.pt", "pytorch_model.bin", "state.pkl"):  # lying about: ignored
        (folder / name).write_bytes(trap)
    load_folder(folder)
    torch.save({"model": Trap(sprung)}, folder / "model.safetensors")  # in the place of the weights: refused
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_folder(folder)
    for name in FILES:
        saved(folder)
        (folder / name).write_bytes(trap)
        with pytest.raises(CheckpointError, match=name):
            load_folder(folder)
    assert not sprung.exists()


def test_configuration_that_asks_for_python_objects_is_refused(tmp_path: Path) -> None:
    folder, sprung = tmp_path / "model", tmp_path / "sprung"
    saved(folder)
    (folder / "config.yaml").write_text(f"model: !!python/object/apply:os.mkdir [{sprung}]\n")
    with pytest.raises(CheckpointError, match=r"config\.yaml: not valid YAML"):
        load_folder(folder)
    assert not sprung.exists()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"hidden": 9}, r"is \[\d+(, \d+)*\], the configuration and tokens ask for \["),
        ({"layers": 2}, r"classifier\.encoder\.\S+ is not part of it"),
        ({"bidirectional": False}, r"classifier\.encoder\.\S+ is missing"),
        ({"cell": "gru"}, r"is \["),
    ],
)
def test_weights_of_another_model(tmp_path: Path, other: dict[str, Any], message: str) -> None:
    saved(tmp_path / "one")
    saved(tmp_path / "two", **other)
    shutil.copy(tmp_path / "two" / "model.safetensors", tmp_path / "one")
    with pytest.raises(CheckpointError, match=rf"model\.safetensors: weights of another model: .*{message}"):
        load_folder(tmp_path / "one")


def test_tokens_of_another_model(tmp_path: Path) -> None:
    saved(tmp_path)
    Tokenizer.from_characters("abcdefgh").save(tmp_path / "tokens.txt")
    with pytest.raises(CheckpointError, match=r"classifier\.head\.\S+ is \[6.*ask for \[10"):
        load_folder(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(tmp_path: Path, value: float) -> None:
    state: dict[str, Tensor] = saved(tmp_path).state_dict()
    state["classifier.head.bias"][2] = value
    save_tensors(tmp_path / "model.safetensors", state)
    with pytest.raises(CheckpointError, match=r"classifier\.head\.bias holds values that are not finite"):
        load_folder(tmp_path)


@pytest.mark.parametrize("content", [b"", b"<blank> 0\nb 2\n", b"\x80\x04garbled", b"no table at all"])
def test_garbled_tokens(tmp_path: Path, content: bytes) -> None:
    saved(tmp_path)
    (tmp_path / "tokens.txt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tokens\.txt"):
        load_folder(tmp_path)


def test_configuration_with_an_unknown_key(tmp_path: Path) -> None:
    saved(tmp_path)
    with open(tmp_path / "config.yaml", "a") as file:
        file.write("telepathy: {}\n")
    with pytest.raises(CheckpointError, match=r"config\.yaml: unknown key 'telepathy'"):
        load_folder(tmp_path)


def test_full_disk_keeps_the_previous_weights_and_leaves_nothing_else(
    tmp_path: Path, disk_full_after: DiskFull
) -> None:
    saved(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    torch.manual_seed(9)
    other = AcousticModel(configuration(), 6).state_dict()
    with disk_full_after(1000), pytest.raises(CheckpointError) as caught:
        save_tensors(tmp_path / "model.safetensors", other)
    assert "cannot be written" in str(caught.value)
    assert "the previous model.safetensors is kept" in str(caught.value)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert names(tmp_path) == FILES
    load_folder(tmp_path)


def test_full_disk_before_the_first_checkpoint_claims_no_previous_one(
    tmp_path: Path, disk_full_after: DiskFull
) -> None:
    with disk_full_after(1000), pytest.raises(CheckpointError) as caught:
        save_tensors(tmp_path / "model.safetensors", {"a": torch.zeros(1000)})
    assert "kept" not in str(caught.value)
    assert names(tmp_path) == []


@pytest.mark.parametrize("size", [20, 2000])
def test_full_disk_while_starting_a_folder_leaves_no_parts(
    tmp_path: Path, size: int, disk_full_after: DiskFull
) -> None:
    """20 bytes stop config.yaml; 2000 suffice for it and stop the 3000 characters of tokens.txt."""
    tokenizer = Tokenizer.from_characters(map(chr, range(0x4E00, 0x4E00 + 3000)))
    with disk_full_after(size), pytest.raises(CheckpointError, match="cannot be written"):
        create_folder(tmp_path / "model", configuration(), tokenizer)
    assert not [name for name in names(tmp_path / "model") if name.endswith(".part")]


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"file.*cannot be written"):
        create_folder(tmp_path / "file" / "model", configuration(), Tokenizer.from_characters("a"))


def test_saving_replaces_the_file_instead_of_writing_into_it(tmp_path: Path) -> None:
    """Whoever has the old file open keeps reading the old one."""
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"a": torch.zeros(3)})
    before = os.stat(path).st_ino
    with open(path, "rb") as reader:
        old = path.read_bytes()
        save_tensors(path, {"a": torch.ones(3)})
        assert reader.read() == old
    assert os.stat(path).st_ino != before
    assert torch.equal(load_tensors(path)[0]["a"], torch.ones(3))
