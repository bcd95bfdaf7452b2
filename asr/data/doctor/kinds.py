"""The kinds of problem that the doctor knows, and how much each matters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from asr.data.problems import Problem

Severity = Literal["error", "warning"]

TRAIN = "train"
"""Name of the set that is trained on; the others are `dev`, `test`, `test-2` and so on."""

BAD_LINE = "bad manifest line"
EMPTY_SET = "no utterances"
DUPLICATE_ID = "duplicate id"
SHARED_ID = "id of a dev utterance"
UNREADABLE = "unreadable audio"
DURATION = "duration mismatch"
AUDIO_LEAK = "audio in two sets"
ALPHABET_MISMATCH = "alphabet mismatch"
NO_TRANSCRIPT = "no transcript"

OUTSIDE = "outside the alphabet"
NO_PRONUNCIATION = "without pronunciation"
TOO_LONG = "too long"
TOO_SHORT = "too short for its transcript"
NO_SOUND = "no sound"
CONTRADICTION = "same audio, different transcripts"

RATE_DIFFERS = "sample rate differs from the manifest"
LOW_RATE = "below features.sample_rate"
MIXED_RATES = "mixed sample rates"
CLIPPING = "clipping"
DC_OFFSET = "DC offset"
NEAR_SILENCE = "near-silence"
NOT_NFC = "text not in NFC"
WHITESPACE = "odd whitespace"
INVISIBLE = "invisible or control characters"
BROKEN_ENCODING = "broken encoding"
DIGITS = "digits left in the text"
SYMBOLS = "symbols left in the text"
PUNCTUATION = "punctuation left in the text"
RARE_CHARACTER = "rare character"
UNHEARD_WORDS = "words in no training transcript"
SPEAKING_RATE = "implausible speaking rate"
DUPLICATE_AUDIO = "duplicate audio"
SPEAKER_LEAK = "speakers in two sets"
SENTENCE_LEAK = "sentences in two sets"

ERRORS = frozenset(
    {BAD_LINE, EMPTY_SET, DUPLICATE_ID, SHARED_ID, UNREADABLE, DURATION, AUDIO_LEAK, ALPHABET_MISMATCH, NO_TRANSCRIPT}
)
"""Training cannot start, loses the utterance, or its WER is false."""
TRAIN_ERRORS = frozenset({OUTSIDE, NO_PRONUNCIATION, TOO_LONG, TOO_SHORT, NO_SOUND, CONTRADICTION})
"""The same, but only where the utterance is trained on; a dev or test utterance like this merely scores badly."""


def severity(kind: str, part: str) -> Severity:
    """How much a kind of problem matters in the set named `part`."""
    return "error" if kind in ERRORS or (kind in TRAIN_ERRORS and part == TRAIN) else "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem, the set it is in, and the line of its manifest (0: no line in particular)."""

    part: str
    problem: Problem
    line: int = 0

    @property
    def of_set(self) -> bool:
        """Whether the set as a whole has the problem, and no utterance can be blamed."""
        return self.line == 0 and self.problem.id == self.part

    @property
    def severity(self) -> Severity:
        """`error`: training should not start; `warning`: worth a look."""
        return severity(self.problem.kind, self.part)
