"""What decoding hands on: the hypothesis of an utterance."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Word:
    """One recognised word. Times in seconds from the start of the audio, None until an alignment has set them."""

    text: str
    start: float | None = None
    end: float | None = None
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """The decoder's answer for one utterance.

    Attributes:
        tokens: token ids, blanks and repeats removed.
        text: the tokens as text.
        score: natural-log probability of what the decoder maximised: the best path for greedy search.
        frames: the frame of log-probs in which each token is first emitted.
        words: `text` word by word.
        acoustic_score: the part of `score` that the acoustic model gave; None for greedy search, where it is all.
    """

    tokens: list[int]
    text: str
    score: float
    frames: list[int] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    acoustic_score: float | None = None
