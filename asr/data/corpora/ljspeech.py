"""LJ Speech: one woman reads 13,100 passages of seven books, 24 hours at 22 kHz.

The transcripts are the normalised ones, in which figures and abbreviations are spelled out; case and punctuation are
the corpus's. There is no official split. Dev and test are two chapters each of the fifty, at even steps, so that no
passage continues one that was trained on.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from asr.data.corpora.common import (
    Archive,
    corpus_root,
    fetch,
    lhotse_recipe,
    report_untranscribed,
    table_rows,
    utterances_from_lhotse,
    write_parts,
)
from asr.data.corpora.parts import split_groups

URL = "https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2"
SHA256 = "be1a30453f28eb8dd26af4101ae40cbf2c50413b1bb21936cbcdc6fae3de8aa5"
"""As torchaudio gives it."""
SPEAKER = "LJ"
HELD_OUT = 0.04
"""Share of the chapters for dev and for test each: about an hour."""


def download(output: Path) -> Path:
    """Download and unpack the official archive (2.7 GB) into `output`; returns the corpus folder.

    Goes on where it stopped.

    Raises:
        CorpusError: the download failed.
    """
    fetch([Archive(URL, SHA256, holds="LJSpeech-1.1/metadata.csv")], output)
    return Path(output) / "LJSpeech-1.1"


def prepare(source: Path, output: Path) -> dict[str, Path]:
    """Write `train`, `dev` and `test` manifests under `output`; the recordings stay where they are.

    Args:
        source: the folder `LJSpeech-1.1` of the official archive, or its parent.
        output: where the manifests go.

    Returns:
        The manifest of each part.

    Raises:
        CorpusError: the folder has another layout, a line of metadata.csv has not three fields, or a recording is
            damaged.
    """
    root = corpus_root(source, "LJ Speech", "metadata.csv", ["LJSpeech*"])
    listed = {row[0] for row in table_rows(root / "metadata.csv", fields=3, separator="|")}
    with lhotse_recipe("ljspeech", root, "metadata.csv (id|text|normalised text) and wavs/ID.wav"):
        from lhotse.recipes import prepare_ljspeech

        manifests = prepare_ljspeech(root)
    report_untranscribed((root / "wavs").glob("*.wav"), listed, "ljspeech")
    normalised = {segment.id: segment.custom["normalized_text"] for segment in manifests["supervisions"]}
    utterances = (
        replace(utterance, text=normalised[utterance.id], speaker=SPEAKER)
        for utterance in utterances_from_lhotse(manifests["recordings"], manifests["supervisions"])
    )
    return write_parts(split_groups(utterances, lambda utterance: utterance.id.split("-")[0], HELD_OUT), output)
