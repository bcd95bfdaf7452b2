"""What is in a manifest: hours, speakers, lengths, speaking rates, words and characters."""

from __future__ import annotations

import heapq
import json
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asr.data.manifest import read_manifest
from asr.errors import ManifestError
from asr.files import write_text
from asr.text import normalise

PERCENTILES = {"min": 0, "p1": 1, "p5": 5, "p50": 50, "p95": 95, "p99": 99, "max": 100}
EXTREMES = 3
"""Utterances named at each end."""


@dataclass(frozen=True, slots=True)
class ManifestSummary:
    """One of the manifests that were counted."""

    path: Path
    utterances: int
    seconds: float
    speakers: int


@dataclass(frozen=True)
class Statistics:
    """What `statistics` found. A speaker that several manifests name counts once."""

    manifests: tuple[ManifestSummary, ...]
    durations: np.ndarray
    """Seconds of each utterance, `[utterances]`."""
    character_rates: np.ndarray
    """Characters a second, spaces included, of the utterances with a text, over their whole length with its pauses."""
    word_rates: np.ndarray
    """Words a second of the same."""
    shortest: list[tuple[str, float]]
    """(id, seconds)"""
    longest: list[tuple[str, float]]
    slowest: list[tuple[str, float]]
    """(id, characters a second)"""
    fastest: list[tuple[str, float]]
    speaker_seconds: dict[str, float]
    words: Counter[str]
    """After `asr.text.normalise`, in lower case."""
    characters: Counter[str]
    """As the transcripts have them."""
    sample_rates: Counter[int]
    """Utterances of each rate, Hz."""
    formats: Counter[str]
    """Utterances of each ending of the audio files' names."""
    without_text: int
    empty_texts: int
    """Transcripts without a word."""
    without_speaker: int

    @property
    def seconds(self) -> float:
        """Of all utterances."""
        return sum(manifest.seconds for manifest in self.manifests)

    def to_dict(self, top: int = 50) -> dict[str, Any]:
        """What `--json` prints and `statistics.json` holds; `top` is how many of the most frequent words."""
        return {
            "manifests": [
                {
                    "path": str(manifest.path),
                    "utterances": manifest.utterances,
                    "hours": manifest.seconds / 3600,
                    "speakers": manifest.speakers,
                }
                for manifest in self.manifests
            ],
            "utterances": len(self.durations),
            "hours": self.seconds / 3600,
            "seconds": percentiles(self.durations),
            "shortest": _named(self.shortest, "seconds"),
            "longest": _named(self.longest, "seconds"),
            "speakers": len(self.speaker_seconds),
            "without_speaker": self.without_speaker,
            "minutes_per_speaker": percentiles(np.array(list(self.speaker_seconds.values())) / 60),
            "without_text": self.without_text,
            "empty_texts": self.empty_texts,
            "characters_per_second": percentiles(self.character_rates),
            "words_per_second": percentiles(self.word_rates),
            "slowest": _named(self.slowest, "characters_per_second"),
            "fastest": _named(self.fastest, "characters_per_second"),
            "words": self.words.total(),
            "vocabulary": len(self.words),
            "top_words": dict(ranked(self.words)[:top]),
            "characters": self.characters.total(),
            "alphabet": dict(ranked(self.characters)),
            "sample_rates": {str(rate): count for rate, count in ranked(self.sample_rates)},
            "formats": dict(ranked(self.formats)),
        }


