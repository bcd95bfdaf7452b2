"""A recogniser that takes files: streamed in windows, batched across files, one bad file never stops the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asr.audio import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, AudioSource, stream_audio
from asr.data.batches import make_batches
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.recogniser import Recogniser
from asr.errors import AudioError
from asr.transcription.transcript import Alternative, Segment, Transcript, shifted
from asr.transcription.windows import windows

Source = AudioSource | np.ndarray | torch.Tensor
"""A path, the bytes of a file, a file object, or a mono waveform `[samples]`."""


@dataclass
class _Job:
    """One source on its way: windows waiting, hypotheses done."""

    lengths: list[int] = field(default_factory=list)
    hypotheses: list[list[Hypothesis] | None] = field(default_factory=list)
    error: AudioError | None = None
    read: bool = False

    @property
    def complete(self) -> bool:
        return self.read and all(hypotheses is not None for hypotheses in self.hypotheses)


class Transcriber(Recogniser):
    """What `asr.load_model` returns: transcribes files of any length, format and sample rate."""

    def transcribe(self, source: Source, *, sample_rate: int | None = None) -> Transcript:
        """Transcribe one recording.

        Args:
            source: a path, bytes, a file object, or a waveform `[samples]` of floats in [-1, 1].
            sample_rate: of a waveform, in Hz; files say it themselves.

        Raises:
            AudioError: it cannot be read.
        """
        (result,) = self.transcribe_many([source], sample_rate=sample_rate)
        if isinstance(result, AudioError):
            raise result
        return result

    def transcribe_many(
        self, sources: Iterable[Source], *, sample_rate: int | None = None
    ) -> Iterator[Transcript | AudioError]:
        """Transcribe recordings together; yields a transcript, or the error, for each source in order.

        Memory is bounded by `decoding.batch_seconds`, however long or many the recordings are.
        """
        jobs: list[_Job] = []
        waiting: list[tuple[_Job, int, np.ndarray]] = []
        seconds = 0.0
        for source in sources:
            job = _Job()
            jobs.append(job)
            try:
                for window in windows(self._blocks(source, sample_rate), self.sample_rate):
                    job.lengths.append(len(window))
                    job.hypotheses.append(None)
                    waiting.append((job, len(job.lengths) - 1, window))
                    seconds += len(window) / self.sample_rate
                    if seconds >= self.decoding.batch_seconds:
                        self._decode_waiting(waiting)
                        seconds = 0.0
            except AudioError as error:
                job.error = error
            job.read = True
            while jobs and jobs[0].complete:
                yield self._assemble(jobs.pop(0))
        self._decode_waiting(waiting)
        for job in jobs:
            yield self._assemble(job)

    def _blocks(self, source: Source, sample_rate: int | None) -> Iterator[np.ndarray]:
        if not isinstance(source, np.ndarray | torch.Tensor):
            return stream_audio(source, self.sample_rate)
        if isinstance(source, torch.Tensor):
            tensor = source.detach().cpu()
            waveform = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
        else:
            waveform = source
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
        if sample_rate is not None and sample_rate != self.sample_rate:
            if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
                raise AudioError(
                    f"sample_rate={sample_rate} Hz is outside {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE}; correct it"
                )
            import soxr

            waveform = soxr.resample(waveform, sample_rate, self.sample_rate)
        return iter([waveform])

    def _decode_waiting(self, waiting: list[tuple[_Job, int, np.ndarray]]) -> None:
        """Decode every waiting window, those of similar length together, and empty the list."""
        seconds = [len(window) / self.sample_rate for _, _, window in waiting]
        for batch in make_batches(seconds, self.decoding.batch_seconds):
            found = self.nbest([waiting[index][2] for index in batch])
            for index, hypotheses in zip(batch, found, strict=True):
                job, position, _ = waiting[index]
                job.hypotheses[position] = hypotheses
        waiting.clear()

    def _assemble(self, job: _Job) -> Transcript | AudioError:
        if job.error is not None:
            return job.error
        segments = []
        start = 0
        for length, hypotheses in zip(job.lengths, job.hypotheses, strict=True):
            assert hypotheses is not None
            begin, end = start / self.sample_rate, (start + length) / self.sample_rate
            best = hypotheses[0]
            words = [shifted(word, begin) for word in best.words]
            others = [Alternative(other.text, other.score) for other in hypotheses[1:]]
            segments.append(Segment(begin, end, best.text, best.score, words, others))
            start += length
        text = " ".join(segment.text for segment in segments if segment.text)
        return Transcript(text, start / self.sample_rate, segments)


def load_model(
    folder: str | Path, *, device: str = "auto", decoding: Mapping[str, Any] | None = None, threads: int | None = None
) -> Transcriber:
    """The model in `folder`, ready to transcribe and evaluate.

    Args:
        folder: what `asr train` wrote.
        device: `auto` (the GPU when there is one), `cpu`, `cuda` or `cuda:N`.
        decoding: settings of the section `decoding` to change, as `{"beam": 64, "lm": "words.lm", "nbest": 5}`.
        threads: utterances that beam search decodes at the same time; None takes every core.

    Raises:
        CheckpointError: a file of the folder is missing, truncated, or belongs to another model.
        ConfigError: there is no such device, or a setting is impossible.
        LanguageModelError, TextError: a language model, hot words or a grammar that is missing, broken or unfit.
    """
    return Transcriber.load(folder, device, decoding, threads)
