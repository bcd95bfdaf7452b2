from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from asr.cli.data.importing import Format
from asr.data.importing import FORMATS
from asr.data.manifest import read_manifest

REPOSITORY = Path(__file__).resolve().parents[2]
LIBRISPEECH = REPOSITORY / "data" / "corpora" / "LibriSpeech" / "train-clean-5"
AN4 = REPOSITORY / "data" / "corpora" / "an4"
DIGITS = REPOSITORY / "data" / "corpora" / "fsdd" / "recordings"

Command = Callable[..., Any]


def recordings(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        soundfile.write(folder / name, np.random.default_rng(0).uniform(-0.1, 0.1, 12000), 8000)
    return folder


def test_a_table_and_its_recordings(tmp_path: Path, asr_command: Command) -> None:
    recordings(tmp_path, "one.wav", "two.wav")
    (tmp_path / "t.csv").write_text("audio,text\none.wav,hello\ntwo.wav,\n")
    ran = asr_command("data", "import", tmp_path / "t.csv", "--output", tmp_path / "out")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        f"table: 2 utterances, 0.1 min, in {tmp_path / 'out' / 'cuts.jsonl'}",
        "1 of them have an empty transcript",
    ]
    assert [u.text for u in read_manifest(tmp_path / "out")] == ["hello", ""]


def test_a_manifest_that_is_there_is_replaced_where_told(tmp_path: Path, asr_command: Command) -> None:
    recordings(tmp_path, "one.wav")
    (tmp_path / "t.csv").write_text("audio,text\none.wav,hello\n")
    arguments = ("data", "import", tmp_path / "t.csv", "--output", tmp_path / "out")
    assert asr_command(*arguments).status == 0
    (tmp_path / "t.csv").write_text("audio,text\none.wav,bye\n")
    ran = asr_command(*arguments)
    assert ran.status == 2
    assert f"{tmp_path / 'out' / 'cuts.jsonl'} exists already" in ran.err
    assert [u.text for u in read_manifest(tmp_path / "out")] == ["hello"]
    assert asr_command(*arguments, "--overwrite").status == 0
    assert [u.text for u in read_manifest(tmp_path / "out")] == ["bye"]


def test_options_reach_the_importer(tmp_path: Path, asr_command: Command) -> None:
    recordings(tmp_path / "audio", "one.wav")
    (tmp_path / "t.csv").write_bytes("clip;Wörter\none.wav;größe\n".encode("cp1252"))
    options = ("--format", "table", "--column", "audio=clip", "--column", "text=Wörter", "--encoding", "cp1252")
    source, output = tmp_path / "t.csv", tmp_path / "cuts.jsonl.gz"
    ran = asr_command("data", "import", source, "--output", output, "--audio-root", tmp_path / "audio", *options)
    assert ran.status == 0
    assert [(u.text, u.audio) for u in read_manifest(output)] == [("größe", tmp_path / "audio/one.wav")]


def test_problems_are_summarised_and_the_rest_is_imported(tmp_path: Path, asr_command: Command) -> None:
    recordings(tmp_path, "one.wav")
    rows = [f"gone{number}.wav,words\n" for number in range(5)]
    (tmp_path / "t.csv").write_text("audio,text\none.wav,hello\n" + "".join(rows))
    ran = asr_command("data", "import", tmp_path / "t.csv", "--output", tmp_path / "out")
    assert ran.status == 1
    assert ran.out.startswith("table: 1 utterances")
    first, *shown, more = ran.err.splitlines()
    assert first == f"{tmp_path / 't.csv'}: 5 utterances left out, missing audio:"
    assert shown[0].startswith(f"  t.csv, line 3: {tmp_path / 'gone0.wav'} does not exist; ")
    assert (len(shown), more) == (3, "  and 2 more")
    assert len(list(read_manifest(tmp_path / "out"))) == 1


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--column", "text"], 2, "expected OURS=THEIRS"),
        (["--column", "text=a", "--column", "text=b"], 2, "given twice, a and b"),
        (["--column", "words=text"], 2, "no such column"),
        (["--column", "text=words"], 1, "t.csv: no column 'words'"),
        (["--audio-root", "/nowhere/at/all"], 2, "no such folder"),
        (["--format", "excel"], 2, "excel"),
        (["--format", "kaldi"], 1, "no wav.scp"),
        (["--encoding", "klingon"], 1, "no encoding that Python knows"),
        ([], 1, "none of 1 utterances can be used, nothing is written"),
    ],
)
def test_mistakes(tmp_path: Path, asr_command: Command, options: list[str], status: int, message: str) -> None:
    (tmp_path / "t.csv").write_text("audio,text\ngone.wav,hello\n")
    ran = asr_command("data", "import", tmp_path / "t.csv", "--output", tmp_path / "out", *options)
    assert ran.status == status
    assert message in ran.err
    assert not (tmp_path / "out").exists()


