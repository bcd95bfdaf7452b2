"""Decode every utterance of a manifest and score the text: training's dev WER and `asr evaluate` are this function."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from asr.data.batches import make_batches
from asr.data.examples import Example
from asr.data.loading import SpeechDataset, collate
from asr.data.manifest import read_manifest
from asr.data.utterance import Utterance
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.recogniser import Recogniser
from asr.errors import ManifestError
from asr.files import write_text
from asr.scoring import Score, score, write_alignments
from asr.text import normalise


@dataclass(frozen=True)
class Evaluation:
    """Hypotheses of a test set, and how good they are."""

    references: dict[str, str]
    """Utterance id to normalised transcript."""
    hypotheses: dict[str, Hypothesis]
    audio_seconds: float
    decoding_seconds: float
    """Wall time of reading, decoding and nothing else."""
    failures: list[tuple[str, str]] = field(default_factory=list)
    """(id, reason) of utterances whose audio could not be read: left out of the score, to be reported with it."""

    @cached_property
    def score(self) -> Score:
        """Word and character error rates of everything that could be decoded."""
        return score(self.references, {key: hypothesis.text for key, hypothesis in self.hypotheses.items()})

    @property
    def wer(self) -> float:
        """Word error rate as a fraction."""
        return self.score.wer

    @property
    def wer_interval(self) -> tuple[float, float]:
        """95 % bootstrap interval over utterances of the word error rate."""
        return self.score.wer_interval

    def to_dict(self) -> dict[str, Any]:
        """The numbers, ready for JSON."""
        return {
            **self.score.to_dict(),
            "failed_utterances": len(self.failures),
            "audio_seconds": round(self.audio_seconds, 3),
            "decoding_seconds": round(self.decoding_seconds, 3),
            "times_real_time": round(self.audio_seconds / self.decoding_seconds, 1),
        }

    def save(self, folder: str | Path) -> None:
        """Write `score.json`, `hypotheses.jsonl` and `alignments.txt`, each atomically.

        Raises:
            OutputError or ScoringError: the folder cannot be written.
        """
        folder = Path(folder)
        rows = (
            {"id": key, "text": hypothesis.text, "reference": self.references[key], "score": hypothesis.score}
            for key, hypothesis in self.hypotheses.items()
        )
        write_text(folder / "hypotheses.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        write_alignments(folder / "alignments.txt", self.score)
        write_text(folder / "score.json", json.dumps(self.to_dict(), indent=2) + "\n")


def evaluate(
    recogniser: Recogniser,
    manifest: str | Path | Sequence[Utterance],
    *,
    output: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Decode and score a manifest.

    References are normalised as the model's transcripts were (`text` in its configuration).

    Args:
        recogniser: from `asr.load_model`.
        manifest: a folder or file for `read_manifest`, or its utterances.
        output: folder for `score.json`, `hypotheses.jsonl` and `alignments.txt`.
        progress: called with (utterances done, utterances in all) after each batch.

    Raises:
        ManifestError: the manifest is unusable, empty, an utterance has no transcript, or no audio could be read.
    """
    named = str(manifest) if isinstance(manifest, str | Path) else "the manifest"
    utterances = list(read_manifest(manifest)) if isinstance(manifest, str | Path) else list(manifest)
    if not utterances:
        raise ManifestError(f"{named}: no utterances to evaluate")
    rules = recogniser.config.text
    references = {u.id: normalise(u.text, rules.case, rules.remove) for u in utterances if u.text is not None}
    unknown = [u.id for u in utterances if u.text is None]
    if unknown:
        raise ManifestError(
            f"{named}: {len(unknown)} utterances have no transcript (first {unknown[0]!r}); use `asr transcribe`"
        )
    dataset = SpeechDataset([Example(utterance, []) for utterance in utterances], recogniser.sample_rate)
    hypotheses: dict[str, Hypothesis] = {}
    failures: list[tuple[str, str]] = []
    started = time.perf_counter()
    for indices in make_batches([u.duration for u in utterances], recogniser.decoding.batch_seconds):
        batch = collate([dataset[0, index] for index in indices])
        failures += batch.failures
        hypotheses |= dict(zip(batch.ids, recogniser.decode_batch(batch.waveforms, batch.lengths), strict=True))
        if progress:
            progress(len(hypotheses) + len(failures), len(utterances))
    seconds = time.perf_counter() - started
    if not hypotheses:
        raise ManifestError(f"{named}: none of the {len(utterances)} recordings could be read; first: {failures[0][1]}")
    decoded = [u for u in utterances if u.id in hypotheses]
    evaluation = Evaluation(
        references={u.id: references[u.id] for u in decoded},
        hypotheses={u.id: hypotheses[u.id] for u in decoded},
        audio_seconds=sum(u.duration for u in decoded),
        decoding_seconds=seconds,
        failures=failures,
    )
    if output is not None:
        evaluation.save(output)
    return evaluation
