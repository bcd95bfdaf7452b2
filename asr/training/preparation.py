"""Before the first step: tokens for every transcript, and a name and remedy for every utterance that cannot be used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from asr.audio import audio_info
from asr.config import Config
from asr.data.examples import Examples
from asr.data.problems import Problem
from asr.data.utterance import Utterance
from asr.errors import AudioError, TextError, TrainingError
from asr.frames import output_frames, samples_for
from asr.text import Tokenizer, ctc_frames, normalise


def build_tokenizer(utterances: Iterable[Utterance], config: Config) -> Tokenizer:
    """Characters of `text.alphabet`, or of the training transcripts.

    Raises:
        TrainingError: there are no transcripts to take characters from.
    """
    case, remove = config.text.case, config.text.remove
    found = {character for utterance in utterances for character in normalise(utterance.text or "", case, remove)}
    characters = normalise(config.text.alphabet or "".join(found), case)
    if not characters:
        raise TrainingError("no training transcript has a character in it; is `text` set in the manifest?")
    return Tokenizer.from_characters(characters)


def prepare_examples(
    utterances: Sequence[Utterance], tokenizer: Tokenizer, config: Config
) -> tuple[Examples, list[Problem]]:
    """Find out which utterances can be trained on; the others come back as problems, in file order."""
    examples, problems = Examples(utterances, tokenizer, config.text), []
    for number, utterance in enumerate(utterances):
        try:
            examples.add(number, utterance, _fastest(utterance, tokenizer, config))
        except _Unusable as reason:
            problems.append(Problem(utterance.id, reason.kind, str(reason)))
    return examples, problems


class _Unusable(Exception):
    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


def _fastest(utterance: Utterance, tokenizer: Tokenizer, config: Config) -> float:
    """The speed factor at which the utterance's frames only just suffice."""
    text = normalise(utterance.text or "", config.text.case, config.text.remove)
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
    seconds = utterance.duration
    if utterance.member is None:  # a shard may be far away; what it holds is what its cuts say
        seconds = min(seconds, _recording_seconds(utterance) - utterance.start)
    samples = int(seconds * config.features.sample_rate)
    needed, frames = ctc_frames(tokens), output_frames(samples, config)
    if frames < needed:
        raise _Unusable(
            "too short for its transcript",
            f"{utterance.duration:.2f} s give {frames} frames, {text[:60]!r} needs {needed} (labels and repeats); "
            "check the transcript, or lower model.subsampling.factor",
        )
    return samples / samples_for(needed, config)


def _recording_seconds(utterance: Utterance) -> float:
    """Length of the recording by its header, which must agree with the manifest."""
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
    return info.seconds
