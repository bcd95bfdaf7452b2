"""Before the first step: tokens for every transcript, and a name and remedy for every utterance that cannot be used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from asr.audio import audio_info
from asr.config import Config
from asr.data.doctor import fewest_frames, frames_problem, header_problem, kinds, length_problem, text_problem
from asr.data.examples import Examples
from asr.data.problems import Problem
from asr.data.utterance import Utterance
from asr.errors import AudioError, TrainingError
from asr.frames import samples_for
from asr.text import Tokenizer, count_words, normalise
from asr.text import build_tokenizer as tokenizer_of


def build_tokenizer(utterances: Iterable[Utterance], config: Config) -> Tokenizer:
    """The tokens that `text` asks for, from the training transcripts.

    Raises:
        TrainingError: there are no transcripts to take them from.
        TextError: see `asr.text.build_tokenizer`.
    """
    words = count_words((utterance.text or "" for utterance in utterances), config.text)
    if not words and not config.text.alphabet:
        raise TrainingError("no training transcript has a character in it; is `text` set in the manifest?")
    return tokenizer_of(words, config.text)


def prepare_examples(
    utterances: Sequence[Utterance], tokenizer: Tokenizer, config: Config
) -> tuple[Examples, list[Problem]]:
    """Find out which utterances can be trained on; the others come back as problems, in file order."""
    examples, problems = Examples(utterances, tokenizer, config.text), []
    for number, utterance in enumerate(utterances):
        found = _fastest(utterance, tokenizer, config)
        if isinstance(found, Problem):
            problems.append(found)
        else:
            examples.add(number, utterance, found)
    return examples, problems


def _fastest(utterance: Utterance, tokenizer: Tokenizer, config: Config) -> float | Problem:
    """The speed factor at which the utterance's frames only just suffice, or why it cannot be trained on."""
    problem = text_problem(utterance, tokenizer, config) or length_problem(utterance, config)
    if problem:
        return problem
    seconds = utterance.duration
    if utterance.member is None:  # a shard may be far away; what it holds is what its cuts say
        try:
            info = audio_info(utterance.audio)
        except AudioError as error:
            return Problem(utterance.id, kinds.UNREADABLE, str(error))
        problem = header_problem(utterance, info)
        if problem:
            return problem
        seconds = min(seconds, info.seconds - utterance.start)
    tokens = tokenizer.encode(normalise(utterance.text or "", config.text.case, config.text.remove))
    problem = frames_problem(utterance, tokens, seconds, config)
    if problem:
        return problem
    return int(seconds * config.features.sample_rate) / samples_for(fewest_frames(tokens, config), config)
