"""From nothing to a recogniser in a few minutes: synthesise speech, train, score, transcribe, draw.

python recipes/quickstart/run.py
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that `recipes` is found when run by its path

import asr
from asr import recipe
from asr.audio import load_audio
from asr.cli.common import Device, Threads, run_script, set_threads
from asr.data.manifest import read_manifest
from asr.evaluation.pictures import training_curve, utterance_picture
from asr.evaluation.sharing import is_main, once
from asr.model.folders import DEFAULT, bundled_models
from recipes.quickstart.speech import synthesise


def main(
    output: recipe.Output = Path("exp/quickstart"),
    data: recipe.Data = Path("data/quickstart"),
    seed: recipe.Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
    overwrite: recipe.Overwrite = False,
    set_: recipe.Set = None,
) -> None:
    """Train on synthesised commands and digits; report sentences and voices that were held out."""
    set_threads(threads)
    recipe.start(device)
    console = recipe.console()
    started = time.monotonic()
    console.print("synthesising speech ...")
    manifests = once(lambda: synthesise(data, seed=seed))
    console.print(f"{data}: ready after {time.monotonic() - started:.0f} s")
    overrides = [f"data.train={manifests['train']}", f"data.dev={manifests['dev']}", f"training.seed={seed}"]
    config = asr.load_config(Path(__file__).with_name("config.yaml"), [*overrides, *(set_ or [])])
    training, scores = recipe.train_and_evaluate(
        config, output, {"test": manifests["test"]}, device=device, overwrite=overwrite, console=console
    )
    recipe.write_results(output, recipe.results(scores["test"], training, config))
    if not is_main():
        return
    training_curve(training.history, output / "curve.png", "quickstart")

    utterance = next(iter(read_manifest(manifests["test"])))
    model = asr.load_model(output, device=device)
    utterance_picture(model, load_audio(utterance.audio, model.sample_rate), output / "utterance.png")
    transcript = model.transcribe(utterance.audio)

    title = f"Held-out sentences in held-out voices, {training.train_seconds:.0f} s of training"
    console.print(recipe.score_table(title, scores))
    console.print(f"{utterance.audio}\n  said:  {utterance.text}\n  heard: {transcript.text}")
    if DEFAULT in bundled_models():
        english = asr.load_model(DEFAULT, device=device).transcribe(utterance.audio)
        console.print(f"  heard by {DEFAULT}, which knows read English and not these voices: {english.text}")
    console.print(f"model, results.json, curve.png, utterance.png: {output}")
    console.print(f"try: asr transcribe {utterance.audio} --model {output}")


if __name__ == "__main__":
    run_script(main)
