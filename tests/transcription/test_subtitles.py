from __future__ import annotations

import random
from itertools import pairwise

import pytest

from asr.decoding.hypothesis import Word
from asr.transcription.subtitles import Interval, cues, in_order, lines, one_line, subtitles
from asr.transcription.transcript import Segment, Transcript


def said(*words: Word, duration: float = 1000.0) -> Transcript:
    """One segment of these words."""
    text = " ".join(word.text for word in words)
    return Transcript(text, duration, [Segment(0.0, duration, text, 0.0, list(words))])


def speech(count: int, seed: int = 0) -> Transcript:
    """Words of 1 to 12 letters at 150 a minute, in phrases with pauses of 0.1 to 2 s between them."""
    chance = random.Random(seed)
    words, now = [], 0.5
    for _ in range(count):
        end = now + chance.uniform(0.1, 0.6)
        words.append(Word("x" * chance.randint(1, 12), round(now, 3), round(end, 3)))
        now = end + (chance.uniform(0.1, 2.0) if chance.random() < 0.1 else 0.0)
    return said(*words, duration=now)


def test_subtitles_keep_the_limits_on_thousands_of_words() -> None:
    transcript = speech(3000)
    spoken = list(cues(transcript))
    shown = list(subtitles(transcript))
    assert " ".join(cue.text for cue in spoken) == transcript.text
    assert [cue.text.replace("\n", " ") for cue in shown] == [cue.text for cue in spoken]
    pauses = {round(1000 * a.end): b.start - a.end for a, b in pairwise(transcript.words) if b.start and a.end}
    for said_, cue in zip(spoken, shown, strict=True):
        assert len(cue.text.split("\n")) <= 2
        assert all(len(line) <= 42 for line in cue.text.split("\n"))
        assert said_.end - said_.start <= 7000
        assert (cue.start, cue.end >= said_.end) == (said_.start, True)
        assert not any(pause > 1 for end, pause in pauses.items() if said_.start <= end < said_.end)
    for cue, following in pairwise(shown):
        assert cue.end <= following.start
        assert cue.end - cue.start >= 833 or cue.end == following.start
    assert shown[-1].end <= round(1000 * transcript.duration)


def test_cuts_are_where_the_speaker_pauses_and_leave_no_stragglers() -> None:
    words = [Word(f"word{i:02d}", i / 3, i / 3 + 0.33) for i in range(15)]
    found = list(cues(said(*words)))
    assert [len(cue.text.split()) for cue in found] in ([7, 8], [8, 7])
    after_pause = [Word(w.text, (w.start or 0) + 0.4, (w.end or 0) + 0.4) for w in words[5:]]
    found = list(cues(said(*words[:5], *after_pause)))
    assert [len(cue.text.split()) for cue in found] == [5, 10]


def test_punctuation_draws_the_cut() -> None:
    words = [Word(f"word{i:02d}" + "." * (i == 8), i / 3, i / 3 + 0.33) for i in range(15)]
    assert next(cues(said(*words))).text.endswith("word08.")


def test_a_pause_of_more_than_a_second_and_a_segment_end_a_subtitle() -> None:
    pause = said(Word("before", 0, 1), Word("after", 2.01, 3))
    assert list(cues(pause)) == [Interval(0, 1000, "before"), Interval(2010, 3000, "after")]
    parts = [Segment(0, 1, "a", 0.0, [Word("a", 0, 1)]), Segment(1, 2, "b", 0.0, [Word("b", 1, 2)])]
    assert [cue.text for cue in cues(Transcript("a b", 2, parts))] == ["a", "b"]


def test_short_and_fast_subtitles_stay_while_there_is_room() -> None:
    assert list(subtitles(said(Word("hi", 1.0, 1.1)))) == [Interval(1000, 1833, "hi")]
    assert list(subtitles(said(Word("hi", 1.0, 1.1), duration=1.5))) == [Interval(1000, 1500, "hi")]
    assert list(subtitles(said(Word("hi", 1.0, 1.1), duration=1.05))) == [Interval(1000, 1100, "hi")]
    fast = said(*[Word("gabble", i / 10, i / 10 + 0.1) for i in range(10)])
    assert [cue.end for cue in subtitles(fast)] == [1500]  # 69 characters would take 4 s; half a second is the most
    close = said(Word("hi", 1.0, 1.1), Word("there", 2.2, 3.2))
    assert [cue.end for cue in subtitles(close)] == [1833, 3200]


def test_a_word_that_fits_nowhere_has_its_own_subtitle() -> None:
    endless = said(Word("a", 0, 1), Word("w" * 200, 1, 20), Word("b", 20, 21))
    assert [(cue.end, len(cue.text)) for cue in cues(endless)] in ([(1000, 1), (20000, 200), (21000, 1)],)


def test_segments_whose_words_have_no_times_stay_whole() -> None:
    text = " ".join(["word"] * 40)
    untimed = Transcript(text, 30.0, [Segment(1.0, 30.0, text, 0.0, [Word("word")] * 40), Segment(30.0, 30.0, "", 0.0)])
    (cue,) = subtitles(untimed)
    assert (cue.start, cue.end, cue.text.replace("\n", " ")) == (1000, 30000, text)
    assert max(map(len, cue.text.split("\n"))) <= 42
    assert list(cues(Transcript("no segments", 2.0))) == [Interval(0, 2000, "no segments")]


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("x" * 42, ["x" * 42]),
        ("x" * 43, ["x" * 43]),
        ("the quick brown fox jumps over the lazy dog", ["the quick brown fox", "jumps over the lazy dog"]),
        ("a well-known word-by-word word-for-word thing", ["a well-known word-by-word", "word-for-word thing"]),
        ("", []),
    ],
)
def test_lines_are_few_and_even(text: str, broken: list[str]) -> None:
    assert lines(text) == broken


def test_intervals_never_run_backwards_or_vanish() -> None:
    spans = [(1.0, 1.0, "a"), (1.0, 1.5, "b"), (0.9, 3.0, "c"), (2.0, 1.0, "d"), (-1.0, -1.0, "e")]
    assert list(in_order(spans)) == [
        Interval(1000, 1001, "a"),
        Interval(1001, 1002, "b"),
        Interval(1002, 2000, "c"),
        Interval(2000, 2001, "d"),
        Interval(2001, 2002, "e"),
    ]
    assert list(in_order([])) == []


def test_one_line_has_no_control_characters() -> None:
    assert one_line(" a\r\n\u00a0b\u2029\x1d c\t") == "a b c"
    assert one_line("\x00a\x07\x7f\udcff\ufeff🎙é") == "�a����🎙é"
