"""Advice is given where its condition holds, with its figure, and not otherwise."""

from __future__ import annotations

import numpy as np

from asr.scoring import advice, score

Texts = dict[str, str]


def sentences(utterances: int = 200, words: int = 8) -> Texts:
    """Random words out of 400."""
    generator = np.random.default_rng(0)
    return {
        f"u{number}": " ".join(f"word{place}" for place in generator.integers(400, size=words))
        for number in range(utterances)
    }


def with_errors(texts: Texts, errors: int = 60) -> Texts:
    """An error in each of the first utterances: substitutions, deletions and insertions in turn."""
    heard = {}
    for number, (key, text) in enumerate(texts.items()):
        words = text.split()
        if number < errors:
            words[3 : 3 + (number % 3 < 2)] = [["else", "where"][number % 2]] if number % 3 else []
        heard[key] = " ".join(words)
    return heard


def advised(said: Texts, heard: Texts, speakers: Texts | None = None) -> str:
    return "\n".join(advice(score(said, heard, speakers=speakers)))


def test_nothing_is_said_of_errors_without_pattern_or_of_too_few() -> None:
    said = sentences()
    everyone = {key: f"s{number % 10}" for number, key in enumerate(said)}
    assert advised(said, {key: f"{text} x{key}" if key[-1] in "05" else text for key, text in said.items()}) != ""
    assert advice(score(said, said)) == []
    assert advice(score(["a b"] * 19, ["a"] * 19)) == []
    generator = np.random.default_rng(1)
    heard = {}
    for key, text in said.items():
        words = text.split()
        for place in np.flatnonzero(generator.random(8) < 0.06)[::-1]:
            words[place : place + 1] = [[], [f"x{generator.integers(1000)}"], [words[place], f"y{key}"]][place % 3]
        heard[key] = " ".join(words)
    result = score(said, heard, speakers=everyone)
    assert result.errors > 60
    assert advice(result) == []


def test_empty_hypotheses_are_told() -> None:
    said = sentences()
    heard = with_errors(said) | {"u150": "", "u151": "", "u160": "", "u161": ""}
    assert (
        "4 of 200 utterances came out empty, 35 % of the errors: are they silent, cut short or misread? "
        "Listen to u150, u151, u160, ..."
    ) in advised(said, heard)
    assert "empty" not in advised(said, with_errors(said))


def test_a_model_that_writes_nothing_is_not_blamed_on_the_recordings() -> None:
    said = sentences()
    heard = dict.fromkeys(said, "")
    (line,) = advice(score(said, heard))
    assert line.startswith("200 of 200 utterances came out empty: a model that has learnt nothing yet writes nothing")
    assert "`asr train CONFIG --init en-small`" in line
    (line,) = advice(score(said | {"silence": ""}, heard | {f"u{n}": "the" for n in range(20)} | {"silence": ""}))
    assert line.startswith("180 of 201 utterances came out empty: a model")
    found = advised(said, heard | {f"u{n}": said[f"u{n}"] for n in range(21)})
    assert "179 of 200 utterances came out empty, 100 % of the errors: are they silent" in found


def test_a_few_utterances_with_half_of_the_errors_are_named() -> None:
    said = sentences()
    heard = with_errors(said, errors=20) | dict.fromkeys(["u150", "u170", "u190"], "not a word of it is right here")
    found = advised(said, heard)
    assert (
        "3 of 200 utterances make 55 % of the errors: wrong transcripts or bad audio? Listen to u150, u170, u190"
        in found
    )
    assert "utterances make" not in advised(said, with_errors(said))


def test_words_written_together_or_apart_are_told() -> None:
    said = {key: f"{text} ice cream" if number < 30 else text for number, (key, text) in enumerate(sentences().items())}
    heard = with_errors(said) | {
        key: text.replace("ice cream", "icecream") for key, text in said.items() if "ice" in text
    }
    share = 60 / (60 + 30)
    assert (
        f"{100 * share:.0f} % of the errors are words written together or apart, such as 'icecream' for 'ice cream'"
        in (advised(said, heard))
    )
    assert "together" not in advised(said, with_errors(said))


def test_words_with_far_more_errors_than_their_share_are_named() -> None:
    said = {key: f"{text} lima" if int(key[1:]) % 4 == 0 else text for key, text in sentences().items()}
    heard = {key: text.replace("lima", "lemur") for key, text in with_errors(said).items()}
    assert "the word lima makes 45 % of the errors and 3 % of the words" in advised(said, heard)
    everywhere = {key: f"{text}{10 * ' lima'}" for key, text in said.items()}
    some = {key: text.replace("lima", "lemur", 1) for key, text in everywhere.items()}
    assert "lima" not in advised(everywhere, some), "more than half of the words, all of the errors"


def test_speakers_with_far_more_errors_than_others_are_named() -> None:
    said = sentences()
    speakers = {key: f"s{number // 20}" for number, key in enumerate(said)}
    generator = np.random.default_rng(2)
    heard = {
        key: " ".join(
            f"x{generator.integers(1000)}"
            if generator.random() < (0.3 if speakers[key] in ("s3", "s7") else 0.04)
            else w
            for w in text.split()
        )
        for key, text in said.items()
    }
    result = score(said, heard, speakers=speakers)
    wrong = [u.errors for u in result.utterances if speakers[u.id] in ("s3", "s7")]
    (line,) = (line for line in advice(result) if "speakers" in line)
    assert line.startswith(
        f"2 of 10 speakers make {100 * sum(wrong) / result.errors:.0f} % of the errors and 20 % of the"
    )
    assert "s3 (WER " in line
    assert "s7 (WER " in line
    assert "speakers" not in advised(said, heard, speakers={key: f"s{number % 10}" for number, key in enumerate(said)})
    assert "speakers" not in advised(said, heard)


def test_mostly_deletions_or_insertions_are_told() -> None:
    said = sentences()
    shorter = {key: " ".join(text.split()[: -1 if int(key[1:]) < 60 else None]) for key, text in said.items()}
    assert "deletions are 100 % of the errors, insertions 0 %" in advised(said, shorter)
    assert "insertions are 100 % of the errors, deletions 0 %" in advised(shorter, said)
    assert "insertions are" not in advised(said, with_errors(said))


def test_words_that_happen_to_be_wrong_most_often_are_not_named() -> None:
    generator = np.random.default_rng(3)
    told = 0
    for _ in range(
        40
    ):  # ten words alike, about 30 errors: those of the worst three are a quarter of them nearly always
        said = {str(number): " ".join(f"w{place}" for place in generator.integers(10, size=7)) for number in range(60)}
        heard = {
            key: " ".join(f"x{place}" if generator.random() < 0.07 else word for place, word in enumerate(text.split()))
            for key, text in said.items()
        }
        told += "of the words" in advised(said, heard)
    assert told <= 2
