"""`asr calibrate`: make confidences mean what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.common import FAILED, Device, Threads, set_threads, tell_failures
from asr.model.folders import own_model


def command(
    dev: Annotated[Path, typer.Argument(help="Manifest of the dev set.")],
    model: Annotated[Path, typer.Option(help="Model folder, which gets confidence.json.")],
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Fit the confidence of words to how often they are right on DEV, and keep it in the model folder.

    `asr evaluate TEST --model M --confidence` measures how well it holds elsewhere.  Exit status 1 when some recordings
    could not be read; it is fitted on the others.
    """
    folder = own_model(model)
    set_threads(threads)
    from asr.decoding.confidence import confidences
    from asr.decoding.recogniser import Recogniser
    from asr.evaluation.calibration import fit, reliability, word_evidence

    evidence = word_evidence(Recogniser.load(folder, device, threads=threads), dev)
    failed = tell_failures(dev, evidence.failures, "are not in the fit")
    calibration = fit(evidence.features, evidence.correct)
    calibration.save(folder)
    for name, used in (("before", None), ("after", calibration)):
        found = reliability(confidences(evidence.features, used), evidence.correct)
        typer.echo(f"{name:7} ECE {found.ece:.3f}  NCE {found.nce:6.3f}  on the {found.words} words of {dev}")
    if failed:
        raise typer.Exit(FAILED)
