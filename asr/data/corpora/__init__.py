"""The corpora that `asr prepare` knows. To add one, write a module like `an4.py` and its line in `CORPORA`."""

from __future__ import annotations

import difflib
import importlib
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.errors import CorpusError


@dataclass(frozen=True, slots=True)
class CorpusInfo:
    """What a user wants to know of a corpus before preparing it."""

    name: str
    title: str
    language: str
    hours: float
    """Hours of recordings, all official parts together."""
    megabytes: int
    """Size of the official archive in MB (10^6 bytes)."""
    licence: str
    module: str
    """Where `download(output) -> source` and `prepare(source, output, **options) -> {part: manifest}` are."""


# The entries stand here and not in their modules, so that listing the corpora does not import audio libraries.
CORPORA: dict[str, CorpusInfo] = {
    info.name: info
    for info in (
        CorpusInfo(
            name="an4",
            title="CMU AN4 (census): spelled names, dates, digits and commands, 16 kHz",
            language="English",
            hours=0.81,
            megabytes=64,
            licence="free for any use, with the notice of Carnegie Mellon University",
            module="asr.data.corpora.an4",
        ),
        CorpusInfo(
            name="digits",
            title="Free Spoken Digit Dataset: ten digits by six speakers, 8 kHz, joined into digit strings",
            language="English",
            hours=0.37,
            megabytes=16,
            licence="CC BY-SA 4.0",
            module="asr.data.corpora.digits",
        ),
    )
}


def prepare(name: str, *, source: Path | None, output: Path, **options: Any) -> dict[str, Path]:
    """Write the manifests of corpus `name` under `output`.

    Args:
        name: a key of `CORPORA`.
        source: the corpus in its official layout; None downloads the official archive to `output/download`.
        output: the folder for `PART/cuts.jsonl` and whatever audio the corpus makes.
        options: keyword arguments of the corpus module's own `prepare`.

    Returns:
        The manifest of each part, by name ("train", "dev", "test", ...).

    Raises:
        CorpusError: unknown corpus or option, failed download, or a folder without the official layout.
    """
    if name not in CORPORA:
        close = difflib.get_close_matches(name.lower(), CORPORA, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise CorpusError(f"no corpus named {name!r}; {hint}Known: {', '.join(CORPORA)}")
    module = importlib.import_module(CORPORA[name].module)
    known = [key for key in inspect.signature(module.prepare).parameters if key not in ("source", "output")]
    for key in options:
        if key not in known:
            raise CorpusError(f"{name}: no option {key!r}; it has {', '.join(known) or 'no options'}")
    if source is None:
        source = module.download(Path(output) / "download")
    return module.prepare(Path(source), Path(output), **options)
