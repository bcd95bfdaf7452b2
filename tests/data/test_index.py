from __future__ import annotations

import gzip
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from asr.data.index import ManifestIndex
from asr.data.manifest import Part, read_manifest, write_manifest
from asr.data.utterance import Utterance
from asr.errors import ManifestError


def utterances(count: int) -> list[Utterance]:
    return [
        Utterance(f"u{i}", Path(f"/a/{i}.wav"), 1 + i / 7, 16000, f"wörter {i} " + "x" * (i * 37 % 3000), f"s{i % 3}")
        for i in range(count)
    ]


@pytest.mark.parametrize("name", ["cuts.jsonl", "cuts.jsonl.gz"])
def test_any_utterance_is_the_one_that_reading_in_order_gives(tmp_path: Path, name: str) -> None:
    write_manifest(tmp_path / name, utterances(200))
    expected = list(read_manifest(tmp_path))
    index = ManifestIndex.open(tmp_path)
    assert len(index) == 200
    assert [index[i] for i in (199, 0, 57, 57, 3)] == [expected[i] for i in (199, 0, 57, 57, 3)]
    assert index[-1] == expected[-1]
    assert index[10:14] == expected[10:14]
    assert list(index) == expected
    assert index.shards is None
    with pytest.raises(IndexError):
        index[200]


def test_blank_lines_and_a_byte_order_mark_are_not_utterances(tmp_path: Path) -> None:
    path = tmp_path / "cuts.jsonl"
    write_manifest(path, utterances(3))
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\ufeff" + lines[0] + "\r\n\r\n" + lines[1] + "\n \n" + lines[2], encoding="utf-8")
    index = ManifestIndex.open(path)
    assert [index[i] for i in range(3)] == utterances(3)


def ids(index: ManifestIndex, numbers: list[int]) -> list[str]:
    return [index[number].id for number in numbers]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_at_the_same_time(tmp_path: Path, method: str) -> None:
    write_manifest(tmp_path / "cuts.jsonl.gz", utterances(300))
    index = ManifestIndex.open(tmp_path)
    assert index[0].id == "u0"  # the file is open before the processes start
    jobs = [(index, list(range(start, 300, 3)) * 3) for start in range(3)]
    with multiprocessing.get_context(method).Pool(3) as pool:
        for start, found in enumerate(pool.starmap(ids, jobs)):
            assert found == [f"u{number}" for number in range(start, 300, 3)] * 3
    assert index[5].id == "u5"


def test_the_temporary_file_goes_with_the_index(tmp_path: Path) -> None:
    write_manifest(tmp_path / "cuts.jsonl.gz", utterances(3))
    index = ManifestIndex.open(tmp_path)
    copy = pickle.loads(pickle.dumps(index))
    file = index._file
    assert file.path.read_bytes() == gzip.decompress((tmp_path / "cuts.jsonl.gz").read_bytes()) + b"\n"
    del copy
    assert file.path.is_file()
    path = file.path
    del index, file
    assert not path.exists()


def packed_shards(folder: Path, lines: list[bytes]) -> ManifestIndex:
    """Each of `lines` as the cuts of a shard."""
    parts = []
    for number, line in enumerate(lines):
        parts.append(Part(folder / f"cuts.{number:06d}.jsonl.gz", folder / f"recording.{number:06d}.tar"))
        parts[-1].cuts.write_bytes(gzip.compress(line))
    return ManifestIndex(parts)


def test_many_shards_take_one_open_file(tmp_path: Path) -> None:
    cuts = [utterance.to_cut() for utterance in utterances(60)]
    for cut in cuts:
        cut["recording"]["sources"] = [{"type": "shar", "channels": [0], "source": ""}]
    # The last line of a file need not end, and the first may begin with a byte-order mark.
    lines = ["\ufeff" * (number % 2) + json.dumps(cut) for number, cut in enumerate(cuts)]
    index = packed_shards(tmp_path, [line.encode() for line in lines])
    before = len(os.listdir("/proc/self/fd"))
    assert [index[number].id for number in range(59, -1, -1)] == [f"u{number}" for number in range(59, -1, -1)]
    assert len(os.listdir("/proc/self/fd")) <= before + 1
    assert index.shards == [range(number, number + 1) for number in range(60)]
    assert (index[7].audio, index[7].member) == (tmp_path / "recording.000007.tar", "u7")


@pytest.mark.parametrize("keep", [15, 60])
def test_a_packed_file_that_is_cut_short_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "cuts.jsonl.gz"
    write_manifest(path, utterances(30))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ManifestError, match=r"cuts\.jsonl\.gz: cannot be unpacked .*; copy it again"):
        ManifestIndex.open(path)


def test_repeated_id_and_bad_line_are_named(tmp_path: Path) -> None:
    path = tmp_path / "cuts.jsonl"
    write_manifest(path, utterances(4))
    text = path.read_text(encoding="utf-8")
    path.write_text(text + text.splitlines()[1] + "\n", encoding="utf-8")
    with pytest.raises(ManifestError, match=r"cuts\.jsonl, line 5: id 'u1' stands on line 2 already"):
        ManifestIndex.open(path)
    path.write_text(text + "{not json\n", encoding="utf-8")
    with pytest.raises(ManifestError, match=r"cuts\.jsonl, line 5: not JSON"):
        ManifestIndex.open(path)


def test_manifest_that_changes_under_a_training_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "cuts.jsonl"
    write_manifest(path, utterances(4))
    index = ManifestIndex.open(path)
    path.write_text("#" + path.read_text(encoding="utf-8")[:-40], encoding="utf-8")
    with pytest.raises(ManifestError, match=r"cuts\.jsonl: changed since"):
        index[3]


MEASURE = r"""
import re, sys
from pathlib import Path
from asr.data.{module} import {name}
def kilobytes():  # not getrusage's maxrss, which a process inherits from the one that started it
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
before = kilobytes()
{action}
print(kilobytes() - before)
"""


@pytest.mark.parametrize(
    ("module", "name", "action", "bytes_each"),
    [
        ("manifest", "read_manifest", "assert sum(1 for _ in read_manifest(sys.argv[1])) == {count}", 40),
        ("index", "ManifestIndex", "assert len(ManifestIndex.open(sys.argv[1])) == {count}", 60),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_memory_hardly_grows_with_the_manifest(
    tmp_path: Path, module: str, name: str, action: str, bytes_each: int
) -> None:
    """Each line here is 2 kB long; what stays of it are a few bytes."""
    growth = []
    for count in (1_000, 50_000):
        line = json.dumps(Utterance("ID", Path("/a.wav"), 2.5, 16000, "words " * 300, "s").to_cut())
        with open(tmp_path / f"{count}.jsonl", "w") as out:
            out.writelines(line.replace('"ID"', f'"u{number}"') + "\n" for number in range(count))
        script = MEASURE.format(module=module, name=name, action=action.format(count=count))
        run = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / f"{count}.jsonl")], capture_output=True, text=True, check=True
        )
        growth.append(int(run.stdout) * 1024)
    assert growth[1] - growth[0] < 50_000 * bytes_each
