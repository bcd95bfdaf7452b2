from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
import typer

from asr.cli import align, explain
from asr.cli.common import run

if TYPE_CHECKING:
    from tests.conftest import Ran, Speech, Trained

    Command = Callable[..., Ran]

SENTENCES = ["bad cafe", "each", "head gab fed"]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`command("align", ...)`: the two commands as the command line runs them."""
    from tests.conftest import Ran

    app = typer.Typer(pretty_exceptions_enable=False)
    app.command("align")(align.command)
    app.command("explain")(explain.command)

    def call(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["asr", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            run(app)
        captured = capsys.readouterr()
        return Ran(int(stop.value.code or 0), captured.out, captured.err)

    return call


def spoken(speech: Speech, words: list[str]) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Words one after the other, and where each one's sound begins and ends."""
    pieces, spans, samples = [], [], 0
    for seed, word in enumerate(words):
        piece = speech.say(word, seed, noise=0.0)
        loud = np.flatnonzero(np.abs(piece) > 0.02 * np.abs(piece).max())
        spans.append(((samples + loud[0]) / speech.rate, (samples + loud[-1]) / speech.rate))
        pieces.append(piece)
        samples += len(piece)
    waveform = np.concatenate(pieces)
    return (waveform + np.random.default_rng(0).normal(0, 0.001, samples)).astype(np.float32), spans


@pytest.fixture
def recording(speech: Speech, tmp_path: Path) -> tuple[Path, Path, list[tuple[float, float]]]:
    """Audio, its text in three lines, and the true times of its words."""
    waveform, spans = spoken(speech, " ".join(SENTENCES).split())
    soundfile.write(tmp_path / "a b.wav", waveform, speech.rate)
    (tmp_path / "a.txt").write_text("\n".join(SENTENCES).upper() + "\n\n", encoding="utf-8-sig")
    return tmp_path / "a b.wav", tmp_path / "a.txt", spans


def test_json_has_a_segment_a_line_and_times_near_the_truth(
    command: Command, trained: Trained, recording: tuple[Path, Path, list[tuple[float, float]]]
) -> None:
    audio, text, spans = recording
    ran = command("align", audio, text, "--model", trained.folder, "--device", "cpu")
    assert (ran.status, ran.err) == (0, "")
    row = json.loads(ran.out)
    assert row["file"] == str(audio)
    assert [segment["text"] for segment in row["segments"]] == SENTENCES
    words = [word for segment in row["segments"] for word in segment["words"]]
    found = np.array([(word["start"], word["end"]) for word in words])
    assert np.median(np.abs(found - spans)) < 0.04
    assert np.abs(found - spans).max() < 0.15
    assert all(0.5 < word["confidence"] <= 1 for word in words)
    for segment in row["segments"]:
        assert (segment["start"], segment["end"]) == (segment["words"][0]["start"], segment["words"][-1]["end"])
        assert segment["score"] < 0


def test_minutes_in_several_windows_keep_their_times(
    command: Command, trained: Trained, speech: Speech, tmp_path: Path
) -> None:
    words = speech.sentences(60, seed=9)
    waveform, spans = spoken(speech, " ".join(words).split())
    assert len(waveform) > 70 * speech.rate
    soundfile.write(tmp_path / "long.flac", waveform, speech.rate)
    (tmp_path / "long.txt").write_text("\n".join(words), encoding="utf-8")
    ran = command("align", tmp_path / "long.flac", tmp_path / "long.txt", "--model", trained.folder, "--format", "ctm")
    lines = [line.split() for line in ran.out.splitlines()]
    assert [line[4] for line in lines] == " ".join(words).split()
    starts = np.array([float(line[2]) for line in lines])
    ends = starts + [float(line[3]) for line in lines]
    difference = np.abs(np.column_stack([starts, ends]) - spans)
    assert np.median(difference) < 0.04
    assert (difference < 0.2).mean() > 0.99


@pytest.mark.parametrize("format_", ["ctm", "srt", "vtt", "tsv", "TextGrid"])
def test_other_formats_go_to_a_file(
    command: Command, trained: Trained, recording: tuple[Path, Path, list[tuple[float, float]]], format_: str
) -> None:
    audio, text, _ = recording
    output = audio.parent / "new" / f"a.{format_}"
    ran = command("align", audio, text, "--model", trained.folder, "--format", format_, "--output", output)
    assert (ran.status, ran.out, ran.err) == (0, "", "")
    written = output.read_text(encoding="utf-8")
    assert "gab" in written
    assert "a_b 1" in written or format_ != "ctm"


