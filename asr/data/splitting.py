"""Training, development and test set out of one manifest, with no speaker or no sentence in two of them."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from asr.data.manifest import MANIFEST_NAMES, read_manifest
from asr.data.selecting import check_targets, seeded_hash
from asr.errors import ConfigError, ManifestError
from asr.files import replacing
from asr.text import normalise

By = Literal["speaker", "sentence", "utterance"]

_NO_SPEAKER = 0
_LEFT_OUT = -1


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a split."""

    name: str
    path: Path
    asked: float
    """The share of the audio that was wanted, 0 to 1."""
    share: float
    """The share it got of what was written."""
    utterances: int
    seconds: float
    speakers: int
    shared_speakers: int
    """How many of its speakers the training part has too."""
    shared_sentences: int
    """How many of its utterances have a sentence that the training part has too."""


@dataclass(frozen=True, slots=True)
class SplitResult:
    """What `split` wrote."""

    by: By
    parts: tuple[Part, ...]
    without_speaker: int
    """Utterances that name no speaker; split by speaker, they are all in the training part."""
    left_out: int
    left_out_seconds: float
    """Training utterances left out because another part has their sentence."""


def split(
    manifest: str | Path,
    output: str | Path,
    *,
    shares: Mapping[str, float],
    by: Literal["auto"] | By = "auto",
    drop_shared_sentences: bool = False,
    seed: int = 0,
    overwrite: bool = False,
) -> SplitResult:
    """Write `output/PART/cuts.jsonl` for each part; all of them, or none.

    Whole speakers go to one part. Where all speakers read the same prompts, no split keeps apart the sentences too:
    then the result counts the utterances whose sentence the training part has as well, and `drop_shared_sentences`
    leaves those sentences out of the training part. (Not out of the others: what is measured would become rare
    sentences only, with wider error bars.) Sentences are equal when `asr.text.normalise` makes them so.

    An utterance that names no speaker could be of any: all of them go to the training part, together.

    The split depends on `seed`, ids, speakers and sentences, not on the order of the manifest, which is read twice;
    memory is about 150 bytes an utterance.

    Args:
        manifest: a folder with `cuts.jsonl`, or the file.
        output: the folder of the parts.
        shares: the share of the audio of each part, summing to 1. The first part is the training part.
        by: what is kept whole: speakers, sentences or only utterances. "auto" takes speakers, or, where no utterance
            names one, sentences.
        drop_shared_sentences: see above.
        seed: another one gives another split.
        overwrite: replace manifests that are there already.

    Raises:
        ConfigError: shares that are no division, or a target exists.
        ManifestError: the manifest cannot be read, has too few speakers, sentences or utterances for the parts, or
            a target cannot be written.
    """
    _check_shares(shares)
    targets = [Path(output) / name / MANIFEST_NAMES[0] for name in shares]
    check_targets(targets, [manifest], overwrite)
    table = _read(manifest, seed)
    named = table.speakers != _NO_SPEAKER
    kind: By = ("speaker" if named.any() else "sentence") if by == "auto" else by
    keys = {"speaker": table.speakers, "sentence": table.sentences, "utterance": table.ids}[kind]
    groups, members = np.unique(keys, return_inverse=True)  # sorted by their hashes, so shuffled
    pinned = (groups == _NO_SPEAKER) & (kind == "speaker")
    _check_groups(manifest, kind, int((~pinned).sum()), len(shares) - int(pinned.any()), len(shares))
    weights = np.bincount(members, weights=table.microseconds)  # whole numbers, so in any order the same sums
    parts = assign(weights, list(shares.values()), pinned)[members]

    shared = _shared(table.sentences, parts, len(shares))
    if drop_shared_sentences:
        unwanted = (parts == 0) & shared
        parts[unwanted] = _LEFT_OUT
        if not (parts == 0).any():
            raise ManifestError(
                f"{manifest}: every sentence of {next(iter(shares))} is in another part too, so that none would be "
                "left; use --by sentence, or leave out --drop-shared-sentences"
            )
        shared = np.zeros_like(shared)
    _write(manifest, targets, parts)

    left_out = parts == _LEFT_OUT
    return SplitResult(
        by=kind,
        parts=_described(table, parts, shares, targets, shared),
        without_speaker=int((~named).sum()),
        left_out=int(left_out.sum()),
        left_out_seconds=float(table.microseconds[left_out].sum() / 1e6),
    )


@dataclass(frozen=True, slots=True)
class _Table:
    """Of each utterance, in file order: seeded hashes of id, speaker and sentence, and its length.

    Two of a million names have the same 64 bits with probability 3e-8.
    """

    ids: np.ndarray
    speakers: np.ndarray
    sentences: np.ndarray
    microseconds: np.ndarray


def _read(manifest: str | Path, seed: int) -> _Table:
    ids, speakers, sentences, microseconds = array("Q"), array("Q"), array("Q"), array("q")
    for utterance in read_manifest(manifest):
        ids.append(seeded_hash(f"id {utterance.id}", seed))
        speakers.append(seeded_hash(f"speaker {utterance.speaker}", seed) if utterance.speaker else _NO_SPEAKER)
        sentence = normalise(utterance.text or "")
        sentences.append(seeded_hash(f"sentence {sentence}", seed) if sentence else ids[-1])
        microseconds.append(round(utterance.duration * 1e6))
    if not ids:
        raise ManifestError(f"{manifest}: no utterance in it, so there is nothing to split")
    return _Table(*(np.array(column) for column in (ids, speakers, sentences, microseconds)))


