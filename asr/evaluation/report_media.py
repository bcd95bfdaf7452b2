"""What is heard and seen of an utterance in a report: a small MP3 and a small picture of its log-mel energies."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from asr.data.reading import load_utterance
from asr.data.utterance import Utterance
from asr.decoding.hypothesis import Word
from asr.errors import AsrError, AudioError

if TYPE_CHECKING:
    from asr.config import FeaturesConfig
    from asr.model.features import LogMel

PLAYED_HZ = 16000
"""Sample rate of the MP3: enough for speech, and one that every browser plays."""
COMPRESSION = 0.8
"""Of libsndfile's MP3 at variable bit rate: about 25 kbit/s for speech."""
LONGEST_SECONDS = 60.0
"""Of one utterance. What follows is neither played nor drawn."""
WIDEST = 2000
"""Pixels of a picture, a pixel a frame up to here."""
QUALITY = 40
"""Of the WebP pictures: about 1.5 kB a second, and little to be seen of it at the size of the page."""


@dataclass(frozen=True)
class Media:
    """An utterance's sound and picture, base64, and its length in seconds."""

    audio: str
    picture: str
    seconds: float
    cut: bool
    """Whether there is more of the utterance than this."""


def make_media(utterances: Sequence[Utterance], features: FeaturesConfig | None) -> Iterator[Media | AsrError]:
    """Read utterances, and make what a page shows of them, in order; an error stands for one that cannot be read.

    Works on as many utterances at once as torch has threads: most of the time is MP3 encoding, outside Python's lock.

    Args:
        utterances: any number.
        features: of the pictures; the default configuration where None.
    """
    import torch

    from asr.config import FeaturesConfig
    from asr.model.features import LogMel

    front_end = LogMel(features or FeaturesConfig())

    def make(utterance: Utterance) -> Media | AsrError:
        try:
            return _media(utterance, front_end)
        except AsrError as error:
            return error

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        yield from pool.map(make, utterances)


def _media(utterance: Utterance, front_end: LogMel) -> Media:
    rate = front_end.config.sample_rate
    waveform = load_utterance(utterance, rate)
    seconds = len(waveform) / rate
    played = waveform if rate == PLAYED_HZ else load_utterance(utterance, PLAYED_HZ)
    return Media(
        audio=_base64(_mp3(played[: round(LONGEST_SECONDS * PLAYED_HZ)])),
        picture=_base64(_picture(waveform[: round(LONGEST_SECONDS * rate)], front_end)),
        seconds=round(min(seconds, LONGEST_SECONDS), 3),
        cut=seconds > LONGEST_SECONDS,
    )


def marks(
    words: Sequence[Word], errors: Sequence[str], seconds: float
) -> list[tuple[str, float, float, float | None, str]]:
    """(text, start, end, confidence, kind of error) of the words with known times that begin within `seconds`.

    Args:
        words: of the hypothesis.
        errors: for each recognised word of the alignment "" or the kind of its error; where the numbers differ,
            because the scoring normalisation joined or split words, no word is marked.
        seconds: length of the audio that is shown.
    """
    kinds = errors if len(errors) == len(words) else [""] * len(words)
    return [
        (word.text, round(word.start, 2), round(min(word.end, seconds), 2), word.confidence, kind)
        for word, kind in zip(words, kinds, strict=True)
        if word.start is not None and word.end is not None and word.start < seconds
    ]


def _mp3(waveform: np.ndarray) -> bytes:
    import soundfile

    file = io.BytesIO()
    try:
        soundfile.write(
            file,
            waveform.clip(-1, 1),
            PLAYED_HZ,
            format="MP3",
            subtype="MPEG_LAYER_III",
            bitrate_mode="VARIABLE",
            compression_level=COMPRESSION,
        )
    except soundfile.SoundFileError as error:
        raise AudioError(f"no MP3 could be made ({error}); soundfile from PyPI brings a library that can") from None
    return file.getvalue()


def _picture(waveform: np.ndarray, front_end: LogMel) -> bytes:
    """A WebP of the log-mel energies: time to the right, mel bins upwards, brighter where there is more energy."""
    import torch
    from matplotlib import colormaps
    from PIL import Image

    with torch.inference_mode():
        log_mel = front_end.log_mel(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)]))[0].numpy()
    low, high = np.percentile(log_mel, (5, 99.5))
    shades = ((log_mel.T[::-1] - low) / max(high - low, 1e-6)).clip(0, 1)
    image = Image.fromarray(colormaps["magma"](shades, bytes=True)[..., :3])
    if image.width > WIDEST:
        image = image.resize((WIDEST, image.height))
    file = io.BytesIO()
    image.save(file, "WEBP", quality=QUALITY, method=4)
    return file.getvalue()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
