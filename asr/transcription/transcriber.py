"""A recogniser that takes files: streamed in windows, batched across files, one bad file never stops the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, cast

import numpy as np

from asr.allocation import bound_kernel_cache
from asr.audio import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, AudioSource, stream_audio
from asr.data.batches import make_batches
from asr.data.reading import load_utterance
from asr.data.utterance import Utterance
from asr.decoding.arrays import as_array
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.recogniser import Recogniser
from asr.errors import AudioError
from asr.model.folders import DEFAULT
from asr.model.numpy_model import NumpyModel
from asr.text import SPACE
from asr.transcription.seams import Piece, Seams
from asr.transcription.speech import may_be_speech
from asr.transcription.transcript import Segment, Transcript
from asr.transcription.windows import WINDOW_SECONDS, Window, windows

if TYPE_CHECKING:
    import torch

Source: TypeAlias = "AudioSource | Utterance | np.ndarray | torch.Tensor"
"""A path, the bytes of a file, a file object, an utterance of a manifest, or a mono waveform `[samples]`."""

BLOCK_SECONDS = 30.0
"""A waveform in memory is looked at piece by piece, like a file."""
POOLED_BATCHES = 8
"""Windows of so many batches are sorted by length together: less padding, and no batch that is nearly empty."""
NUMPY_BATCHES = 4
"""NumPy takes so many batches as one: it pads nothing, and the more utterances take a step together, the faster."""
HELD_BATCHES = 16
"""Windows of steady noise, which are not decoded, may wait behind one that is until they are this many batches long."""


@dataclass
class _Item:
    """What comes out of one source, in order: a window on its way, or the end of the source."""

    source: int
    window: Window | None
    hypotheses: list[Hypothesis] | None = None
    seconds: float = 0.0
    """Of the source, at its end."""
    error: AudioError | None = None

    @property
    def ready(self) -> bool:
        return self.window is None or self.hypotheses is not None


class Transcriber(Recogniser):
    """What `asr.load_model` returns: transcribes files of any length, format and sample rate."""

    def transcribe(self, source: Source, *, sample_rate: int | None = None) -> Transcript:
        """Transcribe one recording.

        Args:
            source: a path, bytes, a file object, an utterance of a manifest, or a waveform `[samples]` of floats in
                [-1, 1].
            sample_rate: of a waveform, in Hz, which needs it; files say it themselves.

        Raises:
            AudioError: it cannot be read, or is a waveform without `sample_rate`.
        """
        (result,) = self.transcribe_many([source], sample_rate=sample_rate)
        if isinstance(result, AudioError):
            raise result
        return result

    def transcribe_many(
        self,
        sources: Iterable[Source],
        *,
        sample_rate: int | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Iterator[Transcript | AudioError]:
        """Transcribe recordings together; yields a transcript, or the error, for each source in order.

        Memory is bounded by `decoding.batch_seconds`, however long or many the recordings are.

        Args:
            sources: as for `transcribe`; read one after the other, as results are asked for.
            sample_rate: of waveforms, in Hz; those need it.
            progress: called with the seconds of audio that have been transcribed since the last call.
        """
        pieces: list[Piece] = []
        for item in self._items(sources, sample_rate, progress, POOLED_BATCHES):
            if item.window is not None:
                pieces.append(self._piece(item))
                continue
            if item.error is not None:
                yield item.error
            else:
                segments = list(self._seams.join(pieces))
                text = " ".join(segment.text for segment in segments if segment.text)
                yield Transcript(text, item.seconds, segments)
            pieces = []

    def stream(self, source: Source, *, sample_rate: int | None = None) -> Iterator[Segment]:
        """The segments of one recording as they are decoded, for recordings that never end or fill the memory.

        Raises:
            AudioError: it cannot be read, perhaps only from some moment on.
        """

        def pieces() -> Iterator[Piece]:
            for item in self._items([source], sample_rate, None, 1):
                if item.error is not None:
                    raise item.error
                if item.window is not None:
                    yield self._piece(item)

        return self._seams.join(pieces())

    @cached_property
    def _seams(self) -> Seams:
        return Seams(self.tokenizer, self.model.frame_seconds)

    def _piece(self, item: _Item) -> Piece:
        assert item.window is not None
        assert item.hypotheses is not None
        rate = self.sample_rate
        return Piece(item.window.start / rate, item.window.end / rate, item.window.overlaps, item.hypotheses)

    def _items(
        self,
        sources: Iterable[Source],
        sample_rate: int | None,
        progress: Callable[[float], None] | None,
        batches: int,
    ) -> Iterator[_Item]:
        """Decoded windows and ends of sources, in order; `batches` is how many are sorted by length together."""
        queue: deque[_Item] = deque()
        waiting: list[_Item] = []
        seconds, held, heard, told = 0.0, 0.0, 0, 0
        longest = self.decoding.window_seconds or WINDOW_SECONDS
        pooled = batches * self.decoding.batch_seconds

        def counted(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
            nonlocal heard
            for block in blocks:
                heard += len(block)
                yield block

        def done() -> Iterator[_Item]:
            nonlocal told
            if progress and not waiting and heard > told:
                progress((heard - told) / self.sample_rate)
                told = heard
            while queue and queue[0].ready:
                yield queue.popleft()

        for number, source in enumerate(sources):
            before, error = heard, None
            try:
                blocks = counted(self._blocks(source, sample_rate))
                for window in windows(blocks, self.sample_rate, longest, overlap=self._spells_words):
                    item = _Item(number, window)
                    queue.append(item)
                    held += len(window.waveform) / self.sample_rate
                    if may_be_speech(window.waveform, self.sample_rate):
                        waiting.append(item)
                        seconds += len(window.waveform) / self.sample_rate
                    else:
                        item.hypotheses = [Hypothesis([], "", 0.0)]
                    if seconds >= pooled or held >= HELD_BATCHES * self.decoding.batch_seconds:
                        self._decode(waiting)
                        seconds = held = 0.0
                        yield from done()
            except AudioError as problem:
                error = problem
            queue.append(_Item(number, None, seconds=(heard - before) / self.sample_rate, error=error))
            yield from done()
        self._decode(waiting)
        yield from done()

    @property
    def _spells_words(self) -> bool:
        """Whether tokens say where words begin: without, overlapping windows cannot be joined between words."""
        return any(token.startswith(SPACE) for token in self.tokenizer.tokens) and self.decoding.lexicon is None

    def _blocks(self, source: Source, sample_rate: int | None) -> Iterator[np.ndarray]:
        if isinstance(source, Utterance) and source.whole and source.member is None:
            return stream_audio(source.audio, self.sample_rate, channel=source.channel)
        if isinstance(source, Utterance):
            return _in_blocks(load_utterance(source, self.sample_rate), self.sample_rate)
        if not _is_waveform(source):
            return stream_audio(cast(AudioSource, source), self.sample_rate)
        waveform = as_array(source)
        if waveform.ndim != 1 or not np.issubdtype(waveform.dtype, np.floating):
            raise AudioError(
                f"a waveform must be one-dimensional floats in [-1, 1], not {waveform.dtype} {list(waveform.shape)}; "
                "average the channels, and divide 16-bit samples by 32768"
            )
        if not len(waveform):
            raise AudioError("the waveform has zero samples")
        if not np.isfinite(waveform).all():
            raise AudioError(f"the waveform has {int((~np.isfinite(waveform)).sum())} samples that are NaN or infinite")
        waveform = waveform.astype(np.float32)
        if sample_rate is None:  # assuming one would give other words, and no error
            raise AudioError(
                "a waveform does not say its rate: give sample_rate=, in Hz "
                f"({self.sample_rate} is what the model hears)"
            )
        if sample_rate != self.sample_rate:
            if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
                raise AudioError(
                    f"sample_rate={sample_rate} Hz is outside {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE}; correct it"
                )
            import soxr

            waveform = soxr.resample(waveform, sample_rate, self.sample_rate)
        return _in_blocks(waveform, self.sample_rate)

    def _decode(self, waiting: list[_Item]) -> None:
        """Decode every waiting window, those of similar length together, and empty the list."""
        waveforms = [item.window.waveform for item in waiting if item.window is not None]
        seconds = [len(waveform) / self.sample_rate for waveform in waveforms]
        bound = self.decoding.batch_seconds * (NUMPY_BATCHES if isinstance(self.model, NumpyModel) else 1)
        for batch in make_batches(seconds, bound):
            found = self.nbest([waveforms[index] for index in batch])
            for index, hypotheses in zip(batch, found, strict=True):
                waiting[index].hypotheses = hypotheses
        waiting.clear()


def _is_waveform(source: AudioSource | np.ndarray | torch.Tensor) -> TypeGuard[np.ndarray | torch.Tensor]:
    return isinstance(source, np.ndarray) or hasattr(source, "numpy")  # as tensors have; torch may not be there


def _in_blocks(waveform: np.ndarray, sample_rate: int) -> Iterator[np.ndarray]:
    step = round(BLOCK_SECONDS * sample_rate)
    return (waveform[start : start + step] for start in range(0, len(waveform), step))


def load_model(
    folder: str | Path = DEFAULT,
    *,
    device: str = "auto",
    decoding: Mapping[str, Any] | None = None,
    threads: int | None = None,
) -> Transcriber:
    """A model, ready to transcribe and evaluate.

    Args:
        folder: what `asr train` wrote, or the name of a model that comes with the package (`asr models`).
        device: `auto` (the GPU when there is one), `cpu`, `cuda` or `cuda:N`; or `numpy`: the CPU without torch, which
            takes two seconds to import. For models with recurrent layers and CTC.
        decoding: settings of the section `decoding` to change, as `{"beam": 64, "lm": "words.lm", "nbest": 5}`.
        threads: utterances that beam search decodes at the same time; None takes every core.

    Raises:
        CheckpointError: a file of the folder is missing, truncated, or belongs to another model.
        ConfigError: there is no such device, or a setting is impossible.
        LanguageModelError, TextError: a language model, hot words or a grammar that is missing, broken or unfit.
    """
    bound_kernel_cache()
    return Transcriber.load(folder, device, decoding, threads)
