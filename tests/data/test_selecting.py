from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import lhotse
import numpy as np
import pytest
import soundfile

from asr.data.manifest import Utterance, read_manifest, write_manifest
from asr.data.selecting import Rules, filter_manifest, merge, read_ids
from asr.errors import ConfigError, ManifestError

ROWS = [  # id, seconds, transcript, speaker
    ("a", 0.5, "yes", "ann"),
    ("b", 2.0, "Turn left here", "ann"),
    ("c", 3.5, "turn right", "bob"),
    ("d", 8.0, "call 112 now please", "bob"),
    ("e", 4.0, "", "cem"),
    ("f", 5.0, None, None),
]


def utterance(name: str, seconds: float = 1.0, text: str | None = "hi", speaker: str | None = None) -> Utterance:
    return Utterance(name, Path(f"/audio/{name}.wav"), seconds, 16000, text, speaker)


def written(folder: Path, *names: str, speaker: str | None = None) -> Path:
    write_manifest(folder / "cuts.jsonl", [utterance(name, speaker=speaker) for name in names])
    return folder


def ids(path: Path) -> list[str]:
    return [item.id for item in read_manifest(path)]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    write_manifest(tmp_path / "all" / "cuts.jsonl", [utterance(*row) for row in ROWS])
    return tmp_path / "all"


# merge


def test_manifests_are_joined_in_the_order_given(tmp_path: Path) -> None:
    one, two = written(tmp_path / "one", "b", "a", speaker="ann"), written(tmp_path / "two", "c", speaker="bob")
    result = merge([two, one], tmp_path / "both")
    assert list(read_manifest(result.path)) == [*read_manifest(two), *read_manifest(one)]
    assert (result.utterances, result.seconds, result.shared_speakers) == (3, 3.0, ())
    assert [(source.path, source.utterances) for source in result.sources] == [(two, 1), (one, 2)]


def test_id_that_repeats_is_named_with_both_manifests(tmp_path: Path) -> None:
    one, two = written(tmp_path / "one", "a", "b"), written(tmp_path / "two", "c", "b")
    with pytest.raises(ManifestError) as caught:
        merge([one, two], tmp_path / "both")
    assert str(caught.value) == f"id 'b' is in {one} and in {two}; use --prefix to tell them apart"
    assert not list(tmp_path.glob("both/*"))


def test_prefix_is_as_much_of_the_path_as_tells_the_manifests_apart(tmp_path: Path) -> None:
    folders = [written(tmp_path / name, "a") for name in ("an4/train", "an4/dev", "fsdd/train")]
    assert ids(merge(folders[:2], tmp_path / "two", prefix=True).path) == ["train-a", "dev-a"]
    assert ids(merge(folders, tmp_path / "three", prefix=True).path) == ["an4-train-a", "an4-dev-a", "fsdd-train-a"]


def test_prefix_of_a_file_is_its_name(tmp_path: Path) -> None:
    files = [tmp_path / "mine.jsonl", tmp_path / "yours.jsonl.gz"]
    for file in files:
        write_manifest(file, [utterance("a")])
    assert ids(merge(files, tmp_path / "both", prefix=True).path) == ["mine-a", "yours-a"]


def test_equal_speakers_are_reported_and_told_apart_on_demand(tmp_path: Path) -> None:
    one, two = written(tmp_path / "one", "a", speaker="1"), written(tmp_path / "two", "b", speaker="1")
    assert merge([one, two], tmp_path / "x").shared_speakers == ("1",)
    apart = merge([one, two], tmp_path / "y", prefix_speakers=True)
    assert apart.shared_speakers == ()
    assert [(item.id, item.speaker) for item in read_manifest(apart.path)] == [("a", "one-1"), ("b", "two-1")]


def test_manifest_named_twice_is_refused(tmp_path: Path) -> None:
    one = written(tmp_path / "one", "a")
    with pytest.raises(ConfigError, match="named twice"):
        merge([one, one / "cuts.jsonl"], tmp_path / "both", prefix=True)


def test_empty_manifest_adds_nothing_and_empty_ones_alone_are_an_error(tmp_path: Path) -> None:
    one, empty = written(tmp_path / "one", "a"), written(tmp_path / "empty")
    assert [source.utterances for source in merge([empty, one], tmp_path / "both").sources] == [0, 1]
    with pytest.raises(ManifestError, match=r"no utterance in .*empty"):
        merge([empty], tmp_path / "none")
    assert not list(tmp_path.glob("none/*"))


def test_broken_line_of_the_second_manifest_leaves_nothing(tmp_path: Path) -> None:
    one, two = written(tmp_path / "one", "a"), written(tmp_path / "two", "b")
    with open(two / "cuts.jsonl", "a") as file:
        file.write('{"id": "c"\n')
    with pytest.raises(ManifestError, match=r"two/cuts\.jsonl, line 2: not JSON"):
        merge([one, two], tmp_path / "both")
    assert not list(tmp_path.glob("both/*"))


