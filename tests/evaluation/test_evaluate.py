from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jiwer
import pytest

from asr.data.manifest import Utterance, read_manifest, write_manifest
from asr.errors import AsrError, ManifestError
from asr.evaluation import evaluate
from asr.scoring import score

if TYPE_CHECKING:
    from asr.transcription import Transcriber
    from tests.conftest import Trained


@pytest.fixture
def utterances(trained: Trained) -> list[Utterance]:
    """The test set, with wrong transcripts for three so that there are errors of every kind to count."""
    rows = list(read_manifest(trained.test))
    rows[0] = replace(rows[0], text=f"{rows[0].text} ab")
    rows[1] = replace(rows[1], text=(rows[1].text or "").partition(" ")[2] or "cafe")
    return [*rows[:-1], replace(rows[-1], text="bad bad bad")]


@pytest.fixture
def batch_seconds(model: Transcriber) -> Iterator[None]:
    before = model.config.decoding.batch_seconds
    yield
    model.config.decoding.batch_seconds = before


def test_the_score_is_that_of_the_saved_hypotheses(
    model: Transcriber, utterances: list[Utterance], tmp_path: Path
) -> None:
    result = evaluate(model, utterances, output=tmp_path / "new" / "out")
    rows = [json.loads(line) for line in (tmp_path / "new/out/hypotheses.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [utterance.id for utterance in utterances]
    references = {row["id"]: row["reference"] for row in rows}
    hypotheses = {row["id"]: row["text"] for row in rows}
    assert references == {utterance.id: utterance.text for utterance in utterances}
    again = score(references, hypotheses)
    saved = json.loads((tmp_path / "new/out/score.json").read_text())
    assert saved == result.to_dict()
    assert {key: saved[key] for key in again.to_dict()} == again.to_dict()
    assert result.wer == jiwer.wer(list(references.values()), list(hypotheses.values())) > 0
    assert saved["wer_interval"][0] <= saved["wer"] <= saved["wer_interval"][1]


def test_the_alignments_are_saved_with_the_worst_first(
    model: Transcriber, utterances: list[Utterance], tmp_path: Path
) -> None:
    result = evaluate(model, utterances, output=tmp_path)
    text = (tmp_path / "alignments.txt").read_text()
    worst = max(result.score.utterances, key=lambda utterance: utterance.errors)
    assert worst.errors > 1
    assert text.index(worst.id) == min(text.index(utterance.id) for utterance in utterances if utterance.id in text)


def test_a_manifest_folder_its_file_and_its_utterances_score_the_same(model: Transcriber, trained: Trained) -> None:
    ways: list[Any] = [trained.test, trained.test / "cuts.jsonl", str(trained.test), list(read_manifest(trained.test))]
    first, *others = [evaluate(model, way).hypotheses for way in ways]
    assert all(other == first for other in others)


@pytest.mark.usefixtures("batch_seconds")
@pytest.mark.parametrize("seconds", [0.01, 4.0, 11.0])
def test_the_score_does_not_depend_on_the_batches(
    model: Transcriber, utterances: list[Utterance], seconds: float
) -> None:
    together = evaluate(model, utterances)
    model.config.decoding.batch_seconds = seconds
    apart = evaluate(model, utterances)
    assert {key: row.text for key, row in apart.hypotheses.items()} == {
        key: row.text for key, row in together.hypotheses.items()
    }
    assert apart.score.to_dict() == together.score.to_dict()


def test_a_recording_that_cannot_be_read_is_listed_and_not_scored(
    model: Transcriber, utterances: list[Utterance], tmp_path: Path
) -> None:
    (tmp_path / "noise.wav").write_bytes(b"no audio in here")
    noise = replace(utterances[0], id="noise", audio=tmp_path / "noise.wav", text="ab ab ab ab")
    gone = replace(utterances[0], id="gone", audio=tmp_path / "gone.wav", text="ab ab ab ab")
    result = evaluate(model, [noise, *utterances, gone], output=tmp_path / "out")
    reasons = dict(result.failures)
    assert reasons.keys() == {"noise", "gone"}
    assert "noise.wav" in reasons["noise"]
    assert "no such file" in reasons["gone"]
    assert not reasons.keys() & (result.references.keys() | result.hypotheses.keys())
    assert result.score.to_dict() == evaluate(model, utterances).score.to_dict()
    assert result.audio_seconds == pytest.approx(sum(utterance.duration for utterance in utterances))
    assert json.loads((tmp_path / "out/score.json").read_text())["failed_utterances"] == 2


def test_when_no_recording_can_be_read_there_is_no_score(
    model: Transcriber, utterances: list[Utterance], tmp_path: Path
) -> None:
    gone = [replace(utterance, audio=tmp_path / "gone.wav") for utterance in utterances]
    with pytest.raises(ManifestError, match=r"none of the 20 recordings could be read; first: .*gone\.wav"):
        evaluate(model, gone)


def test_an_empty_manifest_is_an_error(model: Transcriber, tmp_path: Path) -> None:
    write_manifest(tmp_path / "cuts.jsonl", [])
    with pytest.raises(ManifestError, match=f"{tmp_path}: no utterances to evaluate"):
        evaluate(model, tmp_path)


def test_utterances_without_transcript_are_an_error(
    model: Transcriber, utterances: list[Utterance], tmp_path: Path
) -> None:
    write_manifest(tmp_path / "cuts.jsonl", [utterances[0], replace(utterances[1], text=None)])
    with pytest.raises(ManifestError, match=r"1 utterances have no transcript \(first 'test-001'\).*asr transcribe"):
        evaluate(model, tmp_path)


def test_no_manifest_is_an_error(model: Transcriber, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="nowhere: no such manifest"):
        evaluate(model, tmp_path / "nowhere")


def test_references_are_normalised_as_the_training_text_was(model: Transcriber, utterances: list[Utterance]) -> None:
    shouted = [replace(utterance, text=f" {(utterance.text or '').upper()}  ") for utterance in utterances]
    assert evaluate(model, shouted).wer == evaluate(model, utterances).wer


def test_progress_is_told_after_each_batch(model: Transcriber, utterances: list[Utterance]) -> None:
    calls: list[tuple[int, int]] = []
    evaluate(model, utterances, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (20, 20)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})


def test_an_output_that_cannot_be_written_is_an_error(
    model: Transcriber, utterances: list[Utterance], tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(AsrError, match="out"):
        evaluate(model, utterances, output=tmp_path / "out")
