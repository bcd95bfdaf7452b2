"""A known transcript laid over its recording: when each word was said, for recordings of an hour and more."""

from __future__ import annotations

import os
import shlex
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from asr.audio import AudioSource, stream_audio
from asr.data.lines import read_lines
from asr.decoding.alignment import Alignment, align
from asr.decoding.confidence import Calibration, confidences, word_features
from asr.decoding.hypothesis import Word
from asr.decoding.lexicon import Lexicon
from asr.decoding.recogniser import Recogniser
from asr.decoding.times import Timeline, word_times, word_tokens
from asr.errors import AlignmentError, AudioError, ConfigError, ManifestError, TextError
from asr.model.folders import file_of
from asr.scoring.normalisation import without_punctuation
from asr.text import PhoneTokenizer, Tokenizer, normalise
from asr.transcription.transcript import Segment, Transcript
from asr.transcription.windows import WINDOW_SECONDS, windows

SAID = frozenset("&%@#+=$£€°")
"""Symbols that stand for words, and so are not dropped as punctuation is."""
SHOWN = 20
"""Bad lines that a message shows; the rest are counted."""
NEXT = "\n  "
"""Between the lines of such a message."""


def align_recording(
    recogniser: Recogniser,
    audio: AudioSource,
    text: Path,
    calibration: Calibration | None = None,
    *,
    lexicon: Path | None = None,
) -> Transcript:
    """Align the text in a file with a recording: one segment for each line that has words.

    The recording goes through the model in windows, cut at pauses; their log-probs are joined and aligned as one, so
    that no line has to begin or end at a window. Memory: the log-probs (an hour of 29 tokens at 40 ms is 10 MB) and
    what `asr.decoding.alignment.align` saves.

    Args:
        recogniser: the model; its text rules (case, removed characters) are applied to the text. One of phones spells
            words as it was trained to, and those that it was not trained on by the lexicon that it decodes with.
        audio: a path, bytes or an open file.
        text: a UTF-8 file of what is said, from the first word to the last, in any division into lines. Punctuation
            that the model has no tokens for is dropped.
        calibration: of the confidences.
        lexicon: a file of pronunciations, as `asr lexicon` writes it, that come before those of a model of phones.

    Raises:
        AudioError: the recording cannot be read.
        TextError: the text cannot be read, is empty, or has characters outside the model's alphabet or words without a
            pronunciation: each line that has; or a pronunciation of `lexicon` has another phone than the model's.
        ConfigError: there is a lexicon, and the model's tokens are no phones.
        AlignmentError: the text is longer than the audio.
    """
    tokenizer = _speller(recogniser, lexicon)
    lines = list(_lines(recogniser, tokenizer, text))
    if not lines:
        raise TextError(f"{text}: no words to align; write what is said in the recording")
    tokens = tokenizer.encode(" ".join(lines))
    log_probs, timeline = _model_output(recogniser, audio)
    try:
        alignment = align(log_probs, tokens)
    except AlignmentError as error:
        raise AlignmentError(f"{text}: {error}") from None
    positions = word_tokens(tokens, recogniser.tokenizer)
    times = word_times(alignment, positions, timeline)
    sure = confidences(word_features(log_probs, alignment, positions), calibration)
    words = [
        Word(word, round(start, 3), round(end, 3), round(float(confidence), 4))
        for word, (start, end), confidence in zip(" ".join(lines).split(), times, sure, strict=True)
    ]
    segments = []
    path_scores = np.concatenate([[0.0], np.cumsum(_path_scores(log_probs, alignment), dtype=np.float64)])
    done = 0
    for line in lines:
        count = len(line.split())
        inside = words[done : done + count]
        first, last = positions[done][0], positions[done + count - 1][-1]
        score = float(path_scores[alignment.ends[last]] - path_scores[alignment.starts[first]])
        start, end = inside[0].start, inside[-1].end
        assert start is not None
        assert end is not None
        segments.append(Segment(start, end, line, score, inside))
        done += count
    return Transcript(" ".join(lines), timeline.end, segments)


