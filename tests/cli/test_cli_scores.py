from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import jiwer
import pytest

from asr.data.manifest import Utterance, read_manifest

if TYPE_CHECKING:
    from tests.conftest import Ran, Trained

    Command = Callable[..., Ran]


@pytest.fixture
def utterances(trained: Trained) -> list[Utterance]:
    return list(read_manifest(trained.test))


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


@pytest.mark.parametrize("option", ["--output", "--report"])
def test_score_and_compare_write_over_nothing_that_they_read(asr_command: Command, tmp_path: Path, option: str) -> None:
    reference, hypotheses = tmp_path / "ref.txt", tmp_path / "hypotheses"
    hypotheses.mkdir()
    reference.write_text("one two\n")
    for name, text in {"a": "one", "b": "two"}.items():
        (hypotheses / f"{name}.txt").write_text(text)
    for inputs, target in (
        (["score", reference, hypotheses / "a.txt"], hypotheses / "a.txt"),
        (["score", reference, hypotheses], hypotheses / "b.txt"),
        (["score", reference, hypotheses / "a.txt"], reference),
        (["compare", hypotheses / "a.txt", hypotheses / "b.txt", "--reference", reference], hypotheses / "b.txt"),
    ):
        if inputs[0] == "compare" and option == "--report":
            continue
        before = target.read_text()
        ran = asr_command(*inputs, option, target)
        assert (ran.status, f"{target} is read, and would be lost; choose another {option}" in ran.err) == (2, True)
        assert target.read_text() == before
    ran = asr_command("score", reference, hypotheses / "a.txt", option, ".")
    assert (ran.status, "is a folder; name a file" in ran.err) == (1, True)


