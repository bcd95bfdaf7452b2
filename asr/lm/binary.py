"""N-gram models in the own binary form, which is mapped into memory and so opens at once.

A file is the line `MAGIC`, a line of JSON (version, units, length of all, each array with its name, length and place),
then the arrays, each at a multiple of 64 bytes, little-endian. Nothing in it is executed.
"""

from __future__ import annotations

import json
import mmap
from pathlib import Path
from typing import Any

import numpy as np

from asr.errors import LanguageModelError
from asr.files import writing
from asr.lm.automaton import Automaton
from asr.lm.ngram import NgramModel
from asr.lm.units import SPECIAL, check_units

MAGIC = b"asr n-gram model\n"
VERSION = 1
ALIGNMENT = 64
LONGEST_HEADER = 1 << 16
TYPES = {
    "arc_begin": "<i8",
    "arc_label": "<i4",
    "arc_weight": "<f4",
    "arc_next": "<i4",
    "back_off_weight": "<f4",
    "back_off_state": "<i4",
    "final_weight": "<f4",
    "start": "<i4",
    "depth_begin": "<i8",
    "words": "|u1",
}
"""Arrays in the order of the file; `words` is UTF-8, a word a line."""


def write_binary(model: NgramModel, path: str | Path) -> None:
    """Write a model so that `read_binary` opens it at once.

    Raises:
        OutputError: the file cannot be written.
    """
    path = Path(path)
    words = np.frombuffer("\n".join(model.words).encode(), np.uint8)
    arrays = {**model.automaton._asdict(), "depth_begin": model.depth_begin, "words": words}
    places: list[dict[str, Any]] = []
    end = 0
    for name, dtype in TYPES.items():
        arrays[name] = np.ascontiguousarray(arrays[name], dtype)
        begin = -(-end // ALIGNMENT) * ALIGNMENT
        places.append({"name": name, "length": len(arrays[name]), "begin": begin})
        end = begin + arrays[name].nbytes
    header = json.dumps({"version": VERSION, "units": model.units, "bytes": end, "arrays": places}).encode()
    padding = -(len(MAGIC) + len(header) + 1) % ALIGNMENT
    with writing(path) as partial, open(partial, "wb") as out:
        out.write(MAGIC + header + b" " * padding + b"\n")
        first = out.tell()
        for place in places:
            out.write(b"\0" * (first + place["begin"] - out.tell()))
            out.write(arrays[place["name"]].data)


def read_binary(path: str | Path) -> NgramModel:
    """Map a model into memory: pages are read when they are first used, and shared between processes.

    Raises:
        LanguageModelError: the file is missing, cut, of another version, or none of `write_binary`'s.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            magic, line = file.read(len(MAGIC)), file.readline(LONGEST_HEADER)
            size = file.seek(0, 2)
            if magic != MAGIC:
                raise LanguageModelError(
                    f"{path}: no n-gram model of `asr lm train`; an ARPA file's name ends in .arpa"
                )
            header = _header(path, line)
            first = len(MAGIC) + len(line)
            if size != first + header["bytes"]:
                raise LanguageModelError(
                    f"{path}: {size} bytes where {first + header['bytes']} are due; the file is cut or "
                    "damaged, copy it anew"
                )
            # Private pages, so that arrays are writable and compiled code need not exist for read-only ones too.
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except OSError as error:
        raise LanguageModelError(f"{path}: cannot be read ({error.strerror or error}); check the path") from None
    arrays = {}
    for place in header["arrays"]:
        dtype = np.dtype(TYPES[place["name"]])
        arrays[place["name"]] = np.frombuffer(memory, dtype, place["length"], first + place["begin"])
    words = bytes(arrays.pop("words")).decode().split("\n")
    depth_begin = arrays.pop("depth_begin")
    _check(path, words, depth_begin, arrays)
    return NgramModel(words, Automaton(**arrays), depth_begin, check_units(header["units"]))


def _header(path: Path, line: bytes) -> dict[str, Any]:
    try:
        header = json.loads(line)
        version, names = header["version"], [place["name"] for place in header["arrays"]]
        ends = [
            place["begin"] + place["length"] * np.dtype(TYPES[place["name"]]).itemsize for place in header["arrays"]
        ]
        sound = (
            max(ends) <= header["bytes"]
            and min(min(place["begin"], place["length"]) for place in header["arrays"]) >= 0
        )
    except (ValueError, KeyError, TypeError):
        version, names, sound = None, [], False
    if isinstance(version, int) and version > VERSION:
        raise LanguageModelError(
            f"{path}: written in version {version} of the form, and this asr reads version {VERSION}; update asr"
        )
    if names != list(TYPES) or not sound:
        raise LanguageModelError(f"{path}: the header is damaged; make the model anew")
    return header


def _check(path: Path, words: list[str], depth_begin: np.ndarray, arrays: dict[str, np.ndarray]) -> None:
    """Whether the arrays fit each other, as far as that shows without reading them."""
    states, arcs = len(arrays["back_off_state"]), len(arrays["arc_label"])
    lengths = {
        "arc_begin": states + 1,
        "arc_weight": arcs,
        "arc_next": arcs,
        "back_off_weight": states,
        "final_weight": states,
        "start": 1,
    }
    fits = all(len(arrays[name]) == length for name, length in lengths.items())
    if not fits or tuple(words[:3]) != SPECIAL or arrays["arc_begin"][-1] != arcs or depth_begin[-1] != states:
        raise LanguageModelError(f"{path}: its arrays do not fit each other; make the model anew")
