from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.data.corpora import common_voice
from asr.data.manifest import read_manifest
from asr.data.utterance import Utterance
from asr.errors import CorpusError, ManifestError

COLUMNS = [
    "client_id",
    "path",
    "sentence_id",
    "sentence",
    "sentence_domain",
    "up_votes",
    "down_votes",
    "age",
    "gender",
    "accents",
    "variant",
    "locale",
    "segment",
]
SENTENCES = {
    "train": ["Joe Keaton disapproved of films.", 'He said "no', "Ar hyd y nos \u2013 t\u0177."],
    "dev": ["It's a dev sentence."],
    "test": ["One.", "Two."],
}


def write_table(path: Path, rows: list[dict[str, str]], columns: list[str] = COLUMNS, line_end: str = "\n") -> None:
    lines = ["\t".join(columns), *("\t".join(row.get(name, "") for name in columns) for row in rows)]
    path.write_bytes("".join(line + line_end for line in lines).encode())


def write_corpus(root: Path, columns: list[str] = COLUMNS, line_end: str = "\n") -> Path:
    """One language in the official layout; clips of 0.5 s at 32 kHz in MP3."""
    (root / "clips").mkdir(parents=True)
    rng = np.random.default_rng(0)
    number = 0
    for part, sentences in SENTENCES.items():
        rows = []
        for sentence in sentences:
            number += 1
            name = f"common_voice_{root.name}_{number:08d}.mp3"
            noise = 0.1 * rng.standard_normal(16000)
            soundfile.write(root / "clips" / name, noise, 32000, format="MP3")
            rows.append(
                {"client_id": f"{part}{number % 2}" * 8, "path": name, "sentence": sentence, "locale": root.name}
            )
        write_table(root / f"{part}.tsv", rows, columns, line_end)
    return root


def read(manifests: dict[str, Path]) -> dict[str, list[Utterance]]:
    return {part: list(read_manifest(path)) for part, path in manifests.items()}


def test_tables_become_three_manifests(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "cv-corpus-27.0-2026-09-11" / "cy")
    parts = read(common_voice.prepare(root.parent, tmp_path / "out"))
    assert {part: [row.text for row in rows] for part, rows in parts.items()} == SENTENCES
    row = parts["train"][0]
    assert (row.id, row.speaker) == ("common_voice_cy_00000001", "train1" * 8)
    assert row.audio == root / "clips" / "common_voice_cy_00000001.mp3"
    frames = soundfile.info(row.audio).frames
    assert (row.sample_rate, row.duration) == (32000, frames / 32000)


def test_utterances_are_those_of_lhotse(tmp_path: Path) -> None:
    import csv

    from lhotse.recipes.commonvoice import _parse_utterance

    root = write_corpus(tmp_path / "cy")
    for part, rows in read(common_voice.prepare(root, tmp_path / "out")).items():
        # The recipe itself starts a process for each part, which takes seconds; this is what the process does.
        with open(root / f"{part}.tsv", encoding="utf-8") as table:
            lines = csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE)
            theirs = [_parse_utterance(root, "cy", line) for line in lines]
        assert [(row.id, row.text, row.speaker, row.duration) for row in rows] == [
            (segment.id, segment.text, segment.speaker, recording.duration) for recording, segment in theirs
        ]


@pytest.mark.parametrize("above", [0, 1, 2])
def test_folder_of_the_language_of_the_release_and_its_parent(tmp_path: Path, above: int) -> None:
    root = write_corpus(tmp_path / "cv-corpus-27.0-2026-09-11" / "cy")
    source = [root, root.parent, root.parent.parent][above]
    assert len(read(common_voice.prepare(source, tmp_path / "out"))["train"]) == 3


def test_language_is_chosen_by_an_option(tmp_path: Path) -> None:
    release = tmp_path / "cv-corpus-27.0-2026-09-11"
    for language in ("cy", "zh-CN"):
        write_corpus(release / language)
    with pytest.raises(CorpusError, match=r"several corpora \(cy, zh-CN\); choose one with `--option language=CODE`"):
        common_voice.prepare(release, tmp_path / "out")
    with pytest.raises(CorpusError, match=r"no language 'en', only cy, zh-CN"):
        common_voice.prepare(release, tmp_path / "out", language="en")
    parts = read(common_voice.prepare(release, tmp_path / "out", language="zh-CN"))
    assert {row.audio.parent.parent.name for rows in parts.values() for row in rows} == {"zh-CN"}


