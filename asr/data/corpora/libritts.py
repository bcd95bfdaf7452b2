"""LibriTTS: 586 hours of LibriSpeech's books at 24 kHz, cut at sentences, with case and punctuation.

The seven parts have LibriSpeech's names. The transcripts are the normalised ones, in which figures and abbreviations
are spelled out; case and punctuation are the corpus's. LibriTTS-R, the restored recordings, has the same layout and is
read with `--source` too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from asr.data.corpora.common import (
    Archive,
    Row,
    corpus_root,
    fetch,
    recordings,
    report_untranscribed,
    table_rows,
    write_parts,
)
from asr.data.corpora.parts import choose_parts, parts_in
from asr.data.utterance import Utterance

URL = "https://www.openslr.org/resources/60"
SHA256 = {
    "dev-clean": "da0864e1bd26debed35da8a869dd5c04dfc27682921936de7cff9c8a254dbe1a",
    "dev-other": "d413eda26f3a152ac7c9cf3658ef85504dfb1b625296e5fa83727f5186cca79c",
    "test-clean": "234ea5b25859102a87024a4b9b86641f5b5aaaf1197335c95090cde04fe9a4f5",
    "test-other": "33a5342094f3bba7ccc2e0500b9e72d558f72eb99328ac8debe1d9080402f10d",
    "train-clean-100": "c5608bf1ef74bb621935382b8399c5cdd51cd3ee47cec51f00f885a64c6c7f6b",
    "train-clean-360": "ce7cff44dcac46009d18379f37ef36551123a1dc4e5c8e4eb73ae57260de4886",
    "train-other-500": "e35f7e34deeb2e2bdfe4403d88c8fdd5fbf64865cae41f027a185a6965f0a5df",
}
"""The archives, with the checksums that torchaudio gives."""


def download(output: Path, *, parts: str | Sequence[str] | None = None) -> Path:
    """Download and unpack `parts` (None: all, 84 GB) into `output`; returns the corpus folder.

    Goes on where it stopped.

    Raises:
        CorpusError: there is no such part, or the download failed.
    """
    wanted = choose_parts(parts, SHA256, "LibriTTS")
    fetch((Archive(f"{URL}/{part}.tar.gz", SHA256[part], holds=f"LibriTTS/{part}") for part in wanted), output)
    return Path(output) / "LibriTTS"


def prepare(source: Path, output: Path, *, parts: str | Sequence[str] | None = None) -> dict[str, Path]:
    """Write `PART/cuts.jsonl` under `output` for each of `parts`; the recordings stay where they are.

    Recordings that are missing, damaged or without a transcript are reported and left out.

    Args:
        source: the folder `LibriTTS` (or `LibriTTS_R`) of the official archives, or its parent.
        output: where the manifests go.
        parts: official names; None takes all that are in `source`.

    Returns:
        The manifest of each part.

    Raises:
        CorpusError: the folder has another layout or lacks a part, or a line of a transcript table has not three
            fields.
    """
    root = corpus_root(source, "LibriTTS", "*-*/*/*/*.trans.tsv", ["LibriTTS*"])
    return write_parts({part: _read_part(root, part) for part in parts_in(root, parts, SHA256, "LibriTTS")}, output)


def _read_part(root: Path, part: str) -> Iterator[Utterance]:
    """Not Lhotse's `prepare_libritts`: it finds each recording by searching all, which for the 205,000 of
    train-other-500 takes the better part of an hour."""
    listed = set()

    def rows() -> Iterator[Row]:
        for table in sorted((root / part).glob("*/*/[!.]*.trans.tsv")):
            for id_, _, normalised in table_rows(table, fields=3, separator="\t"):
                listed.add(id_)
                yield table.parent / f"{id_}.wav", id_, normalised.strip(), id_.split("_")[0]

    yield from recordings(rows(), f"libritts {part}")
    report_untranscribed((root / part).glob("*/*/[!.]*.wav"), listed, f"libritts {part}")
