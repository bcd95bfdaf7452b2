"""Two systems as a user names them, made comparable: folders of evaluations, transcripts, or models to decode with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from asr.errors import ConfigError, ScoringError
from asr.model.folders import bundled_models
from asr.scoring import score
from asr.scoring.comparison import Comparison, compare
from asr.scoring.normalisation import normaliser
from asr.scoring.transcripts import Transcripts, pair, read_speakers, read_transcripts

HYPOTHESES = "hypotheses.jsonl"
"""What `asr evaluate --output` writes: hypotheses, references and speakers."""


@dataclass
class System:
    """What a system recognised, and what was said, by utterance id."""

    references: dict[str, str]
    hypotheses: dict[str, str]
    speakers: Mapping[str, str] | None = None
    """Of every utterance, or None."""
    alternatives: set[str] = field(default_factory=set)
    """Utterances whose reference was chosen among several to fit the hypothesis."""
    notes: list[str] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    """(id, reason) of recordings that could not be read."""


@dataclass(frozen=True)
class Compared:
    """The comparison, what to mind with it, and (id, reason) of recordings that could not be read."""

    comparison: Comparison
    notes: list[str]
    failures: list[tuple[str, str]]


def is_model(path: Path) -> bool:
    """Whether a path is a model's folder, or the name of a model that comes with the package."""
    path = path if path.exists() else bundled_models().get(str(path), path)
    return (path / "config.yaml").is_file() and (path / "model.safetensors").is_file()


def compare_systems(
    a: Path,
    b: Path,
    *,
    reference: Path | None = None,
    manifest: Path | None = None,
    format: str = "auto",
    reference_format: str = "auto",
    normalisation: str = "none",
    missing: Literal["error", "empty"] = "error",
    common_only: bool = False,
    utt2spk: Path | None = None,
    decoding: Mapping[str, Any] | None = None,
    device: str = "auto",
    threads: int | None = None,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> Compared:
    """Compare what two paths stand for, see `asr.scoring.comparison.compare`.

    Each is a folder written by `asr evaluate --output`, transcripts in any format of `asr.scoring.read_transcripts`, or
    a model folder, which decodes the manifest.

    Args:
        a, b: the systems.
        reference: what was said; needed for transcripts without references of their own, if there is no manifest.
        manifest: what models decode.
        format: of transcripts.
        reference_format: of `reference`.
        normalisation: what all texts go through before they are compared.
        missing: what a reference without hypothesis is: an error, or an empty hypothesis.
        common_only: leave out the utterances that only one has.
        utt2spk: file of `id speaker` lines, in place of the speakers that the sources tell.
        decoding: changes of the section `decoding` of models.
        device, threads: as `asr.load_model` takes them.
        seed: of the bootstrap.
        progress: called with (model, utterances done, utterances in all).

    Raises:
        ConfigError: something is missing, or asked for in vain.
        ScoringError: the utterances or references differ, or a source cannot be used.
    """
    normaliser(normalisation)  # raises before anything is decoded
    models = [is_model(path) for path in (a, b)]
    if decoding and not all(models):
        raise ConfigError(
            f"--{next(iter(decoding)).replace('_', '-')} is for two model folders, which are decoded alike; run "
            "`asr evaluate --output` for each decoder to compare decoders"
        )
    if any(models) and manifest is None:
        raise ConfigError(f"{(a, b)[models.index(True)]} is a model: give what it is to decode with --manifest")
    speakers = read_speakers(utt2spk) if utt2spk else None

    def read(path: Path) -> System:
        hypotheses, said = _transcripts(path, format, reference or manifest, reference_format)
        paired = pair(
            said,
            hypotheses,
            missing=missing,
            common_only=common_only,
            normalisation=normalisation,
            speakers=speakers,
        )
        notes = [f"{path}: {note}" for note in paired.notes]
        return System(paired.references, paired.hypotheses, paired.speakers, set(said.alternatives), notes)

    def decode(path: Path) -> System:
        assert manifest is not None
        return _decoded(path, manifest, decoding or {}, device, threads, progress)

    first, second = (decode(path) if model else read(path) for path, model in zip((a, b), models, strict=True))
    notes = [*first.notes, *second.notes]
    common = [key for key in first.references if key in second.references]
    left_out = len(first.references) + len(second.references) - 2 * len(common)
    if common_only and left_out:
        if not common:
            raise ScoringError(f"{a} and {b} have no utterance in common; the ids must be the same")
        notes.append(f"{left_out} utterances that only one of both has were left out, {len(common)} are compared")
    known = speakers or first.speakers or second.speakers
    scores = []
    for system in (first, second):
        kept = common if common_only else list(system.references)
        scores.append(
            score(
                {key: system.references[key] for key in kept},
                {key: system.hypotheses[key] for key in kept},
                normalisation=normalisation,
                speakers={key: known[key] for key in kept} if known and all(key in known for key in kept) else None,
            )
        )
    comparison = compare(*scores, seed=seed, alternatives=first.alternatives | second.alternatives)
    return Compared(comparison, list(dict.fromkeys(notes)), list(dict(first.failures + second.failures).items()))


def _transcripts(
    path: Path, format: str, reference: Path | None, reference_format: str
) -> tuple[Transcripts, Transcripts]:
    """Hypotheses and references."""
    evaluated = path / HYPOTHESES if (path / HYPOTHESES).is_file() else path
    own = evaluated.name == HYPOTHESES
    hypotheses = read_transcripts(evaluated, "jsonl" if own else format, side="hypothesis")
    if reference is not None:
        return hypotheses, read_transcripts(reference, reference_format, side="reference")
    if not own:
        raise ConfigError(
            f"{path} holds no references (it is neither a model nor a folder that `asr evaluate --output` wrote): "
            "give what was said with --reference"
        )
    return hypotheses, read_transcripts(evaluated, "jsonl", side="reference")


def _decoded(
    model: Path,
    manifest: Path,
    decoding: Mapping[str, Any],
    device: str,
    threads: int | None,
    progress: Callable[[str, int, int], None] | None,
) -> System:
    from asr.decoding.recogniser import Recogniser
    from asr.evaluation.evaluate import evaluate

    recogniser = Recogniser.load(model, device, decoding, threads)
    tell = (lambda done, total: progress(str(model), done, total)) if progress else None
    found = evaluate(recogniser, manifest, facts=False, confidence=False, progress=tell)
    hypotheses = {key: hypothesis.text for key, hypothesis in found.hypotheses.items()}
    return System(found.references, hypotheses, found.score.speakers, failures=found.failures)
