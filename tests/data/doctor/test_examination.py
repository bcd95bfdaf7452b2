from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from asr.audio import audio_info
from asr.config import parse_config
from asr.data.corpora import prepare
from asr.data.doctor import Report, examine, fix, kinds
from asr.data.manifest import Utterance, write_manifest
from asr.errors import ManifestError
from tests.conftest import REPOSITORY
from tests.data.doctor.conftest import RATE, Recorder

CORPORA = REPOSITORY / "data" / "corpora"


def found(report: Report) -> list[tuple[str, str]]:
    return [(finding.problem.id, finding.problem.kind) for finding in report.findings]


def truncated(record: Recorder) -> Utterance:
    utterance = record("x")
    path = utterance.audio.with_suffix(".flac")
    soundfile.write(path, record.waveform("x", 1.5), RATE)
    path.write_bytes(path.read_bytes()[:20000])
    return replace(utterance, audio=path)


def text_file(record: Recorder) -> Utterance:
    utterance = record("x")
    utterance.audio.write_text("not audio")
    return utterance


DEFECTS: dict[str, Callable[[Recorder], Utterance]] = {
    kinds.UNREADABLE: truncated,
    kinds.DURATION: lambda record: record("x", duration=2.0),
    kinds.RATE_DIFFERS: lambda record: record("x", sample_rate=22050),
    kinds.CLIPPING: lambda record: record("x", waveform=np.clip(8 * record.waveform("x", 1.5), -1, 1)),
    kinds.DC_OFFSET: lambda record: record("x", waveform=record.waveform("x", 1.5) + 0.1),
    kinds.NEAR_SILENCE: lambda record: record("x", waveform=0.002 * record.waveform("x", 1.5)),
    kinds.NO_SOUND: lambda record: record("x", waveform=np.zeros(RATE)),
    kinds.TOO_LONG: lambda record: record("x", " ".join([record.text("x")] * 20), seconds=31.0),
    kinds.TOO_SHORT: lambda record: record("x", "beige beige", seconds=0.37),  # 10 frames, 11 labels
    kinds.NO_TRANSCRIPT: lambda record: record("x", " "),
    kinds.NOT_NFC: lambda record: record("x", "cafe\u0301 bad"),
    kinds.WHITESPACE: lambda record: record("x", "bad  cab"),
    kinds.INVISIBLE: lambda record: record("x", "bad\u200b cab"),
    kinds.BROKEN_ENCODING: lambda record: record("x", "bad caf\ufffd"),
    kinds.DIGITS: lambda record: record("x", "bad cab 9"),
    kinds.SYMBOLS: lambda record: record("x", "[bad] cab"),
    kinds.PUNCTUATION: lambda record: record("x", "bad, cab"),
    kinds.SPEAKING_RATE: lambda record: record("x", "bad cab", seconds=15.0),
}


@pytest.mark.parametrize("kind", DEFECTS)
def test_every_defect_is_found_where_it_is_and_nowhere_else(record: Recorder, kind: str) -> None:
    utterance = DEFECTS[kind](record)
    clean = record.many("a", 8)
    report = examine(record.manifest("train", [*clean[:4], utterance, *clean[4:]]))
    kinds_found = {k for _, k in found(report)}
    assert {i for i, _ in found(report)} == {"x"}
    assert kind in kinds_found
    assert kinds_found <= {kind, kinds.TOO_SHORT} if kind == kinds.SPEAKING_RATE else kinds_found == {kind}
    assert report.ready == (kind not in kinds.ERRORS | kinds.TRAIN_ERRORS)
    twin = examine(record.manifest("clean", [*clean[:4], record("x"), *clean[4:]]))
    assert twin.findings == []


def test_unreadable_files_of_every_sort(record: Recorder) -> None:
    missing = replace(record("y"), audio=record.folder / "gone.wav")
    empty = replace(record("z"), audio=record.folder / "empty.wav")
    empty.audio.touch()
    report = examine(record.manifest("train", [text_file(record), missing, empty, record("a-1")]))
    assert found(report) == [(name, kinds.UNREADABLE) for name in "xyz"]
    assert str(missing.audio) in report.findings[1].problem.message


def test_the_configuration_decides(record: Recorder) -> None:
    manifest = record.manifest("train", record.many("a", 3))
    cases: list[tuple[dict[str, Any], str]] = [
        ({"data": {"max_seconds": 1.0}}, kinds.TOO_LONG),
        ({"features": {"sample_rate": 44100}}, kinds.LOW_RATE),
        ({"text": {"alphabet": "b c"}}, kinds.OUTSIDE),
        ({"features": {"hop_ms": 25.0}, "model": {"subsampling": {"factor": 8}}}, kinds.TOO_SHORT),
    ]
    for tree, kind in cases:
        assert found(examine(manifest, config=parse_config(tree))) == [(f"a-00{i}", kind) for i in range(3)]


