from __future__ import annotations

import math
import random
import resource
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from asr.data.manifest import Utterance, read_manifest, write_manifest
from asr.data.splitting import SplitResult, assign, split
from asr.errors import AsrError, ConfigError, ManifestError

SHARES = {"train": 0.8, "dev": 0.1, "test": 0.1}
Row = tuple[str | None, str | None, float]  # speaker, sentence, seconds

rows_of_many = st.lists(
    st.tuples(
        st.sampled_from([None, *"abcdefghij"]),
        st.sampled_from([None, "", "yes", "Yes", "no", "it's", "it’s", "stop", *(f"sentence {i}" for i in range(8))]),
        st.floats(0.1, 30),
    ),
    min_size=3,
    max_size=40,
)


def utterances(rows: Sequence[Row]) -> list[Utterance]:
    return [
        Utterance(f"u{i}", Path(f"/audio/u{i}.wav"), seconds, 16000, text, speaker)
        for i, (speaker, text, seconds) in enumerate(rows)
    ]


def even(speakers: int, sentences: int, same: bool = False) -> list[Row]:
    """As many utterances of 2 s from each speaker; each sentence is one speaker's own, or all read the same."""
    return [(f"s{s}", f"sentence {i if same else (s, i)}", 2.0) for s in range(speakers) for i in range(sentences)]


def written(folder: Path, items: Sequence[Utterance]) -> Path:
    write_manifest(folder / "all" / "cuts.jsonl", items)
    return folder / "all"


def parts(result: SplitResult) -> dict[str, list[Utterance]]:
    return {part.name: list(read_manifest(part.path)) for part in result.parts}


def plain(text: str | None) -> str:
    return (text or "").lower().replace("’", "'")


def everything_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# What holds for any manifest


@settings(max_examples=60, deadline=None)
@given(rows_of_many, st.integers(0, 5), st.booleans())
def test_no_speaker_is_in_two_parts_and_no_utterance_is_lost(rows: list[Row], seed: int, drop: bool) -> None:
    items = utterances(rows)
    assume(len({item.speaker for item in items} - {None}) >= 3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            result = split(
                written(folder, items), folder, shares=SHARES, seed=seed, by="speaker", drop_shared_sentences=drop
            )
        except ManifestError as error:
            if drop and "every sentence of train is in another part too" in str(error):
                return
            raise
        found = parts(result)
    train, dev, test = ({item.speaker for item in found[name]} - {None} for name in SHARES)
    assert not train & (dev | test)
    assert not dev & test
    assert not any(item.speaker is None for item in [*found["dev"], *found["test"]])
    kept = [item.id for part in found.values() for item in part]
    assert len(kept) + result.left_out == len(items)
    assert len(set(kept)) == len(kept)
    held_out = {plain(item.text) for item in [*found["dev"], *found["test"]]} - {""}
    left_out = [item for item in items if item.id not in kept]
    assert all(drop and plain(item.text) in held_out for item in left_out)
    assert math.isclose(result.left_out_seconds, sum(item.duration for item in left_out), abs_tol=1e-3)
    if drop:
        assert not held_out & {plain(item.text) for item in found["train"]}
    total = sum(item.duration for part in found.values() for item in part)
    for part in result.parts:
        inside = found[part.name]
        assert part.utterances == len(inside) > 0
        assert math.isclose(part.seconds, sum(item.duration for item in inside), abs_tol=1e-3)
        assert math.isclose(part.share, part.seconds / total, abs_tol=1e-3)
        assert part.speakers == len({item.speaker for item in inside} - {None})
        assert part.shared_speakers == 0
        known = {plain(item.text) for item in found["train"]} - {""} if part.name != "train" else set()
        assert part.shared_sentences == sum(plain(item.text) in known for item in inside)


@settings(max_examples=40, deadline=None)
@given(rows_of_many, st.integers(0, 5))
def test_split_by_sentence_keeps_equal_sentences_together(rows: list[Row], seed: int) -> None:
    items = utterances(rows)
    assume(len({plain(item.text) for item in items} - {""}) >= 3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result = split(written(folder, items), folder, shares=SHARES, seed=seed, by="sentence")
        found = parts(result)
    train, dev, test = ({plain(item.text) for item in found[name]} - {""} for name in SHARES)
    assert not train & (dev | test)
    assert not dev & test
    assert sorted(item.id for part in found.values() for item in part) == sorted(item.id for item in items)
    speakers = {item.speaker for item in found["train"]} - {None}
    for part in result.parts[1:]:
        assert part.shared_sentences == 0
        assert part.shared_speakers == len({item.speaker for item in found[part.name]} & speakers)


@settings(max_examples=30, deadline=None)
@given(rows_of_many, st.randoms(use_true_random=False), st.sampled_from(["auto", "sentence", "utterance"]))
def test_order_of_the_manifest_changes_nothing_but_the_order(rows: list[Row], rng: random.Random, by: str) -> None:
    items = utterances(rows)
    shuffled = rng.sample(items, len(items))
    found = []
    for order in (items, shuffled):
        with tempfile.TemporaryDirectory() as name:
            try:
                result = split(written(Path(name), order), Path(name), shares=SHARES, by=by)  # type: ignore[arg-type]
            except ManifestError as error:
                found.append(str(error).replace(name, ""))
                continue
            where = {item.id: part for part, inside in parts(result).items() for item in inside}
            assert [item.id for item in parts(result)["train"]] == [i.id for i in order if where[i.id] == "train"]
            found.append(repr(sorted(where.items())))
    assert found[0] == found[1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(50, 100), min_size=40, max_size=120), st.floats(0.05, 0.3), st.floats(0.05, 0.3))
def test_shares_are_met_within_half_a_group(weights: list[int], dev: float, test: float) -> None:
    shares = [1 - dev - test, dev, test]
    given_to = assign(np.array(weights, float), shares, np.zeros(len(weights), bool))
    for part in (1, 2):
        weight = sum(w for w, p in zip(weights, given_to, strict=True) if p == part)
        assert abs(weight - shares[part] * sum(weights)) <= max(weights) / 2 + 1e-6


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=4, max_size=10), st.lists(st.integers(1, 9), min_size=2, max_size=4))
def test_every_part_has_a_group_and_the_pinned_ones_are_in_the_first(weights: list[int], ratio: list[int]) -> None:
    pinned = np.array([True, *[False] * (len(weights) - 1)])
    shares = [share / sum(ratio) for share in ratio]
    given_to = assign(np.array(weights, float), shares, pinned)
    assert given_to[0] == 0
    assert set(given_to.tolist()) == set(range(len(ratio)))


