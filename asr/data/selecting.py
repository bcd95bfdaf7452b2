"""Manifests made of manifests: several joined into one, or the utterances of one that keep the rules."""

from __future__ import annotations

import hashlib
import os
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from asr.data.lines import read_lines
from asr.data.manifest import MANIFEST_NAMES, UniqueIds, Utterance, manifest_parts, read_manifest, write_manifest
from asr.errors import ConfigError, ManifestError


@dataclass(frozen=True, slots=True)
class Source:
    """What one manifest gave to a merge: the prefix that `prefix` stands for, utterances and seconds."""

    path: Path
    label: str
    utterances: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Merged:
    """What `merge` wrote."""

    path: Path
    sources: tuple[Source, ...]
    shared_speakers: tuple[str, ...]
    """Names, as written, that more than one manifest has, sorted."""

    @property
    def utterances(self) -> int:
        """How many were written."""
        return sum(source.utterances for source in self.sources)

    @property
    def seconds(self) -> float:
        """Of all that were written."""
        return sum(source.seconds for source in self.sources)


def merge(
    manifests: Sequence[str | Path],
    output: str | Path,
    *,
    prefix: bool = False,
    prefix_speakers: bool = False,
    overwrite: bool = False,
) -> Merged:
    """Write the utterances of several manifests to `output/cuts.jsonl`, one after the other.

    Args:
        manifests: folders with `cuts.jsonl`, or the files.
        output: the folder of the new manifest.
        prefix: put its folder's name before every id (`train-`), or more of the path if names are equal (`an4-train-`).
        prefix_speakers: the same for the speakers, where equal names mean different people.
        overwrite: replace a manifest that is there already.

    Raises:
        ConfigError: the same manifest twice, or the target exists.
        ManifestError: a manifest cannot be read, an id repeats, nothing is in any, or the target cannot be written.
    """
    paths = [Path(manifest) for manifest in manifests]
    target = Path(output) / MANIFEST_NAMES[0]
    check_targets([target], paths, overwrite)
    labels = _labels(paths)
    ids = UniqueIds()
    counts, seconds = [0] * len(paths), [0.0] * len(paths)
    speakers: dict[str, int] = {}
    shared: set[str] = set()

    def renamed(number: int) -> Iterator[Utterance]:
        label = labels[number]
        for utterance in read_manifest(paths[number]):
            identifier = f"{label}-{utterance.id}" if prefix else utterance.id
            speaker = utterance.speaker
            if speaker and prefix_speakers:
                speaker = f"{label}-{speaker}"
            yield replace(utterance, id=identifier, speaker=speaker, audio=utterance.audio.absolute())

    def merged() -> Iterator[Utterance]:
        for number in range(len(paths)):
            for utterance in renamed(number):
                ids.add(utterance.id)
                counts[number] += 1
                seconds[number] += utterance.duration
                if utterance.speaker and speakers.setdefault(utterance.speaker, number) != number:
                    shared.add(utterance.speaker)
                yield utterance
        suspects, seen = ids.suspects(), dict[str, Path]()
        for number, path in enumerate(paths if suspects else ()):
            for utterance in renamed(number):
                if hash(utterance.id) in suspects and seen.setdefault(utterance.id, path) != path:
                    remedy = "they share utterances; leave one out" if prefix else "use --prefix to tell them apart"
                    raise ManifestError(f"id {utterance.id!r} is in {seen[utterance.id]} and in {path}; {remedy}")
        if not any(counts):
            raise ManifestError(f"no utterance in {', '.join(map(str, paths))}; nothing was written")

    write_manifest(target, merged())
    sources = map(Source, paths, labels, counts, seconds)
    return Merged(target, tuple(sources), tuple(sorted(shared)))


def _labels(paths: Sequence[Path]) -> list[str]:
    """The end of each path, as long as it takes to tell them apart: `train`, or `an4-train` and `fsdd-train`."""
    names = []
    for path in paths:
        parts = Path(os.path.abspath(path)).parts
        name = parts[-1].removesuffix(".gz").removesuffix(".jsonl")
        names.append(parts[1:-1] if path.name in MANIFEST_NAMES else (*parts[1:-1], name))
    for length in range(1, max(map(len, names), default=0) + 1):
        labels = ["-".join(name[-length:]) for name in names]
        if len(set(labels)) == len(labels):
            return labels
    raise ConfigError(f"a manifest is named twice in {', '.join(map(str, paths))}; name each once")


