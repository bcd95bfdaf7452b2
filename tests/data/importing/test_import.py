from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lhotse
import pytest

from asr.data.importing import FORMATS, detect, import_data
from asr.data.manifest import read_manifest
from asr.errors import ConfigError, ManifestError

Record = Callable[..., Path]
REPOSITORY = Path(__file__).resolve().parents[3]


def written(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_formats_are_detected(tmp_path: Path, record: Record) -> None:
    record("texts/a/one.wav")
    written(tmp_path / "texts/a/one.txt")
    record("libri/1/2/1-2-3.wav")
    written(tmp_path / "libri/1/2/1-2.trans.txt", "1-2-3 A\n")
    written(tmp_path / "kaldi/wav.scp", "a a.wav\n")
    written(tmp_path / "hub/metadata.csv", "file_name,text\n")
    voice = written(tmp_path / "voice/dev.tsv", "client_id\tpath\tsentence\n")
    record("voice/clips/a.wav")
    lone = written(tmp_path / "lone/train.tsv", "path\tsentence\n").parent
    found = {name: detect(tmp_path / name) for name in ("texts", "libri", "kaldi", "hub", "voice")}
    assert found == {
        "texts": "text_files",
        "libri": "librispeech",
        "kaldi": "kaldi",
        "hub": "huggingface",
        "voice": "common_voice",
    }
    assert detect(voice) == "common_voice"
    assert detect(lone) == detect(lone / "train.tsv") == "table"
    assert detect(written(tmp_path / "list.txt", "file;transcript\n")) == "table"
    assert detect(written(tmp_path / "a.manifest", '\n{"audio_filepath": "a.wav"}\n')) == "nemo"
    assert detect(written(tmp_path / "b.jsonl", 'broken\n{"file_name": "a.wav"}\n')) == "huggingface"


def test_where_several_formats_fit_the_user_chooses(tmp_path: Path, record: Record) -> None:
    record("set/one.wav")
    written(tmp_path / "set/one.txt", "from the text file")
    written(tmp_path / "set/list.csv", "audio,text\none.wav,from the table\n")
    with pytest.raises(ManifestError, match="could be table or text_files; choose one with --format"):
        import_data(tmp_path / "set", tmp_path / "out")
    for name, text in (("table", "from the table"), ("text_files", "from the text file")):
        result = import_data(tmp_path / "set", tmp_path / name, format=name)
        assert [u.text for u in read_manifest(result.manifest)] == [text]


def test_where_no_format_fits_the_error_says_what_there_is(tmp_path: Path, record: Record) -> None:
    record("set/a.wav")
    record("set/x/b.wav")
    written(tmp_path / "set/notes.md")
    with pytest.raises(ManifestError, match=r"no format fits \(found 2 .wav, 1 .md\)") as caught:
        import_data(tmp_path / "set", tmp_path / "out")
    assert all(f"\n  {name} " in str(caught.value) for name in FORMATS)
    with pytest.raises(ManifestError, match="the folder holds no files"):
        detect(written(tmp_path / "empty/.hidden").parent)
    with pytest.raises(ManifestError, match="the file is none of them"):
        detect(written(tmp_path / "prose.txt", "Once upon a time\n"))


def test_a_folder_of_recordings_that_cannot_be_read_says_how_to_convert_them(tmp_path: Path, record: Record) -> None:
    for name in ("a.m4a", "x/b.M4A", "x/c.wma"):
        written(tmp_path / "set" / name)
    with pytest.raises(ManifestError) as caught:
        detect(tmp_path / "set")
    assert "set: found 2 .m4a, 1 .wma; sound in .m4a, .wma cannot be read: convert it with `ffmpeg" in str(caught.value)
    assert "--format" not in str(caught.value)
    record("set/x/d.wav")
    with pytest.raises(ManifestError, match=r"no format fits \(found 2 .m4a, 1 .wma, 1 .wav\)"):
        detect(tmp_path / "set")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", b"", "empty; the first line must name the columns"),
        ("header.csv", b"audio,text\n", "holds no utterances; nothing is written"),
        ("sheet.xlsx", b"PK\x03\x04\x14\0\0\0", "not a text file; .* can be saved as CSV"),
        ("gone.csv", b"audio,text\na.wav,a\nb.wav,b\n", "none of 2 utterances can be used, nothing is written\n.*miss"),
    ],
)
def test_sources_without_utterances(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ManifestError, match=message):
        import_data(tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    for format_ in ("auto", "table", "kaldi"):
        with pytest.raises(ManifestError, match="no such file or folder"):
            import_data(tmp_path / "nowhere", tmp_path / "out", format=format_)
    with pytest.raises(ConfigError, match="format 'excel' is unknown; choose one of auto, table"):
        import_data(tmp_path, tmp_path / "out", format="excel")


def test_ids_of_the_source_come_first_and_repeated_ones_are_named(tmp_path: Path, record: Record) -> None:
    record("one.wav")
    rows = ("x,one.wav,a", "two words,one.wav,b", "x,one.wav,c", ",one.wav,d", ",one.wav,e", "one,one.wav,f")
    source = written(tmp_path / "t.csv", "id,audio,text\n" + "\n".join(rows))
    result = import_data(source, tmp_path / "out")
    found = {u.text: u.id for u in read_manifest(result.manifest)}
    assert found == {"a": "x", "b": "two words", "d": "one", "e": "one-2"}
    assert [(p.id, p.kind) for p in result.problems] == [
        ("t.csv, line 4", "repeated id"),
        ("t.csv, line 7", "repeated id"),
    ]


def test_ids_do_not_depend_on_where_the_corpus_is(tmp_path: Path, record: Record) -> None:
    ids = []
    for home in ("here", "there/below"):
        for name in ("a/1.wav", "b/1.wav", "2.wav"):
            record(f"{home}/{name}")
        source = written(tmp_path / home / "t.csv", "audio,text\na/1.wav,x\nb/1.wav,x\n./b/../2.wav,x\n")
        ids.append([u.id for u in read_manifest(import_data(source, tmp_path / home / "out").manifest)])
    assert ids == [["a-1", "b-1", "2"]] * 2


def test_the_manifest_works_from_anywhere(tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    audio = record("set/long.wav", seconds=4, channels=2)
    written(tmp_path / "set/t.csv", "audio,text,start,end\nlong.wav,one,0,1.5\nlong.wav,two,1.5,4\n")
    monkeypatch.chdir(tmp_path)
    manifest = import_data("set/t.csv", "out").manifest
    monkeypatch.chdir("/")
    assert [u.audio for u in read_manifest(tmp_path / manifest)] == [audio, audio]
    cuts = list(lhotse.CutSet.from_file(tmp_path / manifest))
    for cut in cuts:
        lhotse.validate(cut)
    assert [(cut.start, cut.end, cut.recording.duration) for cut in cuts] == [(0.0, 1.5, 4.0), (1.5, 4.0, 4.0)]


def test_progress_counts_every_entry(tmp_path: Path, record: Record) -> None:
    record("one.wav")
    source = written(tmp_path / "t.csv", "audio,text\none.wav,a\ngone.wav,b\none.wav,c\n")
    seen: list[tuple[int, int]] = []
    result = import_data(source, tmp_path / "out", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert (result.utterances, result.seconds) == (2, 2.0)


def test_importing_again_replaces_the_manifest_where_told(tmp_path: Path, record: Record) -> None:
    record("set/one.wav")
    written(tmp_path / "set/one.txt", "first")
    import_data(tmp_path / "set", tmp_path / "set")
    written(tmp_path / "set/one.txt", "second")
    with pytest.raises(ConfigError, match=r"set/cuts\.jsonl exists already; choose another --output, or .*--overwrite"):
        import_data(tmp_path / "set", tmp_path / "set")
    assert [u.text for u in read_manifest(tmp_path / "set")] == ["first"]
    manifest = import_data(tmp_path / "set", tmp_path / "set", overwrite=True).manifest
    assert [u.text for u in read_manifest(manifest)] == ["second"]


def test_a_disk_that_fills_up_leaves_the_old_manifest_alone(tmp_path: Path, record: Record) -> None:
    record("one.wav")
    source = written(tmp_path / "t.csv", "audio,text\n" + "one.wav,some words\n" * 2000)
    old = written(tmp_path / "out/cuts.jsonl", "what was there\n")
    code = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"  # writing beyond it fails, as on a full disk
        "from asr.data.importing import import_data\n"
        "import_data(sys.argv[1], sys.argv[2], overwrite=True)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    ran = subprocess.run(
        [sys.executable, "-c", code, source, old.parent], capture_output=True, text=True, env=environment
    )
    assert ran.returncode != 0
    assert f"ManifestError: {old}: cannot be written (File too large)" in ran.stderr
    assert [(path.name, path.read_text()) for path in old.parent.iterdir()] == [("cuts.jsonl", "what was there\n")]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_an_output_that_cannot_be_written(tmp_path: Path, record: Record) -> None:
    record("one.wav")
    source = written(tmp_path / "t.csv", "audio,text\none.wav,a\n")
    with pytest.raises(ManifestError, match=r"t.csv/cuts.jsonl: cannot be written"):
        import_data(source, source)
