from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import jiwer
import numpy as np
import pytest
import soundfile

from asr.config import Config, save_config
from asr.data.manifest import Utterance, read_manifest, write_manifest

if TYPE_CHECKING:
    from tests.conftest import Ran, Trained

    Command = Callable[..., Ran]

REPOSITORY = Path(__file__).resolve().parents[2]
COMMANDS = ("prepare", "train", "transcribe", "evaluate", "score", "info")


@pytest.fixture
def utterances(trained: Trained) -> list[Utterance]:
    return list(read_manifest(trained.test))


@pytest.fixture
def config_file(small_config: Callable[..., Config], trained: Trained, tmp_path: Path) -> Path:
    """A configuration that trains for a second."""
    write_manifest(tmp_path / "few.jsonl", list(read_manifest(trained.train))[:8])
    config = small_config(
        data={"train": str(tmp_path / "few.jsonl"), "dev": str(trained.dev)},
        model={"hidden": 8},
        training={"epochs": 1},
    )
    save_config(config, tmp_path / "config.yaml")
    return tmp_path / "config.yaml"


# The command line as such

LIGHT = """
import sys
from asr.cli import main

for arguments in {runs}:
    sys.argv = ["asr", *arguments]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, (arguments, stop.code)
heavy = {{"torch", "torchaudio", "librosa", "lhotse", "matplotlib", "accelerate"}} & set(sys.modules)
assert not heavy, heavy
"""


def test_help_and_listings_import_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two\n")
    runs = [["--help"], ["--version"], ["prepare", "--list"], *([command, "--help"] for command in COMMANDS)]
    runs.append(["score", str(tmp_path / "a.txt"), str(tmp_path / "a.txt")])
    done = subprocess.run(
        [sys.executable, "-c", LIGHT.format(runs=runs)], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("arguments", [["--version"], ["-h"], *([command, "-h"] for command in COMMANDS)])
def test_help_exits_0(asr_command: Command, arguments: list[str]) -> None:
    ran = asr_command(*arguments)
    assert ran.status == 0
    assert ran.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["transcribble", "a.wav"],
        ["info"],
        ["transcribe", "a.wav"],
        ["transcribe", "a.wav", "--model", "m", "--format", "docx"],
        ["score", "a", "b", "--format", "docx"],
        ["train", "a.yaml", "--output", "m", "--threads", "0"],
        ["train", "a.yaml", "--output", "m", "--resumee"],
    ],
)
def test_wrong_usage_exits_2(asr_command: Command, arguments: list[str]) -> None:
    ran = asr_command(*arguments)
    assert ran.status == 2
    assert ran.err
    assert not ran.out


# train


def test_train_makes_a_model_and_says_how_good_it_is(asr_command: Command, config_file: Path, tmp_path: Path) -> None:
    output = tmp_path / "a model"
    ran = asr_command("train", config_file, "--output", output, "--device", "cpu", "--threads", "1")
    assert ran.status == 0, ran.err
    assert ran.out.startswith(f"{output}: dev WER ")
    assert "epoch   1" in ran.err
    assert (output / "model.safetensors").is_file()


def test_train_json_is_one_object(asr_command: Command, config_file: Path, tmp_path: Path) -> None:
    ran = asr_command("train", config_file, "--output", tmp_path / "m", "--device", "cpu", "--json")
    assert ran.status == 0, ran.err
    result = json.loads(ran.out)
    assert result["model"] == str(tmp_path / "m")
    assert result["best_epoch"] == 1
    assert result["dev_wer"] > 0
    assert result["parameters"] > 1000


def test_train_json_still_names_what_is_left_out(asr_command: Command, config_file: Path, tmp_path: Path) -> None:
    rows = list(read_manifest(tmp_path / "few.jsonl"))
    gone = Utterance("gone", tmp_path / "gone.wav", 1.0, 8000, "ab")
    write_manifest(tmp_path / "few.jsonl", [*rows, gone])
    ran = asr_command("train", config_file, "--output", tmp_path / "m", "--device", "cpu", "--json")
    assert json.loads(ran.out)["best_epoch"] == 1
    assert "gone.wav: no such file" in ran.err


def test_set_overrides_a_value(asr_command: Command, config_file: Path, tmp_path: Path) -> None:
    ran = asr_command("train", config_file, "--output", tmp_path / "m", "--set", "model.hidden=6", "--device", "cpu")
    assert ran.status == 0, ran.err
    info = asr_command("info", tmp_path / "m", "--json")
    assert json.loads(info.out)["hidden"] == 6


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.epoch=3", "unknown key 'training.epoch', did you mean 'training.epochs'?"),
        ("model.learning_rate=3", "did you mean 'training.learning_rate'?"),
        ("training.epochs=many", "training.epochs"),
        ("model.cell=transformer", "model.cell"),
        ("training.epochs", "expected section.key=value"),
    ],
)
def test_a_wrong_setting_is_explained_and_exits_2(
    asr_command: Command, config_file: Path, tmp_path: Path, setting: str, message: str
) -> None:
    ran = asr_command("train", config_file, "--output", tmp_path / "m", "--set", setting)
    assert ran.status == 2
    assert message in ran.err
    assert not (tmp_path / "m").exists()


