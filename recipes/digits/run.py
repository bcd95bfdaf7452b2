"""Free Spoken Digit Dataset: the official split, digit strings, and speakers the model has never heard.

python recipes/digits/run.py --source data/corpora/fsdd --output exp/digits --seed 0
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import asr
from asr import recipe
from asr.cli.common import Device, Threads, run_script, set_threads
from asr.data.corpora.fsdd import SPEAKERS

TUNED = "tuned.yaml"
"""Of the six models, with `--init`."""
Run = tuple[asr.Config, asr.TrainingResult, dict[str, asr.Evaluation]]


def main(
    source: recipe.Source = None,
    output: recipe.Output = Path("exp/digits"),
    data: recipe.Data = Path("data/digits"),
    seed: recipe.Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
    overwrite: recipe.Overwrite = False,
    set_: recipe.Set = None,
    leave_one_out: Annotated[
        bool, typer.Option(help="Also train six models, each tested on the speaker it has not heard.")
    ] = True,
    init: Annotated[
        str | None, typer.Option(help="Model that these six start from, such as en-small, instead of from nothing.")
    ] = None,
) -> None:
    """Train on digit strings; report isolated digits, strings, and each speaker left out of training."""
    set_threads(threads)
    recipe.start(device)
    console = recipe.console()

    def run(folder: Path, settings: str, manifests: dict[str, Path], tests: dict[str, str]) -> Run:
        overrides = [f"data.train={manifests['train']}", f"data.dev={manifests['dev']}", f"training.seed={seed}"]
        if settings == TUNED:
            overrides += [f"training.init={init}", f"text.lexicon={Path(__file__).with_name('lexicon.txt')}"]
        config = asr.load_config(Path(__file__).with_name(settings), [*overrides, *(set_ or [])])
        paths = {name: manifests[part] for name, part in tests.items()}
        return config, *recipe.train_and_evaluate(
            config, folder, paths, device=device, overwrite=overwrite, console=console
        )

    manifests = recipe.prepare("fsdd", source=source, output=data / "official", seed=seed)
    config, training, scores = run(output, "config.yaml", manifests, {"isolated": "test", "strings": "test_strings"})
    tests = {"isolated": manifests["test"], "strings": manifests["test_strings"]}
    beams, tuned = recipe.compare_decoders(output, manifests, tests, device=device, threads=threads, console=console)
    extra: dict[str, Any] = {"strings": scores["strings"].to_dict(), "tuned": tuned}
    extra["decoders"] = {name: found.to_dict() for name, found in beams.items()}
    scores |= beams
    if leave_one_out:
        speakers = {}
        for speaker in SPEAKERS:
            console.print(f"\nwithout {speaker}")
            held_out = recipe.prepare("fsdd", source=source, output=data / speaker, seed=seed, held_out_speaker=speaker)
            settings = "unheard.yaml" if init is None else TUNED
            _, _, fold = run(output / "without" / speaker, settings, held_out, {"isolated": "test"})
            speakers[f"unheard: {speaker}"] = fold["isolated"]
        rates = [evaluation.wer for evaluation in speakers.values()]
        extra["unheard_speakers"] = {
            "init": init,
            "mean_wer": sum(rates) / len(rates),
            "worst_wer": max(rates),
            "speakers": {name.removeprefix("unheard: "): e.to_dict() for name, e in speakers.items()},
        }
        scores |= speakers
    recipe.write_results(output, recipe.results(scores["isolated"], training, config, **extra))
    console.print(recipe.score_table(f"Digits, seed {seed}, {training.train_seconds:.0f} s of training", scores))
    if leave_one_out:
        unheard = extra["unheard_speakers"]
        console.print(f"unheard speakers: mean {unheard['mean_wer']:.2%}, worst {unheard['worst_wer']:.2%}")


if __name__ == "__main__":
    run_script(main)
