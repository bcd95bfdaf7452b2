from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from asr.config import Config
from asr.data.manifest import read_manifest
from asr.data.shard_writing import write_shards
from asr.decoding.recogniser import Recogniser
from asr.errors import TrainingError
from asr.evaluation import evaluate
from asr.model.checkpoint import load_tensors
from asr.training import train
from asr.training.log import read_log
from asr.training.step import Step
from tests.servers import Server, files_in, serving
from tests.trainings import last_checkpoint

if TYPE_CHECKING:
    from tests.conftest import Speech

SHARD = 5


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, speech: Speech) -> Path:
    """`train` and `dev` as folders of wav files, and `out`: the training set in eight shards."""
    root = tmp_path_factory.mktemp("corpus")
    sentences = speech.sentences(46, seed=3)
    speech.corpus(root / "train", sentences[:40], "train")
    speech.corpus(root / "dev", sentences[40:], "dev")
    write_shards(root / "train", root / "out", size=SHARD)
    return root


@pytest.fixture(scope="module")
def web(corpus: Path) -> Iterator[Server]:
    with serving(files_in(corpus / "out")) as running:
        yield running


@pytest.fixture
def server(web: Server, corpus: Path) -> Server:
    """The same address for all tests, well-behaved at the beginning of each."""
    web.content, web.drops, web.unavailable = files_in(corpus / "out"), 0, 0
    web.paths.clear()
    return web


@pytest.fixture(scope="module")
def make_config(corpus: Path, small_config: Callable[..., Config]) -> Callable[..., Config]:
    """`make_config(source)`: two epochs with everything random switched on, a checkpoint after every step."""

    def make(source: str | Path, workers: int = 0, **sections: Any) -> Config:
        data = {"train": str(source), "batch_seconds": 6.0, "workers": workers, "buffer_shards": 2}
        return small_config(
            **{
                "data": {**data, "dev": str(corpus / "dev"), "shortest_first": True},
                "augmentation": {"speed": {"range": (0.9, 1.1)}, "gain": {}},
                "model": {"hidden": 16, "dropout": 0.3},
                "training": {"epochs": 2, "checkpoint_minutes": 1e-6},
                **sections,
            }
        )

    return make


