from __future__ import annotations

import gc
import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from torch.utils.data import DataLoader

from asr.config import TextConfig
from asr.data.batches import BatchSampler
from asr.data.examples import Examples
from asr.data.index import ManifestIndex
from asr.data.loading import Batch, SpeechDataset, collate
from asr.data.manifest import write_manifest
from asr.data.shard_cache import STAGES_AHEAD, ShardCache, fetch
from asr.data.shard_writing import write_shards
from asr.data.utterance import Utterance
from asr.errors import CorpusError, ManifestError
from asr.text import Tokenizer
from tests.servers import Server, files_in, serving

RATE = 8000
SHARDS, SIZE = 10, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten shards of four utterances, and `shards.json`."""
    root = tmp_path_factory.mktemp("sharded")
    rng = np.random.default_rng(0)
    utterances = []
    for number in range(SHARDS * SIZE):
        soundfile.write(root / f"{number}.wav", 0.1 * rng.standard_normal(800 + 10 * number), RATE)
        utterances.append(Utterance(f"u{number}", root / f"{number}.wav", 0.1 + number / 800, RATE, "a b"))
    write_manifest(root / "cuts.jsonl", utterances)
    return write_shards(root, root / "out", size=SIZE, seed=None).folder


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    with serving(files_in(folder)) as running:
        yield running


class Reading:
    """Batches of a cache as training asks for them, and what lay on the disk meanwhile."""

    def __init__(self, cache: ShardCache, *, workers: int = 0, buffer_shards: int = 2, ranks: int = 1, first: int = 0):
        self.cache = cache
        index = ManifestIndex(cache.parts)
        examples = Examples(index, Tokenizer.from_characters("ab"), TextConfig())
        for number, utterance in enumerate(index):
            examples.add(number, utterance, 1.0)
        self.sampler = BatchSampler(
            examples.seconds, 0.4, seed=0, ranks=ranks, shards=examples.shards, buffer_shards=buffer_shards
        )
        self.sampler.start(0, first)
        self.stages = self.sampler.stages(0)
        self.first = first
        self.loader = DataLoader(
            SpeechDataset(examples, RATE), batch_sampler=self.sampler, num_workers=workers, collate_fn=collate
        )
        self.most = 0

    def batches(self) -> Any:
        return self.cache.batches(self.stages, self.first, lambda: self.loader)

    def all(self) -> list[Batch]:
        batches = []
        for batch in self.batches():
            time.sleep(0.005)  # so that the thread gets as far ahead as it may
            self.most = max(self.most, len(list(self.cache.folder.glob("recording.*.tar"))))
            batches.append(batch)
        return batches


def ids(batches: list[Batch]) -> list[str]:
    return [identifier for batch in batches for identifier in batch.ids]


def left(cache: ShardCache) -> set[str]:
    return {path.name.split(".")[0] for path in cache.folder.iterdir()}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("buffer_shards", [1, 3])
def test_every_utterance_comes_and_few_shards_lie_on_the_disk(server: Server, workers: int, buffer_shards: int) -> None:
    with ShardCache(server.url("")) as cache:
        reading = Reading(cache, workers=workers, buffer_shards=buffer_shards)
        batches = reading.all()
        assert sorted(ids(batches)) == sorted(f"u{number}" for number in range(SHARDS * SIZE))
        assert [batch.failures for batch in batches] == [[]] * len(batches)
        assert buffer_shards <= reading.most <= (STAGES_AHEAD + 1) * buffer_shards
        assert left(cache) == {"shards", "cuts"}
        assert Counter(server.paths).most_common(1)[0][1] == 1  # nothing is fetched twice
        assert not [thread for thread in threading.enumerate() if thread.name == "shards"]
    assert not cache.folder.exists()


def test_dropped_connections_and_passing_errors_are_not_noticed(server: Server) -> None:
    server.drops, server.unavailable = 3, 2
    with ShardCache(server.url("shards.json")) as cache:
        server.drops, server.unavailable = 3, 3
        batches = Reading(cache).all()
    assert (server.drops, server.unavailable) == (0, 0)
    assert len(ids(batches)) == SHARDS * SIZE
    assert [batch.failures for batch in batches] == [[]] * len(batches)


def lost(folder: Path, server: Server, number: int, content: bytes | None) -> str:
    """Make one shard's recordings unavailable or others; returns their URL."""
    path = f"/shar/recording.{number:06d}.tar"
    whole = files_in(folder)
    server.content = lambda asked: content if asked == path else whole(asked)
    return server.url(path[1:])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "HTTP 404 Not Found"),
        (b"damaged", "sha256 is [0-9a-f]{64}, expected [0-9a-f]{64} for http.*"),
    ],
)
def test_a_lost_shard_is_reported_and_the_rest_is_read(
    folder: Path, server: Server, workers: int, content: bytes | None, reason: str
) -> None:
    url = lost(folder, server, 3, content)
    with ShardCache(server.url("")) as cache:
        batches = Reading(cache, workers=workers).all()
        assert left(cache) == {"shards", "cuts"}
    failures = dict(failure for batch in batches for failure in batch.failures)
    assert sorted(failures) == ["u12", "u13", "u14", "u15"]
    assert sorted(ids(batches)) == sorted({f"u{number}" for number in range(SHARDS * SIZE)} - set(failures))
    for message in failures.values():
        assert message.startswith("shard lost: ")
        assert url in message
        assert re.search(reason, message)
        assert "--source" not in message  # that is a remedy for the archives of corpora
    assert server.paths.count("/shar/recording.000003.tar") == 1