def test_two_releases_of_a_language_are_not_mixed(tmp_path: Path) -> None:
    for version in ("26.0-2026-06-12", "27.0-2026-09-11"):
        write_corpus(tmp_path / f"cv-corpus-{version}" / "cy")
    with pytest.raises(CorpusError, match=r"several corpora \(cy\); give the folder of one release"):
        common_voice.prepare(tmp_path, tmp_path / "out", language="cy")


def test_old_release_windows_line_ends_and_byte_order_mark(tmp_path: Path) -> None:
    columns = ["client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "accent"]
    root = write_corpus(tmp_path / "cy", columns, line_end="\r\n")
    train = root / "train.tsv"
    train.write_bytes(b"\xef\xbb\xbf" + train.read_bytes().replace(b".mp3", b""))  # releases 1 to 3 name no suffix
    parts = read(common_voice.prepare(root, tmp_path / "out"))
    assert {part: [row.text for row in rows] for part, rows in parts.items()} == SENTENCES
    assert all(row.audio.is_file() for row in parts["train"])


def test_clips_that_cannot_be_read_are_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_corpus(tmp_path / "cy")
    (root / "clips/common_voice_cy_00000001.mp3").unlink()
    (root / "clips/common_voice_cy_00000006.mp3").write_bytes(b"nothing")
    with open(root / "train.tsv", "a") as table:
        table.write("broken line\n" + "\t".join(["someone", "common_voice_cy_00000005.mp3", "", " "]) + "\n")
    parts = read(common_voice.prepare(root, tmp_path / "out"))
    assert [row.id[-1] for row in parts["train"]] == ["2", "3"]
    assert [row.id[-1] for row in parts["test"]] == ["5"]
    assert "common_voice cy: 2 utterances left out, unreadable clip:" in caplog.text
    assert "clips/common_voice_cy_00000001.mp3" in caplog.text
    assert "clips/common_voice_cy_00000006.mp3" in caplog.text
    assert "train.tsv, line 5: it has fewer columns than the first line" in caplog.text
    assert "common_voice_cy_00000005: " in caplog.text
    assert "train.tsv, line 6" in caplog.text


def test_part_without_lines_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_corpus(tmp_path / "hr")
    write_table(root / "dev.tsv", [])
    assert list(common_voice.prepare(root, tmp_path / "out")) == ["train", "test"]
    assert "dev.tsv has no lines" in caplog.text
    for part in ("train", "test"):
        write_table(root / f"{part}.tsv", [])
    with pytest.raises(CorpusError, match=r"train\.tsv, dev\.tsv and test\.tsv are empty"):
        common_voice.prepare(root, tmp_path / "out")


def test_nothing_usable_is_an_error_that_comes_with_the_reasons(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_corpus(tmp_path / "cy")
    (root / "clips/common_voice_cy_00000004.mp3").write_bytes(b"nothing")
    with pytest.raises(CorpusError, match="dev: not one usable utterance"):
        common_voice.prepare(root, tmp_path / "out")
    assert "common_voice_cy_00000004.mp3" in caplog.text
    assert not (tmp_path / "out/dev/cuts.jsonl").exists()


def test_missing_column_and_foreign_encoding_are_named(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "cy")
    write_table(root / "dev.tsv", [], columns=["client_id", "path", "text"])
    with pytest.raises(CorpusError, match=r"dev\.tsv, line 1: no column 'sentence', only client_id, path, text"):
        common_voice.prepare(root, tmp_path / "out")
    (root / "train.tsv").write_bytes("client_id\tpath\tsentence\na\tb\tt\u00f4\n".encode("latin-1"))
    with pytest.raises(ManifestError, match=r"train\.tsv, line 2: not UTF-8"):
        common_voice.prepare(root, tmp_path / "out")


def test_other_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("client_id\tpath\tsentence\n")
    with pytest.raises(CorpusError, match=r"no Common Voice here, .*cv-corpus-VERSION/LANGUAGE with train\.tsv"):
        common_voice.prepare(tmp_path, tmp_path / "out")
    with pytest.raises(CorpusError, match=r"nowhere: no such folder"):
        common_voice.prepare(tmp_path / "nowhere", tmp_path / "out")


def test_download_tells_where_the_corpus_is(tmp_path: Path) -> None:
    with pytest.raises(
        CorpusError, match=r"account: sign in at https://datacollective\.mozillafoundation\.org.*--source"
    ):
        common_voice.download(tmp_path)