def _check_shares(shares: Mapping[str, float]) -> None:
    shown = ", ".join(f"{name} {share:g}" for name, share in shares.items())
    if not all(0 < share < math.inf for share in shares.values()):
        raise ConfigError(f"shares {shown}: each must be more than 0")
    if not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
        raise ConfigError(f"shares {shown}: they sum to {sum(shares.values()):g}, not to 1")
    if len(shares) < 2:
        raise ConfigError(f"shares {shown}: a split needs two parts or more, such as --dev 0.1")


def _check_groups(manifest: str | Path, kind: By, found: int, needed: int, parts: int) -> None:
    if found >= needed:
        return
    remedy = {
        "speaker": "split by sentence with --by sentence",
        "sentence": "split with --by utterance",
        "utterance": "add recordings",
    }[kind]
    raise ManifestError(
        f"{manifest}: {parts} parts need {needed} or more {'different ' if kind != 'utterance' else ''}{kind}s, and it "
        f"has {found or 'none'}; {remedy}{', or ask for fewer parts, as with --test 0' if parts > 2 else ''}"
    )


def assign(weights: np.ndarray, shares: Sequence[float], pinned: np.ndarray) -> np.ndarray:
    """The part of each group, so that the parts weigh what they should as nearly as whole groups allow.

    Each group in turn goes to the part, other than the first, that lacks most of its share and has room for all of it;
    the first part gets the rest. At the end a part takes the lightest group left if that brings it closer: it is then
    no further from its share than half of that group. With so few groups that a part would be left without, it gets the
    lightest, whatever it weighs.

    Args:
        weights: `[groups]`, in the (shuffled) order in which they have their turn.
        shares: of each part, summing to 1.
        pinned: bool `[groups]`: the groups that must go to the first part. The others are enough for every part.

    Returns:
        Int `[groups]`; no part is without a group.
    """
    targets = [share * float(weights.sum()) for share in shares]
    filled = [0.0] * len(shares)
    empty = set(range(1, len(shares)))
    result = np.zeros(len(weights), np.int64)
    free = np.flatnonzero(~pinned).tolist()
    reserved = 0 if pinned.any() else 1
    left = len(free)

    def give(group: int, part: int) -> None:
        nonlocal left
        result[group] = part
        filled[part] += float(weights[group])
        empty.discard(part)
        left -= 1

    rest = []
    for group in free:
        spare = left > len(empty) + reserved
        weight = float(weights[group])
        open_parts = range(1, len(shares)) if spare else sorted(empty)
        fitting = [part for part in open_parts if filled[part] + weight <= targets[part]]
        if fitting:
            give(group, min(fitting, key=lambda part: filled[part] / targets[part]))
        else:
            rest.append(group)
    rest.sort(key=lambda group: float(weights[group]))
    for part in sorted(range(1, len(shares)), key=lambda part: filled[part] / targets[part]):
        spare = left > len(empty) + reserved
        if part in empty or (spare and float(weights[rest[0]]) < 2 * (targets[part] - filled[part])):
            give(rest.pop(0), part)
    return result


def _shared(keys: np.ndarray, parts: np.ndarray, count: int) -> np.ndarray:
    """Whether each utterance has a key that the first part and another one have; bool `[utterances]`."""
    distinct, numbers = np.unique(keys, return_inverse=True)
    present = np.zeros((count, len(distinct)), bool)
    inside = parts != _LEFT_OUT
    present[parts[inside], numbers[inside]] = True
    return (present[0] & present[1:].any(axis=0))[numbers]


def _described(
    table: _Table, parts: np.ndarray, shares: Mapping[str, float], targets: Sequence[Path], shared: np.ndarray
) -> tuple[Part, ...]:
    named = table.speakers != _NO_SPEAKER
    spoken = _shared(table.speakers, parts, len(shares)) & named
    written = table.microseconds[parts != _LEFT_OUT].sum()
    described = []
    for number, (name, asked) in enumerate(shares.items()):
        here = parts == number
        length = table.microseconds[here].sum()
        described.append(
            Part(
                name=name,
                path=targets[number],
                asked=asked,
                share=float(length / written),
                utterances=int(here.sum()),
                seconds=float(length / 1e6),
                speakers=len(np.unique(table.speakers[here & named])),
                shared_speakers=len(np.unique(table.speakers[here & spoken])) if number else 0,
                shared_sentences=int((here & shared).sum()) if number else 0,
            )
        )
    return tuple(described)


def _write(manifest: str | Path, targets: Sequence[Path], parts: np.ndarray) -> None:
    target = targets[0]
    try:
        with ExitStack() as stack:
            files = []
            for target in targets:
                target.parent.mkdir(parents=True, exist_ok=True)
                partial = stack.enter_context(replacing(target))
                files.append(stack.enter_context(open(partial, "w", encoding="utf-8")))
            for utterance, part in zip(read_manifest(manifest), parts, strict=True):
                if part != _LEFT_OUT:
                    cut = replace(utterance, audio=utterance.audio.absolute()).to_cut()
                    files[part].write(json.dumps(cut, ensure_ascii=False) + "\n")
            for file in files:  # before the first rename: a full disk may only show now
                file.close()
    except OSError as error:
        raise ManifestError(
            f"{target.parent.parent}: the parts cannot be written ({error.strerror or error}); none was"
        ) from error