def test_a_server_that_stays_unavailable_is_given_up(folder: Path, server: Server) -> None:
    with ShardCache(server.url(""), retries=2) as cache:
        server.unavailable = 3
        batches = Reading(cache).all()
    reasons = {reason for batch in batches for _, reason in batch.failures}
    assert len(reasons) == 1
    assert "HTTP 503 Service Unavailable, after 3 attempts; upload it again" in reasons.pop()


def test_the_middle_of_an_epoch_needs_no_shards_before_it(server: Server) -> None:
    with ShardCache(server.url("")) as cache:
        whole = Reading(cache).all()
        server.paths.clear()
        first = len(whole) // 2
        reading = Reading(cache, first=first)
        assert [batch.ids for batch in reading.all()] == [batch.ids for batch in whole[first:]]
        skipped = reading.stages[0].shards
        assert len(reading.stages[0].batches) <= first
        assert not [number for number in skipped if f"/shar/recording.{number:06d}.tar" in server.paths]
        server.paths.clear()
        assert Reading(cache, first=len(whole)).all() == []
        assert server.paths == []


def test_shards_that_come_again_are_fetched_again(server: Server) -> None:
    """The rank with fewer batches begins its epoch again; readers ahead may meet the old file as it goes."""
    with ShardCache(server.url("")) as cache:
        reading = Reading(cache, workers=2, buffer_shards=1)
        again = [*reading.stages[:4], *reading.stages[:4], *reading.stages[:1]]
        reading.stages = again
        keys = [[(0, index) for index in batch] for stage in again for batch in stage.batches]
        reading.loader = DataLoader(
            reading.loader.dataset, batch_sampler=keys, num_workers=2, collate_fn=collate, prefetch_factor=8
        )
        batches = reading.all()
        assert [batch.failures for batch in batches] == [[]] * len(batches)
        assert Counter(Counter(ids(batches)).values()) == {2: 12, 3: 4}


@pytest.mark.parametrize("workers", [0, 2])
def test_closing_early_stops_the_thread_and_removes_the_recordings(server: Server, workers: int) -> None:
    with ShardCache(server.url("")) as cache:
        reading = Reading(cache, workers=workers)
        with closing(reading.batches()) as batches:
            assert next(batches).ids
        assert left(cache) == {"shards", "cuts"}
        assert not [thread for thread in threading.enumerate() if thread.name == "shards"]
        assert len(ids(Reading(cache, workers=workers).all())) == SHARDS * SIZE  # and it can begin anew


def test_workers_that_wait_end_when_the_epoch_is_given_up(folder: Path, server: Server) -> None:
    slow = threading.Event()
    whole = files_in(folder)

    def content(path: str) -> bytes | None:
        if path.endswith(".tar") and len([p for p in server.paths if p.endswith(".tar")]) > 3:
            slow.wait(20)
        return whole(path)

    server.content = content
    with ShardCache(server.url("")) as cache:
        batches = Reading(cache, workers=2, buffer_shards=1).batches()
        assert next(batches).ids
        started = time.monotonic()
        threading.Timer(0.5, slow.set).start()
        batches.close()
        assert time.monotonic() - started < 8


