"""LibriSpeech: 982 hours of audio books read by 2,484 people, in seven official parts and two small ones.

The parts keep their official names: `train-clean-100`, `train-clean-360` and `train-other-500`; `dev-clean`,
`dev-other`, `test-clean` and `test-other`; and from Mini LibriSpeech `train-clean-5` and `dev-clean-2`. No speaker is
in two of the first seven. Transcripts are in capitals without punctuation, as the corpus has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from asr.data.corpora.parts import choose_parts, parts_in
from asr.data.utterance import Utterance

URL = "https://www.openslr.org/resources/12"
SHA256 = {
    "dev-clean": "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
    "dev-other": "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365",
    "test-clean": "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
    "test-other": "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29",
    "train-clean-100": "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
    "train-clean-360": "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf",
    "train-other-500": "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2",
}
"""The archives of LibriSpeech proper, with the checksums that torchaudio gives."""
MINI_URL = "https://www.openslr.org/resources/31"
MINI_MD5 = {
    "train-clean-5": "5df7d4e78065366204ca6845bb08f490",
    "dev-clean-2": "6d7ab67ac6a1d2c993d050e16d61080d",
}
"""The archives of Mini LibriSpeech, with OpenSLR's own checksums. Their speakers are in LibriSpeech's parts too."""
PARTS = (*SHA256, *MINI_MD5)


def download(output: Path, *, parts: str | Sequence[str] | None = None) -> Path:
    """Download and unpack `parts` (None: the seven of LibriSpeech, 61 GB) into `output`; returns the corpus folder.

    Goes on where it stopped.

    Raises:
        CorpusError: there is no such part, or the download failed.
    """
    wanted = list(SHA256) if parts is None else choose_parts(parts, PARTS, "LibriSpeech")
    fetch(map(_archive, wanted), output)
    return Path(output) / "LibriSpeech"


def prepare(source: Path, output: Path, *, parts: str | Sequence[str] | None = None) -> dict[str, Path]:
    """Write `PART/cuts.jsonl` under `output` for each of `parts`; the recordings stay where they are.

    Args:
        source: the folder `LibriSpeech` of the official archives, or its parent.
        output: where the manifests go.
        parts: official names; None takes all that are in `source`.

    Returns:
        The manifest of each part.

    Raises:
        CorpusError: the folder has another layout or lacks a part, a line of a transcript has no words, or a recording
            is damaged.
    """
    root = corpus_root(source, "LibriSpeech", "*-*/*/*/*.trans.txt", ["LibriSpeech"])
    wanted = parts_in(root, parts, PARTS, "LibriSpeech")
    return write_parts({part: _read_part(root, part) for part in wanted}, output)


def _read_part(root: Path, part: str) -> Iterator[Utterance]:
    listed = {row[0] for table in (root / part).rglob("*.trans.txt") for row in table_rows(table, fields=2)}
    layout = f"{part}/SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt and .flac files beside it"
    with lhotse_recipe("librispeech", root, layout):
        from lhotse.recipes import prepare_librispeech

        manifests = prepare_librispeech(root, dataset_parts=[part])[part]
    report_untranscribed((root / part).rglob("*.flac"), listed, f"librispeech {part}")
    yield from utterances_from_lhotse(manifests["recordings"], manifests["supervisions"])


def _archive(part: str) -> Archive:
    url, sha256, md5 = (MINI_URL, None, MINI_MD5[part]) if part in MINI_MD5 else (URL, SHA256[part], None)
    return Archive(f"{url}/{part}.tar.gz", sha256=sha256, md5=md5, holds=f"LibriSpeech/{part}")