@dataclass(frozen=True, slots=True)
class Rules:
    """What an utterance must be to stay. None is no rule; each field is the CLI option of its name.

    Raises:
        ConfigError: a rule is impossible.
    """

    min_seconds: float | None = None
    max_seconds: float | None = None
    min_words: int | None = None
    """Words between spaces; an utterance without a transcript has 0."""
    max_words: int | None = None
    speakers: frozenset[str] | None = None
    exclude_speakers: frozenset[str] | None = None
    text: str | None = None
    """Regular expression that is found in the transcript as it stands; no transcript is searched as an empty one."""
    exclude_text: str | None = None
    ids: frozenset[str] | None = None
    exclude_ids: frozenset[str] | None = None

    def __post_init__(self) -> None:
        for unit in ("seconds", "words"):
            low, high = getattr(self, f"min_{unit}"), getattr(self, f"max_{unit}")
            for name, value in ((f"min_{unit}", low), (f"max_{unit}", high)):
                if value is not None and not value >= 0:
                    raise ConfigError(f"{option(name)} {value}: give a number from 0 up")
            if low is not None and high is not None and low > high:
                raise ConfigError(f"--min-{unit} {low:g} is more than --max-{unit} {high:g}: nothing can be kept")
        for name in ("text", "exclude_text"):
            pattern = getattr(self, name)
            try:
                re.compile(pattern or "")
            except re.error as error:
                raise ConfigError(
                    f"{option(name)} {pattern!r} is not a regular expression: {error}; put a backslash before "
                    "signs that are meant as they stand, such as \\( \\? \\*"
                ) from None

    def broken(self, utterance: Utterance) -> str | None:
        """The name of the first rule that the utterance breaks; None: it stays."""
        text = utterance.text or ""
        words = len(text.split())
        if self.min_seconds is not None and utterance.duration < self.min_seconds:
            return "min_seconds"
        if self.max_seconds is not None and utterance.duration > self.max_seconds:
            return "max_seconds"
        if self.min_words is not None and words < self.min_words:
            return "min_words"
        if self.max_words is not None and words > self.max_words:
            return "max_words"
        if self.speakers is not None and utterance.speaker not in self.speakers:
            return "speakers"
        if self.exclude_speakers is not None and utterance.speaker in self.exclude_speakers:
            return "exclude_speakers"
        if self.text is not None and not re.search(self.text, text):
            return "text"
        if self.exclude_text is not None and re.search(self.exclude_text, text):
            return "exclude_text"
        if self.ids is not None and utterance.id not in self.ids:
            return "ids"
        if self.exclude_ids is not None and utterance.id in self.exclude_ids:
            return "exclude_ids"
        return None


def option(field: str) -> str:
    """The command-line option of a field of `Rules`."""
    return "--" + field.replace("_", "-")


@dataclass(frozen=True, slots=True)
class Filtered:
    """What `filter_manifest` kept and dropped."""

    path: Path
    utterances: int
    seconds: float
    of_utterances: int
    of_seconds: float
    dropped: dict[str, int]
    """Utterances that each rule dropped, by its name in `Rules`, or "sample": the rules are tried in that order."""
    unknown: dict[str, list[str]]
    """Speakers and ids that a rule names and no utterance has, by rule."""


