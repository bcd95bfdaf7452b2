"""The model card: what the model is, what it was trained on, how good it is and how to make it again."""

from __future__ import annotations

from pathlib import Path

from asr.config import Config
from asr.data.examples import Examples
from asr.files import write_text
from asr.model.acoustic import AcousticModel
from asr.model.folders import CARD
from asr.training.state import Progress
from asr.version import __version__

UNITS = {"characters": "characters", "bpe": "BPE pieces of words", "phones": "phones of a pronunciation lexicon"}


def write_card(folder: Path, config: Config, progress: Progress, model: AcousticModel, examples: Examples) -> None:
    """Write README.md of the model folder."""
    hours = sum(examples.seconds) / 3600
    speakers = examples.speakers or "unknown"
    millions = f"{model.parameter_count / 1e6:.2f} M"
    kind = ("bidirectional " if config.model.bidirectional else "") + config.model.cell
    if config.model.encoder == "transformer":
        kind = "Transformer"
    head = "attention" if config.model.head == "attention" else "CTC"
    dev = "no dev set"
    if progress.best_wer is not None:
        dev = f"{progress.best_wer:.2%} (CER {progress.best_cer:.2%}) on `{config.data.dev}`, greedy"
    start = f" from those of `{config.training.init}`" if config.training.init else ""
    write_text(
        folder / CARD,
        f"""# {folder.resolve().name}

A speech recogniser: log-mel features, {config.model.layers} {kind} layers of
{config.model.hidden} units, {head} over {model.tokens} tokens ({UNITS[config.text.units]}); {millions} parameters.

| | |
|---|---|
| trained on | `{config.data.train}`: {len(examples)} utterances, {hours:.2f} h, {speakers} speakers |
| dev WER | {dev} |
| audio | mono, {config.features.sample_rate} Hz (other rates are resampled) |
| weights | of epoch {progress.best_epoch} of {config.training.epochs}, seed {config.training.seed}{start} |
| training time | {progress.train_seconds:.0f} s until then |
| made with | asr {__version__} |

The dev set chose the epoch, so its WER flatters; measure on a test set with

    asr evaluate MANIFEST --model {folder}

Transcribe with `asr transcribe FILE --model {folder}`. Train again with `asr train {folder}/config.yaml --output NEW`.
""",
    )
