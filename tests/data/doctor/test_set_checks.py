from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.data.doctor import Report, examine, kinds
from asr.data.doctor.checker import Checked, short_hash
from asr.data.doctor.columns import Columns
from asr.data.doctor.set_checks import unlikely_rates
from asr.data.manifest import Utterance
from tests.data.doctor.conftest import RATE, Recorder


def ids(report: Report, kind: str, part: str = kinds.TRAIN) -> list[str]:
    return [f.problem.id for f in report.findings if (f.problem.kind, f.part) == (kind, part)]


def found(report: Report) -> Counter[tuple[str, str]]:
    return Counter((finding.part, finding.problem.kind) for finding in report.findings)


def test_three_sets_without_a_defect(record: Recorder) -> None:
    parts = [record.manifest(name, record.many(f"{name}speaker", 12)) for name in ("train", "dev", "test")]
    report = examine(parts[0], parts[1], [parts[2]])
    assert report.findings == []
    assert report.ready
    assert [s.utterances for s in report.sets] == [12, 12, 12]
    assert report.seconds == pytest.approx(36 * 1.5)


def test_duplicate_audio_is_found_whatever_the_file_and_format(record: Recorder) -> None:
    first, other = record("a-1", "bad cab"), record("a-2", "bad cab")
    copy = record("a-3", "bad cab", waveform=record.waveform("a-1", 1.5))
    flac = replace(copy, id="a-4", audio=record.folder / "a-4.flac")
    samples, rate = soundfile.read(first.audio, dtype="int16")
    soundfile.write(flac.audio, samples, rate)
    report = examine(record.manifest("train", [first, other, copy, flac]))
    assert ids(report, kinds.DUPLICATE_AUDIO) == ["a-3", "a-4"]
    assert "the same audio as a-1" in report.findings[0].problem.message
    assert report.ready
    assert len(report.findings) == 2


def test_same_audio_with_different_transcripts_is_an_error_of_each(record: Recorder) -> None:
    waveform = record.waveform("a-1", 1.5)
    same = [record(name, text, waveform=waveform) for name, text in (("a-1", "bad cab"), ("a-2", "fed ice"))]
    report = examine(record.manifest("train", [*same, record("a-3")]))
    assert ids(report, kinds.CONTRADICTION) == ["a-1", "a-2"]
    assert not report.ready
    spelt = [replace(same[0], text="Bad  cab"), replace(same[1], text="bad cab")]
    assert kinds.CONTRADICTION not in {kind for _, kind in found(examine(record.manifest("spelt", spelt)))}


def test_silent_recordings_are_no_duplicates_of_each_other(record: Recorder) -> None:
    silent = [record(name, waveform=np.zeros(RATE, np.float32)) for name in ("a-1", "a-2")]
    assert found(examine(record.manifest("train", silent))) == {(kinds.TRAIN, kinds.NO_SOUND): 2}


def test_two_channels_and_two_segments_of_one_file_are_no_duplicates(record: Recorder) -> None:
    stereo = np.stack([record.waveform("left", 3.0), record.waveform("right", 3.0)], axis=1)
    both = record("a-1", waveform=stereo)
    half = replace(both, duration=1.5, recording_samples=3 * RATE, channel=0)
    parts = [half, replace(half, id="a-2", start=1.5), replace(half, id="a-3", channel=1)]
    assert examine(record.manifest("train", parts)).findings == []


def test_audio_that_is_trained_on_and_tested_on(record: Recorder) -> None:
    train, dev, test = record.many("a", 5), record.many("b", 5), record.many("c", 5)
    dev.append(record("b-copy", train[1].text, waveform=record.waveform("a-001", 1.5)))
    test.append(record("c-copy", dev[2].text, waveform=record.waveform("b-002", 1.5)))
    sets = [record.manifest(name, part) for name, part in (("train", train), ("dev", dev), ("test", test))]
    report = examine(sets[0], sets[1], [sets[2]])
    assert ids(report, kinds.AUDIO_LEAK) == ["a-001"]
    assert ids(report, kinds.AUDIO_LEAK, "dev") == ["b-002"]
    assert {finding.severity for finding in report.findings} == {"error"}
    assert len(report.findings) == 2


def test_segments_of_one_recording_that_overlap_between_sets(record: Recorder) -> None:
    long = replace(record("a-1", seconds=9.0), duration=2.0, recording_samples=9 * RATE)
    train = [long, replace(long, id="a-2", start=2.0), replace(long, id="a-3", start=6.0)]
    dev = [replace(long, id="b-1", start=3.0, speaker="b"), replace(long, id="b-2", start=4.95, duration=1.1)]
    report = examine(record.manifest("train", train), record.manifest("dev", [replace(u, speaker="b") for u in dev]))
    assert ids(report, kinds.AUDIO_LEAK) == ["a-2"]
    assert "overlaps dev utterance b-1" in report.findings[0].problem.message


def test_shared_speakers_are_counted_and_named(record: Recorder) -> None:
    train, dev = [*record.many("ann", 3), *record.many("bob", 3)], [*record.many("eve", 3), record("bob-900")]
    report = examine(record.manifest("train", train), record.manifest("dev", dev))
    assert found(report) == {("dev", kinds.SPEAKER_LEAK): 1}
    assert "1 of 2 speakers are in train too (bob)" in report.findings[0].problem.message
    assert report.ready


