"""Opens transcript files and folders: which format they are in, and the texts in them."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path

from asr.errors import AsrError, ManifestError, ScoringError
from asr.scoring.transcripts import parsers, timed
from asr.scoring.transcripts.model import Side, Transcripts

Line = tuple[int, str]

FORMATS = {
    "auto": "by name and content",
    "txt": "a sentence a line; in a folder, a file an utterance",
    "kaldi": "`id words` a line",
    "trn": "`words (id)` a line, sclite's alternatives `{ a / b / @ }` in references",
    "ctm": "`recording channel start duration word` a line",
    "stm": "`recording channel speaker start end <label> words` a line",
    "jsonl": "a JSON object a line (id, text), NeMo's among them (audio_filepath, text, pred_text), or a manifest",
    "json": "a transcript of `asr transcribe` or whisper",
}
"""Names of the formats and what they are."""

_SUFFIXES = {".txt": "txt", ".trn": "trn", ".ctm": "ctm", ".stm": "stm", ".jsonl": "jsonl", ".json": "json"}
_NOTHING_HEARD = ("txt", "ctm")
"""Formats in which a recording without words leaves no line with a word or an id."""
_OTHER_SUFFIXES = {".srt", ".vtt", ".tsv", ".csv", ".textgrid", ".xml", ".pdf", ".docx", ".xlsx"}
_LISTED = 5
_SEPARATED_LINE = re.compile(r"[^\s|]+(?P<mark>[\t|])")
_TIMED_LINE = re.compile(r"\S+ \S+ (\S+ )?\d+(\.\d*)? \d+(\.\d*)?( .*)?")


def read_transcripts(path: str | Path, format: str = "auto", *, side: Side | None = None) -> Transcripts:
    """Read id -> text, in file order, from a file or a folder.

    `FORMATS` says what a line is in each format. UTF-8 with or without a byte-order mark or UTF-16 with one, any line
    ends. Lines that start with `;;` are comments in trn, ctm and stm. Ids are line numbers in txt and the names of the
    files, without their endings, in json and in folders of txt; where names in a folder repeat, their paths in it.
    Blank lines at the end of a txt are no utterances (`Transcripts.blank_end`). A txt or ctm without any words is a
    hypothesis, of a recording in which nothing was heard, but no reference.

    A folder is a manifest or a Kaldi data directory (`text`, and `utt2spk` for the speakers), or else holds files of
    one format, in folders below it too.

    Args:
        path: a file or folder.
        format: a key of `FORMATS`; auto goes by the name, then by the lines, and refuses to guess where an id could be
            a word.
        side: what the texts are wanted as; needed for JSON lines that hold both, and only references have alternatives.

    Raises:
        ScoringError: the file is missing, not text, empty, breaks its format or repeats an id (with the line).
        ManifestError: the same for a manifest.
    """
    path = Path(path)
    if format not in FORMATS:
        raise ScoringError(f"format {format!r} is unknown; choose one of {', '.join(FORMATS)}")
    transcripts = Transcripts(path)
    if path.is_dir():
        _read_folder(path, format, side, transcripts)
    elif path.name.endswith(".gz"):
        if format not in ("auto", "jsonl"):
            raise ScoringError(f"{path}: a compressed file must be a manifest, not {format}; unpack it first")
        _read_manifest(path, transcripts)
    else:
        _read_file(path, format, side, transcripts)
    if transcripts.kind == "ctm":
        joined = timed.by_recording(path, transcripts.pieces)
        transcripts.update(joined)
        transcripts.alternatives = joined.alternatives
    if not transcripts and not transcripts.silent:
        raise ScoringError(f"{path}: holds no transcripts")
    return transcripts


def files_read(path: Path) -> list[Path]:
    """The files that `read_transcripts` would read of a path, whether or not they hold anything."""
    from asr.data.manifest import MANIFEST_NAMES

    if not path.is_dir():
        return [path]
    known = [path / name for name in (*MANIFEST_NAMES, "text", "utt2spk") if (path / name).is_file()]
    return known or [file for file in _files(path) if _by_name(file)]


def read_speakers(path: str | Path) -> dict[str, str]:
    """Utterance id -> speaker, of Kaldi's `utt2spk`.

    Raises:
        ScoringError: it cannot be read, or a line, which is named, is not `id speaker` or repeats an id.
    """
    path = Path(path)
    speakers = Transcripts(path)
    parsers.read_kaldi(path, [(number, line.strip()) for number, line in _read_lines(path) if line.strip()], speakers)
    for identifier, speaker in speakers.items():
        if len(speaker.split()) != 1:
            raise ScoringError(f"{path}: expected `id speaker` a line, found {f'{identifier} {speaker}'[:60]!r}")
    return dict(speakers)


def _read_file(path: Path, format: str, side: Side | None, into: Transcripts, identifier: str | None = None) -> None:
    """Take in a file; `identifier` is that of its text where the format gives none."""
    lines = _read_lines(path)
    if format == "auto":
        format = _detect(path, lines, side)
    if not _content(lines, format):
        if side == "hypothesis" and format in _NOTHING_HEARD:
            into.silent = True
            return
        only = "comments but " if any(line.strip() for _, line in lines) else ""
        raise ScoringError(f"{path}: holds {only}no transcripts")
    if format == "txt":
        parsers.read_txt(path, [(number, line.strip()) for number, line in lines], into)
    elif format == "json":
        parsers.read_json(path, "\n".join(line for _, line in lines), into, identifier)
    elif format == "jsonl" and _is_manifest(lines):
        _read_manifest(path, into)
    else:
        _read_records(path, format, _content(lines, format), side, into)


def _read_records(path: Path, format: str, lines: list[Line], side: Side | None, into: Transcripts) -> None:
    if format == "kaldi":
        parsers.read_kaldi(path, lines, into)
    elif format == "trn":
        parsers.read_trn(path, lines, side, into)
    elif format == "jsonl":
        parsers.read_jsonl(path, lines, side, into)
    elif format == "ctm":
        into.kind = "ctm"
        timed.read_ctm(path, lines, side, into)
    else:
        into.kind = "stm"
        timed.read_stm(path, lines, side, into)


def _read_folder(folder: Path, format: str, side: Side | None, into: Transcripts) -> None:
    from asr.data.manifest import MANIFEST_NAMES
    from asr.data.shards import local_shards

    if format in ("auto", "jsonl") and (
        any((folder / name).is_file() for name in MANIFEST_NAMES) or local_shards(folder)
    ):
        _read_manifest(folder, into)
        return
    if format in ("auto", "kaldi") and (folder / "text").is_file():
        _read_file(folder / "text", "kaldi", side, into)
        if (folder / "utt2spk").is_file():
            into.speakers = read_speakers(folder / "utt2spk")
        return
    files = {file: kind for file in _files(folder) if (kind := _by_name(file)) and format in ("auto", kind)}
    kinds = Counter(files.values())
    if not kinds:
        wanted = "transcripts" if format == "auto" else f"files of format {format}"
        raise ScoringError(f"{folder}: no {wanted} in this folder; give a file or a folder of {', '.join(_SUFFIXES)}")
    if len(kinds) > 1:
        found = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        raise ScoringError(f"{folder}: files of several formats ({found}); say which format to read (--format)")
    stems = Counter(file.stem for file in files)
    repeated = max(stems.values()) > 1  # as in the tree that `asr transcribe -o` keeps, whose ids are paths too
    problems = []
    for file, kind in files.items():
        identifier = file.relative_to(folder).with_suffix("").as_posix() if repeated else file.stem
        try:
            if kind == "txt":
                into.add(identifier, " ".join(line.strip() for _, line in _read_lines(file)), file)
            else:
                _read_file(file, kind, side, into, identifier)
        except AsrError as error:
            problems.append(str(error))
    if problems:
        more = f"\n  and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
        raise ScoringError(
            f"{folder}: {len(problems)} of {len(files)} files cannot be used; mend them or take them out:\n  "
            + "\n  ".join(problems[:_LISTED])
            + more
        )


def _files(folder: Path) -> list[Path]:
    """Every file below a folder, by name; hidden ones are left out."""

    def refuse(error: OSError) -> None:
        raise ScoringError(f"{error.filename}: cannot be listed ({error.strerror or error}); allow reading it")

    files = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(parent, name) for name in sorted(names) if not name.startswith(".")]
    return files


def _read_lines(path: Path) -> list[Line]:
    from asr.data.lines import read_lines

    if not path.exists():
        raise ScoringError(f"{path}: no such file; give a transcript file, a folder of them or a manifest")
    numbered: list[Line] = []
    try:
        # A pipe can be read only once, so its encoding is not looked for.
        for number, line in read_lines(path, None if path.is_file() else "utf-8"):
            if "\0" in line:
                raise ScoringError(f"{path}, line {number}: a NUL byte; this is no text, or UTF-16 without its mark")
            numbered += [(number, line)] if "\r" not in line else [(number, part) for part in line.split("\r")]
    except ManifestError as error:
        raise ScoringError(str(error)) from None
    if numbered and numbered[-1][0] == 1:  # line ends of old Macs: one line of the file is all of them
        numbered = [(number, line) for number, (_, line) in enumerate(numbered, start=1)]
    return numbered


def _content(lines: list[Line], format: str) -> list[Line]:
    """The stripped lines that hold something to score."""
    comments = format in ("trn", "ctm", "stm")
    stripped = ((number, line.strip()) for number, line in lines)
    return [(number, line) for number, line in stripped if line and not (comments and line.startswith(";;"))]


def _by_name(path: Path) -> str:
    if path.name == "text" or path.name.endswith(".trans.txt"):  # Kaldi's, LibriSpeech's
        return "kaldi"
    return _SUFFIXES.get(path.suffix.lower(), "")


def _detect(path: Path, lines: list[Line], side: Side | None) -> str:
    format = _by_name(path)
    if format not in ("", "txt"):
        return format
    if path.suffix.lower() in _OTHER_SUFFIXES:
        from asr.data.lines import is_table, table_remedy

        table = ""
        if is_table(path):
            table = f"; or write lines `id text` and give {_option(side)} kaldi"
            # What a recogniser heard is in no manifest.
            table += f", or a manifest: {table_remedy(path)}" if side != "hypothesis" else ""
        raise ScoringError(
            f"{path}: {path.suffix} is no format to score; give {', '.join(_SUFFIXES)} or Kaldi's text{table}"
        )
    content = [line for _, line in _content(lines, "trn")]
    ends = [match["id"] for line in content if (match := parsers.TRN_LINE.fullmatch(line))]
    if ends and len(ends) == len(content):
        if format == "txt":  # `he said it (twice)` would lose a word and get an id
            raise ScoringError(
                f"{path}: every line ends in parentheses, as ids do in trn ({ends[0]!r}); "
                "give the format: 'trn' if these are ids, 'txt' if they were spoken"
            )
        return "trn"
    # Ids and times scored as words would be right every time and flatter the error rate, so the user is asked.
    whole = [line for _, line in lines if line.strip()]  # with the tab at its end where nothing was heard
    separated = [match for line in whole if (match := _SEPARATED_LINE.match(line))]
    if separated and len(separated) == len(whole):
        space = "write a space in place of `|`, and " if any(match["mark"] == "|" for match in separated) else ""
        raise ScoringError(
            f"{path}: every line starts with something like an id and a separator ({separated[0][0]!r}); {space}give "
            f"the format: {_option(side)} 'kaldi' if these are ids, 'txt' if they were spoken"
        )
    first_words = [line.split()[0] for _, line in _content(lines, "txt")]
    if (
        len(first_words) > 1
        and len(set(first_words)) == len(first_words)
        and all(re.search(r"\d", word) for word in first_words)
    ):
        raise ScoringError(
            f"{path}: every line starts with something like an id ({first_words[0]!r}); give the format: "
            f"{_option(side)} 'kaldi' if these are ids, 'txt' if they were spoken"
        )
    if content and all(line.startswith("{") and line.endswith("}") for line in content):
        raise ScoringError(f"{path}: the lines look like JSON; give the format: 'jsonl', or 'txt' if they were spoken")
    if content and all(_TIMED_LINE.fullmatch(line) for line in content):
        raise ScoringError(f"{path}: the lines hold times; give the format: 'ctm' or 'stm', or 'txt' for plain words")
    return "txt"


def _option(side: Side | None) -> str:
    """What names the format on the command line."""
    return f"--{side}-format" if side else "--format"


def _is_manifest(lines: list[Line]) -> bool:
    first = next(line for _, line in lines if line.strip())
    try:
        entry = json.loads(first)
    except (json.JSONDecodeError, RecursionError):
        return False  # the line-by-line reader reports it with its line
    return isinstance(entry, dict) and ("recording" in entry or "supervisions" in entry)


def _read_manifest(path: Path, into: Transcripts) -> None:
    from asr.data.manifest import read_manifest

    for utterance in read_manifest(path):
        if utterance.text is None:
            raise ScoringError(f"{path}: utterance {utterance.id!r} has no transcript to score against; add its text")
        into[utterance.id] = utterance.text
        if utterance.speaker is not None:
            into.speakers[utterance.id] = utterance.speaker
