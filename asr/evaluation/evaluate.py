"""Decode every utterance of a manifest and score the text: training's dev WER and `asr evaluate` are this function."""

from __future__ import annotations

import json
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from asr.config import DecodingConfig, FeaturesConfig
from asr.data.manifest import read_manifest
from asr.data.utterance import Utterance
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.recogniser import Recogniser
from asr.errors import ManifestError, OutputError
from asr.evaluation.calibration import Reliability, measured, reliability_diagram
from asr.evaluation.decode import decode
from asr.evaluation.decoders import describe
from asr.evaluation.facts import Facts
from asr.evaluation.sharing import once, together
from asr.files import write_text
from asr.scoring import Score, score, write_alignments
from asr.scoring.breakdown import Group, by_label, by_value, never_recognised
from asr.scoring.normalisation import normaliser
from asr.text import normalise

__all__ = ["Evaluation", "Facts", "evaluate"]


@dataclass(frozen=True)
class Evaluation:
    """Hypotheses of a test set, and how good they are."""

    references: dict[str, str]
    """Utterance id to transcript, under the text rules of the model."""
    hypotheses: dict[str, Hypothesis]
    audio_seconds: float
    decoding_seconds: float
    """Wall time of reading, decoding and nothing else."""
    failures: list[tuple[str, str]] = field(default_factory=list)
    """(id, reason) of utterances whose audio could not be read: left out of the score, to be reported with it."""
    untranscribed: int = 0
    """Utterances without transcript that were left out, as asked."""
    untimed: list[tuple[str, str]] = field(default_factory=list)
    """(id, reason) of utterances whose words could not be given times and confidences; they are scored."""
    facts: dict[str, Facts] = field(default_factory=dict)
    """Speaker, length, loudness and SNR by utterance id; empty where they were not asked for."""
    utterances: dict[str, Utterance] = field(default_factory=dict)
    """Those that were decoded, by id."""
    normalisation: str = "none"
    """What references and hypotheses went through before they were scored, a name of `asr.scoring.normalisation`."""
    calibrated: bool = False
    """Whether the confidences are calibrated."""
    model: str = ""
    manifest: str = ""
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    features: FeaturesConfig | None = None
    alphabet: str = ""
    """Every character that can be in a hypothesis; empty where that is not known."""

    @cached_property
    def score(self) -> Score:
        """Word and character error rates of everything that could be decoded."""
        speakers = {key: utterance.speaker for key, utterance in self.utterances.items() if utterance.speaker}
        return score(
            self.references,
            {key: hypothesis.text for key, hypothesis in self.hypotheses.items()},
            normalisation=self.normalisation,
            speakers=speakers if len(speakers) == len(self.references) else None,
        )

    @property
    def wer(self) -> float:
        """Word error rate as a fraction."""
        return self.score.wer

    @property
    def wer_interval(self) -> tuple[float, float]:
        """95 % bootstrap interval over utterances of the word error rate."""
        return self.score.wer_interval

    @property
    def times_real_time(self) -> float:
        """Seconds of audio read and decoded in a second."""
        return self.audio_seconds / self.decoding_seconds

    @property
    def decoder(self) -> str:
        """What decoded, as `--decoder` takes it."""
        return describe(self.decoding)

    @cached_property
    def reliability(self) -> Reliability | None:
        """How well confidences tell right words from wrong ones; None where no word has one.

        A word is right where it stands in the transcript as the model would write it, whatever the normalisation.
        """
        return measured(self.references, self.hypotheses)

    @cached_property
    def groups(self) -> dict[str, list[Group]]:
        """The score by `speaker`, and by `duration`, `loudness` and `SNR` in bins of equally many utterances."""
        found = {}
        if self.score.speakers is not None:
            found["speaker"] = by_label(self.score, self.score.speakers)
        facts = self.facts.items()
        for kind, unit, values in (
            ("duration", "s", {key: fact.seconds for key, fact in facts}),
            ("loudness", "dBFS", {key: fact.loudness for key, fact in facts}),
            ("SNR", "dB", {key: fact.snr for key, fact in facts}),
        ):
            if len(set(values.values())) > 1:
                found[kind] = by_value(self.score, values, unit)
        return found

    @cached_property
    def unwritable(self) -> dict[str, int]:
        """Characters of the references that the model has no token for, and how many words have them: always wrong.

        Characters that normalisation brought into the hypotheses, such as digits, are not among them.
        """
        if not self.alphabet:
            return {}
        writable = set(self.alphabet).union(*(utterance.hypothesis for utterance in self.score.utterances))
        words = Counter(word for utterance in self.score.utterances for word in utterance.reference.split())
        counts: Counter[str] = Counter()
        for word, count in words.items():
            counts.update(dict.fromkeys(set(word) - writable, count))
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def to_dict(self) -> dict[str, Any]:
        """The numbers of the whole set, ready for JSON."""
        sure = self.reliability
        return {
            "model": self.model,
            "manifest": self.manifest,
            "decoder": self.decoder,
            **self.score.to_dict(),
            "failed_utterances": len(self.failures),
            "untranscribed_utterances": self.untranscribed,
            "audio_seconds": round(self.audio_seconds, 3),
            "decoding_seconds": round(self.decoding_seconds, 3),
            "times_real_time": round(self.times_real_time, 1),
            **({"confidence": sure.to_dict() | {"calibrated": self.calibrated}} if sure else {}),
        }

    def details(self) -> dict[str, Any]:
        """The numbers of its parts, ready for JSON: groups, and words that were never recognised with their count."""
        return {
            "groups": {
                kind: [{"name": group.name, **group.score.to_dict()} for group in groups]
                for kind, groups in self.groups.items()
            },
            "never_recognised": dict(never_recognised(self.score)),
        }

    def save(self, folder: str | Path) -> None:
        """Write score.json, hypotheses.jsonl, alignments.txt, report.html and, with confidences, reliability.png.

        Raises:
            OutputError or ScoringError: the folder cannot be written.
        """
        from asr.evaluation.report import write_report
        from asr.evaluation.summary import advice

        folder = Path(folder)
        rows = (json.dumps(self._row(key), ensure_ascii=False, allow_nan=False) + "\n" for key in self.hypotheses)
        write_text(folder / "hypotheses.jsonl", "".join(rows))
        write_alignments(folder / "alignments.txt", self.score)
        title = " on ".join(filter(None, (self.model, self.manifest))) or "Evaluation"
        if self.reliability:
            reliability_diagram(self.reliability, folder / "reliability.png", title)
        write_report(
            folder / "report.html",
            self.score,
            title=title,
            about=self._about(),
            facts=self.facts or None,
            words={key: hypothesis.words for key, hypothesis in self.hypotheses.items()} if self.reliability else None,
            reliability=self.reliability,
            utterances=self.utterances or None,
            features=self.features,
            advice=list(advice(self)),
        )
        write_text(folder / "score.json", json.dumps(self.to_dict() | self.details(), indent=2) + "\n")

    def _row(self, key: str) -> dict[str, Any]:
        hypothesis = self.hypotheses[key]
        row: dict[str, Any] = {
            "id": key,
            "text": hypothesis.text,
            "reference": self.references[key],
            "score": hypothesis.score if math.isfinite(hypothesis.score) else None,  # a beam may leave nothing
        }
        utterance, facts = self.utterances.get(key), self.facts.get(key)
        if utterance is not None:
            row |= {"speaker": utterance.speaker} if utterance.speaker else {}
            row["seconds"] = round(utterance.duration, 3)
        if facts is not None:
            row |= {"loudness": facts.loudness, "snr": facts.snr}
        if any(word.confidence is not None for word in hypothesis.words):
            row["words"] = [
                {"text": word.text, "start": word.start, "end": word.end, "confidence": word.confidence}
                for word in hypothesis.words
            ]
        return row

    def _about(self) -> dict[str, str]:
        about = {
            "Model": self.model,
            "Manifest": self.manifest,
            "Decoder": self.decoder,
            "Normalisation": self.normalisation,
            "Audio": f"{self.audio_seconds / 60:.1f} min, {self.times_real_time:.0f} x real time",
            "Could not be read": str(len(self.failures) or ""),
            "Without transcript, left out": str(self.untranscribed or ""),
        }
        return {name: value for name, value in about.items() if value}


