"""Mini LibriSpeech: five hours to train on and two for dev, taken from LibriSpeech by OpenSLR for quick experiments."""

from __future__ import annotations

from pathlib import Path

from asr.data.corpora import librispeech


def download(output: Path) -> Path:
    """Download and unpack both archives (459 MB) into `output`; returns the corpus folder. Goes on where it stopped.

    Raises:
        CorpusError: the download failed.
    """
    return librispeech.download(output, parts=list(librispeech.MINI_MD5))


def prepare(source: Path, output: Path) -> dict[str, Path]:
    """Write `train-clean-5/cuts.jsonl` and `dev-clean-2/cuts.jsonl` under `output`; see `librispeech.prepare`.

    Raises:
        CorpusError: the folder has another layout or lacks a part.
    """
    return librispeech.prepare(source, output, parts=list(librispeech.MINI_MD5))
