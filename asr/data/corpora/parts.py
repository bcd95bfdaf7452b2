"""The parts of a corpus: those that a user asks for, and train, dev and test where there is no official split."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from asr.data.utterance import Utterance
from asr.errors import CorpusError


def choose_parts(asked: str | Sequence[str] | None, known: Iterable[str], title: str) -> list[str]:
    """The official parts that the user names; all that are `known` for None.

    Raises:
        CorpusError: corpus `title` has no such part.
    """
    names = list(known)
    if asked is None:
        return names
    wanted = [asked] if isinstance(asked, str) else list(dict.fromkeys(asked))
    for part in wanted:
        if part not in names:
            close = difflib.get_close_matches(str(part), names, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise CorpusError(f"parts: {title} has no part {part!r}; {hint}It has {', '.join(names)}")
    return wanted


def parts_in(root: Path, asked: str | Sequence[str] | None, known: Iterable[str], title: str) -> list[str]:
    """The same for parts that are folders of `root`; all that are there for None.

    Raises:
        CorpusError: corpus `title` has no such part, or it is not in `root`.
    """
    names = list(known)
    found = [part for part in names if (root / part).is_dir()]
    wanted = found if asked is None else choose_parts(asked, names, title)
    for part in wanted:
        if part not in found:
            raise CorpusError(f"{root}: there is no {part} here, only {', '.join(found)}; unpack its archive here too")
    return wanted


def split_groups(
    utterances: Iterable[Utterance], group: Callable[[Utterance], str], share: float
) -> dict[str, list[Utterance]]:
    """Train, dev and test for a corpus without an official split: whole groups (speakers, chapters), never divided.

    Of the sorted names of the groups, a `share` becomes dev and as many become test, at even steps and at least one
    each. No random numbers: the same corpus gives the same parts everywhere.

    Args:
        utterances: all of the corpus.
        group: the group of an utterance.
        share: of the groups, for dev and for test each; at most 0.3.

    Raises:
        CorpusError: there are fewer than three groups.
    """
    found: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        found.setdefault(group(utterance), []).append(utterance)
    names = sorted(found)
    if len(names) < 3:
        raise CorpusError(
            f"{len(names)} speakers or chapters ({', '.join(names)}) cannot be split into train, dev and test; "
            "at least three are needed"
        )
    count = max(1, round(share * len(names)))
    step = len(names) / count
    part_of = {names[int((index + 0.25) * step)]: "dev" for index in range(count)}
    part_of |= {names[int((index + 0.75) * step)]: "test" for index in range(count)}
    parts: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": []}
    for name in names:
        parts[part_of.get(name, "train")] += found[name]
    return parts