def test_shared_sentences_count_when_they_are_long_and_many(record: Recorder) -> None:
    long, short = "bad cab deaf each fed", "gab head ice jade"
    train = [record("a-1", long), record("a-2", short), *record.many("a", 3)]
    fresh = record.many("b", 18)
    one = record.manifest("one", [*fresh, record("b-x", short), record("b-y", "Bad cab deaf each  fed")])
    assert kinds.SENTENCE_LEAK not in {kind for _, kind in found(examine(record.manifest("train", train), one))}
    two = record.manifest("two", [*fresh[:-1], record("b-y", long.upper()), record("b-z", long)])
    report = examine(record.manifest("train", train), two)
    assert ids(report, kinds.SENTENCE_LEAK, "dev") == ["dev"]
    (finding,) = [f for f in report.findings if f.problem.kind == kinds.SENTENCE_LEAK]
    assert "2 of 19 utterances (b-y, ...)" in finding.problem.message


def test_ids_that_train_and_dev_share(record: Recorder) -> None:
    train = record.many("a", 3)
    dev = [replace(u, id=new, speaker="b") for u, new in zip(record.many("b", 2), ("a-001", "b-1"), strict=True)]
    report = examine(record.manifest("train", train), record.manifest("dev", dev))
    assert ids(report, kinds.SHARED_ID) == ["a-001"]
    assert not report.ready


def test_mixed_sample_rates_are_counted(record: Recorder) -> None:
    utterances = [*record.many("a", 4), record("a-900", rate=44100), record("a-901", rate=44100)]
    report = examine(record.manifest("train", utterances))
    assert found(report) == {(kinds.TRAIN, kinds.MIXED_RATES): 1}
    assert "4 at 16000 Hz (a-000, ...); 2 at 44100 Hz (a-900, ...)" in report.findings[0].problem.message


def test_characters_of_dev_that_train_lacks(record: Recorder) -> None:
    train, dev = record.many("a", 5), record.many("b", 20)
    dev[3] = replace(dev[3], text="bad señor")
    report = examine(record.manifest("train", train), record.manifest("dev", dev))
    assert ids(report, kinds.OUTSIDE, "dev") == ["b-003"]
    assert report.ready  # one foreign name is no reason to stop
    for index in (4, 5):
        dev[index] = replace(dev[index], text="äöü")
    report = examine(record.manifest("train", train), record.manifest("dev2", dev))
    assert [finding.problem.kind for finding in report.errors] == [kinds.ALPHABET_MISMATCH]
    assert "3 of 20" in report.errors[0].problem.message


def columns(characters: list[int], seconds: list[float]) -> Columns:
    result = Columns(kinds.TRAIN)
    for index, (count, duration) in enumerate(zip(characters, seconds, strict=True)):
        utterance = Utterance(f"u{index}", Path("x.wav"), duration, RATE, "x" * count)
        result.add(index + 1, utterance, Checked([], rate=RATE, content=index + 1, words=1, characters=count))
    return result


def test_speaking_rates_are_compared_with_utterances_of_about_the_same_length() -> None:
    """12 characters a second with a spread of 15 %, as in LibriSpeech, and short words with much silence."""
    rng = np.random.default_rng(0)
    counts = rng.integers(100, 180, 200).tolist() + rng.integers(2, 4, 60).tolist()
    rates = np.concatenate([12 * np.exp(0.15 * rng.standard_normal(200)), 2.5 * np.exp(0.2 * rng.standard_normal(60))])
    seconds = (np.array(counts) / rates).tolist()
    assert list(unlikely_rates(columns(counts, seconds))) == []
    counts[10] //= 4  # most of the transcript is missing
    seconds[20] *= 12  # most of the audio has none
    counts[230] = 20  # another transcript
    found = list(unlikely_rates(columns(counts, seconds)))
    assert [finding.problem.id for finding in found] == ["u10", "u20", "u230"]
    assert "where 1" in found[0].problem.message
    assert "where 2." in found[2].problem.message


def test_words_of_one_length_in_recordings_of_many_are_plausible() -> None:
    """As in FSDD: one character in 0.2 to 1 s, two in 2 s and more."""
    rng = np.random.default_rng(0)
    seconds = [*(0.4 * np.exp(0.3 * rng.standard_normal(500))).tolist(), 1.9, 2.3]
    assert list(unlikely_rates(columns([1] * 502, seconds))) == []
    (finding,) = unlikely_rates(columns([1] * 502, [*seconds[:-1], 6.0]))
    assert finding.problem.id == "u501"


@pytest.mark.parametrize(
    ("characters", "seconds", "plausible"),
    [(29, 1.0, True), (31, 1.0, False), (9, 0.25, True), (6, 11.0, True), (5, 11.0, False), (1, 9.0, True)],
)
def test_speaking_rates_that_no_one_has(characters: int, seconds: float, plausible: bool) -> None:
    found = list(unlikely_rates(columns([characters, 12], [seconds, 1.0])))
    assert [finding.problem.id for finding in found] == ([] if plausible else ["u0"])


def test_hash_is_that_of_the_text_in_every_process() -> None:
    assert short_hash("abc") == short_hash("ab" + "c") != short_hash("abd")
    assert 0 <= short_hash("é\ud800") < 2**64