def test_a_failing_loader_leaves_nothing(server: Server) -> None:
    def load() -> Any:
        raise RuntimeError("no worker could be started")

    with ShardCache(server.url("")) as cache:
        with pytest.raises(RuntimeError, match="no worker"):
            next(cache.batches(Reading(cache).stages, 0, load))
        assert left(cache) == {"shards", "cuts"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_full_disk_ends_the_training_and_says_what_to_do(server: Server, workers: int) -> None:
    with ShardCache(server.url("")) as cache:
        for number in range(SHARDS):
            (cache.folder / f"recording.{number:06d}.tar.part").symlink_to("/dev/full")
        with pytest.raises(ManifestError, match=r"no room for http.*recording.*set TMPDIR .*data\.buffer_shards"):
            Reading(cache, workers=workers).all()


@pytest.mark.parametrize("lost", ["shards.json", "shar/cuts.000004.jsonl.gz"])
def test_without_the_list_or_a_file_of_cuts_nothing_begins(folder: Path, server: Server, lost: str) -> None:
    whole = files_in(folder)
    server.content = lambda path: None if path == f"/{lost}" else whole(path)
    with pytest.raises(ManifestError, match=rf"/{lost}: HTTP 404 Not Found; http.* must be the address of a folder"):
        ShardCache(server.url(""))
    server.content = lambda path: b"<html>" if path == f"/{lost}" else whole(path)
    with pytest.raises(ManifestError, match=rf"/{lost}"):
        ShardCache(server.url(""))


def test_the_folder_goes_with_the_object(server: Server) -> None:
    cache = ShardCache(server.url(""))
    path = cache.folder
    assert path.is_dir()
    del cache
    gc.collect()
    assert not path.exists()


def test_names_are_quoted_for_the_web_alone(folder: Path, tmp_path: Path) -> None:
    listing = json.loads((folder / "shards.json").read_text())
    entry = listing["shards"][0]
    strange = tmp_path / "100% größer #1"
    strange.mkdir()
    for kind in ("cuts", "recording"):
        name = entry[kind].replace("shar", strange.name)
        (tmp_path / name).write_bytes((folder / entry[kind]).read_bytes())
        entry[kind] = name
    (tmp_path / "shards.json").write_text(json.dumps({"shards": [entry]}))
    with serving(files_in(tmp_path)) as running, ShardCache(running.url("")) as cache:
        assert len(ids(Reading(cache).all())) == SIZE
    with ShardCache(f"file://{tmp_path}") as cache:
        assert len(ids(Reading(cache).all())) == SIZE


@pytest.mark.parametrize("workers", [0, 2])
def test_other_protocols_are_read_through_fsspec(folder: Path, workers: int) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/shards", recursive=True)
    memory.rm("/shards/shar/recording.000002.tar")
    memory.pipe("/shards/shar/recording.000005.tar", b"damaged")
    with ShardCache("memory://shards/") as cache:
        reading = Reading(cache, workers=workers)
        batches = reading.all()
        assert reading.most <= (STAGES_AHEAD + 1) * 2
    memory.rm("/shards", recursive=True)
    failures = dict(failure for batch in batches for failure in batch.failures)
    assert len(failures) == 2 * SIZE
    assert "memory://shards/shar/recording.000002.tar: " in failures["u8"]
    assert "recording.000005.tar: sha256 is" in failures["u20"]
    assert len(ids(batches)) == (SHARDS - 2) * SIZE


def test_an_unknown_protocol_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"gopher://a/shards\.json: Protocol not known: gopher"):
        ShardCache("gopher://a")


def test_errors_that_may_pass_are_tried_again_with_fsspec(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    content = bytes(range(256)) * 100
    memory.pipe("/a.tar", content)
    real_open, calls = type(memory)._open, []

    def flaky(self: Any, *args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) < 3:
            raise ConnectionResetError("the connection was reset")
        return real_open(self, *args, **options)

    monkeypatch.setattr(type(memory), "_open", flaky)
    monkeypatch.setattr("asr.data.shard_cache.BACKOFF_SECONDS", 0.01)
    sha256 = hashlib.sha256(content).hexdigest()
    assert fetch("memory://a.tar", tmp_path / "a.tar", sha256=sha256).read_bytes() == content
    assert len(calls) == 3
    calls[:] = []
    with pytest.raises(CorpusError, match=r"memory://a\.tar: the connection was reset, after 2 attempts"):
        fetch("memory://a.tar", tmp_path / "b.tar", sha256=sha256, retries=1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]
