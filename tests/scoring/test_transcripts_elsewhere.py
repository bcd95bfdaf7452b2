"""Readers and scores beside other programs': NIST's sclite, meeteval, kaldialign, jiwer, whisper's normalisers."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from pathlib import Path

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.decoding.hypothesis import Word
from asr.scoring import score
from asr.scoring.normalisation import basic, normaliser
from asr.scoring.transcripts import pair, read_transcripts
from asr.transcription.formats import render
from asr.transcription.transcript import Segment, Transcript

SCLITE = shutil.which("sclite", path="/usr/lib/sctk/bin") or shutil.which("sclite")
WORDS = list("abcdefghijklmnopqrstuvwxyz")

needs_sclite = pytest.mark.skipif(SCLITE is None, reason="NIST's sclite is not installed (Debian: sctk)")


def sclite(reference: Path, hypothesis: Path) -> dict[str, list[int]]:
    """Hits, substitutions, deletions and insertions of each utterance, case counting, by speaker and number."""
    kinds = [path.suffix[1:] for path in (reference, hypothesis)]
    command = [str(SCLITE), "-r", str(reference), kinds[0], "-h", str(hypothesis), kinds[1], "-s", "-i", "rm"]
    ran = subprocess.run([*command, "-o", "pralign", "stdout", "-f", "0"], capture_output=True, text=True, check=True)
    found = re.findall(r"id: \((\S+)\).*?\(#C #S #D #I\) (\d+) (\d+) (\d+) (\d+)", ran.stdout, re.DOTALL)
    return {identifier: [int(number) for number in numbers] for identifier, *numbers in found}


def ours(reference: Path, hypothesis: Path) -> dict[str, list[int]]:
    paired = pair(read_transcripts(reference, side="reference"), read_transcripts(hypothesis, side="hypothesis"))
    utterances = score(paired.references, paired.hypotheses).utterances
    return {u.id: [u.hits, u.substitutions, u.deletions, u.insertions] for u in utterances}


def errors(counts: list[list[int]]) -> list[int]:
    return [sum(numbers[1:]) for numbers in counts]


def garbled(words: list[str], rng: random.Random) -> list[str]:
    heard = []
    for word in words:
        chance = rng.random()
        heard += [rng.choice(WORDS)] if chance < 0.1 else [] if chance < 0.18 else [word]
        heard += [rng.choice(WORDS)] if rng.random() < 0.08 else []
    return heard


def with_alternatives(words: list[str], rng: random.Random) -> list[str]:
    text = []
    for word in words:
        one, two = rng.choice(WORDS), rng.choice(WORDS)
        chance = rng.random()
        if chance < 0.1:
            word = f"{{ {one} / {word} {two} / {word} / @ }}"
        elif chance < 0.15:
            word = f"{{ @ / {{ {one} / {word} }} }}"
        text.append(word)
    return text


@needs_sclite
def test_trn_with_alternatives_has_the_errors_that_sclite_counts(tmp_path: Path) -> None:
    rng = random.Random(1)
    reference, hypothesis = tmp_path / "ref.trn", tmp_path / "hyp.trn"
    said, heard = [], []
    for number in range(300):
        words = rng.choices(WORDS, k=rng.randint(0, 12))
        said.append(f"{' '.join(with_alternatives(words, rng))} (spk_{number})\n")
        heard.append(f"{' '.join(garbled(words, rng))} (spk_{number})\n")
    reference.write_text(";; a comment\n" + "".join(said) + "back\\\\slash \\;a (spk_b)\n")
    hypothesis.write_text("".join(heard) + ";a x (spk_b)\n")
    theirs, mine = sclite(reference, hypothesis), ours(reference, hypothesis)
    assert len(theirs) == len(mine) == 301
    assert errors([mine[key] for key in theirs]) == errors(list(theirs.values()))


@needs_sclite
@pytest.mark.parametrize("seed", range(10))
def test_ctm_against_stm_has_the_errors_that_sclite_counts(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    segments, words = [], []
    for recording in ("r1", "r2", "r3"):
        for channel in "AB":
            time = 0.0
            for _ in range(rng.randint(2, 8)):
                start = time = time + rng.choice([0, 0, 0.5, 1.3])
                said = rng.choices(WORDS, k=rng.randint(1, 9))
                for word in garbled(said, rng):
                    at, length = time + rng.choice([-0.07, 0, 0.09]), rng.choice([0.2, 0.33, 0.41])
                    words.append((recording, channel, max(0, at), f"{length} {word} 0.5"))
                    time += length
                label, text = rng.choice(["", "<O,F>"]), " ".join(with_alternatives(said, rng))
                text = "IGNORE_TIME_SEGMENT_IN_SCORING" if rng.random() < 0.1 else text
                segments.append(f"{recording} {channel} spk{channel} {start:.2f} {time:.2f} {label} {text}\n")
            words.append((recording, channel, time + 3, f"0.2 {rng.choice(WORDS)}"))
    (tmp_path / "ref.stm").write_text("".join(segments))
    lines = [f"{recording} {channel} {start:.2f} {rest}\n" for recording, channel, start, rest in sorted(words)]
    (tmp_path / "hyp.ctm").write_text("".join(lines))
    theirs = sclite(tmp_path / "ref.stm", tmp_path / "hyp.ctm")
    mine = ours(tmp_path / "ref.stm", tmp_path / "hyp.ctm")
    assert sorted(errors(list(mine.values()))) == sorted(errors(list(theirs.values())))
    assert sum(map(sum, mine.values())) == pytest.approx(sum(map(sum, theirs.values())), abs=1)


@needs_sclite
def test_the_examples_of_sclites_documentation(tmp_path: Path) -> None:
    """doc/infmts.htm of SCTK: an stm, and its `i've { um / uh / @ }` as trn."""
    (tmp_path / "ref.stm").write_text(
        ";; comment\n2345 A 2345-a 0.10 2.03 uh huh yes i thought\n2345 A 2345-b 2.10 3.04 dog walking is a very\n"
        "2345 A 2345-a 3.50 4.59 yes but it's worth it\n"
    )
    (tmp_path / "hyp.ctm").write_text("2345 A 0.2 0.1 uh\n2345 A 0.4 1.0 yes\n2345 A 2.05 0.06 dog\n2345 A 3.6 1 yes\n")
    (tmp_path / "ref.trn").write_text("i've { um / uh / @ } as far as i'm concerned (s_1)\n")
    (tmp_path / "hyp.trn").write_text("i've as far as i am concerned (s_1)\n")
    for reference, hypothesis in (("ref.stm", "hyp.ctm"), ("ref.trn", "hyp.trn")):
        theirs = sclite(tmp_path / reference, tmp_path / hypothesis)
        assert sorted(ours(tmp_path / reference, tmp_path / hypothesis).values()) == sorted(theirs.values())


def test_stm_ctm_and_kaldi_files_of_meeteval_are_read(tmp_path: Path) -> None:
    meeteval = pytest.importorskip("meeteval")
    rng = random.Random(3)
    segments = [
        meeteval.io.STMLine("rec", "1", f"spk{n % 3}", 2 * n, 2 * n + 2, " ".join(rng.choices(WORDS, k=7)))
        for n in range(40)
    ]
    meeteval.io.STM(segments).dump(tmp_path / "ref.stm")
    heard = []
    for segment in segments:
        words = garbled(segment.transcript.split(), rng)
        times = [float(segment.begin_time) + 2 * k / len(words) for k in range(len(words))]
        heard += [
            meeteval.io.CTMLine("rec", "1", f"{t:.3f}", "0.1", w, "0.9") for t, w in zip(times, words, strict=True)
        ]
    meeteval.io.CTM(heard).dump(tmp_path / "hyp.ctm")
    paired = pair(read_transcripts(tmp_path / "ref.stm"), read_transcripts(tmp_path / "hyp.ctm"))
    assert list(paired.references.values()) == [segment.transcript for segment in segments]
    assert paired.speakers is not None
    assert list(paired.speakers.values()) == [segment.speaker_id for segment in segments]
    by_segment = [
        meeteval.wer.siso_word_error_rate(paired.references[key], paired.hypotheses[key]) for key in paired.references
    ]
    result = score(paired.references, paired.hypotheses)
    assert [u.errors for u in result.utterances] == [rate.errors for rate in by_segment]
    assert " ".join(filter(None, paired.hypotheses.values())) == " ".join(line.word for line in heard)

    lines = [meeteval.io.KeyedText.line_cls(key, text) for key, text in paired.hypotheses.items() if text]
    meeteval.io.KeyedText(lines).dump(tmp_path / "text")
    assert read_transcripts(tmp_path / "text") == {key: text for key, text in paired.hypotheses.items() if text}


def test_an4s_own_transcripts_score_as_kaldialign_and_jiwer_say(an4: Path, tmp_path: Path) -> None:
    kaldialign = pytest.importorskip("kaldialign")
    reference = read_transcripts(an4 / "etc" / "an4_test.transcription")
    assert len(reference) == 130
    rng = random.Random(5)
    hypothesis = tmp_path / "hyp.trn"
    lines = [f"{' '.join(garbled(text.split(), rng))} ({key})\n" for key, text in reference.items()]
    hypothesis.write_text("".join(rng.sample(lines, len(lines))))
    paired = pair(reference, read_transcripts(hypothesis))
    result = score(paired.references, paired.hypotheses)
    pairs = [(paired.references[key], paired.hypotheses[key]) for key in reference]
    counted = [kaldialign.edit_distance(said.split(), heard.split())["total"] for said, heard in pairs]
    assert [u.errors for u in result.utterances] == counted
    assert result.wer == jiwer.wer([said for said, _ in pairs], [heard for _, heard in pairs])


@pytest.fixture
def an4() -> Path:
    folder = Path(__file__).resolve().parents[2] / "data" / "corpora" / "an4"
    if not (folder / "etc" / "an4_test.transcription").is_file():
        pytest.skip(f"AN4 is not in {folder}; asr prepare an4 puts it there")
    return folder


@pytest.mark.parametrize("format_", ["txt", "json", "jsonl", "ctm", "trn"])
def test_what_transcription_writes_is_read_back(tmp_path: Path, format_: str) -> None:
    text = r"it's ; a;b \\ c\d } / @ <ALT_BEGIN> * (so) 'on' één"
    words = [Word(word, index, index + 0.5, 0.9) for index, word in enumerate(text.split())]
    transcript = Transcript(text, len(words), [Segment(0.0, float(len(words)), text, -1.0, words)])
    (tmp_path / f"call 1.{format_}").write_text(render(transcript, "call_1", format_))
    assert list(read_transcripts(tmp_path, side="hypothesis").values()) == [text]


@given(st.text(alphabet=st.characters(codec="ascii", exclude_characters="'`<>()[]")))
def test_basic_is_whispers_where_it_says_so(text: str) -> None:
    whisper = pytest.importorskip("whisper_normalizer.basic").BasicTextNormalizer()
    assert basic(text) == whisper(text).strip()


def test_basic_differs_from_whispers_where_it_says_so() -> None:
    whisper = pytest.importorskip("whisper_normalizer.basic").BasicTextNormalizer()
    for text, here, there in (
        ("Don't", "don't", "don t"),
        ("so [laughs] it (the cat) sat", "so laughs it the cat sat", "so it sat"),
        ("नमस्ते", "नमस्ते", "नमस त"),
        ("co\u00adoperate", "cooperate", "co\u00adoperate"),
    ):
        assert (basic(text), " ".join(whisper(text).split())) == (here, there)


def test_english_is_whispers() -> None:
    whisper = pytest.importorskip("whisper_normalizer.english").EnglishTextNormalizer()
    text = "I won't pay $3.50, Dr. Grey -- it's the twenty first's colour, uh, [sighs] okay?"
    assert normaliser("english")(text) == " ".join(whisper(text).split())
