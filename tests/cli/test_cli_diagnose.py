from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from matplotlib.image import imread

if TYPE_CHECKING:
    from tests.conftest import Ran, Trained

    Command = Callable[..., Ran]


def test_table_numbers_and_picture_of_a_trained_model(asr_command: Command, trained: Trained, tmp_path: Path) -> None:
    picture = tmp_path / "new" / "gradients.png"
    ran = asr_command("diagnose", "gradients", trained.folder, "--utterances", 2, "--output", picture)
    assert ran.status == 0, ran.err
    assert ran.err.splitlines() == [f"{trained.folder}: lstm initial", f"{trained.folder}: lstm trained"]
    loss, state, gates = ran.out.strip().split("\n\n")
    for table in (loss, state):
        title, head, *rows = table.splitlines()
        assert title.endswith(":")
        assert head.split() == [
            "layer",
            *(f"k={k}" for k in (1, 2, 5, 10, 20, 50, 100)),
            "half",
            "left",
            "1",
            "%",
            "left",
        ]
        assert [row.split()[:3] for row in rows] == [["lstm", "initial", "1"], ["lstm", "trained", "1"]]
        assert len({len(line) for line in (head, *rows)}) == 1  # aligned
    assert gates.splitlines()[1].split() == ["layer", "forget", "input", "output"]
    assert imread(picture).std() > 0.05

    ran = asr_command("diagnose", "gradients", trained.folder, "--utterances", 2, "--json")
    layers = json.loads(ran.out)["layers"]
    assert [(row["model"], row["cell"], row["layer"]) for row in layers] == [
        ("lstm initial", "lstm", 1),
        ("lstm trained", "lstm", 1),
    ]
    for row, line in zip(layers, loss.splitlines()[2:], strict=True):
        assert row["loss"]["share"]["0"] == 1
        assert line.split()[3] == f"{row['loss']['share']['1']:.3f}"
        assert 0 < row["gates"]["forget"]["mean"] < 1
        assert row["loss"]["half_life_seconds"] == pytest.approx(0.04 * row["loss"]["half_life_frames"])


def test_initial_weights_of_chosen_cells(asr_command: Command, trained: Trained) -> None:
    config = trained.folder / "config.yaml"
    ran = asr_command(
        *("diagnose", "gradients", config, "--cells", "gru, rnn_tanh", "--set", "model.layers=2"),
        *("--manifest", trained.dev, "--utterances", 1, "--json"),
    )
    assert ran.status == 0, ran.err
    found = [(row["cell"], row["layer"], set(row["gates"])) for row in json.loads(ran.out)["layers"]]
    gru, tanh = {"update", "reset"}, {"slope"}
    assert found == [("gru", 1, gru), ("gru", 2, gru), ("rnn_tanh", 1, tanh), ("rnn_tanh", 2, tanh)]


def test_a_model_that_comes_with_asr_goes_by_its_name(asr_command: Command, tmp_path: Path) -> None:
    ran = asr_command("diagnose", "gradients", "en-small", "--manifest", tmp_path / "nowhere")
    assert (ran.status, f"{tmp_path / 'nowhere'}: no such manifest" in ran.err) == (1, True)
    ran = asr_command("diagnose", "gradients", "en-smal")
    assert (ran.status, "en-smal: no such model folder" in ran.err, "en-small" in ran.err) == (1, True, True)
    ran = asr_command("diagnose", "gradients", "gone.yaml")
    assert (ran.status, "gone.yaml: no such configuration file" in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--cells", "gru,elman"], 2, "'elman' is not one of rnn_tanh,rnn_relu,gru,lstm"),
        (["--set", "model.hidden=3"], 2, "trained model"),
        (["--manifest", "nowhere"], 1, "nowhere: no such manifest"),
        (["--utterances", "0"], 2, "--utterances"),
        (["--utterances", "1", "--output", "/proc/picture.png"], 1, "/proc/picture.png: cannot be written"),
    ],
)
def test_wrong_usage(asr_command: Command, trained: Trained, options: list[str], status: int, message: str) -> None:
    ran = asr_command("diagnose", "gradients", trained.folder, *options)
    assert ran.status == status
    assert message in " ".join(ran.err.split())
