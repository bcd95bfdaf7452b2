"""`asr transcribe`: recordings to text, subtitles and tables."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Annotated

import typer

from asr.allocation import memory_returned
from asr.cli.common import (
    FAILED,
    INTERRUPTED,
    Beam,
    DecodingThreads,
    Grammar,
    Hotwords,
    LexiconFile,
    Lm,
    LmWeight,
    Model,
    Rescore,
    WordBonus,
    decoding_options,
    quick_imports,
    set_threads,
)
from asr.errors import AsrError, AudioError, ConfigError, OutputError
from asr.model.folders import DEFAULT, find_model

if TYPE_CHECKING:
    from rich.text import Text

    from asr.cli.transcribe_progress import Progress
    from asr.decoding.decoder import Decoder
    from asr.transcription.outputs import Outputs
    from asr.transcription.sources import Recording, Sources
    from asr.transcription.transcriber import Source, Transcriber
    from asr.transcription.transcript import Transcript


COMPILING = "note: compiling the beam search for this machine; that happens once, and takes some 20 seconds"
COMPILING_SECONDS = 2.0
"""Longer than it takes to load what is compiled already."""


class Colour(StrEnum):
    """When words are coloured."""

    never = "never"
    auto = "auto"
    always = "always"


def command(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="Audio files, folders of them, patterns in quotes, manifests, or - for audio on standard input.",
            show_default=False,
        ),
    ] = None,
    model: Model = Path(DEFAULT),
    lists: Annotated[
        list[str] | None,
        typer.Option("--list", metavar="FILE", help="File of paths, a line each; - reads it from standard input."),
    ] = None,
    format_: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            help="txt (the default), json, jsonl, srt, vtt, tsv, ctm, trn, TextGrid, several with commas, or all.",
        ),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", "-o", help="Write NAME.FORMAT here instead of printing; a folder keeps its tree."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Transcribe again what has all its outputs in --output-dir.")
    ] = False,
    full_names: Annotated[
        bool, typer.Option("--full-names", help="Keep the suffix of the audio: call.mp3 gives call.mp3.txt.")
    ] = False,
    word_times: Annotated[
        bool, typer.Option("--word-times", help="Start, end and confidence of each word in json and jsonl too.")
    ] = False,
    nbest: Annotated[int | None, typer.Option(min=1, help="Texts for each segment, in json and jsonl.")] = None,
    colour: Annotated[
        Colour, typer.Option("--colour", "--color", help="Colour printed words by confidence; auto: on a terminal.")
    ] = Colour.never,
    hotwords: Hotwords = None,
    lm: Lm = None,
    lm_weight: LmWeight = None,
    word_bonus: WordBonus = None,
    beam: Beam = None,
    grammar: Grammar = None,
    lexicon: LexiconFile = None,
    rescore: Rescore = None,
    threads: DecodingThreads = None,
    device: Annotated[
        str,
        typer.Option(
            help="auto: the GPU when there is one, else numpy; cuda, cuda:N; cpu: by torch; numpy: by NumPy alone."
        ),
    ] = "auto",
    batch_seconds: Annotated[
        float | None, typer.Option("--batch-seconds", min=1, help="Seconds of audio decoded at once; a GPU likes more.")
    ] = None,
) -> None:
    """Transcribe recordings: print their words, or write them to files.

    A folder is searched to its bottom. What cannot be read is reported, and the rest goes on (exit status 1).
    What has newer outputs in --output-dir is skipped: the same command goes on where a stopped one was.
    """
    from asr.cli.transcribe_progress import Progress
    from asr.transcription.formats import WORD_TIMES
    from asr.transcription.outputs import Outputs, chosen_formats
    from asr.transcription.sources import Sources

    formats = chosen_formats(format_ or ["txt"])
    _check_options(formats, output_dir, overwrite, nbest, word_times, colour)
    if not inputs and not lists:
        raise ConfigError("nothing to transcribe: name audio files, folders or a manifest, or give --list FILE")
    find_model(model)  # the loader does the same, but only once torch is there
    sources = Sources(inputs or [], lists or [], full_names=full_names)
    _check_together(sources, formats, output_dir)
    outputs = Outputs(output_dir, formats) if output_dir and sources.count else None
    in_colour = colour is Colour.always or (colour is Colour.auto and sys.stdout.isatty())

    @memory_returned()
    @quick_imports()
    def load() -> Transcriber:
        from asr.decoding.recogniser import NUMPY, light_device
        from asr.transcription.transcriber import load_model

        chosen = light_device(model) if device == "auto" else device
        if chosen != NUMPY:
            set_threads(threads or 1)
        decoding = decoding_options(
            beam=beam,
            lm=lm,
            lm_weight=lm_weight,
            word_bonus=word_bonus,
            hotwords=hotwords,
            grammar=grammar,
            lexicon=lexicon,
            rescore=rescore,
            nbest=nbest,
            batch_seconds=batch_seconds,
            word_times=word_times or in_colour or not WORD_TIMES.isdisjoint(formats) or None,
        )
        return load_model(model, device=chosen, decoding=decoding, threads=threads)

    interrupted = False
    progress = Progress(sources.count + len(sources.problems))
    try:
        _Run(sources, outputs, overwrite, formats[0], in_colour, progress).transcribe(load)
    except KeyboardInterrupt:
        interrupted = True
    if progress.total > 1 or outputs:
        progress.summary()
    if interrupted:
        again = "the same command" + (" without --overwrite" if overwrite else "")
        progress.error(
            f"interrupted; what is written stays, and {again} goes on from here" if outputs else "interrupted"
        )
        raise typer.Exit(INTERRUPTED)
    if progress.failed:
        raise typer.Exit(FAILED)


def _check_options(
    formats: list[str], output_dir: Path | None, overwrite: bool, nbest: int | None, word_times: bool, colour: Colour
) -> None:
    """Refuse what would have no effect."""
    from asr.transcription.formats import WORD_TIMES

    if nbest and not {"json", "jsonl"}.intersection(formats):
        raise ConfigError("--nbest is written in json and jsonl alone; add --format json")
    if word_times and not {"json", "jsonl", *WORD_TIMES}.intersection(formats):
        raise ConfigError(f"--word-times: there are no times in {' and '.join(formats)}; add --format json")
    if not output_dir:
        if len(formats) > 1:
            raise ConfigError(f"{', '.join(formats)}: several formats need --output-dir; one can be printed")
        if overwrite:
            raise ConfigError("--overwrite means files in --output-dir; give that, or leave it out")
    if colour is not Colour.never and (output_dir or formats != ["txt"]):
        raise ConfigError("--colour is for printed text; leave out --output-dir and --format, or leave out --colour")


def _check_together(sources: Sources, formats: list[str], output_dir: Path | None) -> None:
    """Refuse recordings that cannot be told apart, or cannot stand one after the other, in what is written."""
    from asr.transcription.outputs import BY_KEY, ONE_STREAM

    if not output_dir and sources.count > 1 and formats[0] not in ONE_STREAM:
        raise ConfigError(f"{formats[0]} is a file a recording, and there are {sources.count:,}; add --output-dir")
    if (output_dir or formats[0] in BY_KEY) and (clash := sources.clash()):
        one, other = clash
        if output_dir:
            said = f"{one.name} and {other.name} would both be written to {output_dir / one.label}.{formats[0]}"
        else:
            said = f"{one.name} and {other.name} would both be called {one.label} in {formats[0]}"
        raise ConfigError(f"{said}; {sources.remedy(one, other)}")


@dataclass
class _Run:
    """From recordings to what is printed or written, one after the other."""

    sources: Sources
    outputs: Outputs | None
    overwrite: bool
    format_: str
    in_colour: bool
    progress: Progress
    waiting: deque[tuple[Recording, float | None]] = field(default_factory=deque)
    """What the transcriber has taken, with its seconds where they are known, until its result comes."""

    def transcribe(self, load: Callable[[], Transcriber]) -> None:
        """All of it; the model is loaded when the first recording is found to need it."""
        self._tell_found()
        todo = self._todo()
        first = next(todo, None)
        if first is None:
            return
        with self.progress:
            transcriber = load()
            from asr.decoding.decoder import Decoder

            if transcriber.decoding.method == "beam" and isinstance(transcriber.decoder, Decoder):
                self._compile(transcriber.decoder)
            self.progress.start(legend=self.in_colour)
            for result in transcriber.transcribe_many(chain([first], todo), progress=self.progress.heard):
                self._take(result)

    def _compile(self, decoder: Decoder) -> None:
        """Decode one frame, in which nothing is likelier than anything else: whoever waits should know what for."""
        import numpy as np

        notice = Timer(COMPILING_SECONDS, self.progress.note, [COMPILING])
        notice.start()
        try:
            tokens = len(decoder.tokenizer)
            decoder(np.full((1, 1, tokens), -np.log(tokens), np.float32), np.array([1]))
        finally:
            notice.cancel()
        for note in decoder.notes:
            self.progress.note(f"note: {note}")

    def _tell_found(self) -> None:
        from asr.audio_headers import CONVERT

        for problem in self.sources.problems:
            name, _, reason = str(problem).partition(": ")
            self.progress.fail(name, str(problem), reason)
        if self.sources.repeated:
            self.progress.note(f"note: {self.sources.repeated:,} named twice are transcribed once")
        if self.sources.unread:
            suffixes = ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(self.sources.unread.items()))
            self.progress.note(f"note: passed over in folders: {suffixes}; {CONVERT}")

    def _todo(self) -> Iterator[Source]:
        for recording in self.sources:
            try:
                if self.outputs and self.outputs.current(recording) and not self.overwrite:
                    self.progress.skip()
                    continue
            except OutputError as error:
                self._fail(recording, error)
                continue
            seconds = self._seconds(recording)
            self.waiting.append((recording, seconds))
            yield recording.source

    def _seconds(self, recording: Recording) -> float | None:
        """Length by the header (0.1 ms), for the time left; what cannot be read is told when its result comes."""
        from asr.audio import audio_info

        seconds = None
        if recording.utterance is not None:
            seconds = recording.utterance.duration
        elif os.path.isfile(recording.path):  # a pipe can be read only once
            with suppress(AudioError):
                seconds = audio_info(recording.path).seconds
        if seconds is not None:
            self.progress.expect(seconds)
        return seconds

    def _take(self, result: Transcript | AudioError) -> None:
        recording, seconds = self.waiting.popleft()
        try:
            if isinstance(result, AudioError):
                raise result
            printed: str | Text = ""
            if self.outputs:
                self.outputs.write(recording, result)
            else:
                printed = self._printed(recording, result)
        except (AudioError, OutputError) as error:  # a full disk may have room for the next one
            if seconds is not None:
                self.progress.expect(-seconds)
            self._fail(recording, error)
        else:
            if seconds is None:
                self.progress.expect(result.duration)
            self.progress.finish(result.duration)
            if printed:
                self.progress.result(printed)

    def _fail(self, recording: Recording, error: AsrError) -> None:
        """Tell it under the name of the recording; file and output are left out of what the summary groups by."""
        from asr.transcription.sources import STDIN

        reason = str(error).removeprefix(f"{recording.path}: ")
        if recording.path == STDIN:
            reason = reason.partition(": ")[2] or reason  # a stream's own name, such as <stdin>
        message = f"{recording.name}: {reason}"
        if recording.utterance is not None:
            reason = reason.removeprefix(f"{recording.utterance.audio}: ")
        if isinstance(error, OutputError):
            reason = reason.partition(": ")[2] or reason
        self.progress.fail(recording.name, message, reason)

    def _printed(self, recording: Recording, transcript: Transcript) -> str | Text:
        from asr.cli.transcribe_progress import printable
        from asr.transcription.outputs import rendered

        name = f"{printable(recording.name)}: " if self.sources.count > 1 else ""
        if self.in_colour:
            from rich.text import Text

            from asr.transcription.colours import coloured

            return Text(name) + coloured(transcript) + "\n"
        if self.format_ == "txt" and name:
            return f"{name}{transcript.text}\n"
        return rendered(recording, transcript, self.format_)
