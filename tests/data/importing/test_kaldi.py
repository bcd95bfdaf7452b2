from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from asr.data.importing import import_data
from asr.data.importing.pipes import NotADecoder, decoded_file
from asr.data.manifest import Utterance, read_manifest
from asr.errors import ConfigError, ManifestError

Record = Callable[..., Path]


def directory(folder: Path, **files: str) -> Path:
    """A Kaldi data directory; `wav_scp` stands for wav.scp."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content, encoding="utf-8")
    return folder


def test_whole_recordings(tmp_path: Path, record: Record) -> None:
    one, two = record("my wavs/one.wav"), record("my wavs/two.wav", seconds=2)
    source = directory(
        tmp_path / "data",
        wav_scp=f"eve-1 {one}\neve-2   ../my wavs/two.wav  \nx-3 {one}\nx-4 {one}\n",
        text="eve-1 grüß  gott\neve-2\tHELLO\nx-3\nx-4 a\n",
        utt2spk="eve-1 eve\neve-2 eve\nx-3 x-3\n",
    )
    result = import_data(source, tmp_path / "out")
    assert (result.format, result.problems, result.without_text) == ("kaldi", [], 1)
    assert list(read_manifest(result.manifest)) == [
        Utterance("eve-1", one, 1.0, 8000, "grüß  gott", "eve"),
        Utterance("eve-2", two, 2.0, 8000, "HELLO", "eve"),
        Utterance("x-3", one, 1.0, 8000, "", None),
        Utterance("x-4", one, 1.0, 8000, "a", None),
    ]


def test_segments(tmp_path: Path, record: Record) -> None:
    long = record("long.wav", seconds=10, channels=2)
    source = directory(
        tmp_path / "data",
        wav_scp="call long.wav\n",
        segments="a call 0.0 2.2\nb call 2.2 3.3\nc call 9.5 -1\nd call 0 10.0\ne call 1 2 1\n",
        text="".join(f"{id_} word\n" for id_ in "abcde"),
    )
    result = import_data(source, tmp_path / "out", audio_root=tmp_path)
    assert result.problems == []
    assert list(read_manifest(result.manifest)) == [
        Utterance("a", long, 2.2, 8000, "word", recording_samples=80000),
        Utterance("b", long, 1.1, 8000, "word", start=2.2, recording_samples=80000),
        Utterance("c", long, 0.5, 8000, "word", start=9.5, recording_samples=80000),
        Utterance("d", long, 10.0, 8000, "word"),
        Utterance("e", long, 1.0, 8000, "word", start=1.0, channel=1, recording_samples=80000),
    ]


def test_what_cannot_be_used_is_named_and_the_rest_goes_on(tmp_path: Path, record: Record) -> None:
    record("data/long.wav", seconds=10)
    source = directory(
        tmp_path / "data",
        wav_scp="call long.wav\ngone gone.wav\ncall other.wav\npipe sox long.wav -t wav - speed 0.9 |\nempty\n",
        segments=(
            "a call 0 1\nb call 1\nc nothing 0 1\nd gone 0 1\ne call 9 12\nf pipe 0 1\na call 2 3\n"
            "g call 3 x\nh empty 0 1\n"
        ),
        text="a one\nb two\nc three\nd four\ne five\nf six\ng seven\nz left over\n",
    )
    result = import_data(source, tmp_path / "out")
    assert [u.id for u in read_manifest(result.manifest)] == ["a"]
    assert [(p.id, p.kind) for p in result.problems] == [
        ("call (wav.scp, line 3)", "repeated id"),
        ("b (segments, line 2)", "wrong number of fields"),
        ("c (segments, line 3)", "missing audio"),
        ("d (segments, line 4)", "missing audio"),
        ("e (segments, line 5)", "outside the recording"),
        ("f (segments, line 6)", "audio from a command"),
        ("a (segments, line 7)", "repeated id"),
        ("g (segments, line 8)", "impossible times"),
        ("h (segments, line 9)", "no transcript"),
        ("z (text, line 8)", "missing audio"),
    ]


def test_a_command_is_never_run(tmp_path: Path, record: Record) -> None:
    wav, ran = record("data/it is.wav"), tmp_path / "ran"
    source = directory(
        tmp_path / "data",
        wav_scp=(
            f"a touch {ran} |\nb cat 'it is.wav' ; touch {ran} |\nc cat $(touch {ran}) |\nd cat `touch {ran}` |\n"
            "e cat 'it is.wav' |\n"
        ),
        text="a 1\nb 2\nc 3\nd 4\ne 5\n",
    )
    result = import_data(source, tmp_path / "out")
    assert not ran.exists()
    assert [(u.id, u.audio) for u in read_manifest(result.manifest)] == [("e", wav)]
    assert [p.id.split()[0] for p in result.problems] == ["a", "b", "c", "d"]
    assert f"`touch {ran} > a.wav`" in result.problems[0].message


@pytest.mark.parametrize(
    ("command", "file", "channel"),
    [
        ("flac -c -d -s /corpus/19-198-0001.flac ", "/corpus/19-198-0001.flac", None),
        ("flac -cds --silent 'a b.flac'", "a b.flac", None),
        ("/opt/kaldi/tools/sph2pipe_v2.5/sph2pipe -f wav -p -c 2 a.sph", "a.sph", 1),
        ("sph2pipe -f wav -p a.sph", "a.sph", None),
        ("sox a.mp3 -t wav -r 16k -b 16 -e signed - ", "a.mp3", None),
        ("sox -t wav a.wav -t wav - remix 2", "a.wav", 1),
        ("sox a.wav -t wav - remix -", "a.wav", None),
        ("ffmpeg -threads 1 -i a.m4b -ar 16000 -map_channel 0.0.1  -f wav -threads 1 pipe:1", "a.m4b", 1),
        ("ffmpeg -v error -i 'x y.ogg' -af 'pan=mono|c0=c3' -f wav -", "x y.ogg", 3),
        ("ffmpeg -i a.ogg -af 'pan=mono|c0<c0+c1' -f wav -", "a.ogg", None),
        ("cat '/a/it'\"'\"'s #1.wav'", "/a/it's #1.wav", None),
    ],
)
def test_plain_decoders_stand_for_their_file(command: str, file: str, channel: int | None) -> None:
    assert decoded_file(command) == (file, channel)


@pytest.mark.parametrize(
    "command",
    [
        "",
        "wget -O - http://example.com/a.wav",
        "sox a.wav -t wav - trim 0 10",
        "sox a.wav -t wav - remix 1,2",
        "sox -v 0.9 a.wav -t wav -",
        "sox a.wav b.wav -t wav -",
        "sph2pipe -f wav -p a.sph | sox -t wav - -r 8k -t wav -",
        "sph2pipe -f wav -t 0:10 a.sph",
        "sph2pipe a.sph",
        "flac -c a.wav",
        "flac -c -d --skip=100 a.flac",
        "ffmpeg -ss 10 -i a.wav -f wav -",
        "ffmpeg -i a.wav -af atempo=1.1 -f wav -",
        "ffmpeg -i a.wav -f wav b.wav",
        "cat a.wav b.wav",
        "cat a.wav > b.wav",
        "cat 'a.wav",
    ],
)
def test_other_commands_are_refused(command: str) -> None:
    with pytest.raises(NotADecoder):
        decoded_file(command)


def test_incomplete_directories(tmp_path: Path) -> None:
    source = directory(tmp_path / "data", wav_scp="a a.wav\n")
    with pytest.raises(ManifestError, match=r"no text; give a Kaldi data directory"):
        import_data(source, tmp_path / "out", format="kaldi")
    with pytest.raises(ConfigError, match="format kaldi has no columns"):
        import_data(source, tmp_path / "out", format="kaldi", columns={"text": "words"})
