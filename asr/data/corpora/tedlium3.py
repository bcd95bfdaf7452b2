"""TED-LIUM 3: 2,351 TED talks in English at 16 kHz, 452 hours of them transcribed in segments.

The parts are official, and no talk is in two. Segments that the corpus marks `ignore_time_segment_in_scoring` (gaps,
applause) are left out, and those with nothing but marks in them. The marks `<unk>`, `{NOISE}` and the like are removed.
The rest of a transcript is the corpus's: small letters, no punctuation, suffixes apart from their words (`it 's`). The
talk stands for the speaker.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from asr.audio import audio_info
from asr.data.corpora.common import UNPACK_AGAIN, Archive, corpus_root, fetch, report, write_parts
from asr.data.lines import read_lines
from asr.data.problems import Problem
from asr.data.utterance import Utterance
from asr.errors import AudioError, CorpusError

URL = "https://www.openslr.org/resources/51/TEDLIUM_release-3.tgz"
SHA256 = "ad1e454d14d1ad550bc2564c462d87c7a7ec83d4dc2b9210f22ab4973b9eccdb"
"""As torchaudio gives it."""
FOLDER = "TEDLIUM_release-3"
DISTRIBUTIONS = ("legacy", "speaker-adaptation")
PARTS = ("train", "dev", "test")

_IGNORED = "ignore_time_segment_in_scoring"
_MARKS = re.compile(r"<[^>\s]*>|\{[^}\s]*\}")


def download(output: Path) -> Path:
    """Download and unpack the official archive (54 GB) into `output`; returns the corpus folder.

    Goes on where it stopped.

    Raises:
        CorpusError: the download failed.
    """
    return fetch([Archive(URL, SHA256, holds=f"{FOLDER}/legacy")], output) / FOLDER


def prepare(source: Path, output: Path, *, distribution: str = "legacy") -> dict[str, Path]:
    """Write `train`, `dev` and `test` manifests under `output`; segments are read from the talks, which stay in place.

    Args:
        source: the folder `TEDLIUM_release-3` of the official archive, or its parent.
        output: where the manifests go.
        distribution: `legacy`, whose dev and test are those of TED-LIUM 1 and 2 and of nearly all published results, or
            `speaker-adaptation`.

    Returns:
        The manifest of each part.

    Raises:
        CorpusError: the folder has another layout, a talk or its transcript is missing or damaged, or there is no such
            distribution.
    """
    if distribution not in DISTRIBUTIONS:
        raise CorpusError(f"distribution {distribution!r}: TED-LIUM 3 has {' and '.join(DISTRIBUTIONS)}")
    root = corpus_root(source, "TED-LIUM 3", f"{distribution}/train/stm", [FOLDER])
    return write_parts({part: _read_part(root / distribution / part) for part in PARTS}, output)


def _read_part(folder: Path) -> Iterator[Utterance]:
    """Not Lhotse's `prepare_tedlium`: it needs the program sph2pipe, which no Python package brings."""
    transcripts = {path.stem: path for path in (folder / "stm").glob("*.stm")}
    talks = {path.stem: path for path in (folder / "sph").glob("*.sph")}
    for name in sorted(transcripts.keys() ^ talks.keys()):
        missing = f"sph/{name}.sph" if name in transcripts else f"stm/{name}.stm"
        raise CorpusError(f"{folder / missing}: no such file, the other half of the talk is there; {UNPACK_AGAIN}")
    outside: list[Problem] = []
    for name in sorted(talks):
        yield from _read_talk(talks[name], transcripts[name], outside)
    report(outside, f"tedlium3 {folder.name}")


def _read_talk(talk: Path, transcript: Path, outside: list[Problem]) -> Iterator[Utterance]:
    try:
        info = audio_info(talk)
    except AudioError as error:
        raise CorpusError(f"{error}; {UNPACK_AGAIN}") from error
    for number, line in read_lines(transcript):
        if not line.strip() or line.startswith(";;"):
            continue
        start, end, text = _parse(line, f"{transcript}, line {number}")
        words = _MARKS.sub(" ", text).split()
        if text == _IGNORED or not words:
            continue
        id_ = f"{talk.stem}-{number - 1}"  # as Lhotse and icefall name the segments
        duration = round(min(end, info.seconds) - start, 8)
        if duration <= 0:
            message = f"{transcript}, line {number}: starts at {start} s, but the talk has {info.seconds:.2f} s"
            outside.append(Problem(id_, "starting after the end of the talk", message))
            continue
        yield Utterance(
            id_,
            talk,
            duration,
            info.sample_rate,
            " ".join(words),
            talk.stem,
            start,
            recording_samples=info.samples,
        )


def _parse(line: str, where: str) -> tuple[float, float, str]:
    """Start and end in seconds and the text of a line `TALK CHANNEL SPEAKER START END <LABEL> WORDS`."""
    fields = line.split(maxsplit=6)
    try:
        start, end = float(fields[3]), float(fields[4])
    except (IndexError, ValueError):
        start, end = 0.0, 0.0
    if not 0 <= start < end or len(fields) < 6:
        raise CorpusError(
            f"{where}: expected 'TALK CHANNEL SPEAKER START END <LABEL> WORDS', found {line.strip()[:60]!r}; "
            f"{UNPACK_AGAIN}"
        )
    return start, end, fields[6].strip() if len(fields) > 6 else ""
