from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from asr.data.doctor import examine, fix, kinds, summarise_changes
from asr.data.manifest import Utterance, read_manifest
from asr.errors import ConfigError, ManifestError
from tests.data.doctor.conftest import RATE, Recorder


def repaired(report: Any, folder: Path) -> tuple[list[dict[str, Any]], list[Utterance]]:
    """The rows of changes.jsonl, and the training utterances that are left."""
    fix(report, folder)
    rows = [json.loads(line) for line in (folder / "changes.jsonl").read_text(encoding="utf-8").splitlines()]
    return rows, list(read_manifest(folder / "train"))


def test_a_clean_manifest_stays_as_it_is(record: Recorder, tmp_path: Path) -> None:
    utterances = record.many("a", 5)
    utterances[1] = replace(utterances[1], duration=1.0, recording_samples=round(1.5 * RATE), text="it’s bad")
    rows, left = repaired(examine(record.manifest("train", utterances)), tmp_path / "new")
    assert rows == []
    assert left == utterances


def test_text_times_rate_and_ids_are_put_right(record: Recorder, tmp_path: Path) -> None:
    good = record("a-0", speaker=None)
    long = replace(record("a-4", seconds=3.0), start=1.0, duration=2.3, recording_samples=3 * RATE)
    wrong = [
        good,
        record("a-1", "Cafe\u0301\u200b  d’ice "),
        record("a-2", duration=9.0),
        record("a-3", sample_rate=44100),
        long,
        replace(record("a-5"), id="a-0"),
    ]
    folder = record.manifest("train", wrong[:-1])
    with open(folder / "cuts.jsonl", "a", encoding="utf-8") as out:
        out.write(json.dumps(wrong[-1].to_cut()) + "\n")
    before = (folder / "cuts.jsonl").read_bytes()
    report = examine(folder)
    assert not report.ready
    assert report.unmended() == []
    rows, left = repaired(report, tmp_path / "new")
    changes = {(row["id"], row["action"]): (row["before"], row["after"]) for row in rows}
    assert changes == {
        ("a-1", "text"): ("Cafe\u0301\u200b  d’ice ", "Café d'ice"),
        ("a-2", "duration"): (9.0, 1.5),
        ("a-3", "sample_rate"): (44100, RATE),
        ("a-4", "duration"): (2.3, 2.0),
        ("a-0", "id"): ("a-0", "a-0-2"),
    }
    assert left[0] == good
    assert [u.id for u in left] == ["a-0", "a-1", "a-2", "a-3", "a-4", "a-0-2"]
    assert left[4] == replace(long, duration=2.0)
    assert (left[3].sample_rate, left[3].duration) == (RATE, 1.5)
    assert examine(tmp_path / "new" / "train").findings == []
    assert (folder / "cuts.jsonl").read_bytes() == before


def test_what_cannot_be_used_is_dropped_with_its_reason(record: Recorder, tmp_path: Path) -> None:
    gone = replace(record("a-1"), audio=tmp_path / "gone.wav")
    same = record.waveform("a-4", 1.5)
    utterances = [
        record("a-0"),
        gone,
        record("a-2", " \u200b"),
        record("a-3", waveform=np.zeros(RATE)),
        record("a-4", "bad cab", waveform=same),
        record("a-5", "bad cab", waveform=same),
        record("a-6", "fed gab", waveform=(other := record.waveform("a-6", 1.5))),
        record("a-7", "ice jade", waveform=other),
        record("a-8", "beige beige", seconds=0.37),
        replace(record("a-9"), start=1.0, duration=3.0, recording_samples=9 * RATE),
        record("a-10", " ".join(["deaf"] * 90), seconds=31.0),
    ]
    folder = record.manifest("train", utterances)
    with open(folder / "cuts.jsonl", "a", encoding="utf-8") as out:
        out.write("{\n")
    rows, left = repaired(examine(folder), tmp_path / "new")
    assert {row["action"] for row in rows} == {"dropped"}
    assert {row["id"]: row["reason"] for row in rows} == {
        "a-1": kinds.UNREADABLE,
        "a-2": kinds.NO_TRANSCRIPT,
        "a-3": kinds.NO_SOUND,
        "a-5": kinds.DUPLICATE_AUDIO,
        "a-6": kinds.CONTRADICTION,
        "a-7": kinds.CONTRADICTION,
        "a-8": kinds.TOO_SHORT,
        "a-9": kinds.DURATION,
        "a-10": kinds.TOO_LONG,
        "cuts.jsonl line 12": kinds.BAD_LINE,
    }
    assert left == [utterances[0], utterances[4]]
    assert examine(tmp_path / "new" / "train").findings == []


