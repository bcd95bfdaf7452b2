"""What a transcript file holds: texts by utterance id; speakers, times and alternatives where the format tells them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from asr.errors import ScoringError

Side = Literal["reference", "hypothesis"]


@dataclass(frozen=True, slots=True)
class Choice:
    """Alternatives of which a reference accepts any, such as sclite's `{ um / uh / @ }`; an empty one is no word."""

    options: tuple[Words, ...]


Words: TypeAlias = "Sequence[str | Choice]"


class Piece(NamedTuple):
    """A stretch of a recording and its words, times in seconds: a segment of an stm, a word of a ctm."""

    recording: str
    channel: str
    start: float
    end: float
    words: Words
    speaker: str | None = None
    ignored: bool = False
    """Not to be scored: what a recogniser heard here counts neither way."""

    @property
    def middle(self) -> float:
        """Half-way between start and end."""
        return (self.start + self.end) / 2


class Transcripts(dict[str, str]):
    """id -> text in file order, which `asr.scoring.score` takes as it is; and what else the source says.

    Where a reference has alternatives its text is the first of them; `pair` finds the best for a hypothesis. The
    utterances of a ctm are its recordings, those of an stm its segments (`RECORDING-CHANNEL-START-END`).
    """

    def __init__(self, source: Path):
        super().__init__()
        self.source = source
        self.speakers: dict[str, str] = {}
        """Of the utterances whose speaker is known."""
        self.alternatives: dict[str, Words] = {}
        """The words of the utterances that have alternatives."""
        self.kind: Literal["texts", "stm", "ctm"] = "texts"
        self.pieces: list[Piece] = []
        """The segments of an stm, the words of a ctm."""
        self.named = True
        """Whether the ids stand in the source, not just line numbers or the name of the file."""
        self.silent = False
        """Whether the source is an empty file, which is what a recogniser writes that heard nothing."""
        self.blank_end: list[str] = []
        """Ids of the blank lines at the end of a txt: utterances only where the other side has a text for them."""
        self._places: dict[str, tuple[Path, int | None]] = {}
        self._files: dict[tuple[str, str], Path] = {}  # of each channel of a recording

    def add(self, identifier: str, words: str | Words, path: Path, line: int | None = None) -> None:
        """Take in an utterance from a line of a file, or from a file as a whole.

        Raises:
            ScoringError: the id is there already; the message starts with the second place and names the first.
        """
        first = self._places.setdefault(identifier, (path, line))
        if identifier in self:
            here = f"{path}" if line is None else f"{path}, line {line}"
            there = (
                f"on line {first[1]}"
                if first[0] == path
                else f"in {first[0]}" + ("" if first[1] is None else f", line {first[1]},")
            )
            raise ScoringError(f"{here}: id {identifier!r} stands {there} already; ids must be unique")
        if isinstance(words, str):
            self[identifier] = words
        else:
            self[identifier] = " ".join(first_reading(words))
            if any(isinstance(word, Choice) for word in words):
                self.alternatives[identifier] = words

    def add_piece(self, piece: Piece, path: Path, line: int) -> None:
        """Take in a segment or a timed word.

        Raises:
            ScoringError: another file has words of that recording's channel.
        """
        first = self._files.setdefault((piece.recording, piece.channel), path)
        if first is not path:
            raise ScoringError(
                f"{path}, line {line}: {first} has recording {piece.recording!r} too; names must be unique"
            )
        self.pieces.append(piece)


def first_reading(words: Words) -> list[str]:
    """The words with the first of all alternatives."""
    reading: list[str] = []
    for word in words:
        reading += [word] if isinstance(word, str) else first_reading(word.options[0])
    return reading
