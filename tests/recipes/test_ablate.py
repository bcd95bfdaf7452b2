"""recipes/ablate.py, run as a user runs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Speech

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = """
data: {train: train, dev: dev, batch_seconds: 8, workers: 0}
augmentation: {spec_augment: null, speed: null}
features: {sample_rate: 8000, mels: 40}
model: {layers: 1, hidden: 24, dropout: 0.05, subsampling: {channels: 4}}
training: {epochs: 12, learning_rate: 0.005}
"""
PLAN = """
config: config.yaml
test: test
variants:
  recipe: []
  gru: [model.cell=gru]
"""


@pytest.fixture
def work(tmp_path: Path, speech: Speech) -> Path:
    for part, count, seed in (("train", 60, 1), ("dev", 8, 2), ("test", 6, 3)):
        speech.corpus(tmp_path / part, speech.sentences(count, seed=seed), part)
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "plan.yaml").write_text(PLAN)
    return tmp_path


def ablate(work: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, REPOSITORY / "recipes/ablate.py", "plan.yaml", "--output", "models", *arguments]
    command += ["--device", "cpu", "--threads", 1]
    return subprocess.run([str(part) for part in command], cwd=work, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_every_variant_is_trained_with_every_seed_once_and_compared_with_the_first(work: Path) -> None:
    ran = ablate(work, "--seeds", 2, "--table", "table.md")
    assert ran.returncode == 0, ran.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in (work / "table.md").read_text().splitlines()]
    assert [row[0] for row in rows] == ["", "---", "recipe", "gru"]
    heads = rows[0]
    found = {name: [json.loads((work / f"models/{name}/seed-{n}/results.json").read_text()) for n in (0, 1)]
             for name in ("recipe", "gru")}  # fmt: skip
    for row in rows[2:]:
        trained = found[row[0]]
        cell = dict(zip(heads, row, strict=True))
        mean = sum(one["wer"] for one in trained) / 2
        assert cell["dev WER %"].startswith(f"{100 * mean:.2f} [")
        errors = sum(errors for one in trained for errors, _ in one["by_utterance"]["test"].values())
        words = sum(words for one in trained for _, words in one["by_utterance"]["test"].values())
        assert cell["test WER %"].startswith(f"{100 * errors / words:.2f} [")
        assert (cell["seeds"], cell["M parameters"]) == ("2", f"{trained[0]['parameters'] / 1e6:.2f}")
    difference = float(re.match(r"[+-][\d.]+", rows[3][heads.index("dev WER - recipe")]).group())  # type: ignore[union-attr]
    means = {name: 50 * sum(one["wer"] for one in trained) for name, trained in found.items()}
    assert difference == pytest.approx(means["gru"] - means["recipe"], abs=0.006)
    assert found["recipe"][0]["config"]["training"]["seed"] == 0
    assert found["gru"][1]["config"]["model"]["cell"] == "gru"

    stamp = (work / "models/gru/seed-1/model.safetensors").stat().st_mtime_ns
    again = ablate(work, "--seeds", 2, "--table", "again.md")
    assert again.returncode == 0, again.stderr
    assert (work / "again.md").read_text() == (work / "table.md").read_text()
    assert (work / "models/gru/seed-1/model.safetensors").stat().st_mtime_ns == stamp


@pytest.mark.slow
def test_a_variant_that_cannot_be_trained_is_told_and_the_others_go_on(work: Path) -> None:
    plan = PLAN.replace("[model.cell=gru]", "[data.train=nowhere]")
    (work / "plan.yaml").write_text(plan + "  quick: [training.epochs=1]\n")
    ran = ablate(work, "--seeds", 1, "--table", "table.md")
    assert ran.returncode == 1
    assert "gru, seed 0" in ran.stderr
    assert "nowhere" in ran.stderr
    assert [line.split("|")[1].strip() for line in (work / "table.md").read_text().splitlines()[2:]] == [
        "recipe",
        "quick",
    ]
    changed = ablate(work, "--seeds", 1, "--only", "recipe")
    assert changed.returncode == 0
    (work / "config.yaml").write_text(CONFIG.replace("0.005", "0.004"))
    changed = ablate(work, "--seeds", 1, "--only", "recipe")
    assert changed.returncode == 1
    assert "another configuration" in changed.stderr


@pytest.mark.slow
def test_stopping_stops_and_the_same_command_goes_on(work: Path) -> None:
    (work / "config.yaml").write_text(CONFIG.replace("epochs: 12", "epochs: 2000"))
    command = [sys.executable, REPOSITORY / "recipes/ablate.py", "plan.yaml", "--output", "models", "--seeds", 1]
    started = subprocess.Popen(
        [str(part) for part in (*command, "--device", "cpu", "--threads", 1)],
        cwd=work,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    for line in started.stdout:
        if line.startswith("epoch   2"):
            break
    started.terminate()
    out, err = started.communicate(timeout=60)
    assert started.returncode != 0
    assert "interrupted at step" in err
    assert "gru, seed 0" not in out
    assert not (work / "models/gru").exists()
    assert list((work / "models/recipe/seed-0/checkpoints").glob("step-*.safetensors"))


def test_a_name_that_is_no_variant_and_a_broken_list_are_told(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "plan.yaml").write_text(PLAN)
    unknown = ablate(tmp_path, "--only", "lstmm")
    assert (unknown.returncode, "Traceback" in unknown.stderr) == (2, False)
    assert "no variant lstmm; there are recipe, gru" in unknown.stderr
    (tmp_path / "plan.yaml").write_text("variants: {recipe: []}\nconfigg: x\n")
    broken = ablate(tmp_path)
    assert (broken.returncode, "Traceback" in broken.stderr) == (2, False)
    assert "configg" in broken.stderr
