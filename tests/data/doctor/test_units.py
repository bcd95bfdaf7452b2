"""What the doctor says of sets that are to be trained on by BPE pieces or phones."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr.config import parse_config
from asr.data.doctor import examine, kinds
from asr.errors import TextError
from tests.data.doctor.conftest import RATE, Recorder


def test_words_without_pronunciation_are_errors_in_train_and_elsewhere_those_that_training_lacks_are_counted(
    record: Recorder, tmp_path: Path
) -> None:
    (tmp_path / "words.dict").write_text("bad B AE1 D\ncab K AE1 B\nfed F EH1 D\n", encoding="utf-8")
    config = parse_config(
        {"text": {"units": "phones", "lexicon": str(tmp_path / "words.dict")}, "features": {"sample_rate": RATE}}
    )
    train = record.manifest("train", [record("a", "bad cab fed cab"), record("b", "bad zoo cab zoo")])
    dev = record.manifest("dev", [record("c", "fed yak cab bad"), record("d", "yak fed")])
    report = examine(train, dev, config=config)
    found = {
        f.problem.id: f for f in report.findings if f.problem.kind in (kinds.NO_PRONUNCIATION, kinds.UNHEARD_WORDS)
    }
    assert {key: finding.severity for key, finding in found.items()} == {"b": "error", "dev": "warning"}
    assert "2 of 6 words (1 different, such as 'yak') are in no training transcript" in found["dev"].problem.message
    assert "'bad zoo cab zoo' has 'zoo' without a pronunciation in the lexicon; `asr lexicon MANIFEST" in (
        found["b"].problem.message
    )


def test_frames_are_counted_against_the_tokens_that_training_would_make(record: Recorder) -> None:
    """Eleven characters do not fit into ten frames; the same words in BPE pieces do."""
    utterances = [record(f"u{n}", "beige beige", seconds=1.5) for n in range(3)]
    manifest = record.manifest("train", [*utterances, record("short", "beige beige", seconds=0.37)])
    kinds_of = {}
    for text in ({}, {"units": "bpe", "vocabulary": 9}):
        report = examine(manifest, config=parse_config({"text": text, "features": {"sample_rate": RATE}}))
        kinds_of[str(text.get("units"))] = {f.problem.kind for f in report.findings if f.problem.id == "short"}
    assert kinds.TOO_SHORT in kinds_of["None"]
    assert kinds.TOO_SHORT not in kinds_of["bpe"]


def test_vocabulary_that_the_text_cannot_fill_is_an_error(record: Recorder) -> None:
    manifest = record.manifest("train", [record("a", "bad cab")])
    with pytest.raises(TextError, match=r"text\.vocabulary = 300 is too much .* the largest possible is"):
        examine(manifest, config=parse_config({"text": {"units": "bpe"}}))


def test_words_of_the_lexicon_that_training_lacks_are_not_said_to_be_without_pronunciation(
    record: Recorder, tmp_path: Path
) -> None:
    (tmp_path / "words.dict").write_text("bad B AE1 D\ncab K AE1 B\nfed F EH1 D\n", encoding="utf-8")
    config = parse_config(
        {"text": {"units": "phones", "lexicon": str(tmp_path / "words.dict")}, "features": {"sample_rate": RATE}}
    )
    train = record.manifest("train", [record("a", "bad cab")])
    report = examine(train, None, [record.manifest("test", [record("b", "bad fed")])], config)
    assert [(f.problem.id, f.problem.kind) for f in report.findings] == [("test", kinds.UNHEARD_WORDS)]


def test_punctuation_is_no_matter_of_the_lexicon(record: Recorder, tmp_path: Path) -> None:
    (tmp_path / "words.dict").write_text("bad B AE1 D\ncab K AE1 B\n", encoding="utf-8")
    config = parse_config(
        {"text": {"units": "phones", "lexicon": str(tmp_path / "words.dict")}, "features": {"sample_rate": RATE}}
    )
    report = examine(record.manifest("train", [record("a", 'bad, "cab."'), record("b", "bad cab")]), config=config)
    told = next(f.problem.message for f in report.findings if f.problem.kind == kinds.NO_PRONUNCIATION)
    assert told.endswith("take the punctuation out with text.remove: '.,\"'")
    assert "asr lexicon" not in told
