"""The corpora that `asr prepare` knows. To add one, write a module like `an4.py` and its line in `CORPORA`."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

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
    """Size of the official archives in MB (10^6 bytes)."""
    licence: str
    module: str
    """Where `download(output) -> source` and `prepare(source, output, **options) -> {part: manifest}` are."""

    @property
    def size(self) -> str:
        """Size of the download for people."""
        return f"{self.megabytes} MB" if self.megabytes < 1000 else f"{self.megabytes / 1000:.1f} GB"


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
            licence="free, with CMU's notice",
            module="asr.data.corpora.an4",
        ),
        CorpusInfo(
            name="fsdd",
            title="Free Spoken Digit Dataset: ten digits by six speakers, 8 kHz, joined into digit strings",
            language="English",
            hours=0.37,
            megabytes=16,
            licence="CC BY-SA 4.0",
            module="asr.data.corpora.fsdd",
        ),
        CorpusInfo(
            name="librispeech",
            title="LibriSpeech: audio books read by 2,484 people; --option parts=[dev-clean] for a part alone",
            language="English",
            hours=982.1,
            megabytes=61358,
            licence="CC BY 4.0",
            module="asr.data.corpora.librispeech",
        ),
        CorpusInfo(
            name="mini_librispeech",
            title="Mini LibriSpeech: five hours of LibriSpeech to train on and two for dev",
            language="English",
            hours=7.3,
            megabytes=459,
            licence="CC BY 4.0",
            module="asr.data.corpora.mini_librispeech",
        ),
        CorpusInfo(
            name="libritts",
            title="LibriTTS: books of LibriSpeech at 24 kHz, punctuated; --option parts=[dev-clean] for a part alone",
            language="English",
            hours=585.8,
            megabytes=84204,
            licence="CC BY 4.0",
            module="asr.data.corpora.libritts",
        ),
        CorpusInfo(
            name="ljspeech",
            title="LJ Speech: seven books read by one woman, 22 kHz",
            language="English",
            hours=23.9,
            megabytes=2749,
            licence="public domain",
            module="asr.data.corpora.ljspeech",
        ),
        CorpusInfo(
            name="vctk",
            title="CSTR VCTK 0.92: sentences read by 110 people with various accents, 48 kHz",
            language="English",
            hours=44.0,
            megabytes=11747,
            licence="CC BY 4.0",
            module="asr.data.corpora.vctk",
        ),
        CorpusInfo(
            name="speech_commands",
            title="Speech Commands 0.02: single words of 35, said by 2,618 people",
            language="English",
            hours=29.0,
            megabytes=2429,
            licence="CC BY 4.0",
            module="asr.data.corpora.speech_commands",
        ),
        CorpusInfo(
            name="speechocean762",
            title="speechocean762: speakers of Mandarin, half of them children, reading English, 16 kHz",
            language="English",
            hours=5.0,
            megabytes=521,
            licence="CC BY 4.0",
            module="asr.data.corpora.speechocean762",
        ),
        CorpusInfo(
            name="common_voice",
            title="Common Voice: volunteers reading (figures: English, release 27.0); to be had with an account only",
            language="100+ languages",
            hours=3795.9,
            megabytes=94956,
            licence="CC0 1.0",
            module="asr.data.corpora.common_voice",
        ),
        CorpusInfo(
            name="tedlium3",
            title="TED-LIUM 3: TED talks in segments, 16 kHz",
            language="English",
            hours=452.0,
            megabytes=54300,
            licence="CC BY-NC-ND 3.0",
            module="asr.data.corpora.tedlium3",
        ),
        CorpusInfo(
            name="cmu_arctic",
            title="CMU ARCTIC: 18 speakers reading the same sentences in a studio, 16 kHz",
            language="English",
            hours=13.9,
            megabytes=1185,
            licence="free, with CMU's notice",
            module="asr.data.corpora.cmu_arctic",
        ),
        CorpusInfo(
            name="voxforge",
            title="VoxForge: volunteers reading sentences at home, 16 kHz",
            language="English",
            hours=130.0,
            megabytes=10400,
            licence="GPL 3.0",
            module="asr.data.corpora.voxforge",
        ),
        CorpusInfo(
            name="yesno",
            title="YesNo: one man saying yes and no, eight words a recording, 8 kHz",
            language="Hebrew",
            hours=0.1,
            megabytes=5,
            licence="free",
            module="asr.data.corpora.yesno",
        ),
    )
}


def find(name: str) -> CorpusInfo:
    """The entry of a corpus.

    Raises:
        CorpusError: there is none of this name.
    """
    if name in CORPORA:
        return CORPORA[name]
    close = difflib.get_close_matches(name.lower(), CORPORA, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise CorpusError(f"no corpus named {name!r}; {hint}Known: {', '.join(CORPORA)}")


def prepare(name: str, *, source: Path | None, output: Path, **options: Any) -> dict[str, Path]:
    """Write the manifests of corpus `name` under `output`.

    Args:
        name: a key of `CORPORA`.
        source: the corpus in its official layout; None downloads the official archives to `output/download`, going on
            where an earlier download stopped.
        output: the folder for `PART/cuts.jsonl` and whatever audio the corpus makes.
        options: keyword arguments of the corpus module's own `prepare`; those that its `download` knows too (such as
            `parts`) also say what is downloaded.

    Returns:
        The manifest of each part, by name ("train", "dev", "test", ...).

    Raises:
        CorpusError: unknown corpus or option, failed download, or a folder without the official layout.
        ManifestError: a manifest cannot be written.
    """
    module = importlib.import_module(find(name).module)
    options = _checked(name, module, options)
    if source is None:
        downloaded = inspect.signature(module.download).parameters
        chosen = {key: value for key, value in options.items() if key in downloaded}
        source = module.download(Path(output) / "download", **chosen)
    return module.prepare(Path(source), Path(output), **options)


def _checked(name: str, module: ModuleType, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as the corpus module's `prepare` declares them."""
    from pydantic import TypeAdapter, ValidationError

    types = get_type_hints(module.prepare)
    known = [key for key in inspect.signature(module.prepare).parameters if key not in ("source", "output")]
    checked = {}
    for key, value in options.items():
        if key not in known:
            raise CorpusError(f"{name}: no option {key!r}; it has {', '.join(known) or 'no options'}")
        try:
            checked[key] = TypeAdapter(types[key]).validate_python(value)
        except ValidationError as error:
            raise CorpusError(f"{name}: option {key} cannot be {value!r}: {error.errors()[0]['msg']}") from None
    return checked
