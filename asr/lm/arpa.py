r"""N-gram models as ARPA files, plain or gzip: the form that KenLM, SRILM and most decoders read.

The lines are `\data\`, `ngram N=COUNT` for each order, then under `\N-grams:` each n-gram as log10 probability, tab,
words, and for n-grams that others go on from tab and log10 back-off weight; at last `\end\`.
"""

from __future__ import annotations

import gzip
import io
import math
import re
import zlib
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, BinaryIO, NoReturn

import numpy as np

from asr.errors import LanguageModelError
from asr.files import writing
from asr.lm.ngram import Level, NgramModel
from asr.lm.units import BOS, EOS, SPECIAL, UNK, Units

LN10 = math.log(10)
MISSING_UNK = -100.0
"""log10 P(`<unk>`) of a model that has none, as in KenLM."""
LONGEST_LINE = 100_000
"""Characters; no n-gram comes near, so a longer line means another kind of file."""
BLOCK = 1 << 20
"""Bytes read at once."""
HISTORIES = 1 << 14
"""Written at once."""


def write_arpa(model: NgramModel, path: str | Path) -> None:
    """Write a model; gzip when the name ends in .gz.

    Raises:
        OutputError: the file cannot be written.
    """
    path = Path(path)
    with writing(path) as partial, open(partial, "wb") as raw:
        if path.suffix.lower() == ".gz":
            with gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as packed:
                _write(model, packed)
        else:
            _write(model, raw)


def _write(model: NgramModel, binary: BinaryIO | gzip.GzipFile) -> None:
    out = io.TextIOWrapper(binary, encoding="utf-8", newline="\n")
    out.write("\\data\\\n")
    out.writelines(f"ngram {order}={count}\n" for order, count in enumerate(model.ngrams, start=1))
    histories = [""]
    for order in range(1, model.order + 1):
        out.write(f"\n\\{order}-grams:\n")
        histories = _write_order(model, order, histories, out)
    out.write("\n\\end\\\n")
    out.flush()
    out.detach()


def _write_order(model: NgramModel, order: int, histories: list[str], out: IO[str]) -> list[str]:
    """Write the n-grams that go on from these histories, which end in a space; returns those one word longer."""
    automaton, words = model.automaton, model.words
    first, last = model.depth_begin[order - 1 : order + 1].tolist()
    longer: list[str] = []
    for block in range(first, last, HISTORIES):
        begins = automaton.arc_begin[block : min(block + HISTORIES, last) + 1]
        arcs = slice(begins[0], begins[-1])
        history = (np.repeat(np.arange(len(begins) - 1), np.diff(begins)) + block - first).tolist()
        labels = automaton.arc_label[arcs].tolist()
        log_probs = (automaton.arc_weight[arcs].astype(float) / LN10).tolist()
        ngrams = [histories[place] + words[label] for place, label in zip(history, labels, strict=True)]
        if order == model.order:
            out.writelines(f"{p:.7g}\t{ngram}\n" for p, ngram in zip(log_probs, ngrams, strict=True))
            continue
        after = automaton.arc_next[arcs]
        is_state = after >= last  # the state after it is the n-gram itself, not a shorter history
        back_offs = np.where(is_state, automaton.back_off_weight[after].astype(float) / LN10, 0).tolist()
        out.writelines(f"{p:.7g}\t{ngram}\t{b:.7g}\n" for p, ngram, b in zip(log_probs, ngrams, back_offs, strict=True))
        longer.extend(ngram + " " for ngram, goes_on in zip(ngrams, is_state.tolist(), strict=True) if goes_on)
    return longer


def read_arpa(path: str | Path, units: Units | None = None) -> NgramModel:
    r"""Read a model. Text before `\data\`, blank lines and missing back-off weights are allowed.

    Args:
        path: the file; gzip when the name ends in .gz.
        units: what the model predicts; None: words, unless `▁` is in it.

    Raises:
        LanguageModelError: the file is missing or broken, naming the line.
    """
    return _Reader(Path(path)).read(units)


