from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

from asr.data.manifest import Utterance, read_manifest, write_manifest
from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from tests.conftest import Ran

    Command = Callable[..., Ran]

RATE = 16000
TEXTS = ("bad cab deaf", "each fed gab", "head ice jade", "cafe beige fade", "deaf jade ice", "gab each cab")


def recorded(folder: Path, part: str) -> list[Utterance]:
    folder.mkdir(exist_ok=True)
    utterances = []
    for number, text in enumerate(TEXTS):
        name = f"{part}-{number}"
        rng = np.random.default_rng([len(part), ord(part[0]), number])
        soundfile.write(folder / f"{name}.wav", 0.05 * rng.standard_normal(RATE), RATE)
        utterances.append(Utterance(name, folder / f"{name}.wav", 1.0, RATE, text, f"{part} speaker"))
    return utterances


@pytest.fixture
def clean(tmp_path: Path) -> dict[str, Path]:
    """Three manifest folders without a defect."""
    parts = {part: tmp_path / part for part in ("train", "dev", "test")}
    for part, folder in parts.items():
        write_manifest(folder / "cuts.jsonl", recorded(tmp_path / "wav", part))
    return parts


@pytest.fixture
def damaged(clean: dict[str, Path]) -> Path:
    """The training manifest with four defects, each of which can be mended or dropped."""
    utterances = list(read_manifest(clean["train"]))
    utterances[0] = replace(utterances[0], duration=2.0)
    utterances[1] = replace(utterances[1], text="each  fed gab")
    utterances[2].audio.write_bytes(b"RIFF")
    dev = next(iter(read_manifest(clean["dev"])))
    soundfile.write(utterances[3].audio, soundfile.read(dev.audio)[0], RATE)
    write_manifest(clean["train"] / "cuts.jsonl", utterances)
    return clean["train"]


def test_clean_data(asr_command: Command, clean: dict[str, Path]) -> None:
    ran = asr_command("data", "doctor", clean["train"], "--dev", clean["dev"], "--test", clean["test"], "--jobs", 1)
    assert ran.status == 0
    assert ran.out.splitlines()[-1] == "no problems: training can start"
    assert [line.split()[:3] for line in ran.out.splitlines()[:3]] == [
        [part, "6", "utterances"] for part in ("train", "dev", "test")
    ]


def test_little_audio_is_noted_unless_a_model_is_to_start_from(asr_command: Command, clean: dict[str, Path]) -> None:
    arguments = ("data", "doctor", clean["train"], "--dev", clean["dev"], "--jobs", 1)
    note = "note: 0.2 min of audio in all is little to train a model from nothing; fine-tuning needs less: asr train"
    ran = asr_command(*arguments)
    assert ran.status == 0
    assert ran.out.splitlines()[-2].startswith(note)
    assert json.loads(asr_command(*arguments, "--json").out)["notes"][0].startswith(note)
    assert "note:" not in asr_command(*arguments, "--set", "training.init=en-small").out


def test_problems_with_id_and_remedy_and_exit_status_1(
    asr_command: Command, damaged: Path, clean: dict[str, Path]
) -> None:
    ran = asr_command("data", "doctor", damaged, "--dev", clean["dev"], "--jobs", 1)
    assert ran.status == 1
    rows = [line for line in ran.out.splitlines() if line.startswith(("error", "warning"))]
    assert [" ".join(row.split()) for row in rows] == [
        "error 1 train audio in two sets: train-3",
        "error 1 train duration mismatch: train-0",
        "error 1 train unreadable audio: train-2",
        "warning 1 train odd whitespace: train-1",
    ]
    assert "is 1.00 s long, the manifest says speech until 2.00 s; prepare the data again" in ran.out
    assert ran.out.splitlines()[-1].startswith("3 errors, 1 warning: mend the errors before training; --fix DIR")


def test_warnings_alone_do_not_stop(asr_command: Command, clean: dict[str, Path]) -> None:
    ran = asr_command("data", "doctor", clean["train"], "--set", "features.sample_rate=22050", "--jobs", 1)
    assert ran.status == 0
    assert "train-0, train-1, train-2 and 3 more" in ran.out
    assert ran.out.splitlines()[-1] == "0 errors, 6 warnings: training can start"


def test_json_is_one_object(asr_command: Command, damaged: Path, clean: dict[str, Path]) -> None:
    ran = asr_command("data", "doctor", damaged, "--dev", clean["dev"], "--json", "--jobs", 1)
    assert ran.status == 1
    found = json.loads(ran.out)
    assert (found["ready"], found["errors"], found["warnings"]) == (False, 3, 1)
    assert found["sets"]["dev"] == {"manifest": str(clean["dev"]), "utterances": 6, "seconds": 6.0}
    assert found["problems"][0] == {
        "set": "train",
        "severity": "error",
        "kind": "audio in two sets",
        "count": 1,
        "ids": ["train-3"],
    }
    assert found["alphabet"]["j"] == 2
    assert found["audio_seconds"] == 12.0  # the corrected duration counts
    assert 0 < found["wall_seconds"] < 60