def statistics(manifests: Sequence[str | Path]) -> Statistics:
    """Count what is in manifests, without opening their audio. Memory: about 50 bytes an utterance, and the words.

    Raises:
        ManifestError: a manifest cannot be read, or there is no utterance in any.
    """
    durations, character_rates, word_rates = array("d"), array("d"), array("d")
    shortest, longest, slowest, fastest = _Extreme(-1), _Extreme(1), _Extreme(-1), _Extreme(1)
    speaker_seconds: dict[str, float] = {}
    words: Counter[str] = Counter()
    characters: Counter[str] = Counter()
    sample_rates: Counter[int] = Counter()
    formats: Counter[str] = Counter()
    without_text = empty_texts = without_speaker = 0
    summaries = []
    for path in manifests:
        first, speakers = len(durations), set()
        for utterance in read_manifest(path):
            seconds = utterance.duration
            durations.append(seconds)
            shortest.add(seconds, utterance.id)
            longest.add(seconds, utterance.id)
            sample_rates[utterance.sample_rate] += 1
            formats[utterance.audio.suffix.lower().lstrip(".") or "none"] += 1
            if utterance.speaker:
                speakers.add(utterance.speaker)
                speaker_seconds[utterance.speaker] = speaker_seconds.get(utterance.speaker, 0.0) + seconds
            else:
                without_speaker += 1
            if utterance.text is None:
                without_text += 1
                continue
            characters.update(utterance.text)
            text = normalise(utterance.text)
            if not text:
                empty_texts += 1
                continue
            words.update(text.split())
            character_rates.append(len(text) / seconds)
            word_rates.append(len(text.split()) / seconds)
            slowest.add(character_rates[-1], utterance.id)
            fastest.add(character_rates[-1], utterance.id)
        here = durations[first:]
        summaries.append(ManifestSummary(Path(path), len(here), sum(here), len(speakers)))
    if not durations:
        raise ManifestError(f"no utterance in {', '.join(map(str, manifests))}, so there is nothing to count")
    return Statistics(
        manifests=tuple(summaries),
        durations=np.array(durations),
        character_rates=np.array(character_rates),
        word_rates=np.array(word_rates),
        shortest=shortest.named(),
        longest=longest.named(),
        slowest=slowest.named(),
        fastest=fastest.named(),
        speaker_seconds=speaker_seconds,
        words=words,
        characters=characters,
        sample_rates=sample_rates,
        formats=formats,
        without_text=without_text,
        empty_texts=empty_texts,
        without_speaker=without_speaker,
    )


class _Extreme:
    """The few utterances with the largest (`sign` 1) or smallest (-1) values seen."""

    def __init__(self, sign: int):
        self.sign = sign
        self._heap: list[tuple[float, str]] = []

    def add(self, value: float, identifier: str) -> None:
        item = (self.sign * value, identifier)
        if len(self._heap) < EXTREMES:
            heapq.heappush(self._heap, item)
        elif item > self._heap[0]:
            heapq.heapreplace(self._heap, item)

    def named(self) -> list[tuple[str, float]]:
        """(id, value), the most extreme first."""
        return [(identifier, self.sign * value) for value, identifier in sorted(self._heap, reverse=True)]


def percentiles(values: np.ndarray) -> dict[str, float] | None:
    """`PERCENTILES` (interpolated linearly) and the mean of `[values]`; None of nothing."""
    if not len(values):
        return None
    found = np.percentile(values, list(PERCENTILES.values()))
    return {**dict(zip(PERCENTILES, found.tolist(), strict=True)), "mean": float(values.mean())}


def ranked(counter: Counter[Any]) -> list[tuple[Any, int]]:
    """The most frequent first; equal counts in the order of what was counted."""
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))


def _named(extremes: list[tuple[str, float]], unit: str) -> list[dict[str, Any]]:
    return [{"id": identifier, unit: value} for identifier, value in extremes]


def save_statistics(found: Statistics, folder: str | Path) -> list[Path]:
    """Write `statistics.json` and `statistics.png` to `folder`; returns their paths.

    Raises:
        OutputError: they cannot be written.
    """
    from asr.data.statistics_picture import statistics_picture  # matplotlib takes its time

    numbers, picture = Path(folder) / "statistics.json", Path(folder) / "statistics.png"
    write_text(numbers, json.dumps(found.to_dict(), ensure_ascii=False, indent=2) + "\n")
    statistics_picture(found, picture)
    return [numbers, picture]