def test_a_missing_configuration_exits_2(asr_command: Command, tmp_path: Path) -> None:
    ran = asr_command("train", tmp_path / "none.yaml", "--output", tmp_path / "m")
    assert ran.status == 2
    assert "none.yaml: no such configuration file" in ran.err


def test_a_folder_in_use_exits_1_and_names_both_ways_on(
    asr_command: Command, config_file: Path, trained: Trained
) -> None:
    ran = asr_command("train", config_file, "--output", trained.folder, "--device", "cpu")
    assert ran.status == 1
    assert "--resume continues it, --overwrite starts it again" in ran.err


# transcribe


def test_one_file_prints_its_text_alone(asr_command: Command, trained: Trained, utterances: list[Utterance]) -> None:
    ran = asr_command("transcribe", utterances[0].audio, "--model", trained.folder, "--device", "cpu")
    assert (ran.status, ran.out, ran.err) == (0, f"{utterances[0].text}\n", "")


def test_several_files_with_a_bad_one_exit_1_and_print_the_others(
    asr_command: Command, trained: Trained, utterances: list[Utterance], tmp_path: Path
) -> None:
    (tmp_path / "bad.wav").write_text("no audio")
    files = [utterances[0].audio, tmp_path / "bad.wav", tmp_path / "gone.wav", utterances[1].audio]
    ran = asr_command("transcribe", *files, "--model", trained.folder, "--device", "cpu")
    assert ran.status == 1
    assert ran.out.splitlines() == [f"{row.audio}: {row.text}" for row in utterances[:2]]
    assert "bad.wav: not audio" in ran.err
    assert "gone.wav: no such file" in ran.err
    assert "2 of 4 files failed" in ran.err


def test_json_is_one_object_a_line(asr_command: Command, trained: Trained, utterances: list[Utterance]) -> None:
    files = [row.audio for row in utterances[:3]]
    ran = asr_command("transcribe", *files, "--model", trained.folder, "--format", "json", "--device", "cpu")
    rows = [json.loads(line) for line in ran.out.splitlines()]
    assert [(row["file"], row["text"]) for row in rows] == [(str(row.audio), row.text) for row in utterances[:3]]
    assert all(row["segments"][0]["end"] == row["duration"] for row in rows)


@pytest.mark.parametrize("format_", ["txt", "json"])
def test_output_dir_gets_one_file_each(
    asr_command: Command, trained: Trained, utterances: list[Utterance], tmp_path: Path, format_: str
) -> None:
    folder = tmp_path / "new" / "texts"
    files = [row.audio for row in utterances[:2]]
    (tmp_path / "bad.wav").write_text("no audio")
    options = ["--output-dir", folder, "--format", format_, "--device", "cpu"]
    ran = asr_command("transcribe", *files, tmp_path / "bad.wav", "--model", trained.folder, *options)
    assert (ran.status, ran.out) == (1, "")
    assert sorted(path.name for path in folder.iterdir()) == [f"{file.stem}.{format_}" for file in files]
    text = (folder / f"{files[0].stem}.{format_}").read_text(encoding="utf-8")
    assert (text if format_ == "txt" else json.loads(text)["text"] + "\n") == f"{utterances[0].text}\n"


def test_two_files_of_one_name_are_not_written_over_each_other(
    asr_command: Command, trained: Trained, utterances: list[Utterance], tmp_path: Path
) -> None:
    copies = [tmp_path / "one" / "same.wav", tmp_path / "two" / "same.wav"]
    for copy, utterance in zip(copies, utterances, strict=False):
        copy.parent.mkdir()
        shutil.copy(utterance.audio, copy)
    ran = asr_command("transcribe", *copies, "--model", trained.folder, "--output-dir", tmp_path / "out")
    assert ran.status == 2
    assert all(str(copy) in ran.err for copy in copies)
    assert not (tmp_path / "out").exists()


def test_an_output_dir_that_is_a_file_exits_2(
    asr_command: Command, trained: Trained, utterances: list[Utterance], tmp_path: Path
) -> None:
    (tmp_path / "out").touch()
    ran = asr_command("transcribe", utterances[0].audio, "--model", trained.folder, "--output-dir", tmp_path / "out")
    assert ran.status == 2
    assert "--output-dir" in ran.err


