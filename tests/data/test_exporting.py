from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lhotse.kaldi
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.data.exporting import export_kaldi, export_nemo
from asr.data.importing import import_data
from asr.data.manifest import Utterance, read_manifest, write_manifest
from asr.errors import ManifestError

RATE = 8000


def record(path: Path, seconds: float = 1.0, channels: int = 1, subtype: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, (round(seconds * RATE), channels))
    soundfile.write(path, noise, RATE, subtype=subtype)
    return path


def manifest(folder: Path, *utterances: Utterance) -> Path:
    write_manifest(folder / "cuts.jsonl", utterances)
    return folder


def lines(folder: Path) -> dict[str, list[str]]:
    return {path.name: path.read_text(encoding="utf-8").splitlines() for path in folder.iterdir()}


def corpus(folder: Path) -> list[Utterance]:
    """Whole recordings and parts, one channel and all, known and unknown speakers, words and none."""
    one, flac = record(folder / "wav files/one.wav"), record(folder / "it's.flac", 2.0)
    stereo, ogg = record(folder / "call.wav", 5.0, channels=2), record(folder / "call.ogg", 5.0, channels=4)
    return [
        Utterance("bob-1", one, 1.0, RATE, "zwölf “words”", "bob"),
        Utterance("bob-2", flac, 2.0, RATE, "", "bob"),
        Utterance("bob-3", stereo, 0.7, RATE, "head", "bob", 0.0, None, 5 * RATE),
        Utterance("eve-1", stereo, 0.1, RATE, "part", "eve", 0.2, 1, 5 * RATE),
        Utterance("eve-2", stereo, 1 / 3, RATE, "part", "eve", 2.0 + 1 / 3, 1, 5 * RATE),
        Utterance("eve-3", stereo, 5.0, RATE, "all of one channel", "eve", 0.0, 0),
        Utterance("who-1", ogg, 1.5, RATE, "part", None, 3.5, None, 5 * RATE),
        Utterance("who-2", ogg, 5.0, RATE, "all", None),
    ]


@pytest.mark.parametrize("name", ["kaldi", "nemo.jsonl"])
def test_what_is_exported_is_imported_as_it_was(tmp_path: Path, name: str) -> None:
    expected = corpus(tmp_path / "audio")
    source = manifest(tmp_path / "source", *expected)
    export: Callable = {"kaldi": export_kaldi, "nemo.jsonl": export_nemo}[name]
    result = export(source, tmp_path / name)
    assert (result.path, result.utterances, result.problems) == (tmp_path / name, 8, [])
    back = import_data(tmp_path / name, tmp_path / "back")
    assert (back.format, back.problems) == (name.split(".")[0], [])
    assert list(read_manifest(back.manifest)) == expected
    assert back.manifest.read_bytes() == (source / "cuts.jsonl").read_bytes()


times = st.floats(0.001, 59.0, allow_nan=False)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spans=st.lists(st.tuples(times, times), min_size=1, max_size=5))
def test_times_are_kept_to_the_last_digit(tmp_path: Path, spans: list[tuple[float, float]]) -> None:
    long = tmp_path / "long.wav"
    if not long.exists():
        record(long, 120.0)
    expected = [
        Utterance(f"{index}", long, duration, RATE, "a", None, start, None, 120 * RATE)
        for index, (start, duration) in enumerate(spans)
    ]
    source = manifest(tmp_path / "source", *expected)
    shutil.rmtree(tmp_path / "kaldi", ignore_errors=True)
    for target in (export_kaldi(source, tmp_path / "kaldi").path, export_nemo(source, tmp_path / "n.jsonl").path):
        back = import_data(target, tmp_path / "back", overwrite=True).manifest
        assert list(read_manifest(back)) == expected


def test_kaldi_files(tmp_path: Path) -> None:
    one, flac, long = record(tmp_path / "one.wav"), record(tmp_path / "x.flac", 0.5), record(tmp_path / "long.wav", 4.0)
    source = manifest(
        tmp_path / "source",
        Utterance("b-2", long, 1.1, RATE, "later", "b", 2.2, None, 4 * RATE),
        Utterance("b-1", one, 1.0, RATE, "two  words\nand\u00a0more", "b"),
        Utterance("a-1", flac, 0.5, RATE, None, "a"),
        Utterance("B-1", long, 1.0, RATE, "earlier", None, 0.0, None, 4 * RATE),
    )
    result = export_kaldi(source, tmp_path / "data")
    assert lines(tmp_path / "data") == {
        "wav.scp": [f"a-1 flac -c -d -s {flac} |", f"b-1 {one}", f"long {long}"],
        "segments": ["B-1 long 0.0 1.0", "a-1 a-1 0.0 0.5", "b-1 b-1 0.0 1.0", "b-2 long 2.2 3.3"],
        "text": ["B-1 earlier", "a-1", "b-1 two words and more", "b-2 later"],
        "utt2spk": ["B-1 B-1", "a-1 a", "b-1 b", "b-2 b"],
        "spk2utt": ["B-1 B-1", "a a-1", "b b-1 b-2"],
        "utt2dur": ["B-1 1.0", "a-1 0.5", "b-1 1.0", "b-2 1.1"],
        "reco2dur": ["a-1 0.5", "b-1 1.0", "long 4.0"],
    }
    assert [note.split()[:2] for note in result.notes] == [["1", "utterances"], ["1", "recordings"]]