def evaluate(
    recogniser: Recogniser,
    manifest: str | Path | Sequence[Utterance],
    *,
    output: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    normalisation: str = "none",
    untranscribed: Literal["error", "skip"] = "error",
    facts: bool = True,
    confidence: bool = True,
) -> Evaluation:
    """Decode and score a manifest.

    References go through the text rules that the model was trained with (`text` in its configuration).

    In a distributed run (`torch.distributed` is initialised) all processes must call this: each decodes a share, all
    get the whole evaluation, which is that of a single process, and the first one writes.

    Args:
        recogniser: from `asr.load_model`.
        manifest: a folder or file for `read_manifest`, or its utterances.
        output: folder for what `Evaluation.save` writes.
        progress: called with (utterances done, utterances in all) after each batch, of this process's share.
        normalisation: what references and hypotheses go through before they are scored: none, basic or english.
        untranscribed: what to do with utterances without transcript: an error, or leave them out.
        facts: measure loudness and SNR of each utterance, for errors by these; under 2 % of the time.
        confidence: give each word its times and confidence, and measure these; about a tenth of the time.

    Raises:
        ManifestError: the manifest is unusable, empty, repeats an id, an utterance has no transcript, or no audio could
            be read.
        ScoringError: the normalisation is unknown, or leaves no reference word.
        OutputError: the output folder cannot be written, which is tried before anything is decoded.
    """
    named = str(manifest) if isinstance(manifest, str | Path) else "the manifest"

    def prepared() -> tuple[list[Utterance], int]:
        normaliser(normalisation)  # raises before anything is decoded
        everything = list(read_manifest(manifest)) if isinstance(manifest, str | Path) else list(manifest)
        return _chosen(everything, named, untranscribed)

    utterances, skipped = together(prepared)
    if output is not None:
        once(lambda: check_writable(Path(output)))
    found = decode(recogniser, utterances, facts=facts, confidence=confidence, progress=progress)
    if not found.hypotheses:
        reason = found.failures[0][1]
        raise ManifestError(f"{named}: none of the {len(utterances)} recordings could be read; first: {reason}")
    decoded = {u.id: u for u in utterances if u.id in found.hypotheses}
    rules = recogniser.config.text
    references = {key: normalise(u.text or "", rules.case, rules.remove) for key, u in decoded.items()}
    evaluation = Evaluation(
        references=references,
        hypotheses={key: found.hypotheses[key] for key in decoded},
        audio_seconds=sum(u.duration for u in decoded.values()),
        decoding_seconds=found.seconds,
        failures=found.failures,
        untranscribed=skipped,
        untimed=found.untimed,
        facts={key: found.facts[key] for key in decoded} if facts else {},
        utterances=decoded,
        normalisation=normalisation,
        calibrated=found.calibrated,
        model=str(recogniser.folder or ""),
        manifest=str(manifest) if isinstance(manifest, str | Path) else "",
        decoding=recogniser.decoding,
        features=recogniser.config.features,
        alphabet=_alphabet(recogniser),
    )
    _ = evaluation.score  # raises where there is nothing to score
    if output is not None:
        once(lambda: evaluation.save(output))
    return evaluation


