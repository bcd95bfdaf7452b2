from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jiwer
import pytest
import soundfile

from asr.data.manifest import Utterance, read_manifest, write_manifest
from asr.decoding.confidence import confidences
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.recogniser import Recogniser
from asr.errors import ManifestError, OutputError, ScoringError
from asr.evaluation import evaluate
from asr.evaluation.calibration import reliability, word_evidence
from asr.evaluation.facts import speech_level
from asr.scoring import score

if TYPE_CHECKING:
    from torch import Tensor

    from asr.transcription import Transcriber
    from tests.conftest import DiskFull, Trained


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
    again = score(references, hypotheses, speakers={row["id"]: row["speaker"] for row in rows})
    saved = json.loads((tmp_path / "new/out/score.json").read_text())
    assert saved == json.loads(json.dumps(result.to_dict() | result.details()))
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
    with pytest.raises(
        ManifestError, match=r"1 of 2 utterances have no transcript \(first 'test-001'\).*--skip-untran"
    ):
        evaluate(model, tmp_path)
    rest = evaluate(model, tmp_path, untranscribed="skip")
    assert (list(rest.references), rest.untranscribed) == ([utterances[0].id], 1)
    assert rest.to_dict()["untranscribed_utterances"] == 1
    write_manifest(tmp_path / "cuts.jsonl", [replace(utterances[1], text=None)])
    with pytest.raises(ManifestError, match=r"1 of 1 utterances have no transcript .*asr transcribe"):
        evaluate(model, tmp_path, untranscribed="skip")


def test_an_id_that_repeats_is_an_error(model: Transcriber, utterances: list[Utterance], tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"1 ids occur more than once \(first 'test-000'\)"):
        evaluate(model, [*utterances, utterances[0]])
    write_manifest(tmp_path / "cuts.jsonl", utterances[:1])
    (tmp_path / "cuts.jsonl").write_text(2 * (tmp_path / "cuts.jsonl").read_text())
    with pytest.raises(ManifestError, match=r"line 2: id 'test-000' stands on line 1 already"):
        evaluate(model, tmp_path)


def test_an_empty_reference_counts_insertions_and_only_empty_ones_are_an_error(
    model: Transcriber, utterances: list[Utterance]
) -> None:
    plain = evaluate(model, utterances)
    emptied = replace(utterances[3], text=" - ")
    result = evaluate(model, [*utterances[:3], emptied, *utterances[4:]], normalisation="basic")
    said = len(plain.hypotheses[emptied.id].text.split())
    assert said > 0
    assert result.score.insertions == plain.score.insertions + said
    assert result.references[emptied.id] == "-"  # as the model would write it, whatever is scored
    with pytest.raises(ScoringError, match="no reference words"):
        evaluate(model, [emptied], normalisation="basic")


def test_the_normalisation_is_named_and_applied_to_both_sides(
    model: Transcriber, utterances: list[Utterance], tmp_path: Path
) -> None:
    marked = [replace(utterance, text=f"{utterance.text}!") for utterance in utterances]
    plain = evaluate(model, marked)
    assert plain.wer > evaluate(model, utterances).wer
    assert plain.unwritable == {"!": len(marked)}
    result = evaluate(model, marked, normalisation="basic", output=tmp_path)
    assert result.wer == evaluate(model, utterances).wer
    assert json.loads((tmp_path / "score.json").read_text())["normalisation"] == "basic"
    row = json.loads((tmp_path / "hypotheses.jsonl").read_text().splitlines()[0])
    assert row["reference"] == marked[0].text
    assert result.unwritable == {}


def test_an_unknown_normalisation_is_an_error_before_anything_is_decoded(
    model: Transcriber, utterances: list[Utterance]
) -> None:
    calls: list[int] = []
    with pytest.raises(ScoringError, match="'basicc' is unknown"):
        evaluate(model, utterances, normalisation="basicc", progress=lambda done, total: calls.append(done))
    assert not calls


def test_facts_are_those_of_the_waveforms(model: Transcriber, utterances: list[Utterance]) -> None:
    result = evaluate(model, utterances)
    assert list(result.facts) == [utterance.id for utterance in utterances]
    for utterance in utterances:
        waveform, rate = soundfile.read(utterance.audio, dtype="float32")
        loudness, snr = speech_level(waveform, rate)
        facts = result.facts[utterance.id]
        assert (facts.speaker, facts.seconds) == (utterance.speaker, utterance.duration)
        assert (facts.loudness, facts.snr) == (pytest.approx(loudness, abs=0.06), pytest.approx(snr, abs=0.06))


