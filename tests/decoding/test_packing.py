"""Models to hand on: all that decoding needs, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from asr.config import load_config
from asr.decoding.packing import pack
from asr.errors import CheckpointError, ConfigError, OutputError
from asr.lm.training import train_ngram
from asr.model.checkpoint import load_folder, load_tensors, save_tensors
from asr.transcription import load_model

if TYPE_CHECKING:
    from tests.conftest import DiskFull, Ran, Trained


@pytest.fixture
def configured(trained: Trained, tmp_path: Path) -> Path:
    """The model, decoding with a language model in its folder and hot words elsewhere."""
    folder = tmp_path / "configured"
    shutil.copytree(trained.folder, folder)
    train_ngram([trained.train], 2).model.save(folder / "words.lm")
    (tmp_path / "names.txt").write_text("head\n")
    text = (folder / "config.yaml").read_text()
    decoding = f"decoding:\n  method: beam\n  lm: words.lm\n  hotwords: {tmp_path / 'names.txt'}\n"
    (folder / "config.yaml").write_text(text[: text.index("decoding:")] + decoding)
    return folder


def test_what_decoding_needs_comes_along(configured: Path, tmp_path: Path) -> None:
    size = pack(configured, tmp_path / "packed")
    names = {path.name for path in (tmp_path / "packed").iterdir()}
    assert names == {"config.yaml", "tokens.txt", "model.safetensors", "README.md", "words.lmz", "names.txt"}
    assert size == sum(path.stat().st_size for path in (tmp_path / "packed").iterdir())
    decoding = load_config(tmp_path / "packed" / "config.yaml").decoding
    assert (decoding.lm, decoding.hotwords) == ("words.lmz", "names.txt")
    (tmp_path / "names.txt").unlink()
    shutil.move(tmp_path / "packed", tmp_path / "elsewhere")
    assert load_model(tmp_path / "elsewhere", device="cpu").decoding.method == "beam"


def test_half_precision_takes_half_the_room_and_changes_next_to_nothing(trained: Trained, tmp_path: Path) -> None:
    pack(trained.folder, tmp_path / "packed")
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (tmp_path / "packed", trained.folder)]
    assert 0.45 < sizes[0] / sizes[1] < 0.6
    (half, _), (whole, _) = load_folder(tmp_path / "packed"), load_folder(trained.folder)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.float32}
    waveforms, lengths = 0.1 * torch.randn(2, 8000), torch.tensor([8000, 5000])
    with torch.no_grad():
        difference = (half(waveforms, lengths)[0] - whole(waveforms, lengths)[0]).abs().max()
    assert 0 < difference < 0.02
    audio = sorted(trained.test.glob("*.wav"))
    texts = [
        [result.text for result in load_model(folder, device="cpu").transcribe_many(audio)]  # type: ignore[union-attr]
        for folder in (tmp_path / "packed", trained.folder)
    ]
    assert texts[0] == texts[1]


def test_exact_keeps_every_bit(configured: Path, tmp_path: Path) -> None:
    pack(configured, tmp_path / "packed", exact=True)
    assert (tmp_path / "packed/words.lm").read_bytes() == (configured / "words.lm").read_bytes()
    (kept, _), (before, _) = (load_tensors(f / "model.safetensors") for f in (tmp_path / "packed", configured))
    assert kept.keys() == before.keys()
    assert all(np.array_equal(kept[name], before[name]) for name in kept)


def test_a_weight_that_half_precision_cannot_hold_is_an_error(trained: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "large"
    shutil.copytree(trained.folder, folder)
    tensors, _ = load_tensors(folder / "model.safetensors")
    tensors["classifier.head.bias"][1] = 1e6
    save_tensors(folder / "model.safetensors", tensors)
    with pytest.raises(CheckpointError, match=r"classifier\.head\.bias is too large for half precision"):
        pack(folder, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


def test_what_is_there_is_not_replaced(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "packed").mkdir()
    with pytest.raises(ConfigError, match="exists already"):
        pack(trained.folder, tmp_path / "packed")


def test_a_full_disk_leaves_nothing(trained: Trained, tmp_path: Path, disk_full_after: DiskFull) -> None:
    with disk_full_after(2000), pytest.raises((OutputError, CheckpointError), match="cannot be written"):
        pack(trained.folder, tmp_path / "packed")
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_how_large_it_is(trained: Trained, tmp_path: Path, asr_command: Callable[..., Ran]) -> None:
    ran = asr_command("pack", trained.folder, "--output", tmp_path / "packed")
    assert ran.status == 0, ran.err
    assert ran.out == f"{tmp_path / 'packed'}  0.0 MB\n"
    assert '"bytes": ' in asr_command("pack", trained.folder, "--output", tmp_path / "again", "--json").out
