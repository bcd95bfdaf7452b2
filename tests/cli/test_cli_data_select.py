from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asr.data.manifest import Utterance, read_manifest, write_manifest

if TYPE_CHECKING:
    from tests.conftest import Ran

    Command = Callable[..., Ran]


def written(folder: Path, speakers: int = 10, each: int = 4, named: bool = True) -> Path:
    items = [
        Utterance(f"s{s}-{i}", Path(f"/audio/s{s}-{i}.wav"), 3.0, 16000, f"Sätze {s}-{i}", f"s{s}" if named else None)
        for s in range(speakers)
        for i in range(each)
    ]
    write_manifest(folder / "cuts.jsonl", items)
    return folder


def count(path: Path) -> int:
    return sum(1 for _ in read_manifest(path))


# split


def test_split_writes_three_parts_and_says_how_large(asr_command: Command, tmp_path: Path) -> None:
    ran = asr_command("data", "split", written(tmp_path / "all"), "--output", tmp_path)
    assert (ran.status, ran.err) == (0, "")
    assert [count(tmp_path / name) for name in ("train", "dev", "test")] == [32, 4, 4]
    lines = ran.out.splitlines()
    assert lines[0] == "split by speaker"
    assert [line.split() for line in lines[1:]] == [
        ["train", "32", "utterances", "1.6", "min", "8", "speakers", "80.0", "%", "(80", "%", "asked)",
         str(tmp_path / "train" / "cuts.jsonl")],
        ["dev", "4", "utterances", "0.2", "min", "1", "speakers", "10.0", "%", "(10", "%", "asked)",
         str(tmp_path / "dev" / "cuts.jsonl")],
        ["test", "4", "utterances", "0.2", "min", "1", "speakers", "10.0", "%", "(10", "%", "asked)",
         str(tmp_path / "test" / "cuts.jsonl")],
    ]  # fmt: skip


def test_split_without_a_test_set(asr_command: Command, tmp_path: Path) -> None:
    ran = asr_command("data", "split", written(tmp_path / "all"), "--output", tmp_path, "--dev", "0.2", "--test", "0")
    assert ran.status == 0
    assert [count(tmp_path / name) for name in ("train", "dev")] == [32, 8]
    assert not (tmp_path / "test").exists()


def test_split_says_when_speakers_cannot_be_kept_apart(asr_command: Command, tmp_path: Path) -> None:
    manifest = written(tmp_path / "all", named=False)
    ran = asr_command("data", "split", manifest, "--output", tmp_path)
    assert "no utterance names a speaker, so the parts may share speakers: split by sentence" in ran.out
    ran = asr_command("data", "split", written(tmp_path / "b"), "--output", tmp_path / "c", "--by", "sentence")
    assert "split by sentence\n" in ran.out
    assert "dev: 4 of 4 speakers are in train too" in ran.out


def test_split_reports_shared_sentences_and_drops_them_on_demand(asr_command: Command, tmp_path: Path) -> None:
    items = [*read_manifest(written(tmp_path / "a"))]
    items += [
        Utterance(f"x{i}", Path("/audio/x.wav"), 1.0, 16000, "ja", f"s{i}" if i < 10 else None) for i in range(11)
    ]
    write_manifest(tmp_path / "all" / "cuts.jsonl", items)
    ran = asr_command("data", "split", tmp_path / "all", "--output", tmp_path)
    assert "dev: 1 of 5 utterances have a sentence that is in train too; --drop-shared-sentences takes" in ran.out
    assert "1 utterances name no speaker; they are all in train" in ran.out
    ran = asr_command("data", "split", tmp_path / "all", "--output", tmp_path, "--drop-shared-sentences", "--overwrite")
    assert "train: 9 utterances (0.1 min) left out because another part has their sentence" in ran.out
    assert "have a sentence" not in ran.out


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--dev", "0.6", "--test", "0.6"], 2, "must sum to more than 0 and less than 1; train is the rest"),
        (["--dev", "0", "--test", "0"], 2, "must sum to more than 0"),
        (["--dev", "nan"], 2, "--dev"),
        (["--dev", "-0.1"], 2, "--dev"),
        (["--by", "gender"], 2, "--by"),
    ],
)
def test_split_of_impossible_shares(
    asr_command: Command, tmp_path: Path, arguments: list[str], status: int, message: str
) -> None:
    ran = asr_command("data", "split", written(tmp_path / "all"), "--output", tmp_path / "out", *arguments)
    assert (ran.status, ran.out) == (status, "")
    assert message in ran.err
    assert not (tmp_path / "out").exists()


def test_split_of_one_speaker_names_the_remedy(asr_command: Command, tmp_path: Path) -> None:
    ran = asr_command("data", "split", written(tmp_path / "all", speakers=1), "--output", tmp_path / "out")
    assert ran.status == 1
    assert "has 1; split by sentence with --by sentence" in ran.err
    ran = asr_command(
        "data",
        "split",
        tmp_path / "all",
        "--output",
        tmp_path / "out",
        "--by",
        "sentence",
        "--dev",
        ".25",
        "--test",
        ".25",
    )
    assert ran.status == 0
    assert "dev: 1 of 1 speakers are in train too" in ran.out


# merge