def test_confidences_are_calibrated_where_the_model_is(
    command: Command, trained: Trained, recording: tuple[Path, Path, list[tuple[float, float]]], tmp_path: Path
) -> None:
    audio, text, _ = recording
    shutil.copytree(trained.folder, tmp_path / "model")
    values = {"features": ["least", "mean", "entropy"], "weights": [0, 0, 0], "bias": 0.0, "words": 100}
    (tmp_path / "model" / "confidence.json").write_text(json.dumps(values))
    row = json.loads(command("align", audio, text, "--model", tmp_path / "model").out)
    assert {word["confidence"] for segment in row["segments"] for word in segment["words"]} == {0.5}
    (tmp_path / "model" / "confidence.json").write_text("{")
    ran = command("align", audio, text, "--model", tmp_path / "model")
    assert (ran.status, "not a calibration" in ran.err) == (1, True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"bad cafe\nb\xc3\xa4d 7", "a.txt, line 2: 'ä' (U+00E4), '7' (U+0037) outside the model's alphabet"),
        (
            b"7 bad\nbad\nbad $",
            "a.txt, line 3: '$' (U+0024) outside the model's alphabet\n  spell it out as it is said",
        ),
        (b"", "a.txt: no words to align"),
        (b" \n\r\n", "a.txt: no words to align"),
        (b"bad " * 400, "a.txt: 1599 tokens with 0 repeats need at least 1599 frames"),
        (b"b\xe4d", "a.txt, line 1: not UTF-8"),
    ],
)
def test_unusable_text_is_an_error_that_names_it(
    command: Command,
    trained: Trained,
    recording: tuple[Path, Path, list[tuple[float, float]]],
    content: bytes,
    message: str,
) -> None:
    audio, text, _ = recording
    text.write_bytes(content)
    output = text.with_suffix(".json")
    ran = command("align", audio, text, "--model", trained.folder, "--output", output)
    assert ran.status == 1
    assert message in ran.err
    assert not output.exists()


def test_punctuation_that_the_model_has_no_tokens_for_is_dropped(
    command: Command, trained: Trained, recording: tuple[Path, Path, list[tuple[float, float]]]
) -> None:
    audio, text, _ = recording
    plain = json.loads(command("align", audio, text, "--model", trained.folder).out)
    text.write_text("\u201cBad cafe,\u201d\n(each) \u2014\n...\n'head' ga\u00adb-fed!\n", encoding="utf-8")
    ran = command("align", audio, text, "--model", trained.folder)
    assert ran.status == 0, ran.err
    assert json.loads(ran.out) == plain


def test_every_line_that_cannot_be_spelled_is_told(
    command: Command, trained: Trained, recording: tuple[Path, Path, list[tuple[float, float]]]
) -> None:
    audio, text, _ = recording
    text.write_text("x\nbad\n" * 23, encoding="utf-8")
    ran = command("align", audio, text, "--model", trained.folder)
    assert ran.err.count("outside the model's alphabet") == 20
    assert "a.txt, line 1: 'x' (U+0078)" in ran.err
    assert "a.txt, line 39: 'x'" in ran.err
    assert "and 3 more\n  spell it out" in ran.err


def test_a_lexicon_is_for_models_of_phones(
    command: Command, trained: Trained, recording: tuple[Path, Path, list[tuple[float, float]]]
) -> None:
    audio, text, _ = recording
    ran = command("align", audio, text, "--model", trained.folder, "--lexicon", text)
    assert ran.status == 2
    assert f"--lexicon {text}: the model spells words by their letters, not phones" in ran.err


@pytest.mark.parametrize("words", ["bad cafe", "bad cafe " * 100])
def test_words_in_place_of_a_file_are_told(
    command: Command, trained: Trained, recording: tuple[Path, Path, list[tuple[float, float]]], words: str
) -> None:
    ran = command("align", recording[0], words, "--model", trained.folder)
    assert (ran.status, ran.out) == (1, "")
    assert f"{words}: no such file; name a file that holds what is said, not the words themselves" in ran.err


def test_missing_files_and_a_full_disk_are_errors(
    command: Command,
    trained: Trained,
    recording: tuple[Path, Path, list[tuple[float, float]]],
    disk_full_after: Callable[[int], AbstractContextManager[None]],
) -> None:
    audio, text, _ = recording
    for files in ((audio, text.with_name("gone.txt")), (audio.with_name("gone.wav"), text)):
        ran = command("align", *files, "--model", trained.folder)
        assert (ran.status, ran.out, "gone." in ran.err) == (1, "", True)
    with disk_full_after(100):
        ran = command("align", audio, text, "--model", trained.folder, "--output", text.with_name("out.json"))
    assert (ran.status, "out.json: cannot be written" in ran.err) == (1, True)
    assert sorted(path.name for path in text.parent.iterdir()) == ["a b.wav", "a.txt"]


def test_explain_draws_a_picture_and_prints_the_words(
    command: Command, trained: Trained, recording: tuple[Path, Path, list[tuple[float, float]]]
) -> None:
    audio, text, spans = recording
    output = text.with_name("picture.png")
    ran = command("explain", audio, "--model", trained.folder, "--output", output)
    assert (ran.status, ran.out, ran.err) == (0, " ".join(SENTENCES) + "\n", "")
    assert output.read_bytes().startswith(b"\x89PNG")
    part = ["--start", f"{spans[2][0] - 0.1:.2f}", "--duration", "0.8"]
    ran = command("explain", audio, "--model", trained.folder, "--output", output, *part)
    assert ran.out.startswith("each")


def test_explain_refuses_what_does_not_fit_a_picture(
    command: Command, trained: Trained, speech: Speech, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "long.wav", np.zeros(31 * speech.rate, np.float32), speech.rate)
    options = ["--model", trained.folder, "--output", tmp_path / "p.png"]
    ran = command("explain", tmp_path / "long.wav", *options)
    assert (ran.status, ran.out) == (1, "")
    assert "long.wav: 31.0 s, and a picture shows at most 30 s; choose a part with --start and --duration" in ran.err
    assert command("explain", tmp_path / "long.wav", *options, "--start", 2).status == 0
    assert "outside the recording" in command("explain", tmp_path / "long.wav", *options, "--start", 40).err