def _alphabet(recogniser: Recogniser) -> str:
    """The characters that can come out; empty where words need not be spelled by the tokens."""
    if recogniser.decoding.lexicon is not None or recogniser.tokenizer.units == "phones":
        return ""
    return "".join(dict.fromkeys("".join(recogniser.tokenizer.tokens[1:])))


def check_writable(folder: Path) -> None:
    """Make the folder and try to write into it, so that hours of decoding are not lost for want of a place.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error}); choose another place") from None


def _chosen(
    utterances: Sequence[Utterance], named: str, untranscribed: Literal["error", "skip"]
) -> tuple[list[Utterance], int]:
    """The utterances that have a transcript, and how many have not."""
    if not utterances:
        raise ManifestError(f"{named}: no utterances to evaluate")
    repeated = [key for key, count in Counter(u.id for u in utterances).items() if count > 1]
    if repeated:
        raise ManifestError(
            f"{named}: {len(repeated)} ids occur more than once (first {repeated[0]!r}); make them unique"
        )
    chosen = [utterance for utterance in utterances if utterance.text is not None]
    missing = len(utterances) - len(chosen)
    if missing and (untranscribed == "error" or not chosen):
        first = next(utterance.id for utterance in utterances if utterance.text is None)
        raise ManifestError(
            f"{named}: {missing} of {len(utterances)} utterances have no transcript (first {first!r}); add them, "
            + ("or leave these out with --skip-untranscribed" if chosen else "or use `asr transcribe`")
        )
    return chosen, missing