NAMES = [
    "with space.wav",
    'it\'s "quoted".wav',
    "😀 日本語.wav",
    "-dash.wav",
    "--help.wav",
    "a:b%s{}[red].wav",
    "no_suffix",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_any_kind_are_taken(
    asr_command: Command,
    trained: Trained,
    utterances: list[Utterance],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(utterances[0].audio, tmp_path / name)
    options = ["--model", trained.folder, "--device", "cpu", "--", name]
    assert asr_command("transcribe", *options).out == f"{utterances[0].text}\n"
    assert asr_command("transcribe", *options, utterances[1].audio).out.startswith(f"{name}: {utterances[0].text}\n")
    asr_command("transcribe", "--output-dir", "out", *options)
    assert [path.stem for path in (tmp_path / "out").iterdir()] == [Path(name).stem]
    missing = asr_command("transcribe", *options[:-1], f"{name}.gone")
    assert (missing.status, f"error: {name}.gone: no such file" in missing.err) == (1, True)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse names that are not UTF-8")
def test_a_name_that_is_not_utf_8_stops_nothing(
    asr_command: Command, trained: Trained, utterances: list[Utterance], tmp_path: Path
) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav")
    shutil.copy(utterances[0].audio, odd)
    for options in ([], ["--format", "json"]):
        ran = asr_command("transcribe", odd, utterances[1].audio, "--model", trained.folder, *options)
        assert ran.status == 0, ran.err
        assert len(ran.out.splitlines()) == 2


def test_transcribing_without_a_model_exits_1(
    asr_command: Command, utterances: list[Utterance], tmp_path: Path
) -> None:
    ran = asr_command("transcribe", utterances[0].audio, "--model", tmp_path / "nowhere")
    assert ran.status == 1
    assert "nowhere: no such model folder" in ran.err


def test_an_unknown_device_exits_2(asr_command: Command, trained: Trained, utterances: list[Utterance]) -> None:
    ran = asr_command("transcribe", utterances[0].audio, "--model", trained.folder, "--device", "abacus")
    assert ran.status == 2
    assert "--device abacus: expected auto, cpu" in ran.err


# evaluate


def test_evaluate_prints_and_saves_the_score(asr_command: Command, trained: Trained, tmp_path: Path) -> None:
    options = ["--model", trained.folder, "--output", tmp_path / "out", "--device", "cpu"]
    ran = asr_command("evaluate", trained.test, *options)
    assert ran.status == 0, ran.err
    assert "WER" in ran.out
    assert "real time" in ran.out
    saved = json.loads((tmp_path / "out/score.json").read_text())
    printed = json.loads(asr_command("evaluate", trained.test, *options, "--json").out)
    assert {key: value for key, value in printed.items() if "time" not in key and "seconds" not in key} == {
        key: value for key, value in saved.items() if "time" not in key and "seconds" not in key
    }
    assert printed["wer"] <= 0.1


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_evaluate_with_an_unreadable_recording_exits_1(
    asr_command: Command, trained: Trained, utterances: list[Utterance], tmp_path: Path, options: list[str]
) -> None:
    gone = Utterance("gone", tmp_path / "gone.wav", 1.0, 8000, "ab")
    write_manifest(tmp_path / "cuts.jsonl", [*utterances, gone])
    ran = asr_command("evaluate", tmp_path, "--model", trained.folder, "--device", "cpu", *options)
    assert ran.status == 1
    assert "gone.wav: no such file" in ran.err
    assert "1 utterances could not be read and are not in the score" in ran.err
    if options:
        assert json.loads(ran.out)["failed_utterances"] == 1


def test_evaluate_without_manifest_exits_1(asr_command: Command, trained: Trained, tmp_path: Path) -> None:
    ran = asr_command("evaluate", tmp_path, "--model", trained.folder)
    assert ran.status == 1
    assert "holds no cuts.jsonl" in ran.err


# score


def test_score_is_what_jiwer_says(asr_command: Command, tmp_path: Path) -> None:
    references = ["the cat sat on the mat", "hello world", "one two three four"]
    hypotheses = ["the cat sat mat", "hello there world", "one too three for"]
    (tmp_path / "ref.txt").write_text("\n".join(references) + "\n")
    (tmp_path / "hyp.txt").write_text("\n".join(hypotheses) + "\n")
    files = [tmp_path / "ref.txt", tmp_path / "hyp.txt"]
    ran = asr_command("score", *files, "--json", "--output", tmp_path / "alignments.txt")
    assert ran.status == 0, ran.err
    result = json.loads(ran.out)
    measures = jiwer.process_words(references, hypotheses)
    assert result["wer"] == measures.wer
    assert result["cer"] == jiwer.cer(references, hypotheses)
    assert (result["substitutions"], result["insertions"], result["deletions"], result["hits"]) == (
        measures.substitutions,
        measures.insertions,
        measures.deletions,
        measures.hits,
    )
    assert "mat" in (tmp_path / "alignments.txt").read_text()
    assert f"{measures.wer:.2%}"[:-1] in asr_command("score", *files).out


def test_score_counts_a_missing_hypothesis_only_when_told(asr_command: Command, tmp_path: Path) -> None:
    (tmp_path / "ref.trn").write_text("one two (a)\nthree (b)\n")
    (tmp_path / "hyp.trn").write_text("one two (a)\n")
    files = [tmp_path / "ref.trn", tmp_path / "hyp.trn"]
    ran = asr_command("score", *files)
    assert ran.status == 1
    assert "'b'" in ran.err
    ran = asr_command("score", *files, "--missing-as-empty", "--json")
    assert json.loads(ran.out)["wer"] == 1 / 3


def test_score_of_a_missing_file_exits_1(asr_command: Command, tmp_path: Path) -> None:
    (tmp_path / "ref.txt").write_text("one\n")
    ran = asr_command("score", tmp_path / "ref.txt", tmp_path / "hyp.txt")
    assert ran.status == 1
    assert "hyp.txt: no such file" in ran.err


# info


def test_info_describes_the_model(asr_command: Command, trained: Trained) -> None:
    ran = asr_command("info", trained.folder)
    assert ran.status == 0
    assert "lstm" in ran.out
    assert "dev WER" in ran.out
    facts = json.loads(asr_command("info", trained.folder, "--json").out)
    assert (facts["layers"], facts["hidden"], facts["sample_rate"]) == (1, 32, 8000)
    assert facts["tokens"] == ["<blank>", "▁", *"abcdefgh"]
    assert facts["parameters"] == trained.result.parameters
    assert facts["frame_seconds"] == 0.04


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.safetensors", None, "model.safetensors missing"),
        ("tokens.txt", None, "tokens.txt missing"),
        ("model.safetensors", b"\x00" * 50, "model.safetensors: truncated"),
        ("config.yaml", b"model: {hiden: 3}\n", "did you mean 'model.hidden'"),
        ("tokens.txt", b"<blank> 0\na 5\n", "tokens.txt, line 2"),
        ("tokens.txt", b"<blank> 0\na 1\n", "weights of another model"),
    ],
)
def test_info_on_a_broken_folder_names_the_file_and_exits_1(
    asr_command: Command, trained: Trained, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    folder = shutil.copytree(trained.folder, tmp_path / "model")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    ran = asr_command("info", folder)
    assert (ran.status, ran.out) == (1, "")
    assert message in ran.err
    assert str(folder) in ran.err


# prepare


def write_an4(root: Path) -> Path:
    """Six recordings in the official layout."""
    (root / "etc").mkdir(parents=True)
    for part, speakers in {"train": ["fabc", "mabc", "fdef", "mdef", "fghi"], "test": ["mxyz"]}.items():
        names = [f"an4{'' if part == 'train' else 'test'}_clstk/{name}/an1-{name}-b" for name in speakers]
        (root / f"etc/an4_{part}.fileids").write_text("".join(f"{name}\n" for name in names))
        lines = [f"<s> ENTER FIVE </s> ({Path(name).name})\n" for name in names]
        (root / f"etc/an4_{part}.transcription").write_text("".join(lines))
        for name in names:
            (root / "wav" / name).parent.mkdir(parents=True)
            soundfile.write(root / "wav" / f"{name}.wav", np.zeros(1600), 16000)
    return root


def test_prepare_writes_the_manifests_of_a_corpus(asr_command: Command, tmp_path: Path) -> None:
    source = write_an4(tmp_path / "an4")
    ran = asr_command("prepare", "an4", "--source", source, "--output", tmp_path / "out")
    assert ran.status == 0, ran.err
    counts = {line.split()[0]: int(line.split()[1]) for line in ran.out.splitlines()}
    assert counts == {"train": 4, "dev": 1, "test": 1}
    assert {row.text for row in read_manifest(tmp_path / "out/train")} == {"enter five"}


def test_prepare_lists_the_corpora(asr_command: Command) -> None:
    ran = asr_command("prepare", "--list")
    assert ran.status == 0
    assert {"an4", "digits"} <= {line.split()[0] for line in ran.out.splitlines()}


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["an5"], 1, "did you mean 'an4'?"),
        (["an4", "--option", "speed=3"], 1, "an4: no option 'speed'"),
        (["an4", "--option", "speed"], 2, "speed: expected key=value"),
        (["an4", "--option", "speed=[3"], 2, "speed=[3"),
        (["an4"], 1, "no AN4 corpus here"),
    ],
)
def test_prepare_explains_what_is_wrong(
    asr_command: Command, tmp_path: Path, arguments: list[str], status: int, message: str
) -> None:
    ran = asr_command("prepare", *arguments, "--source", tmp_path, "--output", tmp_path / "out")
    assert ran.status == status
    assert message in ran.err
