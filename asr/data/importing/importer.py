"""`import_data`: any format to a manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from asr.data.importing import folder, kaldi, nemo, tables
from asr.data.importing.building import Builder, Progress, survey
from asr.data.importing.detection import FORMATS, detect
from asr.data.importing.entries import Found, Options, check_columns
from asr.data.manifest import MANIFEST_NAMES, write_manifest
from asr.data.problems import Problem, summarise
from asr.data.selecting import check_targets
from asr.errors import ConfigError, ManifestError

_READERS: dict[str, Callable[[Path, Options], Iterator[Found]]] = {
    "table": tables.read,
    "nemo": nemo.read,
    "kaldi": kaldi.read,
    "huggingface": tables.read_huggingface,
    "common_voice": tables.read_common_voice,
    "text_files": folder.read,
    "librispeech": folder.read_librispeech,
}
_TABLES = ("table", "huggingface", "common_voice")
_WITH_COLUMNS = (*_TABLES, "nemo")
_WITH_AUDIO_ROOT = (*_WITH_COLUMNS, "kaldi")


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What was imported, and what was left out."""

    manifest: Path
    format: str
    utterances: int
    seconds: float
    without_text: int
    """Utterances with an empty transcript."""
    problems: list[Problem]
    unused_columns: list[str] = field(default_factory=list)
    """Of a table, where no utterance has a speaker: one of them may name it."""


def import_data(
    source: str | Path,
    output: str | Path,
    *,
    format: str = "auto",
    columns: Mapping[str, str] | None = None,
    audio_root: str | Path | None = None,
    encoding: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ImportResult:
    """Write a manifest of the recordings and transcripts in `source`; the recordings stay where they are.

    Transcripts are kept as they stand, without the whitespace around them. What cannot be used is left out and
    reported in the result. Ids are those of the source, or else file names: `take1`, `room-take1` where there are
    several of that name, `call-c1-0012500` for what begins at 12.5 s in channel 1.

    Args:
        source: a file or folder in one of `FORMATS`.
        output: the folder for `cuts.jsonl`, or a file that ends in `.jsonl` or `.jsonl.gz`.
        format: a key of `FORMATS`; `auto` looks at what is there.
        columns: our name of a column or JSON key -> its name in the source, where that is not one of the usual.
        audio_root: the folder that relative audio paths start from; the folder of the table by default.
        encoding: of text that is neither UTF-8 nor UTF-16 with a byte-order mark, such as `cp1252`.
        overwrite: replace a manifest that is there already.
        progress: called with the number of entries done and of all.

    Raises:
        ConfigError: an unknown format or column, an option that the format has no use for, or the manifest exists.
        ManifestError: the source cannot be read or has no utterance that can be used, or the manifest cannot be
            written; then nothing is.
    """
    source, manifest = Path(source), _target(Path(output))
    if format not in ("auto", *FORMATS):
        raise ConfigError(f"format {format!r} is unknown; choose one of auto, {', '.join(FORMATS)}")
    if format == "auto":
        format = detect(source, encoding)
    elif not source.exists():
        raise ManifestError(f"{source}: no such file or folder; check the path")
    options = Options(columns or {}, None if audio_root is None else Path(audio_root), encoding)
    _check(format, options)
    check_targets([manifest], [], overwrite)
    known = survey(_READERS[format](source, options))
    builder = Builder(known, progress)
    utterances = builder.build(_READERS[format](source, options))
    first = next(utterances, None)
    if first is None:
        if not known.total:
            raise ManifestError(f"{source}: holds no utterances; nothing is written")
        reasons = "\n".join(summarise(builder.problems, str(source)))
        raise ManifestError(f"{source}: none of {known.total} utterances can be used, nothing is written\n{reasons}")
    write_manifest(manifest, chain([first], utterances))
    unused = tables.unused_columns(source, options) if format in _TABLES and not builder.with_speaker else []
    return ImportResult(
        manifest, format, builder.utterances, builder.seconds, builder.without_text, builder.problems, unused
    )


def _target(output: Path) -> Path:
    return output if output.name.endswith((".jsonl", ".jsonl.gz")) else output / MANIFEST_NAMES[0]


def _check(format: str, options: Options) -> None:
    check_columns(options.columns)
    if options.columns and format not in _WITH_COLUMNS:
        raise ConfigError(f"--column: format {format} has no columns, only {', '.join(_WITH_COLUMNS)} have")
    if options.audio_root is not None:
        if format not in _WITH_AUDIO_ROOT:
            raise ConfigError(f"--audio-root: format {format} names no paths, only {', '.join(_WITH_AUDIO_ROOT)} do")
        if not options.audio_root.is_dir():
            raise ConfigError(f"--audio-root {options.audio_root}: no such folder")