# What holds for chosen ones


def test_light_groups_are_shared_out_where_heavy_ones_would_not_fit() -> None:
    weights, free = np.array([100.0, 100, 5, 100, 5]), np.zeros(5, bool)
    assert assign(weights, [0.8, 0.1, 0.1], free).tolist() == [0, 0, 1, 0, 2]  # 31 each is asked for


def test_part_that_nothing_fits_gets_the_lightest() -> None:
    assert assign(np.array([70.0, 50, 60]), [0.8, 0.2], np.zeros(3, bool)).tolist() == [0, 1, 0]


def test_three_speakers_fill_three_parts() -> None:
    assert sorted(assign(np.array([9.0, 7.0, 8.0]), [0.8, 0.1, 0.1], np.zeros(3, bool)).tolist()) == [0, 1, 2]


def test_hundred_even_speakers_are_split_exactly_and_by_the_seed(tmp_path: Path) -> None:
    manifest = written(tmp_path, utterances(even(100, 3)))
    first, again, other = (
        split(manifest, tmp_path / name, shares=SHARES, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first.by == "speaker"
    assert [(part.name, part.speakers, part.utterances, part.seconds) for part in first.parts] == [
        ("train", 80, 240, 480.0),
        ("dev", 10, 30, 60.0),
        ("test", 10, 30, 60.0),
    ]
    assert [part.share for part in first.parts] == [0.8, 0.1, 0.1]
    assert parts(first) == parts(again)
    assert {item.speaker for item in parts(first)["dev"]} != {item.speaker for item in parts(other)["dev"]}
    assert first.parts[1].path == tmp_path / "a" / "dev" / "cuts.jsonl"


def test_sentences_that_all_speakers_read_are_counted(tmp_path: Path) -> None:
    result = split(written(tmp_path, utterances(even(10, 4, same=True))), tmp_path, shares=SHARES)
    assert [part.shared_sentences for part in result.parts] == [0, 4, 4]


def test_dropping_shared_sentences_leaves_dev_and_test_as_they_were(tmp_path: Path) -> None:
    manifest = written(
        tmp_path, utterances([*even(10, 4), *((f"s{i}", "YES" if i % 2 else "yes", 1) for i in range(10))])
    )
    whole = split(manifest, tmp_path / "whole", shares=SHARES)
    dropped = split(manifest, tmp_path / "dropped", shares=SHARES, drop_shared_sentences=True)
    assert [part.shared_sentences for part in whole.parts] == [0, 1, 1]
    assert [part.shared_sentences for part in dropped.parts] == [0, 0, 0]
    assert (dropped.left_out, dropped.left_out_seconds) == (8, 8.0)
    assert parts(dropped)["train"] == [item for item in parts(whole)["train"] if plain(item.text) != "yes"]
    assert [parts(dropped)[name] for name in ("dev", "test")] == [parts(whole)[name] for name in ("dev", "test")]


def test_without_speakers_the_sentences_are_kept_apart(tmp_path: Path) -> None:
    items = utterances([(None, f"sentence {i % 20}", 1.0) for i in range(60)])
    result = split(written(tmp_path, items), tmp_path, shares={"train": 0.8, "dev": 0.2})
    assert result.by == "sentence"
    assert (result.without_speaker, [part.utterances for part in result.parts]) == (60, [48, 12])


def test_utterances_without_a_speaker_go_to_train(tmp_path: Path) -> None:
    items = utterances([*even(10, 2), *((None, f"nobody {i}", 1.0) for i in range(5))])
    result = split(written(tmp_path, items), tmp_path, shares=SHARES)
    assert (result.by, result.without_speaker) == ("speaker", 5)
    assert sum(item.speaker is None for item in parts(result)["train"]) == 5


def test_relative_audio_is_found_from_the_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [Utterance(f"u{i}", Path(f"wav/{i}.wav"), 1.0, 8000, f"{i}", f"{i}") for i in range(4)]
    written(tmp_path, items)
    monkeypatch.chdir(tmp_path)
    result = split(Path("all"), Path("parts"), shares={"train": 0.5, "dev": 0.5})
    for inside in parts(result).values():
        assert [item.audio for item in inside] == [tmp_path / "all" / "wav" / f"{item.id[1:]}.wav" for item in inside]


# What cannot be split


@pytest.mark.parametrize(
    ("rows", "by", "message"),
    [
        ([], "auto", "no utterance in it"),
        (
            even(1, 9),
            "auto",
            "3 parts need 3 or more different speakers, and it has 1; split by sentence with --by sen",
        ),
        (
            even(2, 9),
            "speaker",
            "has 2; split by sentence with --by sentence, or ask for fewer parts, as with --test 0",
        ),
        ([(None, "one", 1.0)] * 9, "speaker", "need 2 or more different speakers, and it has none"),
        ([("a", "one", 1.0), (None, "two", 1.0)], "auto", "need 2 or more different speakers, and it has 1"),
        (
            [("a", "the same", 1.0)] * 9,
            "sentence",
            "need 3 or more different sentences, and it has 1; split with --by utt",
        ),
        (even(1, 2), "utterance", "3 parts need 3 or more utterances, and it has 2"),
    ],
)
def test_too_few_to_split_is_an_error_with_the_remedy(tmp_path: Path, rows: list[Row], by: str, message: str) -> None:
    manifest = written(tmp_path, utterances(rows))
    with pytest.raises(ManifestError) as caught:
        split(manifest, tmp_path, shares=SHARES, by=by)  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"{manifest}: ")
    assert message in str(caught.value)
    assert everything_below(tmp_path) == ["all/cuts.jsonl"]


def test_dropping_every_sentence_of_train_is_refused(tmp_path: Path) -> None:
    manifest = written(tmp_path, utterances(even(10, 4, same=True)))
    with pytest.raises(ManifestError, match=r"every sentence of train is in another part too.*--by sentence"):
        split(manifest, tmp_path, shares=SHARES, drop_shared_sentences=True)
    assert everything_below(tmp_path) == ["all/cuts.jsonl"]


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"train": 0.8, "dev": 0.1}, "they sum to 0.9, not to 1"),
        ({"train": 0.8, "dev": 0.4}, "they sum to 1.2, not to 1"),
        ({"train": 1.1, "dev": -0.1}, "each must be more than 0"),
        ({"train": 1.0, "dev": 0.0}, "each must be more than 0"),
        ({"train": float("nan"), "dev": 0.5}, "each must be more than 0"),
        ({"train": 1.0}, "a split needs two parts"),
        ({}, "sum to 0"),
    ],
)
def test_shares_that_are_no_division_are_refused(tmp_path: Path, shares: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        split(tmp_path, tmp_path, shares=shares)


def test_parts_that_exist_are_replaced_only_on_demand_and_the_source_never(tmp_path: Path) -> None:
    manifest = written(tmp_path, utterances(even(10, 2)))
    first = split(manifest, tmp_path, shares=SHARES)
    with pytest.raises(ConfigError, match=r"train/cuts\.jsonl exists already.*--overwrite"):
        split(manifest, tmp_path, shares=SHARES, seed=1)
    again = split(manifest, tmp_path, shares=SHARES, seed=1, overwrite=True)
    assert [part.path for part in again.parts] == [part.path for part in first.parts]
    with pytest.raises(ConfigError, match=r"train/cuts\.jsonl is the manifest that is read"):
        split(tmp_path / "train", tmp_path, shares=SHARES, overwrite=True)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The operating system refuses to let any file grow beyond `size` bytes, as a full disk would."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def unchanged(manifest: Path, output: Path, stop: Callable[[], None]) -> None:
    split(manifest, output, shares=SHARES)
    before = {path: path.read_bytes() for path in output.rglob("*.jsonl")}
    with pytest.raises(AsrError, match=r"the parts cannot be written \(.*\); none was"):
        stop()
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before


def test_full_disk_leaves_all_parts_as_they_were(tmp_path: Path) -> None:
    manifest = written(tmp_path, utterances(even(20, 10)))
    output = tmp_path / "parts"

    def stop() -> None:
        with files_of_at_most((output / "train" / "cuts.jsonl").stat().st_size - 100):
            split(manifest, output, shares=SHARES, seed=1, overwrite=True)

    unchanged(manifest, output, stop)


def test_folder_that_cannot_be_made_is_named_and_no_part_is_written(tmp_path: Path) -> None:
    manifest = written(tmp_path, utterances(even(20, 10)))
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "test").write_text("in the way")
    with pytest.raises(ManifestError, match=r"parts: the parts cannot be written"):
        split(manifest, tmp_path / "parts", shares=SHARES)
    assert everything_below(tmp_path / "parts") == ["test"]
