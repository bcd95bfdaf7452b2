"""Common Voice: volunteers read sentences in some 300 languages, collected and validated by Mozilla; MP3.

The parts are the tables train.tsv, dev.tsv and test.tsv of the release, which share no speaker and no sentence. Other
recordings of the same sentences are in none of them. Case and punctuation are the corpus's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from asr.audio import audio_info
from asr.data.corpora.common import report, write_parts
from asr.data.lines import read_lines
from asr.data.problems import Problem
from asr.data.utterance import Utterance
from asr.errors import AudioError, CorpusError

URL = "https://datacollective.mozillafoundation.org"
PARTS = ("train", "dev", "test")

_COLUMNS = ("client_id", "path", "sentence")
_LAYOUT = "cv-corpus-VERSION/LANGUAGE with train.tsv, dev.tsv, test.tsv and clips"


def download(output: Path) -> NoReturn:
    """Common Voice cannot be downloaded without an account.

    Raises:
        CorpusError: always; the message says where the corpus is to be had.
    """
    raise CorpusError(
        f"Common Voice is given only to people with an account: sign in at {URL}, accept the terms, download the "
        "archive of your language (Scripted Speech), unpack it, and give the folder cv-corpus-VERSION with `--source`"
    )


def prepare(source: Path, output: Path, *, language: str | None = None) -> dict[str, Path]:
    """Write `train`, `dev` and `test` manifests of one language under `output`; the clips stay where they are.

    Clips that cannot be read and lines without a sentence are reported and left out, and so is a part whose table is
    empty, as some are in small languages.

    Args:
        source: the folder `cv-corpus-VERSION` of an unpacked archive, the folder of the language in it, or its parent.
        output: where the manifests go.
        language: Mozilla's code, such as `en`, `cy` or `zh-CN`; needed where the folder holds several.

    Returns:
        The manifest of each part.

    Raises:
        CorpusError: the folder has another layout, the language is not there or not clear, or a part has no usable
            clip.
        ManifestError: a table is not UTF-8.
    """
    root = _root(Path(source), language)
    problems: list[Problem] = []
    parts = {}
    for part in PARTS:
        if next(_rows(root / f"{part}.tsv"), None) is None:
            problems.append(Problem(part, "empty part", f"{root / part}.tsv has no lines"))
        else:
            parts[part] = _read_part(root, part, problems)
    if not parts:
        raise CorpusError(f"{root}: train.tsv, dev.tsv and test.tsv are empty; choose a language with validated clips")
    try:
        return write_parts(parts, output)
    finally:
        report(problems, f"common_voice {root.name}")


def _read_part(root: Path, part: str, problems: list[Problem]) -> Iterator[Utterance]:
    """Not Lhotse's `prepare_commonvoice`: it ends at the first clip that cannot be read, holds the whole table in
    memory and asks for columns that releases before 13 do not have."""
    for number, row in _rows(root / f"{part}.tsv"):
        where = f"{root / part}.tsv, line {number}"
        if len(row) < len(_COLUMNS):
            problems.append(Problem(where, "broken line", "it has fewer columns than the first line"))
            continue
        name, text = row["path"].strip(), row["sentence"].strip()
        if not name.endswith(".mp3"):
            name += ".mp3"  # releases 1 to 3 leave it out
        id_ = Path(name).stem
        if not text:
            problems.append(Problem(id_, "no sentence", where))
            continue
        try:
            info = audio_info(root / "clips" / name)
        except AudioError as error:
            problems.append(Problem(id_, "unreadable clip", f"{error} ({where})"))
            continue
        yield Utterance(id_, root / "clips" / name, info.seconds, info.sample_rate, text, row["client_id"])


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and the columns that are needed, of each line but the first, which names them."""
    places: list[int] = []
    for number, line in read_lines(path):
        fields = line.split("\t")  # no quoting in these tables: a sentence may hold a single quotation mark
        if number == 1:
            missing = [name for name in _COLUMNS if name not in fields]
            if missing:
                raise CorpusError(f"{path}, line 1: no column {missing[0]!r}, only {', '.join(fields)[:200]}")
            places = [fields.index(name) for name in _COLUMNS]
        elif line.strip():
            yield number, {name: fields[at] for name, at in zip(_COLUMNS, places, strict=True) if at < len(fields)}


def _root(source: Path, language: str | None) -> Path:
    if not source.is_dir():
        raise CorpusError(f"{source}: no such folder; give the folder of the unpacked archive, {_LAYOUT}")
    found = [
        path.parent.resolve()
        for pattern in ("train.tsv", "*/train.tsv", "cv-corpus-*/*/train.tsv")
        for path in sorted(source.glob(pattern))
        if (path.parent / "clips").is_dir()
    ]
    if not found:
        raise CorpusError(
            f"{source}: no Common Voice here, train.tsv beside a folder clips is missing; give {_LAYOUT}, as "
            f"the archive from {URL} unpacks"
        )
    languages = ", ".join(sorted({path.name for path in found}))
    chosen = found if language is None else [path for path in found if path.name == language]
    if not chosen:
        raise CorpusError(f"{source}: no language {language!r}, only {languages}; choose one of these")
    if len(chosen) > 1:
        remedy = "choose one with `--option language=CODE`" if language is None else "give the folder of one release"
        raise CorpusError(f"{source}: several corpora ({languages}); {remedy}")
    return chosen[0]
