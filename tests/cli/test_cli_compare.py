from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asr.cli import app, compare
from asr.data.manifest import read_manifest

if TYPE_CHECKING:
    from tests.conftest import Ran, Trained

    Command = Callable[..., Ran]

REFERENCES = {f"s{speaker}-{number}": f"one two three four {number}" for speaker in range(6) for number in "abcd"}


@pytest.fixture
def run(asr_command: Command) -> Command:
    if "compare" not in [command.name for command in app.registered_commands]:
        app.command("compare")(compare.command)
    return asr_command


def evaluation(folder: Path, wrong: Callable[[str], int], references: dict[str, str] = REFERENCES) -> Path:
    """A folder as `asr evaluate --output` writes it, with so many of the first words of an utterance wrong."""
    folder.mkdir()
    rows = []
    for key, text in references.items():
        words = ["x" if place < wrong(key) else word for place, word in enumerate(text.split())]
        row: dict[str, Any] = {"id": key, "text": " ".join(words), "reference": text, "score": -1.0}
        rows.append(json.dumps(row | {"speaker": key.split("-")[0], "seconds": 2.0}) + "\n")
    (folder / "hypotheses.jsonl").write_text("".join(rows))
    return folder


def transcripts(path: Path, texts: dict[str, str]) -> Path:
    path.write_text("".join(f"{text} ({key})\n" for key, text in texts.items()))
    return path


def test_evaluations_are_compared_over_their_speakers(run: Command, tmp_path: Path) -> None:
    a = evaluation(tmp_path / "a", lambda key: 2)
    b = evaluation(tmp_path / "b", lambda key: 1)
    ran = run("compare", a, b)
    assert ran.status == 0, ran.err
    assert "B is better: B makes 50.0 % fewer errors [50.0, 50.0], WER 20.00 % against 40.00 %, p = 0.016." in ran.out
    assert "24 utterances, 120 words, 6 speakers" in ran.out
    assert "Speakers: 6 better in B, 0 worse, 0 with as many errors" in ran.out
    assert "Fixed most often: two 24" in ran.out


def test_a_difference_of_case_is_said_to_be_one(run: Command, tmp_path: Path) -> None:
    a = evaluation(tmp_path / "a", lambda key: 1)
    b = tmp_path / "b.trn"
    transcripts(b, {key: text.upper() for key, text in REFERENCES.items()})
    transcripts(tmp_path / "said.trn", REFERENCES)
    ran = run("compare", a, b, "--reference", tmp_path / "said.trn", "--output", tmp_path / "page.html")
    assert ran.status == 0, ran.err
    first = next(line for line in ran.out.splitlines() if line.startswith("->"))
    assert first.startswith(f"-> {b}: 100 % of the errors are case")
    assert "--normalise basic gives WER 0.00 %" in first
    assert f"Note: {b}: 100 % of the errors are case" in (tmp_path / "page.html").read_text()
    found = json.loads(run("compare", a, b, "--reference", tmp_path / "said.trn", "--json").out)
    assert found["notes"][0] == first.removeprefix("-> ")
    assert " of the errors are " not in run("compare", a, a, "--normalise", "basic").out


def test_json_holds_everything_and_the_page_is_written(run: Command, tmp_path: Path) -> None:
    a = evaluation(tmp_path / "a", lambda key: 1)
    b = evaluation(tmp_path / "b", lambda key: 2 if key.endswith("a") else 0)
    ran = run("compare", a, b, "--json", "--output", tmp_path / "new" / "page.html")
    assert ran.status == 0, ran.err
    found = json.loads(ran.out)
    assert (found["wer"]["errors_a"], found["wer"]["errors_b"]) == (24, 12)
    assert (found["better"], found["worse"]) == (18, 6)
    assert found["resampled"] == "speaker"
    assert found["resampled_units"] == 6
    assert len(found["changed_utterances"]) == 24
    assert found["verdict"].startswith("B is better")
    assert found["wer"]["interval"] == [pytest.approx(-0.1), pytest.approx(-0.1)]
    assert "<title>" in (tmp_path / "new" / "page.html").read_text()


def test_the_same_system_twice(run: Command, tmp_path: Path) -> None:
    a = evaluation(tmp_path / "a", lambda key: 1)
    found = json.loads(run("compare", a, a, "--json").out)
    assert (found["p_value"], found["wer"]["difference"], found["probability_of_improvement"]) == (1, 0, 0.5)


def test_transcripts_need_references_and_may_be_in_any_format(run: Command, tmp_path: Path) -> None:
    a = transcripts(tmp_path / "a.trn", {key: text.replace("one", "won") for key, text in REFERENCES.items()})
    b = tmp_path / "b.jsonl"
    b.write_text("".join(json.dumps({"id": key, "text": text}) + "\n" for key, text in REFERENCES.items()))
    ran = run("compare", a, b)
    assert ran.status == 2
    assert "a.trn holds no references" in ran.err
    assert "--reference" in ran.err
    reference = transcripts(tmp_path / "said.trn", REFERENCES)
    ran = run("compare", a, b, "--reference", reference)
    assert ran.status == 0, ran.err
    assert "B makes 100.0 % fewer errors" in ran.out
    assert "speakers are not known" in ran.out
    speakers = tmp_path / "utt2spk"
    speakers.write_text("".join(f"{key} {key.split('-')[0]}\n" for key in REFERENCES))
    ran = run("compare", a, b, "--reference", reference, "--utt2spk", speakers)
    assert "paired bootstrap over 6 whole speakers" in ran.out