def test_figures_and_punctuation_are_normal_where_most_have_them_or_the_alphabet_lists_them(record: Recorder) -> None:
    figures = [record(f"a-{n}", f"{n} {9 - n},") for n in range(8)]
    assert examine(record.manifest("figures", [*figures, *record.many("b", 4)])).findings == []
    few = record.manifest("few", [figures[0], *record.many("b", 4)])
    assert found(examine(few)) == [("a-0", kinds.DIGITS), ("a-0", kinds.PUNCTUATION)]
    listed = parse_config({"text": {"alphabet": "abcdefghijklmnopqrstuvwxyz0123456789,"}})
    assert examine(few, config=listed).findings == []
    removed = parse_config({"text": {"remove": "0123456789,"}})
    assert found(examine(few, config=removed)) == [("a-0", kinds.NO_TRANSCRIPT)]


def test_punctuation_that_is_normal_is_noted_with_what_takes_it_out(record: Recorder) -> None:
    manifest = record.manifest("train", [record("a", "bad, cab."), record("b", 'bad "cab".'), record("c", "well-fed")])
    report = examine(manifest)
    assert report.findings == []
    told = """note: punctuation in 2 of 3 transcripts: . , "; the model learns to write it, unless text.remove: '.,"'"""
    assert report.notes(from_nothing=False) == [told]
    assert report.notes()[0] == told
    assert examine(manifest, config=parse_config({"text": {"remove": '.,"'}})).notes(from_nothing=False) == []


def test_rare_characters_of_a_large_set_are_named(record: Recorder) -> None:
    one = record("a-0")
    segment = replace(one, duration=1.4, recording_samples=round(1.5 * RATE))
    many = [replace(segment, id=f"a-{n}", start=n * 1e-4, text=record.text(str(n))) for n in range(320)]
    assert kinds.RARE_CHARACTER not in {kind for _, kind in found(examine(record.manifest("clean", many)))}
    many[7] = replace(many[7], text="bad cäb")
    report = examine(record.manifest("train", many))
    assert [(i, k) for i, k in found(report) if k == kinds.RARE_CHARACTER] == [("a-7", kinds.RARE_CHARACTER)]
    assert "'ä' (U+00E4) is in 1 of 320 transcripts (a-7)" in report.findings[0].problem.message
    assert report.alphabet["ä"] == 1


def test_damaged_lines_and_repeated_ids_are_named_and_the_rest_is_checked(record: Recorder) -> None:
    folder = record.manifest("train", [*record.many("a", 3), record("x", " ")])
    lines = (folder / "cuts.jsonl").read_bytes().splitlines()
    other = replace(record("b-9"), id="a-001")
    broken = [b"{not json", b'{"id": "y"}', b'"\xff"', b"", json.dumps(other.to_cut()).encode()]
    (folder / "cuts.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\n".join([*lines, *broken]) + b"\n")
    report = examine(folder)
    assert found(report) == [
        *((f"cuts.jsonl line {n}", kinds.BAD_LINE) for n in (5, 6, 7)),
        ("a-001", kinds.DUPLICATE_ID),
        ("x", kinds.NO_TRANSCRIPT),
    ]
    assert "line 9, stands on line 2 already" in report.findings[3].problem.message
    assert report.sets[0].utterances == 5


def test_no_utterances(record: Recorder) -> None:
    report = examine(record.manifest("train", []), record.manifest("dev", []))
    assert found(report) == [("train", kinds.EMPTY_SET), ("dev", kinds.EMPTY_SET)]
    assert not report.ready


def test_little_audio_is_noted_and_enough_is_not(record: Recorder) -> None:
    report = examine(record.manifest("train", record.many("a", 2)), record.manifest("dev", record.many("b", 2)))
    assert len(report.notes()) == 1
    report.sets[1].seconds = 20 * 60.0
    assert report.notes() == []


def test_missing_and_cut_manifests(record: Recorder, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such manifest"):
        examine(tmp_path / "none.jsonl")
    write_manifest(tmp_path / "cut.jsonl.gz", record.many("a", 50))
    whole = (tmp_path / "cut.jsonl.gz").read_bytes()
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ManifestError, match="cannot be read to its end"):
        examine(tmp_path / "cut.jsonl.gz")


def test_several_processes_find_what_one_finds_in_the_same_order(record: Recorder) -> None:
    utterances = record.many("a", 150)
    utterances[5] = replace(utterances[5], text=" ")
    utterances[70] = replace(utterances[70], duration=9.0)
    utterances[149] = record("a-149", utterances[3].text, waveform=record.waveform("a-003", 1.5))
    manifest, dev = record.manifest("train", utterances), record.manifest("dev", record.many("b", 3))
    seen: list[tuple[int, int]] = []
    one = examine(manifest, dev)
    two = examine(manifest, dev, jobs=2, progress=lambda done, total: seen.append((done, total)))
    assert two.findings == one.findings
    assert len(one.findings) == 3
    assert [s.repairs for s in two.sets] == [s.repairs for s in one.sets]
    assert seen == sorted(seen)
    assert seen[-1] == (153, 153)
    assert len(seen) > 4


