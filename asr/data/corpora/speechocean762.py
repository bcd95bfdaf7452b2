"""speechocean762: 250 speakers of Mandarin, half of them children, read 20 English sentences each, 5 hours at 16 kHz.

Train and test are the official parts, which share no speaker. Dev is taken out of train: every tenth speaker in the
order of their numbers. The corpus is made for scoring pronunciation: a transcript (in capitals, without punctuation) is
the sentence that was to be read, and mistakes in reading it are not in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from asr.data.corpora.common import UNPACK_AGAIN, Archive, corpus_root, fetch, recording, table_rows, write_parts
from asr.data.utterance import Utterance
from asr.errors import CorpusError

URL = "https://www.openslr.org/resources/101/speechocean762.tar.gz"
"""OpenSLR gives no checksum, so `download` opens and counts the recordings (gzip's own finds damage in transit)."""
FOLDER = "speechocean762"
ARCHIVE_UTTERANCES = {"train": 2500, "test": 2500}
DEV_STEP = 10
"""12 of the 125 training speakers, 240 utterances: enough for dev WER to move smoothly."""


def download(output: Path) -> Path:
    """Download and unpack the official archive (0.5 GB) into `output`; returns the corpus folder.

    Goes on where it stopped.

    Raises:
        CorpusError: the download failed, or the archive does not hold all 2,500 + 2,500 recordings.
    """
    root = fetch([Archive(URL, holds=f"{FOLDER}/train/wav.scp")], output) / FOLDER
    for part, expected in ARCHIVE_UTTERANCES.items():
        found = sum(1 for _ in _read_part(root, part))
        if found != expected:
            raise CorpusError(
                f"{root}: {found} {part} recordings instead of {expected}, so the archive is damaged or another "
                "version; delete it and run again, or give a copy that you have with `--source DIR`"
            )
    return root


def prepare(source: Path, output: Path) -> dict[str, Path]:
    """Write `train`, `dev` and `test` manifests under `output`; the recordings stay where they are.

    Args:
        source: the folder `speechocean762` of the official archive, or its parent.
        output: where the manifests go.

    Returns:
        The manifest of each part.

    Raises:
        CorpusError: the folder has another layout, or a listed recording, its transcript or its speaker is missing.
    """
    root = corpus_root(source, "speechocean762", "train/wav.scp", [FOLDER])
    official_train = list(_read_part(root, "train"))
    speakers = sorted({utterance.speaker or "" for utterance in official_train})
    held_out = set(speakers[DEV_STEP // 2 :: DEV_STEP])
    parts = {
        "train": [utterance for utterance in official_train if utterance.speaker not in held_out],
        "dev": [utterance for utterance in official_train if utterance.speaker in held_out],
        "test": _read_part(root, "test"),
    }
    return write_parts(parts, output)


def _read_part(root: Path, part: str) -> Iterator[Utterance]:
    """Lhotse has no recipe for this corpus, and its reader of Kaldi folders does not take the paths of wav.scp from the
    corpus folder, where they start here."""
    tables = {name: _read_table(root / part / name) for name in ("wav.scp", "text", "utt2spk")}
    for id_, path in tables["wav.scp"].items():
        for name in ("text", "utt2spk"):
            if id_ not in tables[name]:
                raise CorpusError(f"{root / part / name}: no line for {id_}, which wav.scp lists; {UNPACK_AGAIN}")
        yield recording(root / path, id=id_, text=tables["text"][id_], speaker=tables["utt2spk"][id_])


def _read_table(path: Path) -> dict[str, str]:
    """One of Kaldi's tables: the first word of each line is the key, the rest is the value."""
    return {key: value.strip() for key, value in table_rows(path, fields=2)}
