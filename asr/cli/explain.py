"""`asr explain`: a picture of what the model heard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.common import Device, Model, Threads, set_threads
from asr.files import shown
from asr.model.folders import DEFAULT, find_model


def command(
    audio: Annotated[Path, typer.Argument(help="Recording of any format that libsndfile reads.")],
    output: Annotated[Path, typer.Option(help="PNG to write.")],
    model: Model = Path(DEFAULT),
    start: Annotated[float, typer.Option(min=0, help="Second at which the picture begins.")] = 0.0,
    duration: Annotated[float | None, typer.Option(help="Seconds to show; to the end by default.")] = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Draw waveform, log-mel, token probabilities over time, and the words with times and confidences."""
    set_threads(threads)
    from asr.audio import audio_info, load_audio
    from asr.decoding.confidence import Calibration
    from asr.decoding.recogniser import Recogniser
    from asr.errors import AudioError
    from asr.evaluation.pictures import LONGEST_SECONDS, utterance_picture

    recogniser = Recogniser.load(model, device, threads=threads)
    seconds = audio_info(audio).seconds - start if duration is None else duration
    if seconds > LONGEST_SECONDS:
        raise AudioError(
            f"{shown(audio)}: {seconds:.1f} s, and a picture shows at most {LONGEST_SECONDS:.0f} s; "
            "choose a part with --start and --duration"
        )
    waveform = load_audio(audio, recogniser.sample_rate, start=start, duration=duration)
    hypothesis = utterance_picture(
        recogniser, waveform, output, title=shown(Path(audio.name)), calibration=Calibration.load(find_model(model))
    )
    typer.echo(hypothesis.text)