class _Reader:
    def __init__(self, path: Path):
        self.path = path
        self.lines = _lines(path)
        self.number = 0
        self.words = list(SPECIAL)
        self.labels = {UNK: 0, "<UNK>": 0, BOS: 1, EOS: 2}
        self.levels: list[Level] = []

    def read(self, units: Units | None) -> NgramModel:
        while (line := self._next("\\data\\")) != "\\data\\":
            pass
        counts, line = self._counts()
        for order, (count, number) in enumerate(counts, start=1):
            while not line:
                line = self._next(f"\\{order}-grams:")
            if line != f"\\{order}-grams:":
                self._fail(f"expected \\{order}-grams:, found {_shown(line)}; are n-grams of an order missing?")
            line = self._section(order, order == len(counts), count, number)
        if line != "\\end\\":
            self._fail(f"expected \\end\\, found {_shown(line)}; the counts name {len(counts)} orders")
        return NgramModel.from_levels(self.words, self.levels, units)

    def _counts(self) -> tuple[list[tuple[int, int]], str]:
        """(count, line number) for each order, and the line after."""
        counts: list[tuple[int, int]] = []
        while not (line := self._next("\\1-grams:")).startswith("\\"):
            if not line:
                continue
            found = re.fullmatch(r"ngram\s+(\d+)\s*=\s*(\d+)", line, re.ASCII)
            if not found:
                self._fail(f"expected `ngram {len(counts) + 1}=COUNT`, found {_shown(line)}")
            if int(found[1]) != len(counts) + 1:
                self._fail(
                    f"a count of {found[1]}-grams where that of {len(counts) + 1}-grams must be; orders are missing"
                )
            counts.append((int(found[2]), self.number))
        if not counts:
            self._fail("no line `ngram 1=COUNT` after \\data\\")
        return counts, line

    def _section(self, order: int, highest: bool, count: int, count_line: int) -> str:
        """Read the n-grams of one order up to the next tag, and return that."""
        tag_line = self.number
        log_probs, back_offs, labels, numbers = array("d"), array("d"), array("i"), array("q")
        known = self.labels
        for number, line in self.lines:
            self.number = number
            fields = line.replace("\t", " ").split(" ")
            if "" in fields:
                fields = list(filter(None, fields))
                if not fields:
                    continue
            try:
                log_probs.append(float(fields[0]))
                if order == 1:
                    self._add_word(fields[1])
                labels.extend([known[word] for word in fields[1 : order + 1]])
                back_offs.append(float(fields[order + 1]) if len(fields) == order + 2 else 0.0)
                if not order < len(fields) < order + 3:
                    raise IndexError
                numbers.append(number)
            except (ValueError, IndexError, KeyError):
                if fields[0].startswith("\\"):
                    break
                self._explain(fields, order)
        else:
            self._fail_at_end("\\end\\")
        if len(numbers) != count:
            raise LanguageModelError(
                f"{self.path}, line {tag_line}: {len(numbers)} {order}-grams follow, but line {count_line} counts "
                f"{count}; the file is cut or was edited"
            )
        self._check_numbers(order, highest, np.array(log_probs), np.array(back_offs), numbers)
        if order == 1:
            self._add_unknown(labels, log_probs, back_offs, tag_line)
        rows = np.array(labels, np.int64).reshape(-1, order)
        self._add_level(rows, np.array(log_probs) * LN10, np.array(back_offs) * LN10, numbers)
        return line.strip()

    def _add_word(self, word: str) -> None:
        if word not in self.labels:
            self.labels[word] = len(self.words)
            self.words.append(word)

    def _add_unknown(self, labels: array[int], log_probs: array[float], back_offs: array[float], line: int) -> None:
        found = set(labels)
        for label in (self.labels[BOS], self.labels[EOS]):
            if label not in found:
                raise LanguageModelError(
                    f"{self.path}, line {line}: no 1-gram {self.words[label]}; sentences need their begin and end"
                )
        if self.labels[UNK] not in found:
            labels.append(self.labels[UNK])
            log_probs.append(MISSING_UNK)
            back_offs.append(0.0)

    def _add_level(self, rows: np.ndarray, log_prob: np.ndarray, back_off: np.ndarray, numbers: Sequence[int]) -> None:
        """Sort the n-grams, `rows` `[n-grams, order]` of labels, and find their places in the levels below."""
        words = len(self.words)
        keys = rows[:, 0]
        for length, level in enumerate(self.levels, start=1):
            place = np.searchsorted(level.keys, keys)
            absent = np.flatnonzero(np.append(level.keys, -1)[place] != keys)
            if len(absent):
                shown = [self.words[label] for label in rows[absent[0]]]
                raise LanguageModelError(
                    f"{self.path}, line {numbers[absent[0]]}: {' '.join(shown)!r} goes on from "
                    f"{' '.join(shown[:length])!r}, which is not among the {length}-grams, so that its "
                    "back-off points nowhere; make the model anew"
                )
            keys = place * words + rows[:, length]
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        repeated = np.flatnonzero(keys[1:] == keys[:-1])
        if len(repeated):
            index = order[repeated[0] + 1]
            shown = [self.words[label] for label in rows[index]]
            raise LanguageModelError(
                f"{self.path}, line {numbers[index]}: {' '.join(shown)!r} is there twice; take one out"
            )
        self.levels.append(Level(keys, log_prob[order], back_off[order]))

    def _check_numbers(
        self, order: int, highest: bool, log_probs: np.ndarray, back_offs: np.ndarray, numbers: Sequence[int]
    ) -> None:
        for bad, problem in (
            (~np.isfinite(log_probs), "a log-probability must be a finite number"),
            (log_probs > 0, "a positive log-probability, so a probability over 1; the values must be log10 P"),
            (~np.isfinite(back_offs), "a back-off weight must be a finite number"),
            ((back_offs != 0) & highest, f"a back-off weight, though no n-gram is longer than {order} words"),
        ):
            if bad.any():
                self.number = numbers[int(bad.argmax())]
                index = bad.argmax()
                self._fail(f"{problem} (log-probability {log_probs[index]:g}, back-off {back_offs[index]:g})")

    def _explain(self, fields: list[str], order: int) -> NoReturn:
        """Say what is wrong with the line of an n-gram."""
        line = _shown(" ".join(fields))
        if not order < len(fields) < order + 3:
            self._fail(f"expected log10 P, {order} word(s), and perhaps a back-off weight, found {line}")
        for field in (fields[0], *fields[order + 1 :]):
            try:
                float(field)
            except ValueError:
                self._fail(f"{_shown(field)} is not a number in {line}; the decimal sign must be a point")
        word = next(word for word in fields[1 : order + 1] if word not in self.labels)
        self._fail(f"the word {_shown(word)} is not among the 1-grams; make the model anew")

    def _next(self, wanted: str) -> str:
        for number, line in self.lines:
            self.number = number
            return line.strip()
        self._fail_at_end(wanted)

    def _fail_at_end(self, wanted: str) -> NoReturn:
        if self.number == 0:
            raise LanguageModelError(f"{self.path}: the file is empty; copy or make the model anew")
        self._fail(f"the file ends before {wanted}; it is cut, or no ARPA file")

    def _fail(self, problem: str) -> NoReturn:
        raise LanguageModelError(f"{self.path}, line {self.number}: {problem}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "...")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number from 1, line) of a UTF-8 file, read in blocks."""
    number, rest = 1, b""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else open(path, "rb") as file:
            while block := file.read(BLOCK):
                whole, line_end, rest = (rest + block).rpartition(b"\n")
                if line_end:
                    lines = _decoded(path, number, whole)
                    yield from enumerate(lines, number)
                    number += len(lines)
                if len(rest) > LONGEST_LINE:
                    _decoded(path, number, rest)
            if rest:
                yield from enumerate(_decoded(path, number, rest), number)
    except OSError as error:
        raise LanguageModelError(f"{path}: cannot be read ({error.strerror or error}); check the path") from None
    except (EOFError, zlib.error) as error:
        raise LanguageModelError(f"{path}: the gzip file is cut or damaged ({error}); copy it anew") from None


def _decoded(path: Path, number: int, block: bytes) -> list[str]:
    """The lines of a block that begins at line `number`."""
    try:
        lines = block.decode().replace("\r\n", "\n").removesuffix("\r").split("\n")
    except UnicodeDecodeError as error:
        number += block.count(b"\n", 0, error.start)
        raise LanguageModelError(
            f"{path}, line {number}: not UTF-8 text ({error.reason}); convert it with iconv"
        ) from None
    lengths = list(map(len, lines))
    if max(lengths) > LONGEST_LINE:
        number += next(index for index, length in enumerate(lengths) if length > LONGEST_LINE)
        raise LanguageModelError(
            f"{path}, line {number}: {max(lengths)} characters or more without a line end; this is no ARPA file"
        )
    return lines
