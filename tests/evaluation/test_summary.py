from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from asr.config import DecodingConfig
from asr.data.utterance import Utterance
from asr.decoding.hypothesis import Hypothesis
from asr.evaluation import Evaluation
from asr.evaluation.facts import Facts
from asr.evaluation.summary import advice, format_evaluation

TUNED = DecodingConfig(method="beam", lm="lm.lm", word_bonus=1.5)


def evaluation(texts: list[tuple[str, str]], **changes: Any) -> Evaluation:
    """(reference, hypothesis) pairs as they come out of a decoder; speakers and facts as given."""
    ids = [f"u{number}" for number in range(len(texts))]
    values: dict[str, Any] = {
        "references": {key: reference for key, (reference, _) in zip(ids, texts, strict=True)},
        "hypotheses": {key: Hypothesis([], text, -1.0) for key, (_, text) in zip(ids, texts, strict=True)},
        "audio_seconds": 60.0,
        "decoding_seconds": 0.5,
        "utterances": {key: Utterance(key, Path(f"{key}.wav"), 2.0, 16000, "") for key in ids},
        "decoding": TUNED,
        "model": "exp/m",
        "manifest": "data/test",
    }
    return Evaluation(**values | changes)


def advised(texts: list[tuple[str, str]], **changes: Any) -> str:
    return "\n".join(advice(evaluation(texts, **changes)))


def test_nothing_wrong_needs_no_advice() -> None:
    assert advised([("one two", "one two")] * 40) == ""
    text = format_evaluation(evaluation([("one two", "one two")] * 40))
    assert text.startswith("exp/m on data/test, decoder beam=64,lm=lm.lm,lm_weight=0.5,word_bonus=1.5\n")
    assert "120 x real time" in text


def test_a_group_that_errs_more_is_named_with_its_share() -> None:
    good, bad = ("one two three four", "one two three four"), ("one two three four", "one to three for")
    texts = [good] * 45 + [("one two", "one too")] * 5 + [bad] * 50
    keys = [f"u{number}" for number in range(100)]
    facts = {key: Facts(None, 2.0, -20.0 - n % 7, 30.0 if n < 50 else 3.0 + n / 100) for n, key in enumerate(keys)}
    found = advised(texts, facts=facts)
    assert "SNR 3" in found
    assert "95 % of the errors and 51 % of the words; train with noise" in found
    assert "loudness" not in found  # it has nothing to do with it
    assert "duration" not in found


def test_what_the_texts_show_is_said_too() -> None:
    made_up = [("one three", "one two three")] * 30
    found = advised(made_up)
    assert "insertions are 100 % of the errors" in found
    assert "asr lm train" not in found
    assert "asr lm train" in advised(made_up, decoding=DecodingConfig())


def test_a_model_that_writes_nothing_is_to_be_trained_and_nothing_else() -> None:
    found = advised([("one two", "")] * 30, decoding=DecodingConfig())
    assert found.startswith("30 of 30 utterances came out empty: a model that has learnt nothing yet")
    assert "asr lm train" not in found
    assert len(found.splitlines()) == 1


def test_words_never_recognised_and_characters_that_cannot_be_written_are_named() -> None:
    texts = [("one eighty", "one aid"), ("one", "one"), ("eighty", "eighteen"), ("café", "cafe")]
    found = advised(texts, alphabet="▁adefghinoty")
    assert "never recognised are, so spelled, in the training" in found
    assert "cannot write 'é' (1 words)" in found
    assert "train with such transcripts" in found
    some = [("one two three four five.", "six two nine ten five"), *[("one", "six")] * 9]
    assert "`--normalise basic` takes them out" in advised(some, alphabet="▁efhinorstuvwx")
    marked = advised([("one.", "one")] * 9, alphabet="▁eno")
    assert "100 % of the errors are case, punctuation or Unicode form" in marked
    assert "cannot write" not in marked
    assert "cannot write" not in advised([("one. é", "one")], normalisation="basic", alphabet="▁enoé")


def test_a_model_of_another_alphabet_is_said_before_all_else() -> None:
    found = advised([("one two", "1 2"), ("seven", "7")] * 20, alphabet="▁0123456789")
    assert "cannot write 'e' (40 words)" in found
    assert "and 2 more" in found
    assert "not in this model's alphabet, '▁0123456789'" in found
    assert "never recognised" not in found
    pytest.importorskip("whisper_normalizer")
    assert advised([("two", "2"), ("seven", "7")] * 20, alphabet="▁0123456789", normalisation="english") == ""


def test_what_was_not_measured_is_said() -> None:
    texts = [("one", "one"), ("", "two three")]
    found = advised(texts, untranscribed=3, untimed=[("u0", "too few frames")])
    assert "3 utterances without transcript were left out" in found
    assert "1 utterances have no word times and confidences; first u0: too few frames" in found
    assert "1 references are empty; the 2 words recognised there count as insertions" in found


def test_confidences_that_are_not_calibrated_are_pointed_at(tmp_path: Path) -> None:
    from asr.decoding.hypothesis import Word

    result = evaluation([("one two", "one too")] * 30)
    for key, hypothesis in result.hypotheses.items():
        words = [Word("one", 0.0, 0.5, 0.9), Word("too", 0.5, 1.0, 0.8)]
        result.hypotheses[key] = replace(hypothesis, words=words)
    assert "asr calibrate DEV --model exp/m" in "\n".join(advice(result))
    text = format_evaluation(result, tmp_path)
    assert "Confidence of 60 words: ECE 0.450" in text
    assert f"{tmp_path}/report.html" in text
    assert "not calibrated" not in format_evaluation(replace(result, calibrated=True))