def test_merge_says_what_came_from_where(asr_command: Command, tmp_path: Path) -> None:
    one, two = written(tmp_path / "one", speakers=1), written(tmp_path / "two", speakers=2)
    ran = asr_command("data", "merge", one, two, "--output", tmp_path / "both")
    assert ran.status == 1
    assert f"id 's0-0' is in {one} and in {two}; use --prefix" in ran.err
    ran = asr_command("data", "merge", one, two, "--output", tmp_path / "both", "--prefix")
    assert ran.status == 0
    assert [line.split()[0] for line in ran.out.splitlines()] == ["4", "8", "12", "1"]
    assert f"{one} as one-..." in ran.out
    assert "1 speakers are in several of the manifests (s0); if equal names are different people" in ran.out
    assert count(tmp_path / "both") == 12


# filter


def test_filter_says_what_each_rule_dropped(asr_command: Command, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("s0-0\ns0-1\ns1-1\nnobody\n")
    arguments = ["--output", tmp_path / "few", "--speakers", "s0, s1,s99", "--exclude-text", "1$", "--ids"]
    ran = asr_command("data", "filter", written(tmp_path / "all"), *arguments, tmp_path / "ids.txt")
    assert ran.status == 0
    assert ran.out.splitlines() == [
        f"kept 1 of 40 utterances, 0.1 min of 2.0 min: {tmp_path / 'few' / 'cuts.jsonl'}",
        "     32 dropped by --speakers",
        "      2 dropped by --exclude-text",
        "      5 dropped by --ids",
    ]
    assert ran.err.splitlines() == [
        "--speakers: 1 speakers are not in the manifest: s99",
        "--ids: 1 ids are not in the manifest: nobody",
    ]
    assert [item.id for item in read_manifest(tmp_path / "few")] == ["s0-0"]


def test_filter_draws_a_sample(asr_command: Command, tmp_path: Path) -> None:
    ran = asr_command("data", "filter", written(tmp_path / "all"), "--output", tmp_path / "few", "--sample", "7")
    assert ran.out.startswith("kept 7 of 40 utterances")
    assert count(tmp_path / "few") == 7


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "no rule is given"),
        (["--text", "("], 2, "is not a regular expression"),
        (["--min-seconds", "5"], 1, "none of 40 utterances is left (--min-seconds drops 40)"),
        (["--ids", "nowhere.txt"], 1, "nowhere.txt: cannot be read"),
    ],
)
def test_filter_that_cannot_be(
    asr_command: Command, tmp_path: Path, arguments: list[str], status: int, message: str
) -> None:
    ran = asr_command("data", "filter", written(tmp_path / "all"), "--output", tmp_path / "few", *arguments)
    assert (ran.status, ran.out) == (status, "")
    assert message in ran.err
    assert not (tmp_path / "few").exists()


# stats


def test_stats_prints_tables_and_writes_numbers_and_picture(asr_command: Command, tmp_path: Path) -> None:
    one, two = written(tmp_path / "one"), written(tmp_path / "t[wo]", speakers=2, named=False)
    ran = asr_command("data", "stats", one, two, "--output", tmp_path / "out")
    assert (ran.status, ran.err) == (0, "")
    text = " ".join(ran.out.split())
    assert "t[wo]" in "".join(ran.out.split())  # no markup
    assert "together 48 2.4 min 10" in text
    assert "seconds 3.00 3.00 3.00 3.00 3.00 3.00 3.00 3.00" in text
    assert "no speaker 8 utterances" in text
    assert "ä U+00E4 48" in text
    assert "16000 Hz 48" in text
    assert json.loads((tmp_path / "out" / "statistics.json").read_text())["utterances"] == 48
    assert (tmp_path / "out" / "statistics.png").read_bytes().startswith(b"\x89PNG")


def test_stats_json_is_one_object(asr_command: Command, tmp_path: Path) -> None:
    ran = asr_command("data", "stats", written(tmp_path / "one"), "--json")
    assert ran.status == 0
    assert len(ran.out.splitlines()) == 1
    assert json.loads(ran.out)["minutes_per_speaker"]["max"] == pytest.approx(0.2)


def test_characters_are_named_so_that_they_can_be_told_apart() -> None:
    from asr.cli.data.stats import character_name

    names = [character_name(character) for character in "a é\u200b\u0301\t\xa0’'"]
    assert names == ["a", "space", "é U+00E9", "U+200B", "U+0301", "U+0009", "U+00A0", "’ U+2019", "'"]


def test_rare_characters_of_a_large_alphabet_are_shown(asr_command: Command, tmp_path: Path) -> None:
    text = "".join(chr(0x4E00 + i) * (300 - i) for i in range(299)) + "?"
    write_manifest(tmp_path / "cuts.jsonl", [Utterance("a", Path("/a.wav"), 9.0, 16000, text)])
    ran = asr_command("data", "stats", tmp_path)
    out = " ".join(ran.out.split())
    assert "300 characters" in out
    assert "... 200 more ..." in out
    assert "? 1" in out
    assert f"{chr(0x4E00)} U+4E00 300" in out
    assert "U+4E96" not in out


def test_stats_of_nothing(asr_command: Command, tmp_path: Path) -> None:
    (tmp_path / "cuts.jsonl").write_text("")
    ran = asr_command("data", "stats", tmp_path)
    assert (ran.status, ran.out) == (1, "")
    assert "no utterance in" in ran.err
    ran = asr_command("data", "stats", tmp_path / "nowhere")
    assert ran.status == 1
    assert "no such manifest" in ran.err
