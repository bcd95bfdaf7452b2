"""What the scripts in recipes/ share: their options, train-then-score, and the results they leave."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from asr.config import Config
from asr.data.corpora import prepare as prepare_corpus
from asr.decoding.lexicon import Lexicon
from asr.decoding.priors import save_priors
from asr.errors import AudioError
from asr.evaluation import Evaluation, evaluate
from asr.evaluation.sharing import is_main, join, once, ranks
from asr.evaluation.table import Row, terminal_table
from asr.evaluation.tuning import LEXICON_FILE, LM_FILE, tune
from asr.files import write_text
from asr.lm.training import train_ngram
from asr.training import TrainingResult, train
from asr.training.advice import learnt_little
from asr.transcription import load_model

Source = Annotated[
    Path | None, typer.Option("--source", help="The corpus in its official layout; downloaded when not given.")
]
Output = Annotated[Path, typer.Option("--output", help="Folder for the model, its scores and results.json.")]
Data = Annotated[Path, typer.Option("--data", help="Folder for the manifests.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of weights, batches and augmentation.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Train again; without it a training that was cut off is continued.")
]
Set = Annotated[list[str] | None, typer.Option("--set", help="Override a value: section.key=value; repeatable.")]

BEAM = 64
"""Prefixes that beam search keeps where decoders are compared."""


def start(device: str) -> None:
    """Where torchrun started several processes: make them one group, which goes through the recipe together.

    All train and decode; only the first prepares, prints and writes.
    """
    join(device, training=True)


def console() -> Console:
    """Where recipes report: standard output, wide enough for a table row when it is no terminal."""
    plain = Console(quiet=not is_main())
    return plain if plain.is_terminal else Console(width=120, quiet=not is_main())


def prepare(name: str, **options: Any) -> dict[str, Path]:
    """`asr.prepare` by one process, while the others wait."""
    return once(lambda: prepare_corpus(name, **options))


def train_and_evaluate(
    config: Config,
    output: Path,
    tests: Mapping[str, Path],
    *,
    device: str = "auto",
    overwrite: bool = False,
    console: Console | None = None,
) -> tuple[TrainingResult, dict[str, Evaluation]]:
    """Train into `output` (or continue, or find it done), then score each test set into `output/NAME`."""
    commit()  # as the training starts: the checkout may have moved on when it is done
    result = train(config, output, resume=not overwrite, overwrite=overwrite, device=device, console=console)
    if console:
        for line in learnt_little(config, result.best_wer):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    model = load_model(output, device=device)
    evaluations = {name: evaluate(model, path, output=output / name) for name, path in tests.items()}
    for name, evaluation in evaluations.items():
        if evaluation.failures:
            identifier, reason = evaluation.failures[0]
            raise AudioError(
                f"{name}: {len(evaluation.failures)} recordings could not be read, the score would not be that of the "
                f"whole set; first {identifier}: {reason}"
            )
    return result, evaluations


def compare_decoders(
    folder: Path,
    manifests: Mapping[str, Path],
    tests: Mapping[str, Path],
    *,
    text: Sequence[Path] | None = None,
    lexicon: Path | None = None,
    order: int = 3,
    device: str = "auto",
    threads: int | None = None,
    console: Console | None = None,
) -> tuple[dict[str, Evaluation], dict[str, Any]]:
    """Score each test set with beam search, alone and with a word n-gram tuned on dev.

    Args:
        folder: of the model.
        manifests: `train`, whose transcripts the language model learns when there is no `text`, and `dev`.
        tests: manifests by name.
        text: files with a sentence a line.
        lexicon: how the words of `text` are spelled or pronounced, where the model does not know itself.
        order: of the language model.
        device, threads, console: as elsewhere.

    Returns:
        evaluations by `NAME, beam 64` and `NAME, beam 64, 3-gram`, and what the tuning found. The model folder gets the
        language model, `lm.lm`, and the lexicon, and goes on decoding as its configuration says.
    """
    lm = train_ngram(list(text or [manifests["train"]]), order).model
    once(lambda: lm.save(folder / LM_FILE))
    if console:
        source = ", ".join(map(str, text)) if text else "the training transcripts"
        console.print(f"tuning the weight of a {order}-gram of {source} on dev ...")
    model = load_model(folder, device=device)
    spellings = Lexicon.load(lexicon, model.tokenizer) if lexicon else None
    tuned = tune(model, manifests["dev"], lm, beam=BEAM, threads=threads, lexicon=spellings)
    once(lambda: save_priors(folder, model.tokenizer.tokens, tuned.priors))
    best = tuned.best
    weights = {"lm_weight": best.lm_weight, "word_bonus": best.word_bonus, "prior_weight": best.prior_weight}
    settings: dict[str, Any] = {"lm": LM_FILE, **weights}
    if lexicon:
        written = lexicon.read_text(encoding="utf-8")
        once(lambda: write_text(folder / LEXICON_FILE, written))
        settings["lexicon"] = LEXICON_FILE
    evaluations = {}
    for name, path in tests.items():
        for label, more in ((f"{name}, beam {BEAM}", {}), (f"{name}, beam {BEAM}, {order}-gram", settings)):
            model = load_model(folder, device=device, decoding={"beam": BEAM, **more}, threads=threads)
            evaluations[label] = evaluate(model, path, facts=False, confidence=False)
    found = {
        "order": order,
        "beam": BEAM,
        **weights,
        "dev_wer": {"greedy": tuned.greedy[0], "beam": tuned.beam_alone[0], "beam_lm": best.wer},
    }
    return evaluations, found


def results(evaluation: Evaluation, training: TrainingResult, config: Config, **extra: Any) -> dict[str, Any]:
    """One row of results: the score of the test set, the cost of the training, and how to repeat it."""
    return {
        **evaluation.to_dict(),
        "dev_wer": training.best_wer,
        "best_epoch": training.best_epoch,
        "train_seconds": round(training.train_seconds, 1),
        "audio_seconds_per_second": round(training.audio_seconds_per_second, 1),
        "parameters": training.parameters,
        "seed": config.training.seed,
        "hardware": hardware(training.device),
        "commit": commit(),
        **extra,
        "config": config.model_dump(mode="json"),
    }


def write_results(folder: Path, values: Mapping[str, Any]) -> None:
    """`results.json`, atomically."""
    if is_main():
        write_text(folder / "results.json", json.dumps(values, indent=2) + "\n")


def score_table(title: str, rows: Mapping[str, Evaluation]) -> Table:
    """A table of test sets for the terminal."""
    return terminal_table([Row(name, "", "", evaluation.to_dict()) for name, evaluation in rows.items()], title)


def hardware(device: str) -> str:
    """The device that trained, as torch calls it, in a few words."""
    import torch

    several = f"{ranks()} x " if ranks() > 1 else ""
    if device.startswith("cuda"):
        return several + str(torch.cuda.get_device_name(device))
    processor = platform.processor() or platform.machine()
    return f"{several}{processor} CPU, {torch.get_num_threads()} threads"


@cache
def commit() -> str | None:
    """The git commit of this source tree, `-dirty` when files differed from it when first asked; None outside git."""
    here = Path(__file__).parent
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("-dirty" if changed.stdout.strip() else "")
