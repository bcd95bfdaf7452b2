"""What a training that came to little, and one that leaves something behind, say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asr.config import Config, parse_config, save_config
from asr.model.folders import find_model
from asr.training.advice import learnt_little, left_behind, other_units, without_missing_files

PHONES: dict[str, Any] = {"units": "phones", "lexicon": "words.txt"}


def configured(**sections: Any) -> Config:
    return parse_config({"data": {"train": "data/own/train"}} | sections)


def test_phones_that_give_way_to_other_tokens_are_told() -> None:
    phones, characters = configured(text=PHONES), configured()
    (line,) = other_units(phones, characters)
    assert "its head knows phones, and text.units is characters" in line
    assert "`--set text.units=phones --set text.lexicon=FILE` keeps what it knows" in line
    assert "`asr lexicon data/own/train --output FILE`" in line
    assert other_units(phones, phones) == other_units(characters, characters) == []
    assert other_units(characters, phones) == []


def test_decoding_whose_files_stayed_in_another_folder_gives_way_to_greedy(tmp_path: Path) -> None:
    (tmp_path / "here.lm").touch()
    here = {"method": "beam", "lm": str(tmp_path / "here.lm"), "lm_weight": 0.7}
    whole = configured(decoding=here)
    assert without_missing_files(whole) == (whole, [])
    for missing, named in (
        ({"lm": "lm.lm", "lexicon": "lexicon.txt"}, "decoding.lm = lm.lm, decoding.lexicon = lexicon.txt: not here"),
        ({"prior_weight": 0.5}, "the priors of decoding.prior_weight = 0.5: not here"),
    ):
        config, (line,) = without_missing_files(configured(decoding=here | missing | {"window_seconds": 9.0}))
        assert line.startswith(named)
        assert config.decoding == configured(decoding={"window_seconds": 9.0}).decoding


@pytest.mark.parametrize("wer", [None, 0.3, 0.94])
def test_a_model_that_has_learnt_something_or_was_not_measured_needs_no_advice(wer: float | None) -> None:
    assert learnt_little(configured(), wer) == []


def test_a_training_in_vain_says_what_to_try() -> None:
    (line,) = learnt_little(configured(training={"epochs": 3}), 1.0)
    assert line.startswith("dev WER 100%: the model has learnt next to nothing. Try more epochs (training.epochs is 3)")
    assert "asr train CONFIG --init en-small" in line
    assert "`asr data doctor data/own/train`" in line
    (line,) = learnt_little(configured(training={"init": "en-small"}), 0.95)
    assert "--init" not in line


def test_what_the_model_before_decoded_with_is_named_with_its_files() -> None:
    before = find_model("en-small")
    tuned = configured(text=PHONES, training={"init": "en-small"}, data={"train": "t", "dev": "my dev"})
    first, second = left_behind(tuned, Path("exp/mine"))
    assert first == (
        f"exp/mine decodes greedily, without the language model and the lexicon of {before}, "
        "whose decoding is not taken over"
    )
    options = f"--lm {before / 'lm.lmz'} --lexicon {before / 'lexicon.txt'}"
    assert second.startswith(
        f"`asr lm tune 'my dev' --model exp/mine {options}` has it decode so for good, where that helps"
    )
    assert "take the same --lm and --lexicon; `asr lm train` makes" in second
    characters = left_behind(configured(training={"init": "en-small"}), Path("exp/mine"))
    assert f"`asr lm tune DEV --model exp/mine --lm {before / 'lm.lmz'}` has" in characters[1]  # spelled in phones


def test_nothing_is_left_behind_where_there_was_nothing_or_the_new_model_has_its_own(tmp_path: Path) -> None:
    assert left_behind(configured(), tmp_path) == []
    save_config(configured(), tmp_path / "config.yaml")
    assert left_behind(configured(training={"init": str(tmp_path)}), tmp_path) == []
    own = configured(training={"init": "en-small"}, decoding={"method": "beam", "lm": "own.lm"})
    assert left_behind(own, tmp_path) == []


def test_a_model_folder_may_name_files_elsewhere(tmp_path: Path) -> None:
    save_config(configured(decoding={"method": "beam", "lm": "/lms/words.lm"}), tmp_path / "config.yaml")
    lines = left_behind(configured(training={"init": str(tmp_path)}), Path("exp/mine"))
    assert f"without the language model of {tmp_path}, whose" in lines[0]
    assert "--lm /lms/words.lm` has it decode so" in lines[1]
