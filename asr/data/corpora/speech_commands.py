"""Speech Commands 0.02: 105,829 single words of 35, a second each, said by 2,618 people.

`validation_list.txt` is dev, `testing_list.txt` is test, the rest is train, as the corpus is meant to be split: a
speaker is in one part alone. The recordings of background noise are left out, they hold no words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from asr.data.corpora.common import (
    Archive,
    Row,
    corpus_root,
    fetch,
    recordings,
    table_rows,
    write_parts,
)
from asr.data.utterance import Utterance

URL = "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz"
SHA256 = "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"
"""As torchaudio and TensorFlow Datasets give it."""
FOLDER = "speech_commands_v0.02"
LISTS = {"dev": "validation_list.txt", "test": "testing_list.txt"}


def download(output: Path) -> Path:
    """Download and unpack the official archive (2.4 GB) into `output`; returns the corpus folder.

    Goes on where it stopped.

    Raises:
        CorpusError: the download failed.
    """
    # The archive has no top folder of its own.
    fetch([Archive(URL, SHA256, holds=LISTS["test"], into=FOLDER)], output)
    return Path(output) / FOLDER


def prepare(source: Path, output: Path) -> dict[str, Path]:
    """Write `train`, `dev` and `test` manifests under `output`; the recordings stay where they are.

    Recordings that are missing or damaged are reported and left out.

    Args:
        source: the folder of the unpacked archive, or its parent. Version 0.01 has the same layout.
        output: where the manifests go.

    Returns:
        The manifest of each part.

    Raises:
        CorpusError: the folder has another layout.
    """
    root = corpus_root(
        source, "Speech Commands", LISTS["test"], ["speech_commands*", "SpeechCommands/speech_commands*"]
    )
    listed = {part: sorted(row[0] for row in table_rows(root / name, 1)) for part, name in LISTS.items()}
    held_out = {name for names in listed.values() for name in names}
    found = (f"{path.parent.name}/{path.name}" for path in sorted(root.glob("[!_]*/*.wav")))
    train = (name for name in found if name not in held_out)
    return write_parts(
        {"train": _read(root, train)} | {part: _read(root, names) for part, names in listed.items()}, output
    )


def _read(root: Path, names: Iterable[str]) -> Iterator[Utterance]:
    """Not Lhotse's `prepare_speechcommands`: it tests on another archive (with silence and unknown words) than the
    official list, and takes the background noise for utterances without words."""

    def rows() -> Iterator[Row]:
        for name in names:
            word, _, file = name.partition("/")
            yield root / name, f"{word}_{Path(file).stem}", word, file.split("_nohash_")[0]

    return recordings(rows(), "speech_commands")
