"""N-gram models in a form that is small rather than quick to open: a fifth of the room of the own binary form.

Probabilities and back-off weights of each order above the first are rounded to 255 values, the means of as many equally
large parts of them (Federico and Bertoldi 2006, binning); labels are written as differences; zlib does the rest. A file
is the line `MAGIC`, a line of JSON (version, units, n-grams of each order), and the packed arrays. The automaton is
linked anew when a file is read.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asr.errors import LanguageModelError
from asr.files import writing
from asr.lm.ngram import Level, NgramModel, Order
from asr.lm.units import SPECIAL, check_units

MAGIC = b"asr compact n-gram model\n"
VERSION = 1
LONGEST_HEADER = 1 << 12
VALUES = 255
"""Of each array; the code 0 stands for 0 itself, which is the back-off weight of an n-gram that is no history."""


class Rounded(NamedTuple):
    """Numbers as codes, uint8, and what each code stands for, float32 `[1 + VALUES]`; `[0]` is 0."""

    codes: np.ndarray
    values: np.ndarray


def rounded(numbers: np.ndarray) -> Rounded:
    """Each number but 0 as the mean of its part of all others; those equal stay together."""
    other = np.sort(numbers[numbers != 0])
    bounds = np.unique(other[(np.arange(1, VALUES) * len(other)) // VALUES]) if len(other) else other
    codes = np.where(numbers == 0, 0, 1 + np.searchsorted(bounds, numbers, side="right")).astype(np.uint8)
    sums, counts = np.bincount(codes, numbers, 1 + VALUES), np.bincount(codes, minlength=1 + VALUES)
    return Rounded(codes, (sums / np.maximum(counts, 1)).astype(np.float32))


def write_compact(model: NgramModel, path: str | Path) -> None:
    """Write a model for `read_compact`.

    Raises:
        OutputError: the file cannot be written.
    """
    path = Path(path)
    words = "\n".join(model.words).encode()
    header = {"version": VERSION, "units": model.units, "ngrams": model.ngrams, "words": len(words)}
    packer = zlib.compressobj(9)
    with writing(path) as partial, open(partial, "wb") as out:
        out.write(MAGIC + json.dumps(header).encode() + b"\n")
        for part in (words, *_parts(model)):
            out.write(packer.compress(part))
        out.write(packer.flush())


def _parts(model: NgramModel) -> Iterator[bytes]:
    """What is packed, behind the words."""
    first, *others = levels(model)
    yield first.log_prob.astype("<f4").tobytes()
    yield first.back_off.astype("<f4").tobytes()
    below = len(first.keys)
    for level in others:
        history, label = np.divmod(level.keys, len(model.words))
        steps = np.diff(label, prepend=0)
        steps[_firsts(history)] = label[_firsts(history)]
        for numbers in (np.bincount(history, minlength=below), steps):
            yield numbers.astype("<u4").view(np.uint8).reshape(-1, 4).T.tobytes()  # bytes of one place together
        for numbers in (level.log_prob, level.back_off):
            codes, values = rounded(numbers)
            yield values.astype("<f4").tobytes() + codes.tobytes()
        below = len(level.keys)


def _firsts(history: np.ndarray) -> np.ndarray:
    """Places of the first n-gram of each history."""
    return np.flatnonzero(np.diff(history, prepend=-1))


def levels(model: NgramModel) -> list[Level]:
    """The n-grams of each order, from which `NgramModel.from_levels` makes the model."""
    automaton, words = model.automaton, len(model.words)
    found: list[Level] = []
    places = np.zeros(1, np.int64)  # in the level below, of the n-gram that each state is
    for first, last in zip(model.depth_begin[:-1], model.depth_begin[1:], strict=True):
        begins = automaton.arc_begin[first : last + 1]
        arcs = slice(begins[0], begins[-1])
        history = np.repeat(places, np.diff(begins))
        after = automaton.arc_next[arcs]
        own = after >= last  # an n-gram that is no state leads to one with fewer words
        back_off = np.zeros(len(after))
        back_off[own] = automaton.back_off_weight[after[own]]
        found.append(
            Level(history * words + automaton.arc_label[arcs], automaton.arc_weight[arcs].astype(float), back_off)
        )
        places = np.flatnonzero(own)
    return found


def read_compact(path: str | Path) -> NgramModel:
    """Read a model that `write_compact` wrote.

    Raises:
        LanguageModelError: the file is missing, cut, damaged, of another version, or no such file.
    """
    path = Path(path)
    damaged = f"{path}: the file is cut or damaged; copy it anew"
    try:
        with open(path, "rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise LanguageModelError(f"{path}: no compact n-gram model of `asr lm train`")
            header = json.loads(file.readline(LONGEST_HEADER))
            if header["version"] > VERSION:
                raise LanguageModelError(
                    f"{path}: written in version {header['version']} of the form, and this asr reads version "
                    f"{VERSION}; update asr"
                )
            unpacked = _Unpacked(file.read())
        ngrams, size = list(map(int, header["ngrams"])), int(header["words"])
        words = bytes(unpacked.take(size, "|u1")).decode().split("\n")
        units = check_units(header["units"])
        if tuple(words[:3]) != SPECIAL or len(words) != ngrams[0]:
            raise LanguageModelError(damaged)
        orders = _orders(unpacked, ngrams)
        if not unpacked.ended():
            raise LanguageModelError(damaged)
        return NgramModel.from_orders(words, orders, units)
    except OSError as error:
        raise LanguageModelError(f"{path}: cannot be read ({error.strerror or error}); check the path") from None
    except (ValueError, KeyError, TypeError, IndexError, zlib.error):
        raise LanguageModelError(damaged) from None


class _Unpacked:
    """Packed arrays, unpacked one by one: all at once they take as much memory as the model."""

    def __init__(self, packed: bytes):
        self._unpacker, self._packed = zlib.decompressobj(), packed

    def take(self, count: int, dtype: str) -> np.ndarray:
        """The next `count` numbers; `ValueError` where there are not so many."""
        if count == 0:
            return np.zeros(0, dtype)
        data = self._unpacker.decompress(self._packed, count * np.dtype(dtype).itemsize)
        self._packed = self._unpacker.unconsumed_tail
        return np.frombuffer(data, dtype, count)

    def ended(self) -> bool:
        """Whether nothing is left, and the checksum is right."""
        return not self._unpacker.decompress(self._packed, 1) and self._unpacker.eof


def _orders(unpacked: _Unpacked, ngrams: Sequence[int]) -> list[Order]:
    """The n-grams of each order; `ValueError` where the numbers contradict each other."""

    def integers(count: int) -> np.ndarray:
        return np.ascontiguousarray(unpacked.take(4 * count, "|u1").reshape(4, -1).T).view("<i4")[:, 0]

    def numbers(count: int) -> np.ndarray:
        values = unpacked.take(1 + VALUES, "<f4")
        return values[unpacked.take(count, "|u1")]

    words = ngrams[0]
    labels = np.arange(words, dtype=np.int32)
    found = [Order(np.array([words]), labels, unpacked.take(words, "<f4"), unpacked.take(words, "<f4"))]
    for below, count in pairwise(ngrams):
        followers, steps = integers(below), integers(count)
        if followers.min(initial=0) < 0 or followers.sum(dtype=np.int64) != count:
            raise ValueError("as many n-grams as their histories have followers")
        begins = followers[followers > 0]
        firsts = np.cumsum(begins) - begins
        label = np.cumsum(steps, dtype=np.int32)  # may run over, and comes back
        label -= np.repeat(label[firsts] - steps[firsts], begins)
        if count and not 0 <= label.min() <= label.max() < words:
            raise ValueError("labels are words")
        found.append(Order(followers, label, numbers(count), numbers(count)))
    return found
