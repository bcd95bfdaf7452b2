"""AN4: Carnegie Mellon's census recordings of 1991, people spelling names and reading dates, digits and commands."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from asr.data.corpora.common import Archive, corpus_root, fetch, recording, text_lines, write_parts
from asr.data.utterance import Utterance
from asr.errors import CorpusError

URL = "http://www.speech.cs.cmu.edu/databases/an4/an4_sphere.tar.gz"
ARCHIVE_UTTERANCES = {"train": 948, "test": 130}
"""What the official archive holds. Carnegie Mellon publishes no checksum, so `download` opens and counts the recordings
(gzip's own checksum finds damage in transit)."""

DEV_SPEAKERS = 8
"""Of the 74 training speakers: about a tenth, enough for dev WER to move smoothly and few enough to leave the train set
nearly whole."""

_TRANSCRIPT = re.compile(r"(?P<text>.*)\((?P<id>[^()\s]+)\)\s*$")
_SUFFIXES = (".sph", ".wav", ".flac")


def download(output: Path) -> Path:
    """Download and unpack the official archive into `output`; returns the corpus folder. Goes on where it stopped.

    Raises:
        CorpusError: the download failed, or the archive does not hold all 948 + 130 recordings.
    """
    archive = Archive(URL, holds="an4/etc")
    root = _root(fetch([archive], output))
    for part, expected in ARCHIVE_UTTERANCES.items():
        found = len(_read_part(root, part))
        if found != expected:
            raise CorpusError(
                f"{Path(output) / archive.name}: the archive holds {found} {part} recordings instead of {expected}, so "
                f"it is damaged or another version; delete it and the folder {root} and run again, or give a copy that "
                "you have with `--source DIR`"
            )
    return root


def prepare(source: Path, output: Path) -> dict[str, Path]:
    """Write `train`, `dev` and `test` manifests of AN4 under `output`; the recordings stay where they are.

    Train and test are the official parts; dev is taken out of train so that no speaker is in both (`dev_speakers`).
    Transcripts are lower-cased, without the marks `<s>` and `</s>`.

    Args:
        source: the folder `an4` of the official archive, or its parent. Recordings may be `.sph` or `.wav`.
        output: where `train/cuts.jsonl`, `dev/cuts.jsonl` and `test/cuts.jsonl` go.

    Returns:
        The manifest of each part.

    Raises:
        CorpusError: the folder has another layout, or a listed recording or transcript is missing.
    """
    root = _root(Path(source))
    official_train, test = _read_part(root, "train"), _read_part(root, "test")
    held_out = dev_speakers(utterance.speaker or "" for utterance in official_train)
    parts = {
        "train": [utterance for utterance in official_train if utterance.speaker not in held_out],
        "dev": [utterance for utterance in official_train if utterance.speaker in held_out],
        "test": test,
    }
    return write_parts(parts, output)


def dev_speakers(speakers: Iterable[str], count: int = DEV_SPEAKERS) -> frozenset[str]:
    """The training speakers that make up dev: `count` of them (about a tenth where there are fewer than 74).

    Names are sorted and taken at even steps, the first from the middle of the first step. The first letter tells the
    sex (`fash`, `mblb`), so women and men come in proportion; there are no random numbers, so the same corpus gives the
    same dev set everywhere. Names that differ in a trailing digit alone (`mdcs`, `mdcs2`) may be one person and stay
    together.
    """
    people: dict[str, set[str]] = {}
    for speaker in speakers:
        people.setdefault(speaker.rstrip("0123456789"), set()).add(speaker)
    names = sorted(people)
    count = min(count, max(1, round(len(names) / 9)))
    chosen = [names[int((index + 0.5) * len(names) / count)] for index in range(count)] if names else []
    return frozenset(speaker for name in chosen for speaker in people[name])


def _root(source: Path) -> Path:
    return corpus_root(source, "AN4 corpus", "etc/an4_train.fileids", ["an4"])


def _read_part(root: Path, part: str) -> list[Utterance]:
    listing = root / "etc" / f"an4_{part}.fileids"
    transcripts = _read_transcripts(root / "etc" / f"an4_{part}.transcription")
    utterances = []
    for number, line in text_lines(listing):
        name = line.strip()
        if not name:
            continue
        id_ = Path(name).name
        if id_ not in transcripts:
            raise CorpusError(
                f"{listing}, line {number}: {id_} has no transcript in an4_{part}.transcription; "
                "the copy is incomplete, unpack the official archive again"
            )
        audio = _find(root, name, f"{listing}, line {number}")
        utterances.append(recording(audio, id=id_, text=transcripts[id_], speaker=Path(name).parent.name))
    return utterances


def _read_transcripts(path: Path) -> dict[str, str]:
    transcripts = {}
    for number, line in text_lines(path):
        if not line.strip():
            continue
        match = _TRANSCRIPT.match(line)
        if match is None:
            raise CorpusError(f"{path}, line {number}: expected 'WORDS (utterance-id)', found {line.strip()[:60]!r}")
        words = match["text"].replace("<s>", " ").replace("</s>", " ").lower().split()
        transcripts[match["id"]] = " ".join(words)
    return transcripts


def _find(root: Path, name: str, where: str) -> Path:
    for suffix in _SUFFIXES:
        path = root / "wav" / f"{name}{suffix}"
        if path.is_file():
            return path
    raise CorpusError(
        f"{where}: {root / 'wav' / name}{{{','.join(_SUFFIXES)}}}: no such recording; "
        "the copy is incomplete, unpack the official archive again"
    )
