"""A known transcript laid over its recording: when each word was said, for recordings of an hour and more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from asr.audio import AudioSource, stream_audio
from asr.data.lines import read_lines
from asr.decoding.alignment import Alignment, align
from asr.decoding.confidence import Calibration, confidences, word_features
from asr.decoding.hypothesis import Word
from asr.decoding.recogniser import Recogniser
from asr.decoding.times import Timeline, word_times, word_tokens
from asr.errors import AlignmentError, AudioError, ManifestError, TextError
from asr.text import COMPANIONS, normalise
from asr.transcription.transcript import Segment, Transcript
from asr.transcription.windows import WINDOW_SECONDS, windows


def align_recording(
    recogniser: Recogniser, audio: AudioSource, text: Path, calibration: Calibration | None = None
) -> Transcript:
    """Align the text in a file with a recording: one segment for each line that has words.

    The recording goes through the model in windows, cut at pauses; their log-probs are joined and aligned as one, so
    that no line has to begin or end at a window. Memory: the log-probs (an hour of 29 tokens at 40 ms is 10 MB) and
    what `asr.decoding.alignment.align` saves.

    Args:
        recogniser: the model; its text rules (case, removed characters) are applied to the text.
        audio: a path, bytes or an open file.
        text: a UTF-8 file of what is said, from the first word to the last, in any division into lines.
        calibration: of the confidences.

    Raises:
        AudioError: the recording cannot be read.
        TextError: the text cannot be read, is empty, or has a character outside the model's alphabet.
        AlignmentError: the text is longer than the audio.
    """
    lines = list(_lines(recogniser, text))
    if not lines:
        raise TextError(f"{text}: no words to align; write what is said in the recording")
    tokens = recogniser.tokenizer.encode(" ".join(lines))
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


def _lines(recogniser: Recogniser, path: Path) -> Iterator[str]:
    rules = recogniser.config.text
    for number, line in _text_lines(path):
        words = normalise(line, rules.case, rules.remove)
        if recogniser.tokenizer.missing(words):
            lacking = recogniser.tokenizer.lacking(words, "the model's")
            raise TextError(f"{path}, line {number}: {lacking}; {_remedy(recogniser)}")
        if words:
            yield words


def _remedy(recogniser: Recogniser) -> str:
    if recogniser.tokenizer.units == "phones":
        return f"add it to {recogniser.folder}/{COMPANIONS['phones']}, in the phones that are there"
    return "spell it out as it is said, or delete it"


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
