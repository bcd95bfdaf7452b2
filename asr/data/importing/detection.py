"""Which format a file or folder has, from what is there; where that does not tell, an error that says what was seen."""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from asr.audio import AUDIO_SUFFIXES
from asr.audio_headers import CONVERT, UNREAD_SUFFIXES
from asr.data.importing import folder, kaldi, tables
from asr.data.importing.entries import Unusable, match_columns, source_lines
from asr.data.importing.nemo import parse_object
from asr.data.lines import is_table
from asr.data.manifest import MANIFEST_NAMES
from asr.errors import ManifestError

FORMATS = {
    "table": "a CSV or TSV file with the paths and words, its columns audio,text[,speaker,start,end,id,channel]",
    "nemo": "a file of JSON lines: audio_filepath, text[, duration, offset, speaker]",
    "kaldi": "a folder with wav.scp, text[, segments, utt2spk]",
    "huggingface": "a folder of audio with metadata.csv or metadata.jsonl (file_name, text)",
    "common_voice": "a TSV file of Common Voice (client_id, path, sentence) beside the folder clips",
    "text_files": "a folder of audio, each with a .txt of the same name",
    "librispeech": "a folder of audio with *.trans.txt files of `ID TEXT` lines",
}
"""Each format, and what it looks like."""

COMMON_VOICE_COLUMNS = {"client_id", "path", "sentence"}
LINES_LOOKED_AT = 100


def detect(source: Path, encoding: str | None = None) -> str:
    """The name of the format of `source`.

    Raises:
        ManifestError: none fits, or several do; says what was found.
    """
    if source.is_dir():
        found = _in_folder(source, encoding)
    elif source.is_file():
        found = _of_file(source, encoding)
    else:
        raise ManifestError(f"{source}: no such file or folder; check the path")
    if len(found) == 1:
        return found[0]
    if found:
        raise ManifestError(f"{source}: could be {' or '.join(found)}; choose one with --format")
    seen = _seen(source) if source.is_dir() else "the file is none of them"
    formats = "\n".join(f"  {name:13} {looks}" for name, looks in FORMATS.items())
    raise ManifestError(f"{source}: no format fits ({seen}). The formats are:\n{formats}\nChoose one with --format.")


def _of_file(path: Path, encoding: str | None) -> list[str]:
    with open(path, "rb") as file:
        start = file.read(1024)
    if encoding is None and b"\0" in start and not start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ManifestError(f"{path}: not a text file; give a folder or a table (a spreadsheet can be saved as CSV)")
    keys = _first_object(path, encoding)
    if keys is not None:
        if "supervisions" in keys or "recording" in keys:
            raise ManifestError(f"{path}: is a manifest already; train and evaluate read it as it is")
        return ["huggingface" if "file_name" in keys else "nemo"]
    _, names = tables.header(path, encoding)
    if set(names) >= COMMON_VOICE_COLUMNS and (path.parent / tables.CLIPS).is_dir():
        return ["common_voice"]
    if is_table(path):
        return ["table"]
    try:
        match_columns(names, {})
    except ManifestError:
        return []
    return ["table"]


def _first_object(path: Path, encoding: str | None) -> set[str] | None:
    """The keys of the first line that is a JSON object; None when the file does not look like JSON lines."""
    for number, line in source_lines(path, encoding):
        if line.strip() and not line.lstrip().startswith("{") and path.suffix != ".jsonl":
            return None
        try:
            return set(parse_object("", line))
        except Unusable:
            if number >= LINES_LOOKED_AT:
                return None
    return None


def _in_folder(source: Path, encoding: str | None) -> list[str]:
    found = []
    if (source / kaldi.RECORDINGS).is_file():
        found.append("kaldi")
    metadata = [name for name in tables.METADATA_NAMES if (source / name).is_file()]
    if metadata:
        found.append("huggingface")
    elif listed := tables.tables_in(source):
        found += _of_file(listed[0], encoding) if len(listed) == 1 else ["table"]  # whose reader says which there are
    found += _transcripts(folder.walk(source))
    for name in MANIFEST_NAMES:
        if not found and (source / name).is_file():
            raise ManifestError(f"{source}: holds the manifest {name} already; train and evaluate read it as it is")
    return found


def _transcripts(folders: Iterable[tuple[Path, list[str]]]) -> list[str]:
    """The formats that keep transcripts beside the recordings, from the first folder that has any."""
    for _, names in folders:
        stems = {name.rpartition(".")[0] for name in names if folder.is_audio(name)}
        texts = {name.rpartition(".")[0] for name in names if folder.is_transcript(name)}
        found = ["librispeech"] if any(map(folder.is_listing, names)) else []
        found += ["text_files"] if stems & texts else []
        if found:
            return found
    return []


def _seen(source: Path) -> str:
    """What a folder holds, by kind, for people.

    Raises:
        ManifestError: recordings, none of which can be read; then no format helps.
    """
    counts: Counter[str] = Counter()
    for _, names in folder.walk(source):
        counts.update(Path(name).suffix.lower() or "without suffix" for name in names)
    if not counts:
        return "the folder holds no files"
    seen = "found " + ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common(8))
    unread = sorted(counts.keys() & set(UNREAD_SUFFIXES))
    if unread and counts.keys().isdisjoint(AUDIO_SUFFIXES):
        raise ManifestError(
            f"{source}: {seen}; sound in {', '.join(unread)} cannot be read: {CONVERT}, and write the words of each "
            "recording into a .txt of the same name beside it, or those of all into one table: audio,text"
        )
    return seen
