"""Reading a manifest that may be damaged: every line is an utterance or a problem, and the characters of a set."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from asr.config import Config
from asr.data.doctor import kinds
from asr.data.doctor.text_checks import IN_WORDS, leftover_classes
from asr.data.manifest import Part
from asr.data.problems import Problem
from asr.data.utterance import Utterance
from asr.errors import ManifestError
from asr.text import Tokenizer, build_tokenizer, normalise

CONVENTION_SHARE = 0.5
"""Digits, symbols or punctuation in at least this share of the training transcripts are how this corpus is written."""
EXAMPLES = 3


def read_tolerantly(parts: Sequence[Part]) -> Iterator[tuple[int, Utterance | Problem]]:
    """Yield (line number, counted on through all parts; utterance, or what is wrong with the line).

    Raises:
        ManifestError: the rest of a file cannot be read at all.
    """
    before = 0
    for part in parts:
        number = 0
        try:
            with part.open() as file:
                for number, raw in enumerate(file, start=1):
                    if raw.strip():
                        yield before + number, _parse(raw, number, part)
        except (OSError, EOFError, zlib.error) as error:
            raise ManifestError(f"{part.cuts}, after line {number}: {error}; copy or write it again") from None
        before += number


def _parse(raw: bytes, number: int, part: Part) -> Utterance | Problem:
    try:
        line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        return Utterance.from_line(line, part.cuts.parent, part.shard)
    except UnicodeDecodeError as error:
        reason = f"not UTF-8 text ({error.reason}); convert the manifest"
    except ManifestError as error:
        reason = f"{error}; correct the line or delete it"
    return Problem(f"{part.cuts.name} line {number}", kinds.BAD_LINE, reason)


def count_lines(parts: Sequence[Part]) -> int:
    """Lines in all the parts, for the progress bar.

    Raises:
        ManifestError: a file cannot be read to its end.
    """
    count = 0
    for part in parts:
        try:
            with part.open() as file:
                count += sum(1 for _ in file)
        except (OSError, EOFError, zlib.error) as error:
            raise ManifestError(f"{part.cuts}: cannot be read to its end ({error}); copy or write it again") from None
    return count


@dataclass
class Survey:
    """What the transcripts of the training set are made of."""

    transcripts: int = 0
    characters: Counter[str] = field(default_factory=Counter)
    """Utterances that each character of the normalised transcripts is in."""
    examples: dict[str, list[str]] = field(default_factory=dict)
    """The first ids of each character."""
    words: Counter[str] = field(default_factory=Counter)
    """How often each word occurs."""
    leftovers: Counter[str] = field(default_factory=Counter)
    """Utterances with digits, symbols, punctuation."""
    marks: Counter[str] = field(default_factory=Counter)
    """Utterances with each mark of punctuation."""

    def tokenizer(self, config: Config) -> Tokenizer:
        """The token table that training would make."""
        if not self.words:
            return Tokenizer.from_characters(normalise(config.text.alphabet or "", config.text.case))
        return build_tokenizer(self.words, config.text)

    def conventions(self, config: Config) -> frozenset[str]:
        """The classes of characters that are normal here: most transcripts have them, or text.alphabet decides."""
        if config.text.alphabet is not None:
            return frozenset({kinds.DIGITS, kinds.SYMBOLS, kinds.PUNCTUATION})
        return frozenset(k for k, count in self.leftovers.items() if count >= CONVENTION_SHARE * self.transcripts)

    def punctuation_note(self, config: Config) -> str | None:
        """What comes of punctuation where it is normal, and so no finding; None where it was asked for."""
        if config.text.alphabet is not None or kinds.PUNCTUATION not in self.conventions(config):
            return None
        marks = [mark for mark, _ in self.marks.most_common()]
        # Removing is for every place: a hyphen would go from inside words too.
        remove = "".join(mark for mark in marks if mark not in IN_WORDS) or "".join(marks)
        learns = (
            "words with it need pronunciations" if config.text.units == "phones" else "the model learns to write it"
        )
        return (
            f"punctuation in {self.leftovers[kinds.PUNCTUATION]} of {self.transcripts} transcripts: {' '.join(marks)}; "
            f"{learns}, unless text.remove: {remove!r}"
        )


def survey(parts: Sequence[Part], config: Config) -> Survey:
    """Read the transcripts of the training set once before the checks, which need to know what is normal in it."""
    result = Survey()
    for _, item in read_tolerantly(parts):
        if not isinstance(item, Utterance):
            continue
        text = normalise(item.text or "", config.text.case, config.text.remove)
        if not text:
            continue
        result.transcripts += 1
        result.words.update(text.split())
        characters = set(text) - {" "}
        result.characters.update(characters)
        for character in characters:
            examples = result.examples.setdefault(character, [])
            if len(examples) < EXAMPLES:
                examples.append(item.id)
        classes = leftover_classes(text)
        result.leftovers.update(set(classes.values()))
        result.marks.update(mark for mark, kind in classes.items() if kind == kinds.PUNCTUATION)
    return result
