"""The audio of an utterance, wherever it lies; free of torch, so that checking and packing start at once."""

from __future__ import annotations

import io

import numpy as np

from asr.audio import load_audio
from asr.data.shards import read_member
from asr.data.utterance import Utterance


class _Member(io.BytesIO):
    """A recording out of a shard, with a name for error messages."""

    def __init__(self, data: bytes, name: str):
        super().__init__(data)
        self.name = name


def load_utterance(utterance: Utterance, sample_rate: int) -> np.ndarray:
    """The utterance's audio, float32 mono `[samples]`; `AudioError` when it cannot be read.

    Audio in a shard that is still being fetched is waited for.
    """
    if utterance.member is not None:
        data = read_member(utterance.audio, utterance.member)
        member = _Member(data, f"{utterance.audio}, {utterance.member!r}")
        return load_audio(member, sample_rate, channel=utterance.channel)
    return load_audio(
        utterance.audio,
        sample_rate,
        start=utterance.start,
        duration=None if utterance.whole else utterance.duration,
        channel=utterance.channel,
    )