def test_errors_are_counted_by_speaker_length_loudness_and_noise(
    model: Transcriber, utterances: list[Utterance]
) -> None:
    result = evaluate(model, utterances)
    assert list(result.groups) == ["speaker", "duration", "loudness", "SNR"]
    for groups in result.groups.values():
        assert sum(group.score.errors for group in groups) == result.score.errors
        assert sum(len(group.score.utterances) for group in groups) == len(utterances)
    assert {group.name for group in result.groups["speaker"]} == {utterance.speaker for utterance in utterances}
    interval = result.score.rates["wer"].speaker_interval
    assert interval is not None
    assert interval[0] <= result.wer <= interval[1]
    details = json.loads(json.dumps(result.details()))
    assert {row["name"]: row["wer"] for row in details["groups"]["speaker"]} == {
        group.name: group.score.wer for group in result.groups["speaker"]
    }


def test_where_a_speaker_is_unknown_there_is_no_interval_over_speakers(
    model: Transcriber, utterances: list[Utterance]
) -> None:
    result = evaluate(model, [replace(utterances[0], speaker=None), *utterances[1:]])
    assert result.score.rates["wer"].speaker_interval is None
    assert "speaker" not in result.groups


def test_confidences_come_with_the_same_pass_and_texts(
    model: Transcriber, trained: Trained, utterances: list[Utterance], tmp_path: Path
) -> None:
    plain = evaluate(model, utterances, facts=False, confidence=False)
    result = evaluate(model, utterances, output=tmp_path)
    assert plain.reliability is None
    assert not plain.facts
    assert {key: h.text for key, h in result.hypotheses.items()} == {key: h.text for key, h in plain.hypotheses.items()}
    timed = type(model).load(trained.folder, "cpu", {"word_times": True})
    assert result.hypotheses == evaluate(timed, utterances).hypotheses
    evidence = word_evidence(model, utterances)
    expected = reliability(confidences(evidence.features, None), evidence.correct)
    assert result.reliability is not None
    assert result.reliability.words == expected.words
    assert result.reliability.ece == pytest.approx(expected.ece, abs=1e-3)  # confidences are given to four digits
    assert result.to_dict()["confidence"]["calibrated"] is False
    assert (tmp_path / "reliability.png").read_bytes().startswith(b"\x89PNG")
    row = json.loads((tmp_path / "hypotheses.jsonl").read_text().splitlines()[0])
    assert row.keys() == {"id", "text", "reference", "score", "speaker", "seconds", "loudness", "snr", "words"}
    assert " ".join(word["text"] for word in row["words"]) == row["text"]
    assert all(0 <= word["start"] <= word["end"] <= row["seconds"] + 0.01 for word in row["words"])
    assert all(0 <= word["confidence"] <= 1 for word in row["words"])


def test_words_that_tokens_do_not_spell_are_scored_without_times(
    trained: Trained, utterances: list[Utterance], tmp_path: Path
) -> None:
    (tmp_path / "words.txt").write_text("cafe bad\nabba a b\nhead\n")  # `cafe` is said as `bad`
    recogniser = Recogniser.load(trained.folder, "cpu", {"lexicon": str(tmp_path / "words.txt"), "beam": 8})
    result = evaluate(recogniser, utterances)
    assert len(result.hypotheses) == len(utterances)
    untimed = dict(result.untimed)
    for key, hypothesis in result.hypotheses.items():
        assert all((word.confidence is None) == (key in untimed) for word in hypothesis.words)


def test_where_a_beam_leaves_nothing_the_score_is_null(
    trained: Trained, utterances: list[Utterance], tmp_path: Path
) -> None:
    def unheard(log_probs: Tensor, frames: Tensor) -> list[list[Hypothesis]]:
        return [[Hypothesis([], "", -math.inf)] for _ in frames]

    recogniser = Recogniser.load(trained.folder, "cpu")
    recogniser.decoder = unheard  # type: ignore[assignment]
    evaluate(recogniser, utterances[:2], output=tmp_path)

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not JSON")

    for line in (tmp_path / "hypotheses.jsonl").read_text().splitlines():
        assert json.loads(line, parse_constant=refuse)["score"] is None


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
    calls: list[int] = []
    with pytest.raises(OutputError, match=r"out: cannot be written"):
        evaluate(model, utterances, output=tmp_path / "out", progress=lambda done, total: calls.append(done))
    assert not calls  # nothing was decoded for nothing


def test_a_full_disk_leaves_nothing_half_written(
    model: Transcriber, utterances: list[Utterance], tmp_path: Path, disk_full_after: DiskFull
) -> None:
    result = evaluate(model, utterances)
    with disk_full_after(100), pytest.raises(OutputError, match="cannot be written"):
        result.save(tmp_path)
    assert list(tmp_path.iterdir()) == []
