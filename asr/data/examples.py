"""What training reads: utterances with their token ids, however many there are."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from asr.config import TextConfig
from asr.data.utterance import Utterance
from asr.text import Tokenizer, normalise


@dataclass(frozen=True, slots=True)
class Example:
    """An utterance with its token ids."""

    utterance: Utterance
    tokens: list[int]
    fastest: float = float("inf")
    """Speed factor at which its frames only just suffice for CTC; it is never perturbed beyond."""


class Examples(Sequence[Example]):
    """The utterances of `source` that training can use; each is read and tokenised when it is asked for.

    Attributes:
        seconds: duration of each.
        shards: the numbers that each shard holds, or None where the audio is not in shards.
        speakers: how many different speakers are named.
    """

    def __init__(self, source: Sequence[Utterance], tokenizer: Tokenizer, text: TextConfig):
        self.source, self.tokenizer, self.text = source, tokenizer, text
        self.seconds = array("d")
        self._numbers, self._fastest = array("q"), array("d")
        self._speakers: set[int] = set()

    def add(self, number: int, utterance: Utterance, fastest: float) -> None:
        """Take utterance `number` of the source in."""
        self._numbers.append(number)
        self.seconds.append(utterance.duration)
        self._fastest.append(fastest)
        if utterance.speaker is not None:
            self._speakers.add(hash(utterance.speaker))

    @property
    def shards(self) -> list[range] | None:
        """The examples of each shard; None where the audio is not in shards."""
        shards: list[range] | None = getattr(self.source, "shards", None)
        if shards is None:
            return None
        ends = np.searchsorted(np.array(self._numbers, dtype=np.int64), [shard.stop for shard in shards])
        return [range(first, end) for first, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)]

    @property
    def speakers(self) -> int:
        """How many different speakers are named."""
        return len(self._speakers)

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, number: int) -> Example: ...

    @overload
    def __getitem__(self, number: slice) -> list[Example]: ...

    def __getitem__(self, number: int | slice) -> Example | list[Example]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        utterance = self.source[self._numbers[number]]
        tokens = self.tokenizer.encode(normalise(utterance.text or "", self.text.case, self.text.remove))
        return Example(utterance, tokens, self._fastest[number])
