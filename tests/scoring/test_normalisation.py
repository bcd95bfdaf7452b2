"""Normalisations by name, and what each takes out."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import ScoringError
from asr.scoring import score
from asr.scoring.normalisation import NORMALISATIONS, basic, formatting_hint, normaliser


def test_every_name_has_a_description_and_a_function() -> None:
    assert list(NORMALISATIONS) == ["none", "basic", "english"]
    assert normaliser("none")("As it  IS, “stands”.") == "As it  IS, “stands”."
    assert normaliser("basic")("Hello, World!") == "hello world"
    assert normaliser("english")("Mr. Smith's twenty-one colours, uh [noise]") == "mister smith is 21 colors"
    with pytest.raises(ScoringError, match="'whisper' is unknown; choose one of none, basic, english"):
        normaliser("whisper")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Well... NO -- really?!", "well no really"),
        ("twenty-one and/or e-mail_me", "twenty one and or e mail me"),
        ("Don’t, o'clock 'tis dogs' “rock 'n' roll”", "don't o'clock tis dogs rock n roll"),
        ("''quoted'' ` ´ l´amour", "quoted l'amour"),
        ("ﬁne １２ Ⅳ café cafe\u0301", "fine 12 iv café café"),
        ("STRASSE Straße İ", "strasse straße i\u0307"),
        ("नमस्ते दुनिया।", "नमस्ते दुनिया"),
        ("می\u200cخواهم co\u00adoperate zero\u200bwidth", "می\u200cخواهم cooperate zerowidth"),
        ("$5 & 10 % (laughs) [noise] <unk>", "5 10 laughs noise unk"),
        ("tab\tand\u00a0space\u3000", "tab and space"),
        ("", ""),
    ],
)
def test_basic_takes_formatting_out_and_leaves_the_words(text: str, expected: str) -> None:
    assert basic(text) == expected


@given(st.text())
def test_basic_done_twice_is_basic(text: str) -> None:
    once = basic(text)
    assert basic(once) == once
    assert once == " ".join(once.split())


def test_english_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from asr.scoring.normalisation import _english

    _english.cache_clear()
    monkeypatch.setitem(sys.modules, "whisper_normalizer.english", None)
    with pytest.raises(ScoringError, match="pip install whisper-normalizer"):
        normaliser("english")


def test_a_score_names_its_normalisation_and_is_taken_after_it() -> None:
    references, hypotheses = {"a": "NINE-ONE ONE"}, {"a": "Nine one, one."}
    assert score(references, hypotheses).normalisation == "none"
    after = score(references, hypotheses, normalisation="basic")
    assert (after.wer, after.normalisation, after.words) == (0, "basic", 3)
    assert after.to_dict()["normalisation"] == "basic"


def test_the_hint_gives_the_error_rate_without_formatting() -> None:
    references = {str(number): "ONE TWO THREE FOUR FIVE" for number in range(20)}
    hypotheses = dict.fromkeys(references, "One two, three four five.") | {"0": "one two six four five"}
    plain, after = score(references, hypotheses), score(references, hypotheses, normalisation="basic")
    assert formatting_hint(plain) == (
        f"{100 * (1 - after.errors / plain.errors):.0f} % of the errors are case, punctuation or Unicode form: "
        f"--normalise basic gives WER {100 * after.wer:.2f} %"
    )
    assert after.errors == 1
    assert formatting_hint(after) is None
    assert formatting_hint(score(["TWENTY ONE"], ["Twenty-one."])) == (
        "100 % of the errors are case, punctuation or Unicode form: --normalise basic gives WER 0.00 %"
    )


def test_no_hint_where_words_are_what_is_wrong() -> None:
    assert formatting_hint(score(["one two three"], ["one two"])) is None
    assert formatting_hint(score(["one two three four five six"] * 9, ["Two one Three six four five"] * 9)) is None
    assert formatting_hint(score(["one"], ["one"])) is None


def test_the_hint_is_true_of_text_that_differs_in_its_unicode_form_alone() -> None:
    hint = formatting_hint(score(["caf\u00e9"], ["cafe\u0301"]))
    assert hint == "100 % of the errors are case, punctuation or Unicode form: --normalise basic gives WER 0.00 %"
