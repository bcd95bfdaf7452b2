"""What to try when a training came to little, and what a fine-tuning leaves behind; a line each."""

from __future__ import annotations

import shlex
from pathlib import Path

from asr.config import Config, DecodingConfig, load_config
from asr.model.folders import CONFIG, DEFAULT, file_of, find_model

NOTHING = 0.95
"""Dev WER from which on a model has learnt next to nothing: one that writes nothing has 1."""


def other_units(theirs: Config, config: Config) -> list[str]:
    """At the start of a fine-tuning of `theirs`, whose phones the new tokens throw away."""
    if theirs.text.units != "phones" or config.text.units == "phones":
        return []
    return [
        f"its head knows phones, and text.units is {config.text.units}, so that it learns them anew; `--set "
        "text.units=phones --set text.lexicon=FILE` keeps what it knows, with the FILE that `asr lexicon "
        f"{shlex.quote(str(config.data.train))} --output FILE` makes"
    ]


def without_missing_files(config: Config) -> tuple[Config, list[str]]:
    """`config` without a decoding whose files are not here, as those of the folder that it was copied from are not."""
    names = ("lm", "lexicon", "hotwords", "grammar", "rescore")
    files = {name: file for name in names if (file := getattr(config.decoding, name)) is not None}
    missing = [f"decoding.{name} = {file}" for name, file in files.items() if not Path(file).exists()]
    if config.decoding.prior_weight:  # which needs what tuning has measured of the model
        missing.append(f"the priors of decoding.prior_weight = {config.decoding.prior_weight:g}")
    if not missing:
        return config, []
    kept = config.decoding.model_dump(include={"window_seconds", "batch_seconds", "nbest", "word_times"})
    said = f"{', '.join(missing)}: not here, so the new model decodes greedily; `asr lm tune` gives it a language model"
    return config.model_copy(update={"decoding": DecodingConfig(**kept)}), [said]


def learnt_little(config: Config, best_wer: float | None) -> list[str]:
    """At the end of a training, where its best dev WER says that it was in vain."""
    if best_wer is None or best_wer < NOTHING:
        return []
    start = "" if config.training.init else f", or start from a trained model: asr train CONFIG --init {DEFAULT}"
    return [
        f"dev WER {best_wer:.0%}: the model has learnt next to nothing. Try more epochs (training.epochs is "
        f"{config.training.epochs}) or more audio{start}; `asr data doctor {shlex.quote(str(config.data.train))}` "
        "says what is wrong with the data"
    ]


def left_behind(config: Config, folder: Path) -> list[str]:
    """At the end of a fine-tuning into `folder`: with what the model before decoded, and this one does not."""
    if config.training.init is None or config.decoding.lm or config.decoding.lexicon:
        return []
    before = find_model(config.training.init)
    theirs = load_config(before / CONFIG)
    had = {name: file for name in ("lm", "lexicon") if (file := getattr(theirs.decoding, name)) is not None}
    if not had:
        return []
    how = "greedily, without" if config.decoding.method == "greedy" else "without"
    names = " and ".join({"lm": "the language model", "lexicon": "the lexicon"}[name] for name in had)
    lines = [f"{folder} decodes {how} {names} of {before}, whose decoding is not taken over"]
    if theirs.text.units != config.text.units:
        had.pop("lexicon", None)  # it spells words in tokens that are not there
    if "lm" in had:
        options = " ".join(f"--{name} {shlex.quote(str(file_of(before, file)))}" for name, file in had.items())
        tune = f"asr lm tune {shlex.quote(config.data.dev or 'DEV')} --model {shlex.quote(str(folder))} {options}"
        same = " and ".join(f"--{name}" for name in had)
        lines.append(
            f"`{tune}` has it decode so for good, where that helps; `asr transcribe` and `asr evaluate` take the same "
            f"{same}; `asr lm train` makes a language model of your own texts"
        )
    return lines
