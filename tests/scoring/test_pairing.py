"""References and hypotheses side by side: times, alternatives, ids that differ, speakers."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr.errors import ScoringError
from asr.scoring.normalisation import basic
from asr.scoring.transcripts import Paired, pair, read_transcripts
from asr.scoring.transcripts.alternatives import best_reading, parse_words
from asr.scoring.transcripts.model import Choice, first_reading

STM = """;; LABEL "O" "Overall" "Overall"
rec A ann 0.00 2.00 <O,F0,female> one two
rec A bob 2.50 4.00 three

rec A - 4.00 6.00 IGNORE_TIME_SEGMENT_IN_SCORING
rec A ann 6.00 9.00 <O> four { five / 5 }
"""


def pair_of(folder: Path, reference: tuple[str, str], hypothesis: tuple[str, str], **options: object) -> Paired:
    paths = []
    for name, content in (reference, hypothesis):
        paths.append(folder / name)
        paths[-1].write_text(content)
    references = read_transcripts(paths[0], side="reference")
    return pair(references, read_transcripts(paths[1], side="hypothesis"), **options)  # type: ignore[arg-type]


# Times


def test_words_go_to_the_segment_their_middle_lies_in(tmp_path: Path) -> None:
    ctm = (
        "rec A 3.0 0.4 three\n"  # out of order
        "rec A 0.1 0.3 one 0.98\n"
        ";; a comment\n"
        "rec A 1.9 0.3 after\n"  # its middle, 2.05, is in the gap: to the later segment
        "rec A 1.7 0.5 two -12.5\n"  # reaches beyond the end of its segment
        "rec A 4.5 0.3 ignored\n"
        "rec A 9.5 0.3 five 0.5 lex unknown\n"  # after the last segment
        "rec A 6.5 0.3 four\n"
    )
    paired = pair_of(tmp_path, ("x.stm", STM), ("x.ctm", ctm))
    assert paired.references == {
        "rec-A-0.000-2.000": "one two",
        "rec-A-2.500-4.000": "three",
        "rec-A-6.000-9.000": "four five",
    }
    assert list(paired.hypotheses.values()) == ["one two", "after three", "four five"]
    assert paired.speakers is not None
    assert list(paired.speakers.values()) == ["ann", "bob", "ann"]
    assert paired.notes == ["1 hypothesis word in stretches that are not to be scored were left out"]


def test_channels_go_by_name_and_a_single_one_by_itself(tmp_path: Path) -> None:
    ctm = "rec 1 0.1 0.3 one\nrec 1 3.0 0.3 three\n"
    assert list(pair_of(tmp_path, ("x.stm", STM), ("x.ctm", ctm)).hypotheses.values()) == ["one", "three", ""]
    stm = "rec A ann 0 2 yes\nrec B bob 0 2 no\n"
    ctm = "rec B 0.1 0.3 no\nrec A 0.1 0.3 yes\n"
    assert list(pair_of(tmp_path, ("x.stm", stm), ("x.ctm", ctm)).hypotheses.values()) == ["yes", "no"]
    with pytest.raises(ScoringError, match=r"1 of 2 references have no hypothesis \('rec-B-0\.000-2\.000'\)"):
        pair_of(tmp_path, ("x.stm", stm), ("x.ctm", "rec A 0.1 0.3 yes\n"))


def test_recordings_that_one_side_lacks_are_named(tmp_path: Path) -> None:
    stm = "r1 A ann 0 2 yes\nr2 A ann 0 2 no\n"
    ctm = "r1 A 0.1 0.3 yes\nr3 A 0.1 0.3 what\n"
    with pytest.raises(ScoringError, match=r"'r2-A-0.000-2.000'\) and 1 of 2 hypotheses have no reference \('r3'\)"):
        pair_of(tmp_path, ("x.stm", stm), ("x.ctm", ctm))
    paired = pair_of(tmp_path, ("x.stm", stm), ("x.ctm", ctm), missing="empty", common_only=True)
    assert paired.hypotheses == {"r1-A-0.000-2.000": "yes", "r2-A-0.000-2.000": ""}
    assert (paired.missing, paired.references_left_out, paired.hypotheses_left_out) == (1, 0, 1)


def test_a_ctm_of_utterances_answers_any_reference_with_ids(tmp_path: Path) -> None:
    ctm = "u2 1 0.5 0.2 b\nu2 1 0.1 0.2 a\nu1 1 0 0.2 c\n"
    paired = pair_of(tmp_path, ("text", "u1 c\nu2 a b\n"), ("x.ctm", ctm))
    assert paired.hypotheses == {"u1": "c", "u2": "a b"}
    with pytest.raises(ScoringError, match=r"\('u3'\) \(a ctm has no line for an utterance in which nothing"):
        pair_of(tmp_path, ("text", "u1 c\nu2 a b\nu3 d\n"), ("x.ctm", ctm))


def test_an_stm_is_put_together_by_recording_for_hypotheses_without_times(tmp_path: Path) -> None:
    stm = "rec A ann 5 6 there\nrec A ann 0 2 hello { you / all }\n"
    paired = pair_of(tmp_path, ("x.stm", stm), ("x.trn", "hello all there (rec)\n"))
    assert (paired.references, paired.speakers) == ({"rec": "hello all there"}, {"rec": "ann"})
    with pytest.raises(ScoringError, match=r"rec from 4\.0 s to 6\.0 s is not to be scored, .* as ctm"):
        pair_of(tmp_path, ("x.stm", STM), ("x.trn", "one (rec)\n"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.ctm", "rec A 0.1 0.3\n", r"line 1: expected `recording channel start duration word`"),
        ("x.ctm", "rec A 0.1 0.3 a\nrec A 0,5 0.3 b\n", r"line 2: start '0,5' is no time"),
        ("x.ctm", "rec A 0.1 -0.3 a\n", r"line 1: duration '-0\.3' is no time"),
        ("x.ctm", "rec A nan 0.3 a\n", r"line 1: start 'nan' is no time"),
        ("x.ctm", "rec A * * <ALT>\n", r"line 1: <ALT> does not follow"),
        ("x.ctm", "rec A * * <ALT_BEGIN>\nrec A 0 1 um\n", r"line 1: <ALT_BEGIN> without <ALT_END>"),
        ("x.ctm", "r A * * <ALT_BEGIN>\nr A 0 1 um\nr A * * <ALT_END>\n", r"line 3: alternatives need two or more"),
        ("x.stm", "rec A ann 0.1\n", r"line 1: expected `recording channel speaker start end"),
        ("x.stm", "rec A ann 2 1 a\n", r"line 1: the segment ends at 1 s before it starts at 2 s"),
        ("x.stm", "rec A ann 0 1 a\nrec A ann 0 1 b\n", r"line 2: id 'rec-A-0\.000-1\.000' stands on line 1"),
        ("x.stm", "rec A ann 0 1 { a\n", r"x\.stm, line 1: a \{ without \}"),
        ("x.stm", ";; only\n", r"x\.stm: holds comments but no transcripts"),
        ("x.trn", "a { b / c (u1)\n", r"x\.trn, line 1: a \{ without \} in 'a \{ b / c'"),
        ("x.trn", "a } b (u1)\n", r"a \} without \{"),
        ("x.trn", "a { b } (u1)\n", r"a single alternative"),
        ("x.trn", "a { b / } (u1)\n", r"an empty alternative .* write @ for no word"),
        ("x.trn", "{ " * 30 + "(u1)\n", r"nested more than 20 deep"),
    ],
)
def test_broken_lines_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ScoringError, match=message):
        read_transcripts(tmp_path / name, side="reference")


# Alternatives


def test_alternatives_are_parsed_as_the_format_says() -> None:
    assert parse_words("i've { um / uh / @ } seen") == ["i've", Choice((["um"], ["uh"], [])), "seen"]
    assert parse_words("{a b/{c/@}}d") == [Choice((["a", "b"], [Choice((["c"], []))])), "d"]
    assert parse_words(r"and/or \{ \} a\;b @") == ["and/or", "{", "}", "a;b", "@"]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "reading"),
    [
        ("i've { um / uh / @ } seen", "i've seen", "i've seen"),
        ("i've { um / uh / @ } seen", "i've uh seen", "i've uh seen"),
        ("i've { um / uh } seen", "i've seen", "i've um seen"),
        ("{ age-old / age old } song", "age old song", "age-old song"),
        ("{ a / { b c / d } } e", "b c e", "b c e"),
        ("{ a / b } { a / b } { a / b }", "b a b", "b a b"),
        ("{ Twenty-one / 21 } years", "twenty one years", "Twenty-one years"),
    ],
)
def test_the_reading_with_the_fewest_errors_is_scored(reference: str, hypothesis: str, reading: str) -> None:
    assert " ".join(best_reading(parse_words(reference), hypothesis, basic)) == reading


def test_every_format_with_alternatives_offers_them(tmp_path: Path) -> None:
    for hypothesis in ("um yes", "uh yes", "yes"):
        trn = pair_of(tmp_path, ("r.trn", "{ um / uh / @ } yes (u)\n"), ("h.trn", f"{hypothesis} (u)\n"))
        assert trn.references == {"u": hypothesis}
    alternation = "u A * * <ALT_BEGIN>\nu A 0 1 um\nu A * * <alt>\nu A 0 1 uh\nu A * * <ALT>\nu A * * <ALT_END>\n"
    ctm = pair_of(tmp_path, ("r.ctm", f"{alternation}u A 1 1 yes\n"), ("h.trn", "uh yes (u)\n"))
    assert ctm.references == {"u": "uh yes"}
    read = read_transcripts(tmp_path / "r.ctm")
    assert first_reading(read.alternatives["u"]) == ["um", "yes"]
    for name, content in (("h.trn", "{ a / b } (u)\n"), ("h.stm", "u A s 0 1 { a / b }\n"), ("h.ctm", alternation)):
        (tmp_path / name).write_text(content)
        with pytest.raises(ScoringError, match=rf"{name}, line 1: .*a hypothesis has no alternatives"):
            read_transcripts(tmp_path / name, side="hypothesis")


# Ids and speakers


def test_ids_that_differ_are_listed_and_can_be_left_out(tmp_path: Path) -> None:
    reference = ("r.trn", "".join(f"a ({number})\n" for number in range(10)))
    hypothesis = ("h.trn", "a (3)\na (4)\nb (x)\n")
    listed = (
        r"8 of 10 references have no hypothesis \('0', '1', '2', '5', '6', \.\.\.\) and 1 of 3 hypotheses .* \('x'\)"
    )
    with pytest.raises(ScoringError, match=listed + ".*--missing-as-empty .*--common-only"):
        pair_of(tmp_path, reference, hypothesis)
    paired = pair_of(tmp_path, reference, hypothesis, common_only=True)
    assert list(paired.references) == list(paired.hypotheses) == ["3", "4"]
    assert (paired.missing, paired.references_left_out, paired.hypotheses_left_out) == (0, 8, 1)
    assert [note.split(":")[0] for note in paired.notes] == [
        "8 references without hypothesis left out",
        "1 hypothesis without reference left out",
    ]
    with pytest.raises(ScoringError, match=r"no id is on both sides \('1', '2' against '3', '4'\)"):
        pair_of(tmp_path, ("r.trn", "a (1)\nb (2)\n"), ("h.trn", "a (3)\nb (4)\n"), common_only=True)


def test_a_single_text_needs_no_id(tmp_path: Path) -> None:
    paired = pair_of(tmp_path, ("r.txt", "hello there\n"), ("call.json", '{"text": "hello"}'))
    assert (paired.references, paired.hypotheses) == ({"1": "hello there"}, {"1": "hello"})
    with pytest.raises(ScoringError, match=r"no id is on both sides .*ids of a txt are its line numbers"):
        pair_of(tmp_path, ("r.txt", "one\ntwo\n"), ("h.trn", "one (a)\ntwo (b)\n"))
    with pytest.raises(ScoringError, match=r"2 of 3 references have no hypothesis .*line numbers"):
        pair_of(tmp_path, ("r.txt", "one\ntwo\nthree\n"), ("h.txt", "one\n"))
    with pytest.raises(ScoringError, match=r"no id is on both sides"):
        pair_of(tmp_path, ("r.trn", "one (a)\n"), ("h.trn", "one (b)\n"), missing="empty", common_only=True)


def test_speakers_are_those_of_the_list_or_of_either_side(tmp_path: Path) -> None:
    reference = ("r.jsonl", '{"id": "a", "text": "x", "speaker": "ann"}\n{"id": "b", "text": "y"}\n')
    hypothesis = ("h.jsonl", '{"id": "a", "text": "x", "speaker": "eve"}\n{"id": "b", "text": "y", "speaker": "bob"}\n')
    assert pair_of(tmp_path, reference, hypothesis).speakers == {"a": "ann", "b": "bob"}
    listed = pair_of(tmp_path, reference, hypothesis, speakers={"a": "s1", "b": "s2", "c": "s3"})
    assert listed.speakers == {"a": "s1", "b": "s2"}
    with pytest.raises(ScoringError, match=r"1 utterance have no speaker in the list given: 'b'"):
        pair_of(tmp_path, reference, hypothesis, speakers={"a": "s1"})
    partly = pair_of(tmp_path, reference, ("h.trn", "x (a)\ny (b)\n"))
    assert partly.speakers is None
    assert "1 utterance of 2 have no speaker" in partly.notes[0]


# Silence


STM_OF_TWO = "a A ann 0 1 one two\nb A bob 0 1 three\n"


@pytest.mark.parametrize("reference", [("x.txt", "one two\nthree\n"), ("x.stm", STM_OF_TWO), ("text", "a b\nc d\n")])
@pytest.mark.parametrize("hypothesis", [("y.txt", ""), ("y.txt", "\n"), ("y.txt", "\n\n"), ("y.ctm", "")])
def test_an_empty_hypothesis_is_all_deletions(
    tmp_path: Path, reference: tuple[str, str], hypothesis: tuple[str, str]
) -> None:
    paired = pair_of(tmp_path, reference, hypothesis)
    assert list(paired.hypotheses.values()) == ["", ""]
    assert list(paired.hypotheses) == list(paired.references)
    (note,) = paired.notes
    assert "y." in note
    assert "every reference counts as deleted" in note


def test_blank_lines_at_the_end_count_only_where_the_other_side_has_words(tmp_path: Path) -> None:
    paired = pair_of(tmp_path, ("x.txt", "one\ntwo\n\n"), ("y.txt", "one\n\n\n\n"))
    assert paired.references == {"1": "one", "2": "two"}
    assert paired.hypotheses == {"1": "one", "2": ""}
    paired = pair_of(tmp_path, ("x.txt", "one\n\n"), ("y.txt", "one\ntwo\n"))
    assert paired.references == {"1": "one", "2": ""}
    assert paired.hypotheses == {"1": "one", "2": "two"}
    with pytest.raises(ScoringError, match="the ids differ"):
        pair_of(tmp_path, ("x.txt", "one\n"), ("y.txt", "one\ntwo\n"))
