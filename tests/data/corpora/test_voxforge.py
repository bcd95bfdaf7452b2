from __future__ import annotations

import functools
import http.server
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.data.corpora import voxforge
from asr.data.manifest import read_manifest
from asr.data.utterance import Utterance
from asr.errors import CorpusError

README = "User Name:Andr\u00e9\r\n\r\nSpeaker Characteristics:\r\n\r\nGender: male\r\nAge Range: adult\r\n"


def write_submission(
    root: Path, name: str, prompts: dict[str, str], *, kind: str = "wav", encoding: str = "ascii", line_end: str = "\n"
) -> Path:
    """A submission in the official layout: 0.1 s of noise for each prompt, a README in Latin-1."""
    folder = root / name
    (folder / "etc").mkdir(parents=True)
    (folder / kind).mkdir()
    (folder / "LICENSE").write_text("GPL\n")
    (folder / "etc" / "README").write_bytes(README.encode("latin-1"))
    lines = {
        "PROMPTS": [f"{name}/mfc/{key} {text.upper()}{line_end}" for key, text in prompts.items()],
        "prompts-original": [f"{key} {text}.{line_end}" for key, text in prompts.items()],
    }
    for table, rows in lines.items():
        (folder / "etc" / table).write_bytes("".join(rows).encode(encoding))
    rng = np.random.default_rng(0)
    for key in prompts:
        samples = (rng.standard_normal(1600) * 3000).astype(np.int16)
        soundfile.write(folder / kind / f"{key}.{kind}", samples, 16000)
    return folder


def write_corpus(root: Path) -> Path:
    prompts = {"a0405": "It seemed the ordained order", "b0269": "Why not like any railroad station"}
    for name in ("1snoke-20120412-hge", "1snoke-20120413-abc", "Ariyan-20120801-gra", "ariyan-20120802-xyz"):
        write_submission(root, name, prompts)
    for name in ("anonymous-20080425-atw", "Anonymous-20080425-bbb", "zoe-20100101-q"):
        write_submission(root, name, prompts, kind="flac")
    return root


def read(manifests: dict[str, Path]) -> dict[str, list[Utterance]]:
    return {part: list(read_manifest(path)) for part, path in manifests.items()}


def prepare_all(root: Path, output: Path) -> dict[str, Utterance]:
    return {row.id: row for rows in read(voxforge.prepare(root, output)).values() for row in rows}


def test_layout_becomes_parts_that_share_no_speaker(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "extracted")
    parts = read(voxforge.prepare(root.parent, tmp_path / "out"))
    speakers = {part: {row.speaker for row in rows} for part, rows in parts.items()}
    assert speakers == {
        "train": {"1snoke", "anonymous-20080425-atw", "zoe"},
        "dev": {"Anonymous-20080425-bbb"},
        "test": {"ariyan"},
    }
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 8, "dev": 2, "test": 4}
    row = parts["train"][0]
    assert (row.id, row.text) == ("1snoke-20120412-hge-a0405", "IT SEEMED THE ORDAINED ORDER")
    assert (row.audio, row.duration) == (root / "1snoke-20120412-hge/wav/a0405.wav", 0.1)
    assert parts["dev"][0].audio.name == "a0405.flac"


@pytest.mark.parametrize(
    ("folder", "speaker"),
    [
        ("ralfherzog-20071220-de34", "ralfherzog"),
        ("Jean-Luc-20071220-de34", "jean-luc"),
        ("speaker-without-date", "speaker-without-date"),
        ("anonymous-20090101-xyz", "anonymous-20090101-xyz"),
    ],
)
def test_speaker_is_the_user_in_the_name_of_the_folder(tmp_path: Path, folder: str, speaker: str) -> None:
    root = write_corpus(tmp_path / "extracted")
    write_submission(root, folder, {"a0001": "Words"})
    assert prepare_all(root, tmp_path / "out")[f"{folder}-a0001"].speaker == speaker


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252"])
def test_encodings_and_windows_line_ends(tmp_path: Path, encoding: str) -> None:
    root = write_corpus(tmp_path / "extracted")
    texts = {"a0001": "Der B\u00e4r und das Caf\u00e9", "a0002": "Words"}
    write_submission(root, "andre-20100101-abc", texts, encoding=encoding, line_end="\r\n")
    rows = prepare_all(root, tmp_path / "out")
    assert rows["andre-20100101-abc-a0001"].text == "DER B\u00c4R UND DAS CAF\u00c9"
    assert rows["andre-20100101-abc-a0002"].text == "WORDS"