def test_the_command_knows_every_format_without_importing_the_importer() -> None:
    assert [format_.value for format_ in Format] == ["auto", *FORMATS]
    code = "import asr.cli.data.importing, asr.cli.data.exporting, sys; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert not {"numpy", "soundfile", "torch", "asr.data.importing"} & set(ran.stdout.split())


def test_export(tmp_path: Path, asr_command: Command) -> None:
    recordings(tmp_path, "one.wav", "two.wav")
    (tmp_path / "t.csv").write_text("audio,text,speaker\none.wav,hello,eve\ntwo.wav,hi,eve\n")
    asr_command("data", "import", tmp_path / "t.csv", "--output", tmp_path / "out")
    ran = asr_command("data", "export", tmp_path / "out", "--output", tmp_path / "kaldi", "--format", "kaldi")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        f"kaldi: 2 utterances, in {tmp_path / 'kaldi'}",
        "note: 2 ids got their speaker as a prefix, by which Kaldi sorts",
    ]
    ran = asr_command("data", "export", tmp_path / "out", "--output", tmp_path / "n.jsonl", "--format", "nemo")
    assert (ran.status, ran.out) == (0, f"nemo: 2 utterances, in {tmp_path / 'n.jsonl'}\n")
    (tmp_path / "two.wav").unlink()
    ran = asr_command("data", "export", tmp_path / "out", "--output", tmp_path / "rest", "--format", "kaldi")
    assert ran.status == 1
    assert "1 utterances left out, unreadable audio" in ran.err
    assert asr_command("data", "export", tmp_path / "out", "--output", tmp_path / "x").status == 2


@pytest.mark.skipif(not LIBRISPEECH.is_dir(), reason="no LibriSpeech train-clean-5 in data/corpora")
def test_librispeech(tmp_path: Path, asr_command: Command) -> None:
    ran = asr_command("data", "import", LIBRISPEECH, "--output", tmp_path)
    assert (ran.status, ran.out) == (0, f"librispeech: 1519 utterances, 318.6 min, in {tmp_path / 'cuts.jsonl'}\n")
    utterances = list(read_manifest(tmp_path))
    assert all(u.id == u.audio.stem and u.speaker == u.id.split("-")[0] and u.text for u in utterances)


@pytest.mark.skipif(not AN4.is_dir(), reason="no AN4 in data/corpora")
def test_a_table_of_an4_and_back_from_nemo(tmp_path: Path, asr_command: Command) -> None:
    files = (AN4 / "etc" / "an4_test.fileids").read_text().split()
    texts = [line.rpartition(" (")[0] for line in (AN4 / "etc" / "an4_test.transcription").read_text().splitlines()]
    with open(tmp_path / "t.tsv", "w", newline="") as out:
        rows = [[f"wav/{file}.wav", text, file.split("/")[1]] for file, text in zip(files, texts, strict=True)]
        csv.writer(out, delimiter="\t").writerows([["File", "Transcript", "Speaker"], *rows])
    ran = asr_command("data", "import", tmp_path / "t.tsv", "--output", tmp_path / "a", "--audio-root", AN4)
    assert (ran.status, len(files)) == (0, 130)
    utterances = list(read_manifest(tmp_path / "a"))
    assert [(u.id, u.text, u.speaker) for u in utterances] == [
        (Path(file).name, text, file.split("/")[1]) for file, text in zip(files, texts, strict=True)
    ]
    asr_command("data", "export", tmp_path / "a", "--output", tmp_path / "n.json", "--format", "nemo")
    asr_command("data", "import", tmp_path / "n.json", "--output", tmp_path / "b")
    assert list(read_manifest(tmp_path / "b")) == utterances


@pytest.mark.skipif(not DIGITS.is_dir(), reason="no FSDD in data/corpora")
def test_a_folder_of_recordings_alone_has_no_format(tmp_path: Path, asr_command: Command) -> None:
    ran = asr_command("data", "import", DIGITS, "--output", tmp_path / "out")
    assert ran.status == 1
    assert "no format fits (found 3000 .wav)" in ran.err


def test_columns_that_were_not_used_are_named_where_there_is_no_speaker(tmp_path: Path, asr_command: Command) -> None:
    recordings(tmp_path, "one.wav")
    (tmp_path / "t.csv").write_text("audio,text,voice,age\none.wav,hello,Ann,7\n")
    command = ("data", "import", tmp_path / "t.csv", "--output", tmp_path / "out", "--overwrite")
    ran = asr_command(*command)
    assert (ran.status, "not used: 'voice', 'age'. Name that of the speakers with --column speaker=" in ran.err) == (
        0,
        True,
    )
    ran = asr_command(*command, "--column", "speaker=voice")
    assert (ran.status, ran.err) == (0, "")
