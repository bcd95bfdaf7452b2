"""VoxForge: volunteers read English sentences at home, some ten to a submission, about 130 hours at 16 kHz.

There is no official split. Every twentieth speaker is dev and another twentieth is test, at even steps in the order of
their names, so no speaker is in two parts. The speaker is the user name before the date in the name of the submission,
in small letters; an anonymous submission counts as a speaker of its own. Sentences are in several parts: most are the
prompts of CMU ARCTIC. Transcripts are the words in capitals of etc/PROMPTS, or where it lacks the recording, the
sentence of etc/prompts-original, with case and punctuation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from asr.audio import audio_info
from asr.data.corpora.common import Archive, corpus_root, fetch, report, write_parts
from asr.data.corpora.parts import split_groups
from asr.data.download import REMEDY
from asr.data.download import download as download_file
from asr.data.lines import read_lines
from asr.data.problems import Problem
from asr.data.utterance import Utterance
from asr.errors import AudioError, CorpusError, ManifestError

URL = "http://www.repository.voxforge1.org/downloads/SpeechCorpus/Trunk/Audio/Main/16kHz_16bit/"
"""One archive for each submission, without checksums (gzip's own finds damage in transit)."""
HELD_OUT = 0.05

_PROMPTS = ("prompts-original", "PROMPTS")  # the later replaces the earlier
_FOLDERS = ("flac", "wav")
_SUBMISSION = re.compile(r"(?P<user>.+?)-\d{8}")
_LINK = re.compile(r'href="([^"/?]+\.tgz)"', re.IGNORECASE)


def download(output: Path) -> Path:
    """Download and unpack all submissions (more than 6,000, 10 GB) into `output`; returns it. Goes on where it stopped.

    Raises:
        CorpusError: the list of submissions or one of them cannot be had, or an archive is damaged. What came before it
            can be prepared with `--source`.
    """
    listing = download_file(URL, Path(output) / "submissions.html", sha256=None)
    names = sorted(set(_LINK.findall(listing.read_text(encoding="utf-8", errors="replace"))))
    if not names:
        raise CorpusError(f"{listing}: {URL} lists no .tgz archives; delete it and run again later, or {REMEDY}")
    return fetch((Archive(URL + name) for name in names), output)


def prepare(source: Path, output: Path) -> dict[str, Path]:
    """Write `train`, `dev` and `test` manifests under `output`; the recordings stay where they are.

    What has no transcript, no recording, or cannot be read is reported and left out.

    Args:
        source: the folder of the unpacked submissions (`USER-DATE-XXX/etc/PROMPTS`), or its parent if it is called
            extracted. VoxForge's other languages have the same layout.
        output: where the manifests go.

    Returns:
        The manifest of each part.

    Raises:
        CorpusError: the folder has another layout, or usable recordings of fewer than three speakers.
    """
    root = corpus_root(source, "VoxForge", [f"*/etc/{name}" for name in _PROMPTS], ["extracted"])
    problems: list[Problem] = []
    submissions = sorted(path for path in root.iterdir() if (path / "etc").is_dir())
    utterances = (utterance for folder in submissions for utterance in _read_submission(folder, problems))
    try:
        return write_parts(split_groups(utterances, lambda utterance: utterance.speaker or "", HELD_OUT), output)
    finally:
        report(problems, "voxforge")


def _read_submission(folder: Path, problems: list[Problem]) -> Iterator[Utterance]:
    """Lhotse has no recipe for this corpus."""
    recordings = {path.stem: path for kind in _FOLDERS for path in sorted((folder / kind).glob(f"*.{kind}"))}
    transcripts = _read_prompts(folder / "etc", problems)
    for name in sorted(recordings.keys() | transcripts.keys()):
        id_ = f"{folder.name}-{name}"
        if name not in recordings:
            problems.append(Problem(id_, "no recording", f"there is no {folder}/wav/{name}.wav or flac/{name}.flac"))
        elif name not in transcripts:
            problems.append(Problem(id_, "no transcript", f"{folder / 'etc' / _PROMPTS[-1]} has no line for it"))
        else:
            try:
                info = audio_info(recordings[name])
            except AudioError as error:
                problems.append(Problem(id_, "unreadable recording", str(error)))
                continue
            yield Utterance(id_, recordings[name], info.seconds, info.sample_rate, transcripts[name], _speaker(folder))


def _speaker(submission: Path) -> str:
    match = _SUBMISSION.match(submission.name)
    user = match["user"].lower() if match else submission.name
    return submission.name if user.startswith("anonymous") else user


def _read_prompts(etc: Path, problems: list[Problem]) -> dict[str, str]:
    """The words by the name of the recording, from lines `SUBMISSION/mfc/a0405 WORDS` or `a0405 WORDS`."""
    transcripts: dict[str, str] = {}
    for path in (etc / name for name in _PROMPTS if (etc / name).is_file()):
        try:
            lines = _lines(path)
        except ManifestError as error:
            problems.append(Problem(str(path), "unreadable prompts", str(error)))
            continue
        for line in lines:
            name, *words = line.split() or [""]
            if words:
                transcripts[name.rsplit("/", 1)[-1]] = " ".join(words)
    return transcripts


def _lines(path: Path) -> list[str]:
    """The lines of a file in UTF-8 or, from older computers, in the Western European code page of Windows."""
    try:
        return [line for _, line in read_lines(path)]
    except ManifestError:
        return [line for _, line in read_lines(path, "cp1252")]
