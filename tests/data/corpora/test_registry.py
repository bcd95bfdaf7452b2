from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.data import corpora
from asr.data.corpora import CORPORA, fsdd, librispeech
from asr.errors import CorpusError

REPOSITORY = Path(__file__).resolve().parents[3]
ASKED_FOR = (
    "an4 cmu_arctic common_voice fsdd librispeech libritts ljspeech mini_librispeech speech_commands speechocean762 "
    "tedlium3 vctk voxforge yesno"
)


@pytest.fixture
def librispeech_folder(tmp_path: Path) -> Path:
    chapter = tmp_path / "LibriSpeech/dev-clean/84/121123"
    chapter.mkdir(parents=True)
    soundfile.write(chapter / "84-121123-0000.flac", np.zeros(1600), 16000)
    (chapter / "84-121123.trans.txt").write_text("84-121123-0000 GO\n")
    return tmp_path / "LibriSpeech"


def test_registry_has_every_corpus_once() -> None:
    assert sorted(CORPORA) == ASKED_FOR.split()
    assert all(info.hours > 0 and info.megabytes > 0 and info.licence and info.title for info in CORPORA.values())


@pytest.mark.parametrize("name", CORPORA)
def test_registry_names_modules_that_offer_download_and_prepare(name: str) -> None:
    info = CORPORA[name]
    module = importlib.import_module(info.module)
    assert info.name == name
    download, prepare = inspect.signature(module.download), inspect.signature(module.prepare)
    assert next(iter(download.parameters)) == "output"
    assert list(prepare.parameters)[:2] == ["source", "output"]
    options = list(prepare.parameters.values())[2:]
    assert all(option.kind is option.KEYWORD_ONLY and option.default is not option.empty for option in options)
    assert {option.name for option in options} >= set(list(download.parameters)[1:])
    assert module.__doc__


def test_prepare_writes_the_manifests(librispeech_folder: Path, tmp_path: Path) -> None:
    manifests = corpora.prepare("librispeech", source=librispeech_folder, output=tmp_path / "out")
    assert manifests == {"dev-clean": tmp_path / "out/dev-clean/cuts.jsonl"}
    assert manifests["dev-clean"].is_file()


def test_download_gets_the_options_that_it_knows(
    librispeech_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def download(output: Path, *, parts: object = None) -> Path:
        asked.append((output, parts))
        return librispeech_folder

    monkeypatch.setattr(librispeech, "download", download)
    corpora.prepare("librispeech", source=None, output=tmp_path / "out", parts=["dev-clean"])
    assert asked == [(tmp_path / "out" / "download", ["dev-clean"])]


def test_download_does_not_get_other_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsdd, "download", lambda output: output)
    with pytest.raises(CorpusError, match="download: no such folder"):
        corpora.prepare("fsdd", source=None, output=tmp_path, strings=10)


def test_unknown_corpus_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no corpus named 'an5'; did you mean 'an4'\? Known: an4, fsdd"):
        corpora.prepare("an5", source=None, output=tmp_path)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("an4", {"seed": 1}, "an4: no option 'seed'; it has no options"),
        ("fsdd", {"sed": 1}, "fsdd: no option 'sed'; it has seed, held_out_speaker, strings, trimmed"),
        ("fsdd", {"strings": "many"}, "fsdd: option strings cannot be 'many': Input should be a valid integer"),
        ("librispeech", {"parts": 3}, "librispeech: option parts cannot be 3: Input should be a valid string"),
    ],
)
def test_wrong_option_is_named_before_anything_is_downloaded(
    tmp_path: Path, name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(CorpusError, match=message):
        corpora.prepare(name, source=None, output=tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_listing_corpora_imports_no_audio_library() -> None:
    code = "import sys, asr.data.corpora; print({'numpy', 'soundfile', 'torch', 'lhotse'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_corpus_modules_do_not_wait_for_lhotse() -> None:
    modules = ", ".join(sorted({info.module for info in CORPORA.values()}))
    code = f"import sys, {modules}; print({{'torch', 'lhotse'}} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
