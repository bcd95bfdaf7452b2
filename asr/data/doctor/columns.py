"""What the doctor keeps of every utterance while it looks at a set as a whole."""

from __future__ import annotations

import math
import os
from array import array
from collections import Counter
from dataclasses import dataclass, field

from asr.data.doctor.checker import Checked, short_hash
from asr.data.doctor.kinds import Finding
from asr.data.problems import Problem
from asr.data.utterance import Utterance


@dataclass
class Columns:
    """What is kept of every utterance of a set: about 150 bytes, most of them the id."""

    part: str
    ids: list[str] = field(default_factory=list)
    lines: array[int] = field(default_factory=lambda: array("q"))
    content: array[int] = field(default_factory=lambda: array("Q"))
    text: array[int] = field(default_factory=lambda: array("Q"))
    words: array[int] = field(default_factory=lambda: array("l"))
    characters: array[int] = field(default_factory=lambda: array("l"))
    rate: array[int] = field(default_factory=lambda: array("l"))
    recording: array[int] = field(default_factory=lambda: array("Q"))
    start: array[float] = field(default_factory=lambda: array("d"))
    duration: array[float] = field(default_factory=lambda: array("d"))
    speakers: set[str] = field(default_factory=set)
    unheard: Counter[str] = field(default_factory=Counter)
    """Words that the token table does not know, see `Checked`."""

    def add(self, line: int, utterance: Utterance, checked: Checked) -> None:
        """Note one utterance. One that is lost takes no part in the comparison of contents."""
        used = checked.mended or utterance
        self.ids.append(utterance.id)
        self.lines.append(line)
        self.content.append(0 if checked.lost else checked.content)
        self.text.append(checked.text)
        self.words.append(checked.words)
        self.characters.append(checked.characters)
        self.unheard.update(checked.unheard)
        self.rate.append(checked.rate)
        place = f"{os.path.abspath(used.audio)}\n{used.channel}\n{used.member}"
        self.recording.append(0 if checked.lost else short_hash(place))
        self.start.append(used.start)
        self.duration.append(used.duration)
        if utterance.speaker is not None:
            self.speakers.add(utterance.speaker)

    def end(self, index: int) -> float:
        """Where the utterance of this index ends in its recording, seconds."""
        return self.start[index] + self.duration[index]

    @property
    def seconds(self) -> float:
        """Of all utterances."""
        return math.fsum(self.duration)

    def finding(self, index: int, kind: str, message: str) -> Finding:
        """A problem of the utterance of this index."""
        return Finding(self.part, Problem(self.ids[index], kind, message), self.lines[index])

    def set_finding(self, kind: str, message: str) -> Finding:
        """A problem of the set as a whole."""
        return Finding(self.part, Problem(self.part, kind, message))
