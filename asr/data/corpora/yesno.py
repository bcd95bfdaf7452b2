"""YesNo: one man says "yes" and "no" in Hebrew, 60 recordings of eight words at 8 kHz; to try a command in seconds.

The file names are the transcripts, 1 for YES and 0 for NO. In the order of the names the first 30 recordings are for
training and the last 30 are the test, as in Kaldi's recipe; dev is every fifth of the first 30. All parts have the one
speaker.
"""

from __future__ import annotations

from pathlib import Path

from asr.data.corpora.common import (
    UNPACK_AGAIN,
    Archive,
    corpus_root,
    fetch,
    lhotse_recipe,
    utterances_from_lhotse,
    write_parts,
)
from asr.errors import CorpusError

URL = "https://www.openslr.org/resources/1/waves_yesno.tar.gz"
SHA256 = "c3f49e0cca421f96b75b41640749167b52118f232498667ca7a5f9416aef8e73"
"""As torchaudio gives it."""
FOLDER = "waves_yesno"
RECORDINGS = 60
DEV_STEP = 5


def download(output: Path) -> Path:
    """Download and unpack the official archive (5 MB) into `output`; returns the corpus folder.

    Goes on where it stopped.

    Raises:
        CorpusError: the download failed.
    """
    return fetch([Archive(URL, SHA256, holds=FOLDER)], output) / FOLDER


def prepare(source: Path, output: Path) -> dict[str, Path]:
    """Write `train` (24 recordings), `dev` (6) and `test` (30) manifests under `output`; the recordings stay in place.

    Args:
        source: the folder `waves_yesno` of the official archive, or its parent.
        output: where the manifests go.

    Returns:
        The manifest of each part.

    Raises:
        CorpusError: the folder has another layout, or a recording is missing or damaged.
    """
    root = corpus_root(source, "YesNo", "[01]_[01]_*.wav", [FOLDER])
    present = len(list(root.glob("*.wav")))
    if present != RECORDINGS:
        raise CorpusError(f"{root}: {present} recordings instead of {RECORDINGS}; {UNPACK_AGAIN}")
    with lhotse_recipe("yesno", root, f"{RECORDINGS} recordings with names such as 1_0_1_1_1_0_1_0.wav"):
        from lhotse.recipes import prepare_yesno

        halves = prepare_yesno(root).values()  # every second is its test; not what results are known for
    utterances = [utterance for half in halves for utterance in utterances_from_lhotse(**half)]
    utterances.sort(key=lambda utterance: utterance.id)
    first, test = utterances[: RECORDINGS // 2], utterances[RECORDINGS // 2 :]
    dev = first[DEV_STEP - 1 :: DEV_STEP]
    return write_parts({"train": [u for u in first if u not in dev], "dev": dev, "test": test}, output)
