"""VCTK 0.92: 110 people with various accents of English read newspaper sentences, 44 hours at 48 kHz.

There is no official split. Every tenth speaker is dev and another tenth is test, at even steps in the order of their
names, so no speaker is in two parts. Sentences are: everybody reads the same first two dozen (the rainbow passage and
the text of the speech accent archive), and some newspaper sentences were given to several people. Case and punctuation
are the corpus's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from asr.data.corpora.common import (
    Archive,
    Row,
    corpus_root,
    fetch,
    recordings,
    report,
    text_lines,
    write_parts,
)
from asr.data.corpora.parts import split_groups
from asr.data.problems import Problem
from asr.data.utterance import Utterance
from asr.errors import CorpusError

URL = "https://datashare.ed.ac.uk/bitstream/handle/10283/3443/VCTK-Corpus-0.92.zip"
SHA256 = "f96258be9fdc2cbff6559541aae7ea4f59df3fcaf5cf963aae5ca647357e359c"
"""As torchaudio gives it."""
FOLDER = "VCTK-Corpus-0.92"
AUDIO = "wav48_silence_trimmed"
HELD_OUT = 0.1
MICROPHONES = (1, 2)


def download(output: Path) -> Path:
    """Download and unpack the official archive (11.7 GB) into `output`; returns the corpus folder.

    Goes on where it stopped.

    Raises:
        CorpusError: the download failed.
    """
    # The archive has no top folder of its own.
    fetch([Archive(URL, SHA256, holds=AUDIO, into=FOLDER)], output)
    return Path(output) / FOLDER


def prepare(source: Path, output: Path, *, microphone: int = 2) -> dict[str, Path]:
    """Write `train`, `dev` and `test` manifests under `output`; the recordings stay where they are.

    What is missing or damaged is reported and left out. The corpus itself lacks the transcripts of speaker p315, and
    for microphone 2 the recordings of p280 and some of p362.

    Args:
        source: the folder of the unpacked archive, or its parent.
        output: where the manifests go.
        microphone: 2 is the one that most work with this corpus uses; 1 has low-frequency noise.

    Returns:
        The manifest of each part.

    Raises:
        CorpusError: the folder has another layout (version 0.80 has), there are fewer than three speakers, a transcript
            is not text, or there is no such microphone.
    """
    if microphone not in MICROPHONES:
        raise CorpusError(f"microphone {microphone!r}: VCTK was recorded with microphones 1 and 2")
    root = corpus_root(source, "VCTK 0.92", AUDIO, ["VCTK*"])
    return write_parts(split_groups(_read(root, microphone), lambda u: u.speaker or "", HELD_OUT), output)


def _read(root: Path, microphone: int) -> Iterator[Utterance]:
    """Not Lhotse's `prepare_vctk`: it stops with a KeyError at the first transcript without a recording of this
    microphone, and reads the headers of both microphones."""
    problems = []
    suffix = f"_mic{microphone}.flac"

    def rows() -> Iterator[Row]:
        for folder in sorted(path for path in (root / AUDIO).iterdir() if path.is_dir()):
            speaker = folder.name
            heard = {path.name.removesuffix(suffix) for path in folder.glob(f"*{suffix}")}
            written = {path.stem for path in (root / "txt" / speaker).glob("*.txt")}
            for id_ in sorted(heard | written):
                audio, text = folder / f"{id_}{suffix}", root / "txt" / speaker / f"{id_}.txt"
                if id_ not in heard:
                    problems.append(Problem(id_, f"no recording of microphone {microphone}", f"{audio} is missing"))
                elif id_ not in written:
                    problems.append(Problem(id_, "no transcript", f"{text} is missing"))
                else:
                    yield audio, id_, " ".join(line.strip() for _, line in text_lines(text)), speaker

    yield from recordings(rows(), "vctk")
    report(problems, "vctk")