def test_formatting_is_no_difference_where_so_asked(run: Command, tmp_path: Path) -> None:
    reference = transcripts(tmp_path / "said.trn", REFERENCES)
    a = transcripts(tmp_path / "a.trn", {key: text.title() + "." for key, text in REFERENCES.items()})
    assert "B is better" in run("compare", a, reference, "--reference", reference).out
    ran = run("compare", a, reference, "--reference", reference, "--normalise", "basic")
    assert "No difference: A and B recognised the same words" in ran.out
    assert "normalisation basic" in ran.out


def test_ids_that_differ_are_listed_unless_the_common_ones_are_asked_for(run: Command, tmp_path: Path) -> None:
    fewer = {key: text for key, text in REFERENCES.items() if key != "s0-a"}
    a = evaluation(tmp_path / "a", lambda key: 1)
    b = evaluation(tmp_path / "b", lambda key: 0, {**fewer, "other": "one"})
    ran = run("compare", a, b)
    assert ran.status == 1
    assert "1 only in A ('s0-a') and 1 only in B ('other'), 23 in both" in ran.err
    assert "--common-only" in ran.err
    ran = run("compare", a, b, "--common-only")
    assert ran.status == 0, ran.err
    assert "-> 2 utterances that only one of both has were left out, 23 are compared" in ran.out
    c = evaluation(tmp_path / "c", lambda key: 0, {"other": "one"})
    assert "no utterance in common" in run("compare", a, c, "--common-only").err


def test_references_that_differ_are_an_error(run: Command, tmp_path: Path) -> None:
    a = evaluation(tmp_path / "a", lambda key: 1)
    b = evaluation(tmp_path / "b", lambda key: 1, {key: text.upper() for key, text in REFERENCES.items()})
    ran = run("compare", a, b)
    assert ran.status == 1
    assert "the references of 24 of 24 utterances differ ('s0-a': 'one two three four a' in A" in ran.err
    assert run("compare", a, b, "--normalise", "basic").status == 0


def test_alternatives_are_chosen_for_each_system(run: Command, tmp_path: Path) -> None:
    reference = transcripts(tmp_path / "said.trn", {f"u{n}": "{ um / @ } hello there" for n in range(9)})
    a = transcripts(tmp_path / "a.trn", {f"u{n}": "um hello there" for n in range(9)})
    b = transcripts(tmp_path / "b.trn", {f"u{n}": "hello there" for n in range(9)})
    ran = run("compare", a, b, "--reference", reference, "--json")
    assert ran.status == 0, ran.err
    found = json.loads(ran.out)
    assert (found["wer"]["errors_a"], found["wer"]["errors_b"], found["p_value"]) == (0, 0, 1)
    assert "9 utterances with alternatives" in found["notes"][-1]


def test_models_decode_the_manifest(run: Command, trained: Trained, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(trained.folder, other)
    ran = run("compare", trained.folder, other, "--device", "cpu")
    assert ran.status == 2
    assert "--manifest" in ran.err
    ran = run("compare", trained.folder, other, "--manifest", trained.test, "--device", "cpu", "--beam", 4)
    assert ran.status == 0, ran.err
    assert "No difference: A and B recognised the same words" in ran.out
    assert "3 speakers are too few to resample" in ran.out
    # An evaluation of the same manifest goes with a model.
    assert run("evaluate", trained.test, "--model", other, "--device", "cpu", "--output", tmp_path / "old").status == 0
    ran = run("compare", tmp_path / "old", other, "--manifest", trained.test, "--device", "cpu")
    assert ran.status == 0, ran.err
    ran = run("compare", tmp_path / "old", other, "--manifest", trained.test, "--device", "cpu", "--beam", 4)
    assert ran.status == 2
    assert "--beam is for two model folders" in ran.err


def test_recordings_that_cannot_be_read_are_named(run: Command, trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(trained.test, tmp_path / "test")
    manifest = tmp_path / "test" / "cuts.jsonl"
    first = next(iter(read_manifest(manifest)))
    manifest.write_text(manifest.read_text().replace(str(first.audio), str(tmp_path / "gone.wav")))
    ran = run("compare", trained.folder, trained.folder, "--manifest", manifest, "--device", "cpu")
    assert ran.status == 1
    assert "gone.wav" in ran.err
    assert "1 utterances could not be read and are not compared" in ran.err
    assert "19 utterances" in ran.out


@pytest.mark.parametrize("bad", ["missing", "empty"])
def test_what_cannot_be_used_is_named(run: Command, tmp_path: Path, bad: str) -> None:
    a = evaluation(tmp_path / "a", lambda key: 1)
    b = tmp_path / "b"
    if bad == "empty":
        b.mkdir()
        (b / "hypotheses.jsonl").write_text("")
    ran = run("compare", a, b, "--reference", a / "hypotheses.jsonl")
    assert ran.status == 1
    assert str(b) in ran.err
    assert "Traceback" not in ran.err