@pytest.fixture(scope="module")
def undisturbed(corpus: Path, make_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The training on the local folder, from beginning to end without a break."""
    folder = tmp_path_factory.mktemp("undisturbed") / "model"
    train(make_config(corpus / "out"), folder, device="cpu")
    return folder


def assert_same_training(one: Path, other: Path) -> None:
    for name in ("model.safetensors", last_checkpoint(other).relative_to(other)):
        tensors, others = load_tensors(one / name)[0], load_tensors(other / name)[0]
        assert tensors.keys() == others.keys()
        assert [key for key in tensors if not torch.equal(tensors[key], others[key])] == []
    keys = ("kind", "step", "epoch", "loss", "learning_rate", "dev_wer", "dev_cer", "skipped")
    rows, other_rows = ([[row.get(key) for key in keys] for row in read_log(path)] for path in (one, other))
    assert rows == other_rows


@pytest.mark.parametrize("workers", [0, 2])
def test_a_folder_and_a_url_give_the_same_weights(
    make_config: Callable[..., Config], undisturbed: Path, server: Server, tmp_path: Path, workers: int
) -> None:
    server.drops, server.unavailable = 2, 2
    train(make_config(server.url(""), workers), tmp_path / "model", device="cpu")
    assert_same_training(tmp_path / "model", undisturbed)
    assert sum(path.endswith(".tar") for path in server.paths) >= 2 * 8  # two epochs


@pytest.mark.parametrize("step", [1, 9, 26])  # the second: between two stages; the last: in the second epoch
def test_the_place_of_a_break_does_not_matter(
    make_config: Callable[..., Config],
    undisturbed: Path,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
) -> None:
    real_step = Step.__call__

    def power_cut(this: Step, batch: Any, number: int, *arguments: Any, **more: Any) -> None:
        if number == step:
            raise OSError("power cut")
        real_step(this, batch, number, *arguments, **more)

    config = make_config(server.url(""))
    with monkeypatch.context() as patch:
        patch.setattr(Step, "__call__", power_cut)
        with pytest.raises(OSError, match="power cut"):
            train(config, tmp_path, device="cpu")
    train(config, tmp_path, resume=True, device="cpu")
    assert_same_training(tmp_path, undisturbed)


def without(corpus: Path, server: Server, *lost: str) -> None:
    whole = files_in(corpus / "out")
    server.content = lambda path: None if any(name in path for name in lost) else whole(path)


def test_a_lost_shard_is_reported_and_the_rest_is_trained_on(
    corpus: Path,
    make_config: Callable[..., Config],
    server: Server,
    tmp_path: Path,
    printed: tuple[Any, Callable[[], str]],
) -> None:
    without(corpus, server, "recording.000003.tar")
    console, text = printed
    result = train(make_config(server.url("")), tmp_path / "model", device="cpu", console=console)
    url = server.url("shar/recording.000003.tar")
    rows = [row for row in read_log(tmp_path / "model") if row["kind"] == "failure"]
    lost = [utterance.id for utterance in read_manifest(corpus / "out")][3 * SHARD : 4 * SHARD]
    assert sorted(row["id"] for row in rows) == sorted(lost * 2)
    assert {f"shard lost: {url}: HTTP 404 Not Found" in row["reason"] for row in rows} == {True}
    lines = [line for line in text().splitlines() if line.startswith("left out: ")]
    assert lines
    assert all(url in line and line.split()[2].rstrip(":") in lost for line in lines)
    assert len(result.history) == 2
    assert result.history[-1]["loss"] > 0


def test_nothing_but_lost_shards_is_an_error(
    corpus: Path, make_config: Callable[..., Config], server: Server, tmp_path: Path
) -> None:
    without(corpus, server, "recording")
    with pytest.raises(TrainingError, match=r"http://.*: no recording could be read"):
        train(make_config(server.url("")), tmp_path / "model", device="cpu")
    features = {"normalisation": "global", "sample_rate": 8000, "mels": 40}
    with pytest.raises(TrainingError, match=r"http://.*: no frames to measure"):
        train(make_config(server.url(""), features=features), tmp_path / "other", device="cpu")


def test_global_statistics_are_measured_over_a_url_too(
    corpus: Path, make_config: Callable[..., Config], server: Server, tmp_path: Path
) -> None:
    sections = {
        "features": {"normalisation": "global", "sample_rate": 8000, "mels": 40},
        "training": {"epochs": 1},
    }
    for name, source in (("local", corpus / "out"), ("remote", server.url("")), ("plain", corpus / "train")):
        train(make_config(source, **sections), tmp_path / name, device="cpu")
    assert_same_training(tmp_path / "local", tmp_path / "remote")
    local, plain = (load_tensors(tmp_path / name / "model.safetensors")[0] for name in ("local", "plain"))
    for key in ("features.mean", "features.deviation"):
        assert local[key].abs().min() > 0
        torch.testing.assert_close(local[key], plain[key])  # the same audio in another order


def test_a_model_hears_shards_as_it_hears_the_recordings(corpus: Path, undisturbed: Path) -> None:
    recogniser = Recogniser.load(undisturbed, "cpu")
    shards, plain = evaluate(recogniser, corpus / "out"), evaluate(recogniser, corpus / "train")
    assert shards.references == plain.references
    assert {key: hypothesis.text for key, hypothesis in shards.hypotheses.items()} == {
        key: hypothesis.text for key, hypothesis in plain.hypotheses.items()
    }
    assert (shards.wer, shards.audio_seconds) == (plain.wer, pytest.approx(plain.audio_seconds))


def test_a_url_without_shards_is_an_error(
    corpus: Path, make_config: Callable[..., Config], server: Server, tmp_path: Path
) -> None:
    from asr.errors import ManifestError

    with pytest.raises(ManifestError, match=r"nowhere/shards\.json: HTTP 404 Not Found"):
        train(make_config(server.url("nowhere")), tmp_path / "model", device="cpu")
    assert not (tmp_path / "model").exists()