def test_target_that_is_read_or_exists_is_kept(tmp_path: Path) -> None:
    one, two = written(tmp_path / "one", "a"), written(tmp_path / "two", "b")
    with pytest.raises(ConfigError, match="is the manifest that is read"):
        merge([one, two], two, overwrite=True)
    merge([one, two], tmp_path / "both")
    with pytest.raises(ConfigError, match="exists already"):
        merge([one, two], tmp_path / "both")
    assert merge([one], tmp_path / "both", overwrite=True).utterances == 1


def test_merged_and_filtered_audio_is_still_found_and_lhotse_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 8000).astype(np.float32)
    for name in ("one", "two"):
        (tmp_path / name / "wav").mkdir(parents=True)
        soundfile.write(tmp_path / name / "wav" / f"{name}.wav", samples, 8000, subtype="FLOAT")
        item = Utterance(name, Path("wav") / f"{name}.wav", 1.0, 8000, "hi", name)
        write_manifest(tmp_path / name / "cuts.jsonl", [item])
    monkeypatch.chdir(tmp_path)
    both = merge(["one", "two"], "both").path.absolute()
    few = filter_manifest("two", "few", Rules(speakers=frozenset({"two"}))).path.absolute()
    monkeypatch.chdir(tmp_path / "few")
    cuts = [*lhotse.CutSet.from_file(both), *lhotse.CutSet.from_file(few)]
    assert [cut.supervisions[0].speaker for cut in cuts] == ["one", "two", "two"]
    for cut in cuts:
        np.testing.assert_array_equal(cut.load_audio()[0], samples)


# filter


@pytest.mark.parametrize(
    ("rules", "kept", "dropped"),
    [
        ({"min_seconds": 2.0}, "bcdef", {"min_seconds": 1}),
        ({"max_seconds": 3.5}, "abc", {"max_seconds": 3}),
        ({"min_words": 1}, "abcd", {"min_words": 2}),
        ({"max_words": 2}, "acef", {"max_words": 2}),
        ({"speakers": {"ann", "cem"}}, "abe", {"speakers": 3}),
        ({"exclude_speakers": {"ann", "cem"}}, "cdf", {"exclude_speakers": 3}),
        ({"text": "turn"}, "c", {"text": 5}),
        ({"text": "(?i)^turn"}, "bc", {"text": 4}),
        ({"exclude_text": r"\d"}, "abcef", {"exclude_text": 1}),
        ({"ids": {"f", "a"}}, "af", {"ids": 4}),
        ({"exclude_ids": {"f", "a"}}, "bcde", {"exclude_ids": 2}),
        (
            {"min_seconds": 1.0, "min_words": 1, "exclude_text": r"\d"},
            "bc",
            {"min_seconds": 1, "min_words": 2, "exclude_text": 1},
        ),
    ],
)
def test_each_rule_drops_what_it_says(
    tmp_path: Path, manifest: Path, rules: dict[str, Any], kept: str, dropped: dict[str, int]
) -> None:
    rules = {name: frozenset(value) if isinstance(value, set) else value for name, value in rules.items()}
    result = filter_manifest(manifest, tmp_path / "few", Rules(**rules))
    assert list(read_manifest(result.path)) == [utterance(*row) for row in ROWS if row[0] in kept]
    assert (result.utterances, result.of_utterances, result.dropped) == (len(kept), 6, dropped)
    assert result.seconds == sum(row[1] for row in ROWS if row[0] in kept)
    assert result.of_seconds == 23.0
    assert result.unknown == {}


def test_names_that_no_utterance_has_are_reported(tmp_path: Path, manifest: Path) -> None:
    rules = Rules(ids=frozenset("axy"), exclude_speakers=frozenset({"ann", "dan"}), exclude_ids=frozenset("z"))
    with pytest.raises(ManifestError, match="none of 6 utterances is left"):
        filter_manifest(manifest, tmp_path / "none", rules)
    rules = Rules(ids=frozenset("acxy"), exclude_speakers=frozenset({"ann", "dan"}), exclude_ids=frozenset("z"))
    result = filter_manifest(manifest, tmp_path / "few", rules)
    assert ids(result.path) == ["c"]
    assert result.unknown == {"ids": ["x", "y"], "exclude_speakers": ["dan"], "exclude_ids": ["z"]}


def test_sample_is_the_same_for_a_seed_whatever_the_order(tmp_path: Path) -> None:
    names = [f"u{i}" for i in range(100)]
    manifest = written(tmp_path / "all", *names)
    shuffled = written(tmp_path / "shuffled", *random.Random(0).sample(names, 100))
    first = ids(filter_manifest(manifest, tmp_path / "a", Rules(), sample=20).path)
    assert sorted(first) == sorted(ids(filter_manifest(shuffled, tmp_path / "b", Rules(), sample=20).path))
    assert len(set(first)) == 20
    assert first == [name for name in names if name in first]
    assert first != ids(filter_manifest(manifest, tmp_path / "c", Rules(), sample=20, seed=1).path)
    more = filter_manifest(manifest, tmp_path / "d", Rules(), sample=30)
    assert set(first) < set(ids(more.path))
    assert more.dropped == {"sample": 70}
    assert filter_manifest(manifest, tmp_path / "e", Rules(), sample=1000).utterances == 100


