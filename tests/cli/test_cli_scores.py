from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import jiwer
import pytest

from asr.data.manifest import Utterance, read_manifest, write_manifest

if TYPE_CHECKING:
    from tests.conftest import Ran, Trained

    Command = Callable[..., Ran]


@pytest.fixture
def utterances(trained: Trained) -> list[Utterance]:
    return list(read_manifest(trained.test))


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