def _speller(recogniser: Recogniser, more: Path | None) -> Tokenizer:
    """What spells the text."""
    tokenizer = recogniser.tokenizer
    if not isinstance(tokenizer, PhoneTokenizer):
        if more is not None:
            raise ConfigError(f"--lexicon {more}: the model spells words by their letters, not phones; leave it out")
        return tokenizer
    known = tokenizer.pronunciations
    if recogniser.decoding.lexicon is not None:
        path = file_of(recogniser.folder or Path(), recogniser.decoding.lexicon)
        known = Lexicon.load(path, tokenizer).pronunciations(tokenizer) | known
    if more is not None:
        added = Lexicon.load(more, tokenizer)
        if added.problems:
            raise TextError(_listed([f"{problem.id}: {problem.message}" for problem in added.problems]))
        known = known | added.pronunciations(tokenizer)
    return PhoneTokenizer(tokenizer.tokens, known)


def _lines(recogniser: Recogniser, tokenizer: Tokenizer, path: Path) -> Iterator[str]:
    rules = recogniser.config.text
    problems: list[str] = []
    dropped: set[str] = set()
    for number, line in _text_lines(path):
        text = normalise(line, rules.case, rules.remove)
        words = _said(text, tokenizer)
        dropped.update(set(text) - set(words) - {" ", "'"})
        if tokenizer.missing(words):
            lacking = tokenizer.lacking(words, "the model's")
            problems.append(f"{path}, line {number}: {lacking}")
        elif words:
            yield words
    if problems:
        remedy = "spell it out as it is said, or delete it"
        if tokenizer.units == "phones":
            options = [] if rules.case == "lower" else ["--case", rules.case]
            options += ["--remove", "".join(sorted(dropped))] if dropped else []
            command = shlex.join(["asr", "lexicon", str(path), *options, "--output", "NEW"])
            remedy += f"; or have its pronunciation guessed: `{command}`, and correct NEW and give it as --lexicon NEW"
        raise TextError(f"{_listed(problems)}{'; ' if len(problems) == 1 else NEXT}{remedy}")


def _said(text: str, tokenizer: Tokenizer) -> str:
    """A normalised text without the punctuation that the tokens lack."""
    lacking = set(tokenizer.missing(text))
    if tokenizer.units == "phones":
        return " ".join(
            without_punctuation(word) if word in lacking and not SAID.intersection(word) else word
            for word in text.split()
        )
    marks = {mark: without_punctuation(mark) or " " * (unicodedata.category(mark) != "Cf") for mark in lacking - SAID}
    apostrophe = marks.pop("'", None) is not None  # inside a word it is no punctuation
    words = "".join(marks.get(character, character) for character in text).split()
    return " ".join(word.strip("'") if apostrophe else word for word in words)


def _listed(problems: list[str]) -> str:
    more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    return NEXT.join([*problems[:SHOWN], *more])


def _text_lines(path: Path) -> Iterator[tuple[int, str]]:
    if not os.path.exists(path):  # Path.exists raises for a name too long, as words can be
        raise TextError(f"{path}: no such file; name a file that holds what is said, not the words themselves")
    try:
        yield from read_lines(path)
    except ManifestError as error:
        raise TextError(str(error)) from None


def _model_output(recogniser: Recogniser, audio: AudioSource) -> tuple[np.ndarray, Timeline]:
    """Log-probs `[frames, tokens]` of the whole recording and its clock."""
    rate, step = recogniser.sample_rate, recogniser.model.frame_seconds
    parts: list[np.ndarray] = []
    clocks: list[Timeline] = []
    longest = recogniser.decoding.window_seconds or WINDOW_SECONDS
    for window in windows(stream_audio(audio, rate), rate, longest, overlap=False, skip=False):
        waveform, start = window.waveform, window.start / rate
        log_probs, lengths = recogniser.log_probs(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)]))
        values = log_probs[0, : int(lengths[0])].cpu().numpy()
        if not np.isfinite(values).all():
            raise AudioError(f"the model's output from {start:.1f} s on holds NaN: the model or audio is broken")
        parts.append(values)
        clocks.append(Timeline.of(len(values), step, waveform, rate, start))
    return np.concatenate(parts), Timeline.joined(clocks)


def _path_scores(log_probs: np.ndarray, alignment: Alignment) -> np.ndarray:
    return log_probs[np.arange(len(log_probs)), alignment.path()]