def test_score_takes_each_side_in_its_own_format(asr_command: Command, tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("u1 one two\nu2 three\n")
    (tmp_path / "out.ctm").write_text("u1 1 0.1 0.2 one\nu2 1 0.1 0.2 three\n")
    ran = asr_command("score", tmp_path / "lines", tmp_path / "out.ctm", "--reference-format", "kaldi", "--json")
    assert json.loads(ran.out)["deletions"] == 1, ran.err
    ran = asr_command("score", tmp_path / "lines", tmp_path / "lines", "--format", "kaldi", "--json")
    assert json.loads(ran.out)["utterances"] == 2
    ran = asr_command("score", tmp_path / "lines", tmp_path / "out.ctm")
    assert (ran.status, ran.out) == (1, "")
    assert "give the format: --reference-format 'kaldi'" in ran.err


@pytest.mark.parametrize("option", ["--normalise", "--normalize"])
def test_score_normalises_when_asked_and_says_so(asr_command: Command, tmp_path: Path, option: str) -> None:
    (tmp_path / "ref.trn").write_text("TWENTY ONE OKAY (a)\n")
    (tmp_path / "hyp.trn").write_text("Twenty-one, okay. (a)\n")
    files = [tmp_path / "ref.trn", tmp_path / "hyp.trn"]
    plain = asr_command("score", *files)
    assert "WER 100.00 %" in plain.out
    assert "normalisation none" in plain.out.lower()
    assert "100 % of the errors are case, punctuation or Unicode form: --normalise basic gives WER 0.00 %" in plain.out
    ran = asr_command("score", *files, option, "basic")
    assert "WER 0.00 %" in ran.out
    assert "normalisation basic" in ran.out.lower()
    assert "--normalise" not in ran.out
    found = json.loads(asr_command("score", *files, option, "english", "--json").out)
    assert (found["wer"], found["words"], found["normalisation"]) == (0, 2, "english")
    assert asr_command("score", *files, option, "whisper").status == 2


def test_score_says_what_was_left_out(asr_command: Command, tmp_path: Path) -> None:
    (tmp_path / "ref.trn").write_text("one two (a)\nthree (b)\n(c)\n")
    (tmp_path / "hyp.trn").write_text("one two (a)\nfour (c)\nfive (x)\n")
    files = [tmp_path / "ref.trn", tmp_path / "hyp.trn"]
    ran = asr_command("score", *files, "--common-only")
    assert "1 reference without hypothesis left out: 'b'" in ran.out
    assert "1 hypothesis without reference left out: 'x'" in ran.out
    assert "references without a word: 1; the 1 words recognised there count as insertions" in ran.out
    found = json.loads(asr_command("score", *files, "--common-only", "--missing-as-empty", "--json").out)
    assert [found[key] for key in ("missing_hypotheses", "references_left_out", "hypotheses_left_out")] == [1, 0, 1]
    assert (found["deletions"], found["insertions"], found["utterances"]) == (1, 1, 3)
    (tmp_path / "ref.trn").write_text("(a)\n(c)\n(x)\n")
    ran = asr_command("score", *files)
    assert ran.status == 1
    assert "no reference words in 3 utterances" in ran.err


def test_score_by_speaker(asr_command: Command, tmp_path: Path) -> None:
    (tmp_path / "ref.stm").write_text("r A ann 0 2 one two\nr A bob 2 4 three four\nr A ann 4 6 five\n")
    (tmp_path / "hyp.ctm").write_text("r A 0.5 0.2 one\nr A 1 0.2 two\nr A 2.5 0.2 tree\nr A 4.5 0.2 five\n")
    files = [tmp_path / "ref.stm", tmp_path / "hyp.ctm"]
    lines = asr_command("score", *files, "--by-speaker").out.splitlines()
    table = [line.split()[:4] for line in lines if line.startswith(("ann", "bob"))]
    assert table == [["bob", "1", "2", "100.00"], ["ann", "2", "3", "0.00"]]
    found = json.loads(asr_command("score", *files, "--by-speaker", "--json").out)
    assert {name: group["wer"] for name, group in found["speakers"].items()} == {"ann": 0, "bob": 1}
    assert found["wer"] == 2 / 5

    (tmp_path / "text").write_text("a1 one\nb1 two\n")
    (tmp_path / "utt2spk").write_text("a1 ann\nb1 bob\n")
    listed = ["--utt2spk", tmp_path / "utt2spk", "--by-speaker"]
    assert "bob" in asr_command("score", tmp_path / "text", tmp_path / "text", *listed).out
    ran = asr_command("score", tmp_path / "text", tmp_path / "text", "--by-speaker")
    assert ran.status == 2
    assert "--utt2spk" in ran.err


def test_score_writes_a_report(asr_command: Command, tmp_path: Path) -> None:
    (tmp_path / "ref.trn").write_text("one two (a)\nthree (b)\n")
    (tmp_path / "hyp.trn").write_text("one <b>two (a)\nthree (b)\n")
    report = tmp_path / "deep" / "report.html"
    assert asr_command("score", tmp_path / "ref.trn", tmp_path / "hyp.trn", "--report", report).status == 0
    page = report.read_text()
    assert "hyp.trn against ref.trn" in page
    assert "<b>two" not in page


def test_score_reads_what_transcribe_writes(
    asr_command: Command, trained: Trained, utterances: list[Utterance], tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    ran = asr_command(
        "transcribe",
        trained.test,
        "--model",
        trained.folder,
        "--format",
        "all",
        "--output-dir",
        folder,
        "--device",
        "cpu",
    )
    assert ran.status == 0, ran.err
    ran = asr_command("score", trained.test, folder)
    assert ran.status == 1
    assert "files of several formats" in ran.err
    found = {}
    for format_ in ("txt", "json", "jsonl", "ctm", "trn"):
        options = ["--hypothesis-format", format_, "--missing-as-empty", "--json"]
        found[format_] = json.loads(asr_command("score", trained.test, folder, *options).out)
    assert found["txt"]["utterances"] == len(utterances)
    assert found["txt"]["wer"] <= 0.1
    assert {result["wer"] for result in found.values()} == {found["txt"]["wer"]}
    assert found["txt"]["speaker_count"] == 3


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