def test_ids_follow_kaldis_rules(tmp_path: Path) -> None:
    one = record(tmp_path / "one.wav")
    named = [
        ("z", "Ann B"),
        ("ann 2", "ann"),
        ("a1-x", "a"),
        ("a-1", "a"),
        ("é-1", "é"),
        ("nobody", None),
        ("n 2", None),
    ]
    source = manifest(tmp_path / "source", *(Utterance(id_, one, 1.0, RATE, "x", who) for id_, who in named))
    result = export_kaldi(source, tmp_path / "data")
    written = lines(tmp_path / "data")
    assert written["utt2spk"] == [
        "Ann_B-z Ann_B",
        "a-1 a",
        "a-a1-x a",
        "ann_2 ann",
        "n_2 n_2",
        "nobody nobody",
        "é-1 é",
    ]
    assert [note.split()[0] for note in result.notes] == ["2", "3"]
    # What Kaldi's validate_data_dir.sh does, with the same tool.
    environment = {**os.environ, "LC_ALL": "C"}
    for name, key in (("utt2spk", "-k2"), ("utt2spk", "-k1"), ("spk2utt", "-k1"), ("wav.scp", "-k1"), ("text", "-k1")):
        subprocess.run(["sort", key, "-c", tmp_path / "data" / name], check=True, env=environment)


def test_speakers_that_sort_differently_are_noted(tmp_path: Path) -> None:
    one = record(tmp_path / "one.wav")
    named = [("a-1", "a"), ("a-b-1", "a-b"), ("a-c", "a")]
    source = manifest(tmp_path / "source", *(Utterance(id_, one, 1.0, RATE, "x", who) for id_, who in named))
    (note,) = export_kaldi(source, tmp_path / "data").notes
    assert "speakers a and a-b sort differently" in note
    assert "--no-spk-sort" in note


def test_names_that_become_equal_are_refused(tmp_path: Path) -> None:
    one = record(tmp_path / "one.wav")
    source = manifest(tmp_path / "ids", *(Utterance(id_, one, 1.0, RATE, "x") for id_ in ("a b", "a_b")))
    with pytest.raises(ManifestError, match="ids 'a b' and 'a_b' both become 'a_b' for Kaldi; rename one"):
        export_kaldi(source, tmp_path / "data")
    people = [Utterance("1", one, 1.0, RATE, "x", "a b"), Utterance("2", one, 1.0, RATE, "x", "a_b")]
    with pytest.raises(ManifestError, match="speakers 'a b' and 'a_b'"):
        export_kaldi(manifest(tmp_path / "speakers", *people), tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("name", "channels", "subtype", "channel", "entry"),
    [
        ("a b.wav", 1, "PCM_16", None, "{path}"),
        ("odd:12", 1, "PCM_16", None, "cat {path} |"),
        ("24.wav", 1, "PCM_24", None, "ffmpeg -nostdin -v error -i {path} -acodec pcm_s16le -f wav - |"),
        ("a.sph", 1, "PCM_16", None, "sph2pipe -f wav -p {path} |"),
        ("a.flac", 1, "PCM_16", None, "flac -c -d -s {path} |"),
        (
            "2.flac",
            2,
            "PCM_16",
            1,
            "ffmpeg -nostdin -v error -i {path} -af 'pan=mono|c0=c1' -acodec pcm_s16le -f wav - |",
        ),
        ("3.wav", 3, "PCM_16", None, "... -af 'pan=mono|c0<c0+c1+c2' ..."),
    ],
)
def test_wav_scp_entries(
    tmp_path: Path, name: str, channels: int, subtype: str, channel: int | None, entry: str
) -> None:
    path = tmp_path / name
    kind = {".flac": "FLAC", ".sph": "NIST"}.get(path.suffix, "WAV")
    soundfile.write(path, np.zeros((RATE, channels)), RATE, subtype=subtype, format=kind)
    utterance = Utterance("u", path, 1.0, RATE, "x", channel=channel)
    export_kaldi(manifest(tmp_path / "source", utterance), tmp_path / "data")
    (line,) = lines(tmp_path / "data")["wav.scp"]
    if entry.startswith("..."):
        assert entry.strip(". ") in line
    else:
        assert line == "u " + entry.format(path=path)
    assert list(read_manifest(import_data(tmp_path / "data", tmp_path / "back").manifest)) == [utterance]