def filter_manifest(
    manifest: str | Path,
    output: str | Path,
    rules: Rules,
    *,
    sample: int | None = None,
    hours: float | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> Filtered:
    """Write the utterances that keep all the rules to `output/cuts.jsonl`, in the order of `manifest`.

    Reads the manifest twice and holds about 40 bytes an utterance.

    Args:
        manifest: a folder with `cuts.jsonl`, or the file.
        output: the folder of the new manifest.
        rules: who stays.
        sample: at most this many of them, drawn at random.
        hours: at most this many hours of them, drawn at random. With one seed, a smaller draw is part of a larger one.
        seed: of the draw, which depends on the ids and not on their order.
        overwrite: replace a manifest that is there already.

    Raises:
        ConfigError: there is no rule, `sample` and `hours` are both given, or the target exists.
        ManifestError: the manifest cannot be read, nothing would be left, or the target cannot be written.
    """
    if rules == Rules() and sample is None and hours is None:
        raise ConfigError("no rule is given, so nothing would be dropped; see `asr data filter --help`")
    if sample is not None and hours is not None:
        raise ConfigError("--sample and --hours are two sizes for one draw; give one of them")
    if (sample is not None and sample < 1) or (hours is not None and not hours > 0):
        raise ConfigError(f"{f'--hours {hours:g}' if sample is None else f'--sample {sample}'}: give more than 0")
    target = Path(output) / MANIFEST_NAMES[0]
    check_targets([target], [manifest], overwrite)
    dropped = {field.name: 0 for field in fields(rules) if getattr(rules, field.name) is not None}
    unknown = {name: set(getattr(rules, name)) for name in dropped if name.endswith(("speakers", "ids"))}
    kept, keys, durations = bytearray(), array("Q"), array("d")
    total = 0.0
    for utterance in read_manifest(manifest):
        total += utterance.duration
        for name, missing in unknown.items():
            missing.discard(utterance.id if name.endswith("ids") else utterance.speaker or "")
        rule = rules.broken(utterance)
        kept.append(rule is None)
        if rule is not None:
            dropped[rule] += 1
            continue
        keys.append(seeded_hash(utterance.id, seed))
        durations.append(utterance.duration)
    keep = np.frombuffer(kept, bool).copy()
    seconds = np.frombuffer(durations, np.float64)
    if sample is not None or hours is not None:
        order = np.argsort(np.frombuffer(keys, np.uint64), kind="stable")
        count = sample if hours is None else np.searchsorted(np.cumsum(seconds[order]), 3600 * hours, side="right")
        chosen = np.zeros(len(order), bool)
        chosen[order[:count]] = True
        dropped["sample" if hours is None else "hours"] = int(len(chosen) - chosen.sum())
        keep[keep] = chosen
        seconds = seconds[chosen]
    if not keep.any():
        found = ", ".join(f"{option(rule)} drops {count}" for rule, count in dropped.items() if count)
        raise ManifestError(f"{manifest}: none of {len(keep)} utterances is left ({found or 'it is empty'})")
    kept_utterances = (u for u, stays in zip(read_manifest(manifest), keep, strict=True) if stays)
    count = write_manifest(target, (replace(u, audio=u.audio.absolute()) for u in kept_utterances))
    missing_names = {name: sorted(missing) for name, missing in unknown.items() if missing}
    return Filtered(target, count, float(seconds.sum()), len(keep), total, dropped, missing_names)


def read_ids(path: str | Path) -> frozenset[str]:
    """The ids in a text file, one a line.

    Raises:
        ManifestError: it cannot be read, or holds none.
    """
    ids = frozenset(line.strip() for _, line in read_lines(path)) - {""}
    if not ids:
        raise ManifestError(f"{path}: no id in it; write one utterance id a line")
    return ids


def seeded_hash(name: str, seed: int) -> int:
    """64 bits of `name` and `seed`: sorted by it, names are shuffled the same way in whatever order they came."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest(), "little")


def check_targets(
    targets: Iterable[Path], sources: Iterable[str | Path], overwrite: bool, option: str = "--output"
) -> None:
    """See that nothing precious is at the places to be written, which `option` has named.

    Raises:
        ConfigError: a file is there that `overwrite` does not give up, or a manifest that is to be read.
    """
    read = {part.cuts.resolve() for source in sources for part in manifest_parts(source)}
    for target in targets:
        if target.resolve() in read:
            raise ConfigError(f"{target} is the manifest that is read; choose another {option}")
        if target.exists() and not overwrite:
            raise ConfigError(f"{target} exists already; choose another {option}, or replace it with --overwrite")
