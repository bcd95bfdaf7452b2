from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from asr.data.manifest import read_manifest
from tests.conftest import RATE, Ran, Speech


@pytest.fixture
def corpus(tmp_path: Path, speech: Speech) -> Path:
    return speech.corpus(tmp_path / "corpus", speech.sentences(6, seed=4))


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(f"features: {{sample_rate: {RATE}}}\naugmentation: {{noise: {{kinds: [babble]}}}}\n")
    return path


def test_page_is_written_and_named(
    asr_command: Callable[..., Ran], corpus: Path, settings: Path, tmp_path: Path
) -> None:
    output = tmp_path / "pages" / "listen.html"
    ran = asr_command("data", "listen", corpus, "--config", settings, "--output", output)
    assert ran.status == 0
    assert ran.out.startswith(f"{output}: ")
    assert ran.err == ""
    page = output.read_text()
    assert page.count("<audio") == page.count("<img") == 5 * 4
    assert "noise babble" in page


def test_options_choose_how_much_and_which(
    asr_command: Callable[..., Ran], corpus: Path, settings: Path, tmp_path: Path
) -> None:
    common = ("data", "listen", corpus / "cuts.jsonl", "--config", settings, "--utterances", 1, "--versions", 2)
    pages = []
    for seed in (0, 0, 5):
        output = tmp_path / "page.html"
        assert asr_command(*common, "--seed", seed, "--set", "augmentation.noise=null", "--output", output).status == 0
        pages.append(output.read_text())
        assert pages[-1].count("<audio") == 3
        assert "noise babble" not in pages[-1]
    assert pages[0] == pages[1] != pages[2]


def test_unreadable_recording_is_named_on_standard_error(
    asr_command: Callable[..., Ran], corpus: Path, settings: Path, tmp_path: Path
) -> None:
    bad = next(read_manifest(corpus))
    bad.audio.write_bytes(b"")
    output = tmp_path / "page.html"
    ran = asr_command("data", "listen", corpus, "--config", settings, "--utterances", 6, "--output", output)
    assert ran.status == 0
    assert f"{bad.id}: {bad.audio}: empty file" in ran.err
    assert output.read_text().count("<section") == 5


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--set", "augmentation.noise.folder=nowhere"], 2, "augmentation.noise.folder: nowhere: no such folder"),
        (["--set", "augmentation.reverb={}"], 2, "did you mean"),
        (["--set", "augmentation.speed.range=[0.9, 3]"], 2, "range must lie within 0.5 and 2"),
        (["--utterances", "0"], 2, "--utterances"),
    ],
)
def test_wrong_usage_is_explained(
    asr_command: Callable[..., Ran],
    corpus: Path,
    settings: Path,
    tmp_path: Path,
    arguments: list[str],
    status: int,
    message: str,
) -> None:
    output = tmp_path / "page.html"
    ran = asr_command("data", "listen", corpus, "--config", settings, "--output", output, *arguments)
    assert ran.status == status
    assert message in ran.err
    assert not output.exists()


def test_missing_manifest_is_named(asr_command: Callable[..., Ran], settings: Path, tmp_path: Path) -> None:
    ran = asr_command("data", "listen", tmp_path / "nowhere", "--config", settings, "--output", tmp_path / "page.html")
    assert ran.status == 1
    assert "nowhere: no such manifest" in ran.err


def test_command_imports_nothing_heavy() -> None:
    code = (
        "import sys; import asr.cli.data.listen; "
        "print([name for name in ('torch', 'librosa', 'matplotlib', 'scipy', 'soundfile') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