def test_lhotse_reads_the_kaldi_directory(tmp_path: Path) -> None:
    one, long = record(tmp_path / "one.wav", 1.25), record(tmp_path / "long.wav", 4.0)
    whole = [Utterance("a-1", one, 1.25, RATE, "hello there", "a"), Utterance("b-1", long, 4.0, RATE, "b", "b")]
    parts = [whole[0], Utterance("b-2", long, 1.1, RATE, "part", "b", 2.2, None, 4 * RATE)]
    for number, expected in enumerate((whole, parts)):
        folder = export_kaldi(manifest(tmp_path / f"source{number}", *expected), tmp_path / f"data{number}").path
        recordings, supervisions, _ = lhotse.kaldi.load_kaldi_data_dir(folder, sampling_rate=RATE)
        assert supervisions is not None
        assert [(s.id, s.text, s.speaker, s.start, s.duration) for s in supervisions] == [
            (u.id, u.text, u.speaker, u.start, u.duration) for u in expected
        ]
        for supervision, utterance in zip(supervisions, expected, strict=True):
            source = recordings[supervision.recording_id]
            assert source.sources[0].source == str(utterance.audio)
            assert source.num_samples == (utterance.recording_samples or round(utterance.duration * RATE))


def test_nemo_lines(tmp_path: Path) -> None:
    first, *_, last = corpus(tmp_path / "audio")
    part = corpus(tmp_path / "audio")[3]
    bare = Utterance("bare", first.audio, 1.0, RATE)
    result = export_nemo(manifest(tmp_path / "source", first, part, bare, last), tmp_path / "new/train.jsonl")
    text = result.path.read_text(encoding="utf-8")
    assert "zwölf “words”" in text
    assert [json.loads(line) for line in text.splitlines()] == [
        {
            "audio_filepath": str(first.audio),
            "duration": 1.0,
            "text": "zwölf “words”",
            "speaker": "bob",
            "id": "bob-1",
        },
        {
            "audio_filepath": str(part.audio),
            "offset": 0.2,
            "duration": 0.1,
            "text": "part",
            "speaker": "eve",
            "id": "eve-1",
            "channel": 1,
        },
        {"audio_filepath": str(first.audio), "duration": 1.0, "text": "", "id": "bare"},
        {"audio_filepath": str(last.audio), "duration": 5.0, "text": "all", "id": "who-2"},
    ]
    assert [note.split()[0] for note in result.notes] == ["1", "1"]


def test_recordings_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    one = record(tmp_path / "one.wav")
    (tmp_path / "bad.wav").write_bytes(b"noise" * 100)
    utterances = [Utterance(name, tmp_path / f"{name}.wav", 1.0, RATE, "x") for name in ("bad", "gone", "one")]
    result = export_kaldi(manifest(tmp_path / "source", *utterances), tmp_path / "data")
    assert lines(tmp_path / "data")["wav.scp"] == [f"one {one}"]
    assert [(p.id, p.kind) for p in result.problems] == [("bad", "unreadable audio"), ("gone", "unreadable audio")]
    with pytest.raises(ManifestError, match=r"none of 2 utterances can be exported(.*\n)*.*gone.wav: .*no such"):
        export_kaldi(manifest(tmp_path / "bad", *utterances[:2]), tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("export", [export_kaldi, export_nemo])
def test_an_empty_manifest_is_refused(tmp_path: Path, export: Callable) -> None:
    with pytest.raises(ManifestError, match="holds no utterances; nothing is written"):
        export(manifest(tmp_path / "source"), tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_old_files_are_not_mixed_with_new_ones(tmp_path: Path) -> None:
    source = manifest(tmp_path / "source", Utterance("a", record(tmp_path / "one.wav"), 1.0, RATE, "x"))
    export_kaldi(source, tmp_path / "data")
    with pytest.raises(ManifestError, match="is not empty; old files beside new ones"):
        export_kaldi(source, tmp_path / "data")


@pytest.mark.parametrize("export", [export_kaldi, export_nemo])
def test_a_disk_that_is_full_leaves_nothing_behind(tmp_path: Path, export: Callable) -> None:
    one = record(tmp_path / "one.wav")
    utterances = (Utterance(f"utterance-{n}", one, 1.0, RATE, "some words") for n in range(2000))
    source, target = manifest(tmp_path / "source", *utterances), tmp_path / "new" / "out.jsonl"
    code = (
        "import resource, sys\n"
        "from asr.data import exporting\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"  # writing beyond it fails, as on a full disk
        "getattr(exporting, sys.argv[1])(sys.argv[2], sys.argv[3])\n"
    )
    command = [sys.executable, "-c", code, export.__name__, str(source), str(target)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert f"ManifestError: {target}: cannot be written (File too large)" in ran.stderr
    assert [path for path in target.parent.rglob("*") if path.is_file()] == []