def test_prompts_original_stand_in_where_prompts_lack_a_line(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "extracted")
    folder = write_submission(root, "mary-20100101-abc", {"a0001": "One", "a0002": "Two"})
    (folder / "etc/PROMPTS").write_text("mary-20100101-abc/mfc/a0001 ONE\n\n")
    other = write_submission(root, "john-20100101-abc", {"a0001": "Three"})
    (other / "etc/PROMPTS").unlink()
    rows = prepare_all(root, tmp_path / "out")
    assert [rows[f"{name}"].text for name in ("mary-20100101-abc-a0001", "mary-20100101-abc-a0002")] == ["ONE", "Two."]
    assert rows["john-20100101-abc-a0001"].text == "Three."


def test_what_cannot_be_used_is_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_corpus(tmp_path / "extracted")
    folder = write_submission(root, "mary-20100101-abc", {f"a000{n}": "Words" for n in range(1, 6)})
    (folder / "wav/a0001.wav").write_bytes(b"nothing")
    (folder / "wav/a0002.wav").write_bytes(b"")
    (folder / "wav/a0003.wav").unlink()
    for table in ("PROMPTS", "prompts-original"):
        lines = (folder / "etc" / table).read_text().splitlines()
        (folder / "etc" / table).write_text("\n".join([*lines[:3], "mary-20100101-abc/mfc/a0004", lines[4]]))
    broken = write_submission(root, "john-20100101-abc", {"a0001": "Words"})
    (broken / "etc/PROMPTS").write_bytes(b"a0001 \x81\x8d\n")
    assert [id_ for id_ in prepare_all(root, tmp_path / "out") if id_.startswith("mary")] == ["mary-20100101-abc-a0005"]
    text = caplog.text
    assert "voxforge: 2 utterances left out, unreadable recording:" in text
    assert "mary-20100101-abc/wav/a0001.wav" in text
    assert "mary-20100101-abc/wav/a0002.wav" in text
    assert "mary-20100101-abc-a0003: there is no" in text
    assert "mary-20100101-abc-a0004: " in text
    assert "john-20100101-abc/etc/PROMPTS" in text
    assert "unreadable prompts" in text


def test_fewer_than_three_speakers_are_an_error_that_comes_with_the_reasons(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a-20100101-abc", "b-20100101-abc", "c-20100101-abc"):
        folder = write_submission(tmp_path / "extracted", name, {"a0001": "Words"})
    (folder / "wav/a0001.wav").write_bytes(b"nothing")
    with pytest.raises(CorpusError, match=r"a, b.*at least three"):
        voxforge.prepare(tmp_path, tmp_path / "out")
    assert "c-20100101-abc/wav/a0001.wav" in caplog.text


def test_other_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        CorpusError, match=r"no VoxForge here, none of \*/etc/prompts-original, \*/etc/PROMPTS is there"
    ):
        voxforge.prepare(tmp_path, tmp_path / "out")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A web server that lists the archives of three submissions as the official one does; yields its folder."""
    folder = tmp_path / "site"
    folder.mkdir()
    links = ['<a href="?C=N;O=D">Name</a>', '<a href="/downloads/SpeechCorpus/">Parent Directory</a>']
    for name in ("a-20100101-abc", "b-20100101-abc", "c-20100101-abc"):
        with tarfile.open(folder / f"{name}.tgz", "w:gz") as tar:
            tar.add(write_submission(tmp_path / "made", name, {"a0001": "Words"}), name)
        links.append(f'<a href="{name}.tgz">{name}.tgz</a>')
    (folder / "index.html").write_text(f"<html><body><pre>{'<br>'.join(links)}</pre></body></html>")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(voxforge, "URL", f"http://127.0.0.1:{server.server_port}/")
    yield folder
    server.shutdown()
    server.server_close()


def test_all_listed_submissions_are_downloaded_and_missing_ones_later(site: Path, tmp_path: Path) -> None:
    held_back = (site / "c-20100101-abc.tgz").rename(tmp_path / "c.tgz")
    with pytest.raises(CorpusError, match=r"c-20100101-abc\.tgz: HTTP 404"):
        voxforge.download(tmp_path / "download")
    held_back.rename(site / "c-20100101-abc.tgz")
    (site / "a-20100101-abc.tgz").unlink()  # not asked for again
    root = voxforge.download(tmp_path / "download")
    parts = read(voxforge.prepare(root, tmp_path / "out"))
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 1, "dev": 1, "test": 1}


def test_list_without_archives_is_refused(site: Path, tmp_path: Path) -> None:
    (site / "index.html").write_text("<html>Moved</html>")
    with pytest.raises(CorpusError, match=r"submissions\.html: .*lists no \.tgz archives; delete it and run again"):
        voxforge.download(tmp_path / "download")