def test_leaks_are_dropped_from_what_is_trained_on_and_never_from_test(record: Recorder, tmp_path: Path) -> None:
    waveform, other = record.waveform("x", 1.5), record.waveform("y", 1.5)
    train = [*record.many("a", 3), record("a-x", "bad", waveform=waveform)]
    dev = [*record.many("b", 3), record("b-x", "bad", waveform=waveform), record("b-y", "cab", waveform=other)]
    test = [*record.many("c", 3), record("c-x", "bad", waveform=waveform), record("c-y", "cab", waveform=other)]
    silent = record("c-z", waveform=np.zeros(RATE))
    sets = [record.manifest(n, part) for n, part in (("train", train), ("dev", dev), ("test", [*test, silent]))]
    report = examine(sets[0], sets[1], [sets[2]])
    rows, left = repaired(report, tmp_path / "new")
    assert [(row["set"], row["id"]) for row in rows] == [("train", "a-x"), ("dev", "b-x"), ("dev", "b-y")]
    assert left == train[:3]
    assert list(read_manifest(tmp_path / "new" / "dev")) == dev[:3]
    assert list(read_manifest(tmp_path / "new" / "test")) == [*test, silent]
    again = examine(tmp_path / "new" / "train", tmp_path / "new" / "dev", [tmp_path / "new" / "test"])
    assert again.ready
    assert [finding.problem.kind for finding in again.findings] == [kinds.NO_SOUND]


def test_a_training_id_that_dev_has_is_renamed(record: Recorder, tmp_path: Path) -> None:
    train = [record("a-0"), record("a-0-2")]
    dev = [replace(record("b-0", speaker="b"), id="a-0")]
    report = examine(record.manifest("train", train), record.manifest("dev", dev))
    assert not report.ready
    _, left = repaired(report, tmp_path / "new")
    assert [utterance.id for utterance in left] == ["a-0-3", "a-0-2"]
    assert examine(tmp_path / "new" / "train", tmp_path / "new" / "dev").findings == []


def test_a_repair_can_bring_another_problem_to_light(record: Recorder, tmp_path: Path) -> None:
    """The manifest says 5 s, the file has 0.4 s: too few frames for the text."""
    short = record("a-1", "beige beige cafe jade", seconds=0.4, duration=5.0)
    report = examine(record.manifest("train", [record("a-0"), short]))
    assert [f.problem.kind for f in report.errors] == [kinds.DURATION, kinds.TOO_SHORT]
    rows, _ = repaired(report, tmp_path / "new")
    assert [(row["id"], row["reason"]) for row in rows] == [("a-1", kinds.TOO_SHORT)]


def test_relative_audio_paths_lead_to_the_same_files(
    record: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = record.manifest("old", [replace(u, audio=Path("..") / u.audio.name) for u in record.many("a", 2)])
    monkeypatch.chdir(tmp_path)
    _, left = repaired(examine(folder.relative_to(tmp_path)), Path("deep") / "new")
    assert [utterance.audio for utterance in left] == [tmp_path / "a-000.wav", tmp_path / "a-001.wav"]
    os.chdir("/")
    assert all(soundfile.info(utterance.audio).frames for utterance in left)


def test_sets_as_a_whole_are_not_mended(record: Recorder, tmp_path: Path) -> None:
    dev = [replace(utterance, text="äöü") for utterance in record.many("b", 4)]
    report = examine(record.manifest("train", record.many("a", 4)), record.manifest("dev", dev))
    assert [finding.problem.kind for finding in report.unmended()] == [kinds.ALPHABET_MISMATCH]
    assert fix(report, tmp_path / "new") == []


def test_no_manifest_is_written_over(record: Recorder, tmp_path: Path) -> None:
    report = examine(record.manifest("train", record.many("a", 2)))
    before = (tmp_path / "train" / "cuts.jsonl").read_bytes()
    with pytest.raises(ManifestError, match="--fix would write over it"):
        fix(report, tmp_path)
    record.manifest("other/train", [])
    with pytest.raises(ManifestError, match="is there already, and is no earlier repair"):
        fix(report, tmp_path / "other")
    assert (tmp_path / "train" / "cuts.jsonl").read_bytes() == before
    with pytest.raises(ManifestError, match="is there already, and is no earlier repair"):
        fix(report, tmp_path / "other", overwrite=True)
    fix(report, tmp_path / "new")
    with pytest.raises(ConfigError, match=r"new/changes\.jsonl exists already; choose another --fix, or .*--overwrite"):
        fix(report, tmp_path / "new")
    fix(report, tmp_path / "new", overwrite=True)


def test_nothing_left_is_an_error(record: Recorder, tmp_path: Path) -> None:
    report = examine(record.manifest("train", [record("a-0", " "), record("a-1", " ")]))
    with pytest.raises(ManifestError, match="of 2 utterances none can be kept"):
        fix(report, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written(record: Recorder, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    report = examine(record.manifest("train", record.many("a", 2)))
    with pytest.raises(ManifestError, match="cannot be written"):
        fix(report, tmp_path / "file")


def test_summary_counts_by_set_and_reason(record: Recorder, tmp_path: Path) -> None:
    train = [record("a-0"), record("a-1", " "), record("a-2", " "), record("a-3", "bad  cab")]
    changes = fix(examine(record.manifest("train", train)), tmp_path / "new")
    assert summarise_changes(changes, tmp_path / "new") == [
        "train          2 utterances: dropped, no transcript",
        "train          1 utterances: text changed",
        f"cleaned manifests are in {tmp_path / 'new'}, and every change in {tmp_path / 'new' / 'changes.jsonl'}",
    ]
