"""CMU ARCTIC: eighteen people with various accents of English read the same sentences in a studio, 14 hours at 16 kHz.

There is no official split. Every sixth speaker is dev and another sixth is test, at even steps in the order of their
names, so no speaker is in two parts. Sentences are: all read the same 593 or 1,132, so an error rate tells how a model
takes to new voices, not to new words. Case and punctuation are the corpus's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from asr.data.corpora.common import (
    UNPACK_AGAIN,
    Archive,
    corpus_root,
    fetch,
    recording,
    report_untranscribed,
    write_parts,
)
from asr.data.corpora.parts import split_groups
from asr.data.lines import read_lines
from asr.data.utterance import Utterance
from asr.errors import CorpusError

# The checksums are torchaudio's.
SHA256 = {
    "aew": "645cb33c0f0b2ce41384fdd8d3db2c3f5fc15c1e688baeb74d2e08cab18ab406",
    "ahw": "024664adeb892809d646a3efd043625b46b5bfa3e6189b3500b2d0d59dfab06c",
    "aup": "2c55bc3050caa996758869126ad10cf42e1441212111db034b3a45189c18b6fc",
    "awb": "d74a950c9739a65f7bfc4dfa6187f2730fa03de5b8eb3f2da97a51b74df64d3c",
    "axb": "dd65c3d2907d1ee52f86e44f578319159e60f4bf722a9142be01161d84e330ff",
    "bdl": "26b91aaf48b2799b2956792b4632c2f926cd0542f402b5452d5adecb60942904",
    "clb": "3f16dc3f3b97955ea22623efb33b444341013fc660677b2e170efdcc959fa7c6",
    "eey": "8a0ee4e5acbd4b2f61a4fb947c1730ab3adcc9dc50b195981d99391d29928e8a",
    "fem": "3fcff629412b57233589cdb058f730594a62c4f3a75c20de14afe06621ef45e2",
    "gka": "dc82e7967cbd5eddbed33074b0699128dbd4482b41711916d58103707e38c67f",
    "jmk": "3a37c0e1dfc91e734fdbc88b562d9e2ebca621772402cdc693bbc9b09b211d73",
    "ksp": "8029cafce8296f9bed3022c44ef1e7953332b6bf6943c14b929f468122532717",
    "ljm": "b23993765cbf2b9e7bbc3c85b6c56eaf292ac81ee4bb887b638a24d104f921a0",
    "lnh": "4faf34d71aa7112813252fb20c5433e2fdd9a9de55a00701ffcbf05f24a5991a",
    "rms": "c6dc11235629c58441c071a7ba8a2d067903dfefbaabc4056d87da35b72ecda4",
    "rxr": "1fa4271c393e5998d200e56c102ff46fcfea169aaa2148ad9e9469616fbfdd9b",
    "slp": "54345ed55e45c23d419e9a823eef427f1cc93c83a710735ec667d068c916abf1",
    "slt": "7c173297916acf3cc7fcab2713be4c60b27312316765a90934651d367226b4ea",
}
ARCHIVES = [
    Archive(
        f"http://festvox.org/cmu_arctic/packed/cmu_us_{speaker}_arctic.tar.bz2",
        sha256=sha256,
        holds=f"cmu_us_{speaker}_arctic/etc/txt.done.data",
    )
    for speaker, sha256 in SHA256.items()
]

HELD_OUT = 1 / 6
"""Share of the speakers for dev and for test each: 3 of 18, women and men, native and not."""

_PROMPTS = "etc/txt.done.data"
_LINE = re.compile(r'\(\s*(?P<id>\S+)\s+"(?P<text>.*)"\s*\)')


def download(output: Path) -> Path:
    """Download and unpack the archives of all 18 speakers (1.2 GB) into `output`; returns it. Goes on where it stopped.

    Raises:
        CorpusError: a download failed.
    """
    return fetch(ARCHIVES, output)


def prepare(source: Path, output: Path) -> dict[str, Path]:
    """Write `train`, `dev` and `test` manifests under `output`; the recordings stay where they are.

    A recording without a transcript is reported and left out; the official archives have some, such as a0507 of bdl.

    Args:
        source: the folder that holds `cmu_us_SPEAKER_arctic` for each speaker, or its parent if it is called ARCTIC.
            Three speakers are enough.
        output: where the manifests go.

    Returns:
        The manifest of each part.

    Raises:
        CorpusError: the folder has another layout, a line of txt.done.data is no prompt, its recording is missing or
            damaged, or there are fewer than three speakers.
    """
    root = corpus_root(source, "CMU ARCTIC", f"cmu_us_*_arctic/{_PROMPTS}", ["ARCTIC"])
    return write_parts(split_groups(_read(root), lambda utterance: utterance.speaker or "", HELD_OUT), output)


def _read(root: Path) -> Iterator[Utterance]:
    """Not Lhotse's `prepare_cmu_arctic`: it takes every .wav below the folder for one of the corpus, and drops those
    without a transcript without naming them."""
    for prompts in sorted(root.glob(f"cmu_us_*_arctic/{_PROMPTS}")):
        folder = prompts.parent.parent
        speaker = folder.name.split("_")[2]
        listed = set()
        for number, line in read_lines(prompts):
            if not line.strip():
                continue
            match = _LINE.fullmatch(line.strip())
            if match is None:
                raise CorpusError(
                    f"{prompts}, line {number}: expected '( arctic_a0001 \"WORDS\" )', found {line.strip()[:60]!r}; "
                    f"{UNPACK_AGAIN}"
                )
            name, text = match["id"], match["text"].replace('"', "")
            listed.add(name)
            yield recording(folder / "wav" / f"{name}.wav", id=f"{speaker}-{name}", text=text, speaker=speaker)
        report_untranscribed((folder / "wav").glob("*.wav"), listed, f"cmu_arctic {speaker}")
