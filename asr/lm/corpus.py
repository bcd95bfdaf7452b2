"""Text to train or judge language models on: sentences from files, and their words as labels."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from asr.data.lines import is_table, read_lines, table_remedy
from asr.data.manifest import read_manifest
from asr.data.problems import Problem
from asr.errors import LanguageModelError, TextError
from asr.lm.units import BOS, EOS, SPECIAL, UNK
from asr.text import normalise

Case = Literal["lower", "upper", "keep"]


@dataclass
class Sentences:
    """The sentences of text files and manifests, normalised and split into units; read anew by each iteration.

    A file holds one sentence a line. A folder, or a file whose name ends in .jsonl or .jsonl.gz, is a manifest, whose
    transcripts are taken. Empty sentences are skipped.

    Attributes:
        paths: the files and folders.
        split: from normalised text to units, see `asr.lm.units.splitter`.
        case: see `asr.text.normalise`.
        problems: of the iteration under way or just done: the sentences left out and why.
    """

    paths: Sequence[Path]
    split: Callable[[str], Sequence[str]]
    case: Case = "lower"
    problems: list[Problem] = field(default_factory=list)

    def __iter__(self) -> Iterator[Sequence[str]]:
        """Yield the units of one sentence after the other.

        Raises:
            LanguageModelError: a file has no sentence, or is a table, compressed or a pipe.
            ManifestError: a file cannot be read, or, naming the line, is no UTF-8 text.
        """
        self.problems.clear()
        for path in self.paths:
            empty = True
            for place, line in _texts(path):
                text = normalise(line, self.case)
                if not text:
                    continue
                empty = False
                try:
                    units = self.split(text)
                except TextError as error:
                    self.problems.append(Problem(place, "outside the token table", str(error)))
                    continue
                if BOS in units or EOS in units:
                    message = f"{BOS} and {EOS} are added to each sentence; take them out of the text"
                    self.problems.append(Problem(place, f"{BOS} or {EOS} in the text", message))
                    continue
                yield units
            if empty:
                raise LanguageModelError(f"{path}: holds no text; give a file with one sentence a line")


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    """(where it is, text) of each sentence."""
    if path.is_dir() or path.name.endswith((".jsonl", ".jsonl.gz")):
        for utterance in read_manifest(path):
            yield utterance.id, utterance.text or ""
    elif is_table(path):
        raise LanguageModelError(
            f"{path}: a table, whose names of columns and files are no text; {table_remedy(path)}, or write its "
            "sentences to a plain file, one a line"
        )
    elif path.suffix == ".gz" or (path.exists() and not path.is_file()):
        raise LanguageModelError(f"{path}: compressed, or a pipe; write the text to a plain file first")
    else:
        for number, line in read_lines(path):
            yield f"{path}, line {number}", line


@dataclass(frozen=True)
class Corpus:
    """Sentences as one row of labels.

    Attributes:
        words: word of each label; `<unk>`, `<s>`, `</s>`, then the others in alphabetical order.
        labels: int32; each sentence begins with `<s>` and ends with `</s>`.
        sentences: how many.
        unknown: how many words are outside the vocabulary, and so `<unk>`.
    """

    words: list[str]
    labels: np.ndarray
    sentences: int
    unknown: int

    @property
    def tokens(self) -> int:
        """Number of words, `<s>` and `</s>` not counted."""
        return len(self.labels) - 2 * self.sentences


def encode(sentences: Iterable[Sequence[str]], vocabulary: Iterable[str] | None = None, limit: int = 0) -> Corpus:
    """Give each word a label.

    Args:
        sentences: units of each.
        vocabulary: the words to keep, whether or not the text has them; the others become `<unk>`. None: all words.
        limit: keep only so many words, the most frequent; 0: all.
    """
    labels: dict[str, int] = {word: label for label, word in enumerate(SPECIAL)}
    row, count = array("i"), 0
    if vocabulary is not None:
        for word in vocabulary:
            labels.setdefault(word, len(labels))
        for sentence in sentences:
            row.extend([1, *[labels.get(word, 0) for word in sentence], 2])
            count += 1
    else:
        known, size = labels.setdefault, labels.__len__
        for sentence in sentences:
            row.extend([1, *[known(word, size()) for word in sentence], 2])
            count += 1
    return _sorted(list(labels), np.frombuffer(row, np.int32), count, limit)


def _sorted(words: list[str], row: np.ndarray, sentences: int, limit: int) -> Corpus:
    """Relabel in alphabetical order, so that the order of the sentences does not matter."""
    first = len(SPECIAL)
    kept = list(range(first, len(words)))
    if 0 < limit < len(kept):
        counts = np.bincount(row, minlength=len(words))
        kept = sorted(kept, key=lambda label: (-counts[label], words[label]))[:limit]
    order = [*range(first), *sorted(kept, key=words.__getitem__)]
    new = np.zeros(len(words), np.int32)
    new[order] = np.arange(len(order))
    labels = new[row]
    return Corpus([words[label] for label in order], labels, sentences, int((labels == SPECIAL.index(UNK)).sum()))


def read_vocabulary(path: Path) -> list[str]:
    """The words of a file with one word a line; what follows a word on its line, such as a count, is passed over.

    Raises:
        LanguageModelError: there are none.
        ManifestError: the file cannot be read.
    """
    words = dict.fromkeys(line.split()[0] for _, line in read_lines(path) if line.strip())
    if not words:
        raise LanguageModelError(f"{path}: holds no words; give a file with one word a line")
    return list(words)
