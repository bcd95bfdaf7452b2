"""Decoders in words: what `--decoder` takes, and what an evaluation says it was decoded with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from asr.config import DecodingConfig
from asr.errors import ConfigError

OWN = "own"
"""The decoder that a model's configuration asks for."""
GREEDY = "greedy"
MEANINGLESS = {"lm_weight": "lm", "unknown_penalty": "lm", "grammar_of": "grammar", "rescore_weight": "rescore"}
"""Settings that do nothing without the other."""


def parse_decoder(spec: str) -> dict[str, Any]:
    """What a decoder changes in the section `decoding` of a model, for `Recogniser.load`.

    `own` changes nothing and `own,beam=256` the beam alone. `greedy`, `beam=64` and `beam=64,lm=words.lm,lm_weight=0.7`
    say all there is: what they do not name has its default, whatever the model is configured for.

    Raises:
        ConfigError: the syntax, a setting or a value is wrong.
    """
    from asr.decoding.decoder import beam_settings

    kind, *pairs = re.split(r",(?=\s*[\w-]+\s*=)", spec.strip())
    if "=" in kind:
        kind, pairs = "beam", [kind, *pairs]
    if kind not in (OWN, GREEDY, "beam") or (kind == GREEDY and pairs):
        raise ConfigError(
            f"decoder {spec!r}: expected {OWN}, {GREEDY} or settings such as beam=64,lm=words.lm,lm_weight=0.5"
        )
    given = dict(_setting(spec, pair) for pair in pairs)
    plain = DecodingConfig()
    changes = plain.model_dump(exclude={"batch_seconds", "word_times"}) | {"method": kind} | given
    if changes["lm"] is None and "lm_weight" not in given:
        del changes["lm_weight"]  # which means nothing without a language model
    try:
        beam_settings(plain, **({} if kind == OWN else changes))
    except ConfigError as error:
        raise ConfigError(f"decoder {spec!r}: {error}") from None
    return given if kind == OWN else changes


def parse_decoders(specs: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Several decoders by name, which is what `describe` says, or the text itself where it starts from `own`.

    Raises:
        ConfigError: one is wrong, or given twice.
    """
    from asr.decoding.decoder import beam_settings

    found: dict[str, dict[str, Any]] = {}
    for spec in specs:
        changes = parse_decoder(spec)
        own = re.match(rf"\s*{OWN}\b", spec)
        name = "".join(spec.split()) if own else describe(beam_settings(DecodingConfig(), **changes))
        if name in found:
            raise ConfigError(f"decoder {spec!r} is given twice, as {name}; leave one out")
        found[name] = changes
    return found


def describe(decoding: DecodingConfig) -> str:
    """The decoder as `parse_decoder` takes it: beam, weights of a language model, and what is not the default.

    But for settings that change no text of an evaluation, which decodes utterances as the manifest cuts them.
    """
    if decoding.method == GREEDY:
        return GREEDY
    plain = DecodingConfig()
    shown = {"beam", "lm", "lm_weight"}
    hidden = {"method", "batch_seconds", "word_times", "window_seconds"}
    hidden |= {key for key, needed in MEANINGLESS.items() if getattr(decoding, needed) is None}
    values = {key: value for key, value in decoding if key not in hidden}
    told = {key: value for key, value in values.items() if key in shown or value != getattr(plain, key)}
    return ",".join(f"{key}={_short(value)}" for key, value in told.items() if value is not None)


def _setting(spec: str, pair: str) -> tuple[str, Any]:
    key, _, value = pair.partition("=")
    try:
        return key.strip().replace("-", "_"), yaml.safe_load(value)
    except (yaml.YAMLError, ValueError):
        raise ConfigError(f"decoder {spec!r}: {value!r} is not a value of {key}") from None


def _short(value: Any) -> Any:
    """Paths from where we stand, whole numbers without a point."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str) and Path(value).is_absolute() and Path(value).is_relative_to(Path.cwd()):
        return Path(value).relative_to(Path.cwd())
    return value