def test_report_has_every_problem(asr_command: Command, damaged: Path, tmp_path: Path) -> None:
    asr_command("data", "doctor", damaged, "--report", tmp_path / "out" / "problems.jsonl", "--jobs", 1)
    rows = [json.loads(line) for line in (tmp_path / "out" / "problems.jsonl").read_text().splitlines()]
    assert [(row["id"], row["set"], row["kind"], row["severity"]) for row in rows] == [
        ("train-0", "train", "duration mismatch", "error"),
        ("train-2", "train", "unreadable audio", "error"),
        ("train-1", "train", "odd whitespace", "warning"),
    ]
    assert all(len(row) == 5 and row["message"] for row in rows)


def test_fix_mends_and_the_doctor_is_content_with_the_result(
    asr_command: Command, damaged: Path, clean: dict[str, Path], tmp_path: Path
) -> None:
    new = tmp_path / "new"
    ran = asr_command("data", "doctor", damaged, "--dev", clean["dev"], "--fix", new, "--jobs", 1)
    assert ran.status == 0
    assert f"cleaned manifests are in {new}" in ran.out
    assert ran.out.splitlines()[-1] == "no errors are left: training can start"
    rows = [json.loads(line) for line in (new / "changes.jsonl").read_text().splitlines()]
    assert [(row["id"], row["action"]) for row in rows] == [
        ("train-0", "duration"),
        ("train-1", "text"),
        ("train-2", "dropped"),
        ("train-3", "dropped"),
    ]
    again = asr_command("data", "doctor", new / "train", "--dev", new / "dev", "--jobs", 1)
    assert again.status == 0
    assert again.out.splitlines()[-1] == "no problems: training can start"


def test_an_earlier_repair_is_replaced_where_told_and_refused_before_any_audio_is_read(
    asr_command: Command, clean: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("data", "doctor", clean["train"], "--fix", tmp_path / "new", "--jobs", 1)
    assert asr_command(*arguments).status == 0
    (tmp_path / "new" / "train" / "cuts.jsonl").write_text("corrected by hand\n")
    with monkeypatch.context() as patch:
        patch.setattr("asr.data.doctor.examine", None)
        ran = asr_command(*arguments)
    assert ran.status == 2
    assert "new/changes.jsonl exists already; choose another --fix, or replace it with --overwrite" in ran.err
    assert (tmp_path / "new" / "train" / "cuts.jsonl").read_text() == "corrected by hand\n"
    assert asr_command(*arguments, "--overwrite").status == 0
    assert len(list(read_manifest(tmp_path / "new" / "train"))) == 6
    ran = asr_command(*arguments[:3], "--overwrite")
    assert (ran.status, "--overwrite means the folder of --fix" in ran.err) == (2, True)


def test_fix_with_json_counts_the_changes(asr_command: Command, damaged: Path, tmp_path: Path) -> None:
    ran = asr_command("data", "doctor", damaged, "--fix", tmp_path / "new", "--json", "--jobs", 1)
    assert ran.status == 0
    found = json.loads(ran.out)
    assert (found["ready"], found["changes"], found["unmended"]) == (False, 3, 0)


def test_fix_that_cannot_mend_everything_exits_1(asr_command: Command, clean: dict[str, Path], tmp_path: Path) -> None:
    dev = [replace(utterance, text="äöü") for utterance in read_manifest(clean["dev"])]
    write_manifest(clean["dev"] / "cuts.jsonl", dev)
    ran = asr_command("data", "doctor", clean["train"], "--dev", clean["dev"], "--fix", tmp_path / "new", "--jobs", 1)
    assert ran.status == 1
    assert "alphabet mismatch" in ran.out
    assert ran.out.splitlines()[-1] == "1 error left to mend by hand"


def test_configuration_and_overrides(asr_command: Command, clean: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("data: {max_seconds: 0.5}\n")
    arguments = ("data", "doctor", clean["train"], "--config", tmp_path / "c.yaml", "--jobs", 1)
    ran = asr_command(*arguments)
    assert ran.status == 1
    assert "longer than data.max_seconds = 0.5" in ran.out
    assert asr_command(*arguments, "--set", "data.max_seconds=5").status == 0
    wrong = asr_command("data", "doctor", clean["train"], "--set", "data.max_secons=5")
    assert wrong.status == 2
    assert "did you mean 'data.max_seconds'" in wrong.err


def test_no_manifest_and_no_utterances(asr_command: Command, tmp_path: Path) -> None:
    ran = asr_command("data", "doctor", tmp_path / "gone")
    assert ran.status == 1
    assert "no such manifest" in ran.err
    (tmp_path / "empty.jsonl").touch()
    ran = asr_command("data", "doctor", tmp_path / "empty.jsonl", "--jobs", 1)
    assert ran.status == 1
    assert "no utterances" in ran.out


LIGHT = """
import sys
from asr.cli import main

if __name__ == "__main__":
    sys.argv = ["asr", *sys.argv[1:]]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code
    assert not {"torch", "torchaudio", "librosa", "lhotse", "scipy", "accelerate"} & set(sys.modules)
"""


def test_as_a_program_with_several_processes_and_without_torch(clean: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(LIGHT)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "run.py"), "data", "doctor", str(clean["train"]), "--jobs", "2"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "no problems: training can start"
    assert done.stderr.strip() == ""
