from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from asr.decoding.hypothesis import Hypothesis, Word
from asr.text import Tokenizer
from asr.transcription.seams import Piece, Seams

TOKENIZER = Tokenizer.from_characters("abcdefghijklmnopqrstuvwxyz")
STEP = 0.04


def heard(words: Sequence[tuple[str, float, float]], start: float, end: float, timed: bool = False) -> Hypothesis:
    """What a window from `start` to `end` makes of words said at these times: those that are cut are heard in part."""
    tokens: list[int] = []
    frames: list[int] = []
    said: list[Word] = []
    for text, first, last in words:
        if not start <= (first + last) / 2 < end:
            continue
        if tokens:
            tokens.append(TOKENIZER.encode("a b")[1])
            frames.append(round((first - start) / STEP) - 1)
        for index, letter in enumerate(text):
            tokens += TOKENIZER.encode(letter)
            moment = first + (last - first) * index / max(1, len(text) - 1)
            frames.append(round((min(max(moment, start), end) - start) / STEP))
        said.append(Word(text, first - start, last - start, 0.9) if timed else Word(text))
    return Hypothesis(tokens, " ".join(word.text for word in said), -1.0, frames, said)


def random_words(seed: int, count: int = 200) -> list[tuple[str, float, float]]:
    rng = np.random.default_rng(seed)
    words, time = [], 0.3
    for _ in range(count):
        text = "".join(rng.choice(list("abcdefgh"), rng.integers(1, 8)))
        length = 0.06 * len(text) + rng.uniform(0, 0.1)
        words.append((text, time, time + length))
        time += length + rng.uniform(0.1, 0.3)
    return words


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("timed", [False, True])
def test_no_word_is_lost_or_doubled_at_the_seams(seed: int, timed: bool) -> None:
    words = random_words(seed)
    rng = np.random.default_rng(seed)
    end = words[-1][2] + 0.2
    pieces, start = [], 0.0
    while start < end - 2:
        stop = min(end, start + rng.uniform(4, 8))
        pieces.append(Piece(start, stop, start > 0, [heard(words, start, stop, timed)]))
        start = stop - 2.0
    segments = list(Seams(TOKENIZER, STEP).join(pieces))
    assert [word.text for segment in segments for word in segment.words] == [text for text, *_ in words]
    assert " ".join(segment.text for segment in segments if segment.text) == " ".join(text for text, *_ in words)
    assert all(before.end == after.start for before, after in pairwise(segments))
    if timed:
        times = [time for segment in segments for word in segment.words for time in (word.start, word.end)]
        assert times == sorted(times)  # type: ignore[type-var]


def test_a_word_that_both_windows_misplace_by_a_frame_comes_out_once() -> None:
    words = [("one", 1.0, 1.3), ("two", 2.0, 2.4), ("three", 3.0, 3.5)]
    late = [(text, first + STEP, last + STEP) for text, first, last in words]
    pieces = [Piece(0, 3.2, False, [heard(words, 0, 3.2)]), Piece(1.2, 4, True, [heard(late, 1.2, 4)])]
    assert " ".join(segment.text for segment in Seams(TOKENIZER, STEP).join(pieces)) == "one two three"


def test_windows_that_do_not_overlap_are_taken_as_they_are() -> None:
    words = [("one", 1.0, 1.3), ("two", 5.0, 5.4)]
    pieces = [Piece(0.5, 2, False, [heard(words, 0.5, 2, True)]), Piece(4, 6, False, [heard(words, 4, 6, True)])]
    first, second = Seams(TOKENIZER, STEP).join(pieces)
    assert (first.start, first.end, first.text) == (0.5, 2, "one")
    assert (second.start, second.end, second.text) == (4, 6, "two")
    assert second.words[0].start == pytest.approx(5.0)


def test_alternatives_are_cut_at_the_same_seam_and_named_once() -> None:
    words = [("one", 1.0, 1.3), ("two", 2.0, 2.4), ("six", 3.2, 3.5)]
    others = [[*words[:2], ("sex", 3.2, 3.5)], [("won", 1.0, 1.3), *words[1:]]]
    left = [heard(words, 0, 3.9), *(heard(other, 0, 3.9) for other in others)]
    pieces = [Piece(0, 3.9, False, left), Piece(1.9, 5, True, [heard(words, 1.9, 5)])]
    first, _ = Seams(TOKENIZER, STEP).join(pieces)
    assert first.text == "one two"
    assert [alternative.text for alternative in first.alternatives] == ["won two"]


def test_silence_has_no_segments() -> None:
    silent = Hypothesis([], "", 0.0)
    assert list(Seams(TOKENIZER, STEP).join([Piece(0, 2, False, [silent]), Piece(1, 3, True, [silent])])) == []
    assert list(Seams(TOKENIZER, STEP).join([])) == []
