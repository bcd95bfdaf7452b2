"""Before the first step: tokens for every transcript, and a name and remedy for every utterance that cannot be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from asr.audio import audio_info
from asr.config import Config
from asr.data.loading import Example
from asr.data.manifest import Utterance
from asr.errors import AudioError, TextError, TrainingError
from asr.model.acoustic import AcousticModel
from asr.text import Tokenizer, ctc_frames, normalise


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an utterance is left out of training."""

    id: str
    kind: str
    message: str


def build_tokenizer(utterances: Sequence[Utterance], config: Config) -> Tokenizer:
    """Characters of `text.alphabet`, or of the training transcripts.

    Raises:
        TrainingError: there are no transcripts to take characters from.
    """
    case = config.text.case
    found = {character for utterance in utterances for character in normalise(utterance.text or "", case)}
    characters = normalise(config.text.alphabet or "".join(found), case)
    if not characters:
        raise TrainingError("no training transcript has a character in it; is `text` set in the manifest?")
    return Tokenizer.from_characters(characters)


def prepare_examples(
    utterances: Sequence[Utterance], tokenizer: Tokenizer, model: AcousticModel, config: Config
) -> tuple[list[Example], list[Problem]]:
    """Tokenise every utterance that can be trained on; the others come back as problems, in file order."""
    examples, problems = [], []
    for utterance in utterances:
        try:
            examples.append(_example(utterance, tokenizer, model, config))
        except _Unusable as reason:
            problems.append(Problem(utterance.id, reason.kind, str(reason)))
    return examples, problems


class _Unusable(Exception):
    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


def _example(utterance: Utterance, tokenizer: Tokenizer, model: AcousticModel, config: Config) -> Example:
    text = normalise(utterance.text or "", config.text.case)
    if not text:
        raise _Unusable("no transcript", "the transcript is empty; transcribe it or drop the utterance")
    try:
        tokens = tokenizer.encode(text)
    except TextError as error:
        raise _Unusable("outside the alphabet", str(error)) from None
    if utterance.duration > config.data.max_seconds:
        raise _Unusable(
            "too long",
            f"{utterance.duration:.1f} s, longer than data.max_seconds = {config.data.max_seconds:g}; "
            "cut it, or raise the limit",
        )
    try:
        info = audio_info(utterance.audio)
    except AudioError as error:
        raise _Unusable("unreadable audio", str(error)) from None
    end = utterance.start + utterance.duration
    if end > info.seconds + 0.01:
        raise _Unusable(
            "unreadable audio",
            f"{utterance.audio} is {info.seconds:.2f} s long, the manifest says speech until {end:.2f} s; "
            "prepare the data again",
        )
    if utterance.whole and info.seconds > end + 0.01:
        raise _Unusable(
            "unreadable audio",
            f"{utterance.audio} is {info.seconds:.2f} s long, the manifest says {end:.2f} s; prepare the data again",
        )
    samples = int(min(utterance.duration, info.seconds - utterance.start) * config.features.sample_rate)
    needed, frames = ctc_frames(tokens), model.output_frames(samples)
    if frames < needed:
        raise _Unusable(
            "too short for its transcript",
            f"{utterance.duration:.2f} s give {frames} frames, {text[:60]!r} needs {needed} (labels and repeats); "
            "check the transcript, or lower model.subsampling.factor",
        )
    return Example(utterance, tokens, fastest=samples / model.samples_for(needed))


def summarise(problems: Sequence[Problem], name: str, shown: int = 3) -> list[str]:
    """Lines for the terminal: how many of each kind, and the first few by name."""
    lines = []
    for kind, count in Counter(problem.kind for problem in problems).most_common():
        lines.append(f"{name}: {count} utterances left out, {kind}:")
        lines += [f"  {p.id}: {p.message}" for p in [p for p in problems if p.kind == kind][:shown]]
        if count > shown:
            lines.append(f"  and {count - shown} more")
    return lines