def test_hours_are_drawn_from_what_the_rules_leave(tmp_path: Path) -> None:
    rng = random.Random(0)
    items = [utterance(f"u{i}", rng.uniform(1, 9)) for i in range(500)]
    write_manifest(tmp_path / "all" / "cuts.jsonl", items)
    result = filter_manifest(tmp_path / "all", tmp_path / "half", Rules(min_seconds=3.0), hours=0.25)
    found = list(read_manifest(result.path))
    assert all(item.duration >= 3 for item in found)
    assert 900 - 9 < sum(item.duration for item in found) <= 900
    assert sum(result.dropped.values()) == 500 - len(found)


def test_hours_that_fit_exactly_are_drawn(tmp_path: Path) -> None:
    write_manifest(tmp_path / "all" / "cuts.jsonl", [utterance(f"u{i}", 36.0) for i in range(10)])
    assert filter_manifest(tmp_path / "all", tmp_path / "few", Rules(), hours=0.05).utterances == 5


@pytest.mark.parametrize("rules", [Rules(min_seconds=100.0), Rules(text="nowhere"), Rules(speakers=frozenset())])
def test_nothing_left_is_an_error_and_nothing_is_written(tmp_path: Path, manifest: Path, rules: Rules) -> None:
    with pytest.raises(ManifestError, match=r"none of 6 utterances is left \(--[a-z-]+ drops 6\)"):
        filter_manifest(manifest, tmp_path / "none", rules)
    assert not (tmp_path / "none").exists()


def test_empty_manifest_and_too_few_hours_are_errors(tmp_path: Path, manifest: Path) -> None:
    with pytest.raises(ManifestError, match=r"none of 0 utterances is left \(it is empty\)"):
        filter_manifest(written(tmp_path / "empty"), tmp_path / "none", Rules(min_words=1))
    with pytest.raises(ManifestError, match=r"--hours drops 6"):
        filter_manifest(manifest, tmp_path / "none", Rules(), hours=1e-5)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"min_seconds": 5.0, "max_seconds": 1.0}, "--min-seconds 5 is more than --max-seconds 1"),
        ({"min_words": 3, "max_words": 2}, "--min-words 3 is more than --max-words 2"),
        ({"min_seconds": -1.0}, "--min-seconds -1.0: give a number from 0 up"),
        ({"max_seconds": float("nan")}, "--max-seconds nan"),
        ({"text": "(left"}, "--text '(left' is not a regular expression: missing ), unterminated subpattern"),
        ({"exclude_text": "*"}, "--exclude-text '*' is not a regular expression: nothing to repeat"),
    ],
)
def test_impossible_rules_are_refused(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        Rules(**rules)


def test_impossible_draws_are_refused(tmp_path: Path, manifest: Path) -> None:
    for options, message in (
        ({}, "no rule is given"),
        ({"sample": 3, "hours": 1.0}, "give one of them"),
        ({"sample": 0}, "--sample 0: give more than 0"),
        ({"hours": -1.0}, "--hours -1: give more than 0"),
        ({"hours": float("nan")}, "--hours nan: give more than 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            filter_manifest(manifest, tmp_path / "few", Rules(), **options)
    assert not (tmp_path / "few").exists()


def test_source_is_never_the_target(manifest: Path) -> None:
    before = (manifest / "cuts.jsonl").read_bytes()
    with pytest.raises(ConfigError, match="is the manifest that is read"):
        filter_manifest(manifest / "cuts.jsonl", manifest, Rules(min_words=1), overwrite=True)
    assert (manifest / "cuts.jsonl").read_bytes() == before


def test_place_that_cannot_be_written_is_named(tmp_path: Path, manifest: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ManifestError, match=r"file/few/cuts\.jsonl: cannot be written"):
        filter_manifest(manifest, tmp_path / "file" / "few", Rules(min_words=1))


def test_ids_are_read_from_files_of_any_editor(tmp_path: Path) -> None:
    (tmp_path / "windows.txt").write_bytes(b"\xef\xbb\xbfa\r\nan id with spaces \r\n\r\n")
    assert read_ids(tmp_path / "windows.txt") == {"a", "an id with spaces"}
    (tmp_path / "spreadsheet.txt").write_text("ä\nb\n", encoding="utf-16")
    assert read_ids(tmp_path / "spreadsheet.txt") == {"ä", "b"}
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(ManifestError, match="no id in it"):
        read_ids(tmp_path / "empty.txt")
    with pytest.raises(ManifestError, match="cannot be read"):
        read_ids(tmp_path / "nowhere.txt")
