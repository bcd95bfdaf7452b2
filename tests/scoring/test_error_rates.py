"""Error rates against jiwer, against a textbook edit distance, and at the edges."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import ScoringError
from asr.scoring import score

WORDS = st.lists(st.sampled_from(["a", "the", "cat", "chat", "sat", "é"]), max_size=7).map(" ".join)
PAIRS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=6)


def edit_distance(reference: list[str] | str, hypothesis: list[str] | str) -> int:
    """Wagner and Fischer's dynamic programme."""
    table = np.zeros((len(reference) + 1, len(hypothesis) + 1), int)
    table[:, 0] = range(len(reference) + 1)
    table[0, :] = range(len(hypothesis) + 1)
    for i, wanted in enumerate(reference, start=1):
        for j, found in enumerate(hypothesis, start=1):
            table[i, j] = min(
                table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (0 if wanted == found else 1)
            )
    return int(table[-1, -1])


@settings(max_examples=150, deadline=None)
@given(PAIRS.filter(lambda pairs: any(reference for reference, _ in pairs)))
def test_rates_and_counts_equal_jiwer_and_the_textbook_edit_distance(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = [r for r, _ in pairs], [h for _, h in pairs]
    result = score(references, hypotheses)

    words = jiwer.process_words(references, hypotheses)
    assert result.wer == pytest.approx(words.wer, abs=1e-12)
    assert result.cer == pytest.approx(jiwer.cer(references, hypotheses), abs=1e-12)
    assert (result.hits, result.substitutions, result.deletions, result.insertions) == (
        words.hits,
        words.substitutions,
        words.deletions,
        words.insertions,
    )
    for utterance, (reference, hypothesis) in zip(result.utterances, pairs, strict=True):
        assert utterance.errors == edit_distance(reference.split(), hypothesis.split())
        assert utterance.character_errors == edit_distance(reference, hypothesis)
        assert utterance.words == len(reference.split())
        assert utterance.characters == len(reference)
        assert utterance.hits + utterance.substitutions + utterance.insertions == len(hypothesis.split())
        assert [r for r, _ in utterance.alignment if r is not None] == reference.split()
        assert [h for _, h in utterance.alignment if h is not None] == hypothesis.split()
    assert result.sentence_error_rate == np.mean([r != h for r, h in pairs])


def test_the_rate_of_a_set_weighs_words_and_not_utterances() -> None:
    result = score({"short": "yes", "long": "a b c d e f g h i"}, {"short": "no", "long": "a b c d e f g h i"})
    assert result.wer == pytest.approx(0.1)
    assert [utterance.wer for utterance in result.utterances] == [1.0, 0.0]
    assert result.sentence_error_rate == 0.5


def test_words_of_an_empty_reference_are_insertions_and_an_empty_hypothesis_deletes() -> None:
    result = score({"silence": "", "lost": "one two"}, {"silence": "uh huh", "lost": ""})
    silence, lost = result.utterances
    assert (silence.insertions, silence.words, silence.wer) == (2, 0, math.inf)
    assert (lost.deletions, lost.words, lost.wer) == (2, 2, 1.0)
    assert (result.insertions, result.deletions, result.words, result.wer) == (2, 2, 2, 2.0)
    assert result.cer == (6 + 7) / 7
    assert score(["", "a"], ["", "a"]).utterances[0].wer == 0.0


@pytest.mark.parametrize("texts", [{}, [], ["", "  "], {"a": ""}])
def test_a_set_without_reference_words_is_refused(texts: dict[str, str] | list[str]) -> None:
    with pytest.raises(ScoringError, match="no reference words"):
        score(texts, texts)


def test_white_space_is_not_an_error_but_case_is() -> None:
    result = score(["  one\ttwo\u00a0 three "], ["one two  THREE\n"])
    assert (result.errors, result.words) == (1, 3)
    assert result.characters == len("one two three")
    assert score(["one two"], ["one  two"]).cer == 0.0


def test_ids_are_matched_whatever_their_order_and_lists_are_numbered_from_1() -> None:
    result = score({"x": "one", "y": "two"}, {"y": "two", "x": "one"})
    assert result.errors == 0
    assert [utterance.id for utterance in result.utterances] == ["x", "y"]
    assert [utterance.id for utterance in score(["a", "b"], ["a", "b"]).utterances] == ["1", "2"]
    assert score("one two", "one too").wer == 0.5


def test_differing_ids_are_counted_and_the_first_are_listed() -> None:
    references = {f"u{number}": "word" for number in range(9)}
    with pytest.raises(ScoringError) as error:
        score(references, {"u0": "word", "stray": "word"})
    message = str(error.value)
    assert "8 of 9 references have no hypothesis ('u1', 'u2', 'u3', 'u4', 'u5', ...)" in message
    assert "1 of 2 hypotheses have no reference ('stray')" in message
    assert "u6" not in message
    assert "missing='empty'" in message


def test_missing_hypotheses_count_as_empty_only_on_request_and_strays_never() -> None:
    references = {"a": "one two", "b": "three"}
    with pytest.raises(ScoringError, match="'b'"):
        score(references, {"a": "one two"})
    result = score(references, {"a": "one two"}, missing="empty")
    assert (result.deletions, result.words) == (1, 3)
    with pytest.raises(ScoringError, match="'c'"):
        score(references, {"a": "one two", "c": "three"}, missing="empty")


def test_unequal_lists_mixed_kinds_and_texts_that_are_not_text_are_refused() -> None:
    with pytest.raises(ScoringError, match="2 references but 1 hypotheses"):
        score(["a", "b"], ["a"], missing="empty")
    with pytest.raises(ScoringError, match="the same way"):
        score({"a": "a"}, ["a"])
    with pytest.raises(ScoringError, match="hypothesis of utterance 'u' is None"):
        score({"u": "a"}, {"u": None})  # type: ignore[dict-item]
    with pytest.raises(ScoringError, match="missing='skip'"):
        score(["a"], ["a"], missing="skip")  # type: ignore[arg-type]


def test_confusions_count_what_was_said_for_what() -> None:
    result = score(
        ["five oh one", "nine oh two", "five please", "call the office"],
        ["nine oh one", "nine two", "nine please", "call the the office"],
    )
    assert result.confusions.substitutions == {("five", "nine"): 2}
    assert result.confusions.deletions == {"oh": 1}
    assert result.confusions.insertions == {"the": 1}


def test_more_sentences_than_are_aligned_at_once_equal_jiwer() -> None:
    generator = np.random.default_rng(0)
    references, hypotheses = (
        [" ".join(generator.choice(["the", "cat", "chat", "sat"], size=generator.integers(0, 7))) for _ in range(4500)]
        for _ in range(2)
    )
    result, words = score(references, hypotheses), jiwer.process_words(references, hypotheses)
    assert (result.wer, result.cer) == (words.wer, jiwer.cer(references, hypotheses))
    assert (result.substitutions, result.deletions, result.insertions) == (
        words.substitutions,
        words.deletions,
        words.insertions,
    )


def test_texts_are_normalised_as_named_before_they_are_compared() -> None:
    references, hypotheses = {"a": "  Hello, WORLD"}, {"a": "hello world!"}
    assert score(references, hypotheses).wer == 1
    result = score(references, hypotheses, normalisation="basic")
    assert (result.wer, result.normalisation, result.utterances[0].reference) == (0, "basic", "hello world")
    with pytest.raises(ScoringError, match="'whisper' is unknown"):
        score(references, hypotheses, normalisation="whisper")
    with pytest.raises(ScoringError, match="no reference words in 1 utterances after normalisation 'basic'"):
        score(["..."], ["..."], normalisation="basic")


def test_every_utterance_has_a_speaker_or_none_has() -> None:
    texts = {"a": "one", "b": "two", "c": "three"}
    result = score(texts, texts, speakers={"c": "x", "b": "y", "a": "x", "z": "w"})
    assert (result.speakers, result.speaker_count) == ({"a": "x", "b": "y", "c": "x"}, 2)
    assert score(texts, texts).speaker_count is None
    with pytest.raises(ScoringError, match=r"2 utterances have no speaker \(first 'b'\)"):
        score(texts, texts, speakers={"a": "x"})


def test_the_summary_is_json_with_every_key() -> None:
    texts = ({"a": "one two three", "b": "four"}, {"a": "one too three", "b": "four five"})
    result = score(*texts, normalisation="basic", speakers={"a": "x", "b": "y"})
    summary = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert set(summary) == {
        "wer", "wer_interval", "cer", "cer_interval", "sentence_error_rate", "substitutions", "insertions",
        "deletions", "hits", "utterances", "words", "characters", "normalisation", "speaker_count", "rates",
    }  # fmt: skip
    assert (summary["substitutions"], summary["insertions"], summary["deletions"], summary["hits"]) == (1, 1, 0, 3)
    assert (summary["utterances"], summary["words"], summary["characters"]) == (2, 4, 17)
    assert (summary["normalisation"], summary["speaker_count"]) == ("basic", 2)
    assert summary["wer"] == 0.5
    assert summary["wer_interval"] == list(result.wer_interval)
    low, high = summary["cer_interval"]
    assert low <= summary["cer"] <= high
    assert list(summary["rates"]) == ["wer", "cer", "ser", "substitutions", "deletions", "insertions"]
    assert [rate["value"] for rate in summary["rates"].values()] == [0.5, summary["cer"], 1.0, 0.25, 0.0, 0.25]
    assert summary["rates"]["wer"]["interval"] == summary["wer_interval"]
    assert summary["rates"]["wer"]["speaker_interval"] == list(result.rates["wer"].speaker_interval or ())
    assert score(*texts).to_dict()["rates"]["wer"]["speaker_interval"] is None


def test_scoring_never_loads_torch() -> None:
    program = "import sys, asr.scoring; asr.scoring.score('a b', 'a c').to_dict(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
