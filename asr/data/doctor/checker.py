"""All checks that need one utterance alone; what the worker processes run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from asr.audio import audio_info
from asr.config import Config
from asr.data.doctor import kinds
from asr.data.doctor.audio_checks import (
    Signal,
    agreeing,
    decode,
    frames_problem,
    header_problem,
    length_problem,
    rate_problems,
)
from asr.data.doctor.text_checks import leftovers, mended_text, text_defects, text_problem
from asr.data.problems import Problem
from asr.data.shards import read_member
from asr.data.utterance import Utterance
from asr.errors import AudioError
from asr.text import Tokenizer, normalise


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found out about one utterance, small enough to keep for every one of a million."""

    problems: list[Problem]
    lost: str | None = None
    """The kind of problem for which the utterance has to be left out, whatever is mended; None: it can be used."""
    mended: Utterance | None = None
    """The utterance with text, times and rate put right; None: there is nothing to put right."""
    rate: int = 0
    """Hz, of the recording; 0 when it cannot be read."""
    content: int = 0
    """Hash of the samples; 0 when they cannot be read or are silent."""
    text: int = 0
    """Hash of the normalised transcript."""
    words: int = 0
    characters: int = 0
    """Of the normalised transcript, spaces not counted."""
    unheard: tuple[str, ...] = ()
    """Words of a dev or test utterance that the token table of phones does not know, each as often as it is said."""


@dataclass(frozen=True)
class Checker:
    """The checks with what they need to know."""

    config: Config
    tokenizer: Tokenizer
    conventions: frozenset[str]

    def check(self, utterance: Utterance, part: str) -> Checked:
        """Read and check one utterance of the set named `part`."""
        problems: list[Problem] = []
        lost: list[str] = []

        def note(problem: Problem | None, mendable: bool = False) -> None:
            if problem is not None:
                problems.append(problem)
                if not mendable and kinds.severity(problem.kind, part) == "error":
                    lost.append(problem.kind)

        mended = utterance
        if utterance.text is not None and (defects := text_defects(utterance)):
            problems += defects
            mended = replace(utterance, text=mended_text(utterance.text))
        text = normalise(mended.text or "", self.config.text.case, self.config.text.remove)
        untrainable = text_problem(mended, self.tokenizer, self.config)
        # The table has the words of training alone, so others of a dev or test set are told of the set as a whole.
        unheard: tuple[str, ...] = ()
        if part != kinds.TRAIN and untrainable is not None and untrainable.kind == kinds.NO_PRONUNCIATION:
            missing = set(self.tokenizer.missing(text))
            unheard = tuple(word for word in text.split() if word in missing)
        else:
            note(untrainable or text_problem(utterance, self.tokenizer, self.config), mendable=untrainable is None)
        problems += leftovers(utterance.id, text, self.tokenizer, self.conventions)
        rate = content = 0
        try:
            source: Path | bytes = mended.audio
            if mended.member is not None:
                source = read_member(mended.audio, mended.member)
            info = audio_info(source)
            rate, corrected = info.sample_rate, agreeing(mended, info)
            note(header_problem(mended, info), mendable=corrected is not None)
            problems += rate_problems(mended, info, self.config)
            if corrected is not None:
                mended = corrected
                if part == kinds.TRAIN:
                    note(length_problem(mended, self.config))
                if untrainable is None:
                    tokens = self.tokenizer.encode(text)
                    seconds = min(mended.duration, info.seconds - mended.start)
                    note(frames_problem(mended, tokens, seconds, self.config))
                signal = Signal(rate)
                for block in decode(source, mended, info):
                    signal.add(block)
                for problem in signal.problems(utterance.id):
                    note(problem)
                content = signal.content
        except AudioError as error:
            note(Problem(utterance.id, kinds.UNREADABLE, str(error)))
            rate = 0
        return Checked(
            problems,
            lost=lost[0] if lost else None,
            mended=mended if mended != utterance and not lost else None,
            rate=rate,
            content=content,
            text=short_hash(text),
            words=len(text.split()),
            characters=len(text.replace(" ", "")),
            unheard=unheard,
        )


def short_hash(text: str) -> int:
    """64 bits that stand for a text; the same in every process, unlike `hash`."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
