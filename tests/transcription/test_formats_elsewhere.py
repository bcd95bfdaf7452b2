"""What is written is read by programs that others wrote."""

from __future__ import annotations

import csv
import html
import io
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jiwer
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from asr.decoding.hypothesis import Word
from asr.scoring import score
from asr.transcription.formats import render
from asr.transcription.subtitles import Interval, cues, in_order, one_line, subtitles
from asr.transcription.transcript import Segment, Transcript

DEV = "a development extra; pip install -e '.[dev]'"
SCLITE = ["sclite"] if shutil.which("sclite") else ["sctk", "sclite"] if shutil.which("sctk") else None


SPECIAL = [
    "-->",
    "WEBVTT",
    "NOTE",
    '"',
    '""',
    "<b>",
    "&amp;",
    "</v>",
    r"{\an8}",
    ";;",
    "12",
    "intervals:",
    "it's",
    "x" * 50,
]


@st.composite
def transcripts(draw: st.DrawFn, letters: str | None = None, hours: int = 200) -> Transcript:
    """Words of any characters, or of these: with gaps, overlaps and repeats, some without length or confidence."""
    character = st.characters() if letters is None else st.sampled_from(letters)
    step = st.one_of(st.sampled_from([0, 0, -1, 1]), st.integers(0, 3000), st.integers(0, 3_600_000 * hours // 20))
    segments, now = [], 0
    for _ in range(draw(st.integers(0, 4))):
        words = []
        for _ in range(draw(st.integers(0, 30))):
            start = max(0, now + draw(step))
            now = start + draw(st.sampled_from([0, 1, 40, 300, 900]))
            text = draw(st.text(character, min_size=1, max_size=12) | st.sampled_from(SPECIAL))
            sure = draw(st.none() | st.floats(0, 1))
            words.append(Word(text, start / 1000, now / 1000, sure))
        begin = words[0].start if words else now / 1000
        text = " ".join(word.text for word in words)
        segments.append(Segment(begin or 0.0, now / 1000, text, -1.0, words))
    text = " ".join(segment.text for segment in segments if segment.text)
    return Transcript(text, now / 1000 + draw(st.sampled_from([0.0, 0.5, 20.0])), segments)


def ms(clock: str) -> int:
    """`H:MM:SS.mmm` in milliseconds."""
    hours, minutes, seconds = clock.split(":")
    return 3_600_000 * int(hours) + 60_000 * int(minutes) + round(1000 * float(seconds))


def spoken(transcript: Transcript) -> list[Word]:
    """The words that are more than white space."""
    return [word for word in transcript.words if one_line(word.text)]


SYNTAX = "ab(){}/@;*<>ALT&'\"|#%é🎙-.,1"
"""Letters, and what means something to one format or another."""

PROPERTY = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@PROPERTY
@given(transcripts())
def test_webvtt_reads_the_vtt(transcript: Transcript) -> None:
    webvtt = pytest.importorskip("webvtt", reason=DEV)
    read = webvtt.from_string(render(transcript, "a", "vtt"), strict=True)
    found = [Interval(ms(cue.start), ms(cue.end), html.unescape(cue.raw_text)) for cue in read]
    assert found == list(subtitles(transcript))


@PROPERTY
@given(transcripts(hours=90))
def test_pysubs2_reads_the_srt_and_the_vtt(transcript: Transcript) -> None:
    pysubs2 = pytest.importorskip("pysubs2", reason=DEV)
    expected = [(cue.start, cue.end, cue.text.replace("\n", r"\N")) for cue in subtitles(transcript)]
    # pysubs2 takes a second line of digits alone for the number of a subtitle to come.
    assume(not any(re.search(r"\\N\d+$", text) for _, _, text in expected))
    for format_, decoded in (("srt", str), ("vtt", html.unescape)):
        read = pysubs2.SSAFile.from_string(render(transcript, "a", format_), format_=format_, keep_html_tags=True)
        found = [(event.start, event.end, decoded(event.text)) for event in read]
        assert found == [
            (start, end, text.replace("-->", "->" if format_ == "srt" else "-->")) for start, end, text in expected
        ]


@PROPERTY
@given(transcripts())
def test_the_csv_module_reads_the_tsv(transcript: Transcript) -> None:
    rows = list(csv.DictReader(io.StringIO(render(transcript, "a", "tsv"), newline=""), delimiter="\t"))
    assert [Interval(int(row["start"]), int(row["end"]), row["text"]) for row in rows] == list(cues(transcript))


def tiers(transcript: Transcript) -> dict[str, list[Interval]]:
    """What the TextGrid is to hold."""
    segments = [(part.start, part.end, one_line(part.text)) for part in transcript.segments if one_line(part.text)]
    words = [(word.start or 0.0, word.end or 0.0, one_line(word.text)) for word in spoken(transcript)]
    return {"segments": list(in_order(segments)), "words": list(in_order(words))}


@PROPERTY
@given(transcripts())
def test_praatio_reads_the_textgrid(tmp_path_factory: pytest.TempPathFactory, transcript: Transcript) -> None:
    textgrid = pytest.importorskip("praatio.textgrid", reason=DEV)
    assume(not re.search(r"(item|intervals) ?\[", transcript.text))  # where praatio cuts, in texts too
    path = tmp_path_factory.mktemp("praatio") / "a.TextGrid"
    path.write_text(render(transcript, "a", "TextGrid"), encoding="utf-8")
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True, reportingMode="error")
    assert grid.validate("error")
    assert grid.maxTimestamp >= transcript.duration - 0.0005
    for name, expected in tiers(transcript).items():
        entries = grid.getTier(name).entries
        assert [entry.start for entry in entries] == [0.0, *[entry.end for entry in entries[:-1]]]
        assert entries[-1].end == grid.maxTimestamp
        found = [Interval(round(1000 * e.start), round(1000 * e.end), e.label) for e in entries if e.label]
        assert found == expected


@settings(PROPERTY, max_examples=20)
@given(transcripts())
def test_praat_reads_the_textgrid(tmp_path_factory: pytest.TempPathFactory, transcript: Transcript) -> None:
    parselmouth = pytest.importorskip("parselmouth", reason="Praat; pip install praat-parselmouth")
    path = tmp_path_factory.mktemp("praat") / "a.TextGrid"
    path.write_text(render(transcript, "a", "TextGrid"), encoding="utf-8")
    grid = parselmouth.read(str(path))
    for tier, (name, expected) in enumerate(tiers(transcript).items(), 1):
        assert parselmouth.praat.call(grid, "Get tier name", tier) == name

        def asked(question: str, number: int, tier: int = tier) -> Any:
            return parselmouth.praat.call(grid, question, tier, number)

        found = [
            Interval(
                round(1000 * asked("Get start time of interval", number)),
                round(1000 * asked("Get end time of interval", number)),
                asked("Get label of interval", number),
            )
            for number in range(1, 1 + parselmouth.praat.call(grid, "Get number of intervals", tier))
        ]
        assert [interval for interval in found if interval.text] == expected


@PROPERTY
@given(transcripts(SYNTAX), st.text(max_size=20))
def test_meeteval_reads_the_ctm(transcript: Transcript, name: str) -> None:
    meeteval = pytest.importorskip("meeteval", reason="needs a C++ compiler; pip install meeteval")
    # It knows nothing of sclite's backslashes.
    assume("\\" not in transcript.text and "<alt" not in transcript.text.lower())
    lines = meeteval.io.CTM.parse(render(transcript, name, "ctm")).lines
    assert len({line.filename for line in lines}) == bool(lines)
    for line, word in zip(lines, transcript.words, strict=True):
        assert (line.word, line.confidence) == (
            word.text,
            None if word.confidence is None else f"{word.confidence:.4f}",
        )
        assert float(line.begin_time) >= (word.start or 0.0) - 1e-6
    starts = [line.begin_time for line in lines]
    assert starts == sorted(starts)


@pytest.fixture(scope="module")
def recognised() -> tuple[dict[str, str], dict[str, Transcript]]:
    """References of 40 recordings, and transcripts with one word in five wrong; two have none, one has extra words."""
    chance = random.Random(1)
    vocabulary = [*"abcdefgh", "it's", "(uh)", "b}", "a/c", "é", "x-ray"]
    references, found = {}, {}
    for number in range(40):
        words = [chance.choice(vocabulary) for _ in range(chance.randint(1, 12))]
        heard = []
        for word in words:
            heard += {0: [], 1: [chance.choice(vocabulary)], 2: [word, "uh"]}.get(chance.randrange(15), [word])
        heard = [] if number in (7, 8) else heard
        timed = [Word(word, i / 2, i / 2 + 0.4, chance.random()) for i, word in enumerate(heard)]
        references[f"spk{number % 4}_{number:03d}"] = " ".join(words)
        found[f"spk{number % 4}_{number:03d}"] = Transcript(
            " ".join(heard), 30.0, [Segment(0.0, 30.0, " ".join(heard), -1.0, timed)]
        )
    return references, found


Recognised = tuple[dict[str, str], dict[str, Transcript]]


def test_jiwer_and_kaldialign_count_the_errors_in_the_trn_as_score_does(recognised: Recognised) -> None:
    kaldialign = pytest.importorskip("kaldialign", reason=DEV)
    references, found = recognised
    read = {}
    for line in "".join(render(transcript, name, "trn") for name, transcript in found.items()).splitlines():
        words, _, name = line.replace("\\", "").rpartition("(")
        read[name.removesuffix(")")] = words.strip()
    expected = score(references, {name: transcript.text for name, transcript in found.items()})
    assert expected.errors > 30
    assert jiwer.wer(list(references.values()), [read[name] for name in references]) == pytest.approx(expected.wer)
    counted = [kaldialign.edit_distance(text.split(), read[name].split()) for name, text in references.items()]
    assert sum(row["total"] for row in counted) == expected.errors


def test_meeteval_counts_the_errors_in_the_ctm_as_score_does(recognised: Recognised, tmp_path: Path) -> None:
    meeteval = pytest.importorskip("meeteval", reason="needs a C++ compiler; pip install meeteval")
    references, found = recognised
    (tmp_path / "ref.stm").write_text(
        "".join(f"{name} 1 {name} 0.00 30.00 {text}\n" for name, text in references.items() if found[name].text)
    )
    (tmp_path / "hyp.ctm").write_text("".join(render(found[name], name, "ctm") for name in references))
    rates = meeteval.wer.cpwer(str(tmp_path / "ref.stm"), str(tmp_path / "hyp.ctm"))
    some = {name: text for name, text in references.items() if found[name].text}
    expected = score(some, {name: found[name].text for name in some})
    assert sum(rate.errors for rate in rates.values()) == expected.errors
    assert sum(rate.length for rate in rates.values()) == expected.words


@pytest.mark.skipif(SCLITE is None, reason="NIST's sclite is not installed; apt-get install sctk")
@pytest.mark.parametrize("format_", ["trn", "ctm"])
def test_sclite_counts_the_errors(recognised: Recognised, tmp_path: Path, format_: str) -> None:
    kaldialign = pytest.importorskip("kaldialign", reason=DEV)
    references, found = recognised
    kind = {"trn": "trn", "ctm": "stm"}[format_]
    write: Callable[[str], str] = {
        "trn": lambda name: f"{references[name]} ({name})\n".replace("}", r"\}"),
        "ctm": lambda name: f"{name} 1 {name.split('_')[0]} 0.00 30.00 {references[name]}\n".replace("}", r"\}"),
    }[format_]
    names = sorted(references)
    (tmp_path / "ref").write_text("".join(map(write, names)))
    (tmp_path / "hyp").write_text("".join(render(found[name], name, format_) for name in names))
    files = ["-r", str(tmp_path / "ref"), kind, "-h", str(tmp_path / "hyp"), format_]
    ran = subprocess.run([*(SCLITE or []), "-i", "spu_id", *files, "-o", "pralign", "stdout"], capture_output=True)
    report = ran.stdout.decode(errors="replace")
    counts = [list(map(int, row)) for row in re.findall(r"Scores: \(#C #S #D #I\) (\d+) (\d+) (\d+) (\d+)", report)]
    pairs = [(references[name].split(), found[name].text.split()) for name in names]
    expected = [kaldialign.edit_distance(*pair, sclite_mode=True) for pair in pairs]
    assert len(counts) == len(names), report[-2000:]
    assert sorted(row[1:] for row in counts) == sorted([row["sub"], row["del"], row["ins"]] for row in expected)