# Processes that end early. The checks run in a process of their own, whose children can be told from pytest's.

RUN = """
import sys
from asr.data.doctor import examine

if __name__ == "__main__":
    examine(sys.argv[1], jobs=2, progress=lambda done, total: print(done, flush=True))
"""


@pytest.fixture
def examining(record: Recorder, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Two workers in the middle of hours of work."""
    long = record("a-0", seconds=60.0)
    many = [replace(long, id=f"a-{number}") for number in range(20_000)]
    script = tmp_path / "run.py"
    script.write_text(RUN)
    process = subprocess.Popen(
        [sys.executable, str(script), str(record.manifest("train", many))],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip()  # the first results are there
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def workers(process: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


@pytest.mark.skipif(sys.platform != "linux", reason="looks at the processes in /proc")
def test_a_killed_worker_is_an_error_that_says_so(examining: subprocess.Popen[str]) -> None:
    os.kill(workers(examining)[0], signal.SIGKILL)
    _, err = examining.communicate(timeout=20)
    assert examining.returncode == 1
    assert "AsrError: a checking process was killed" in err
    assert "train utterances 'a-" in err


@pytest.mark.skipif(sys.platform != "linux", reason="looks at the processes in /proc")
def test_interrupt_ends_the_workers_at_once_and_silently(examining: subprocess.Popen[str]) -> None:
    children = workers(examining)
    assert len(children) == 2
    os.killpg(examining.pid, signal.SIGINT)  # as a terminal does: to all of them
    started = time.monotonic()
    _, err = examining.communicate(timeout=20)
    assert time.monotonic() - started < 5
    assert err.count("Traceback") == 1  # of the script itself, which does not catch it
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def test_checks_need_no_torch(record: Recorder) -> None:
    code = "import asr.data.doctor, sys; assert not {'torch', 'librosa', 'lhotse', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)})


# Real corpora, in which nothing is wrong


@pytest.mark.skipif(not (CORPORA / "an4").is_dir(), reason="needs data/corpora/an4")
def test_an4_has_no_false_alarm(tmp_path: Path) -> None:
    parts = prepare("an4", source=CORPORA / "an4", output=tmp_path)
    report = examine(parts["train"], parts["dev"], [parts["test"]])
    # People were asked for the same things, so a tenth of dev and test is literally in train.
    assert found(report) == [("dev", kinds.SENTENCE_LEAK), ("test", kinds.SENTENCE_LEAK)]
    assert report.ready


@pytest.mark.skipif(not (CORPORA / "fsdd").is_dir(), reason="needs data/corpora/fsdd")
def test_fsdd_has_no_false_alarm(tmp_path: Path) -> None:
    parts: dict[bool, list[Utterance]] = {True: [], False: []}
    for path in sorted((CORPORA / "fsdd" / "recordings").glob("*.wav")):
        digit, speaker, take = path.stem.split("_")
        info = audio_info(path)
        utterance = Utterance(path.stem, path, info.seconds, info.sample_rate, digit, speaker)
        parts[int(take) < 5].append(utterance)
    write_manifest(tmp_path / "train.jsonl", parts[False])
    write_manifest(tmp_path / "test.jsonl", parts[True])
    config = parse_config({"features": {"sample_rate": 8000}})
    report = examine(tmp_path / "train.jsonl", tests=[tmp_path / "test.jsonl"], config=config)
    assert found(report) == [("test", kinds.SPEAKER_LEAK)]  # by design of its split


@pytest.mark.skipif(not (CORPORA / "LibriSpeech" / "dev-clean").is_dir(), reason="needs data/corpora/LibriSpeech")
def test_librispeech_has_no_false_alarm(tmp_path: Path) -> None:
    utterances = []
    for transcripts in sorted((CORPORA / "LibriSpeech" / "dev-clean").rglob("*.trans.txt")):
        for line in transcripts.read_text().splitlines():
            name, _, text = line.partition(" ")
            path = transcripts.parent / f"{name}.flac"
            info = audio_info(path)
            utterances.append(Utterance(name, path, info.seconds, info.sample_rate, text, name.split("-")[0]))
    write_manifest(tmp_path / "cuts.jsonl", utterances)
    config = parse_config({"data": {"max_seconds": 35.0}})  # six are longer than the default, and rightly named
    assert examine(tmp_path, config=config).findings == []


def test_shards_are_checked_like_the_manifest_they_were_made_of(record: Recorder, tmp_path: Path) -> None:
    from asr.data.shard_writing import write_shards

    utterances = record.many("a", 5)
    utterances[2] = record("a-002", "bad  cab", waveform=record.waveform("x", 1.5) + 0.1)
    write_shards(record.manifest("train", utterances), tmp_path / "shards")
    report = examine(tmp_path / "shards")
    assert found(report) == [("a-002", kinds.DC_OFFSET), ("a-002", kinds.WHITESPACE)]
    with pytest.raises(ManifestError, match="shards cannot be repaired"):
        fix(report, tmp_path / "new")
