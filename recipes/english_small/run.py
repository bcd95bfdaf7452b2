"""en-small, the English model that comes with asr: prepare, train in stages, tune, calibrate, score, pack.

python recipes/english_small/text.py data/english_small/books
python recipes/english_small/run.py --source data/corpora/LibriSpeech --text librispeech-train-clean-100.txt \
    --text data/english_small/books/books.txt --package asr/models/en-small
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

import asr
from asr import recipe
from asr.cli.common import Device, Threads, run_script, set_threads
from asr.data.manifest import read_manifest
from asr.data.selecting import Rules, filter_manifest, merge
from asr.decoding.lexicon import Lexicon
from asr.decoding.packing import pack
from asr.errors import ConfigError, ManifestError
from asr.evaluation import Evaluation
from asr.evaluation.calibration import fit_calibration
from asr.evaluation.sharing import once
from asr.evaluation.tuning import tune, write_tuned
from asr.files import write_text
from asr.lm.lexicon import pronounce_texts
from asr.lm.training import train_ngram
from asr.lm.units import SPECIAL
from asr.model.folders import CARD, CONFIG
from asr.training import TrainingResult

DEV_UTTERANCES = 150
"""Of the dev set: they choose the epoch, the weight of the language model and the calibration."""

STAGES = {"clean": "config.yaml", "surroundings": "surroundings.yaml", "spoken": "spoken.yaml"}
"""The trainings, each of which goes on from the one before; the last only with synthetic speech."""

TUNED_BEAM = 64
"""Prefixes while the weights are sought."""


def main(
    source: recipe.Source = None,
    output: recipe.Output = Path("exp/en-small"),
    data: recipe.Data = Path("data/english_small"),
    subsets: Annotated[str, typer.Option(help="Parts of LibriSpeech to train on, with commas.")] = (
        "train-clean-5,train-clean-100"
    ),
    dev: Annotated[str, typer.Option(help="Part to tune and report on.")] = "dev-clean",
    text: Annotated[
        list[Path] | None,
        typer.Option(help="Text for the language model, a sentence a line; repeatable. Else the training transcripts."),
    ] = None,
    order: Annotated[int, typer.Option(min=1, help="Length of its longest n-grams.")] = 4,
    prune: Annotated[str, typer.Option(help="What it leaves out, see `asr lm train --prune`.")] = "0 0 1 1",
    beam: Annotated[int, typer.Option(min=1, help="Prefixes that the packed model keeps.")] = 1024,
    vocabulary: Annotated[int, typer.Option(min=1, help="Its words: the most frequent of the text.")] = 60_000,
    spoken: Annotated[
        list[Path] | None,
        typer.Option(help="Manifest of synthetic speech (speak.py) for a third training; repeatable."),
    ] = None,
    first: Annotated[
        str | None, typer.Option(help="Model that the trainings before the last made; they are not run again.")
    ] = None,
    package: Annotated[Path | None, typer.Option(help="Folder to pack the model into; made anew.")] = None,
    seed: recipe.Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
    overwrite: recipe.Overwrite = False,
    set_: recipe.Set = None,
) -> None:
    """Train on parts of LibriSpeech; report word error rates on dev, greedy and with the language model; pack."""
    set_threads(threads)
    if package is not None and package.exists():
        raise ConfigError(f"{package} exists already; delete it, or choose another --package")
    recipe.start(device)
    console = recipe.console()
    parts = [part.strip() for part in subsets.split(",")]
    found = recipe.prepare("librispeech", source=source, output=data, parts=[*parts, dev])
    real, train, chosen = data / "train", data / "train-spoken" if spoken else data / "train", data / "dev"
    once(lambda: merge([found[part] for part in parts], real, overwrite=True))
    if spoken:
        once(lambda: merge([real, *spoken], train, overwrite=True))
    once(lambda: filter_manifest(found[dev], chosen, Rules(), sample=DEV_UTTERANCES, overwrite=True))

    texts: list[str | Path] = [*(text or [real])]
    words, lexicon = data / "words.txt", data / "lexicon.txt"
    lm = train_ngram(texts, order, prune=[int(least) for least in prune.split()], limit_vocabulary=vocabulary).model
    once(lambda: write_text(words, "".join(f"{word}\n" for word in lm.words if not word.startswith("<"))))
    once(lambda: pronounce_texts([train, words]).save(lexicon))

    overrides = [f"data.dev={chosen}", f"text.lexicon={lexicon}", f"training.seed={seed}"]
    stages = list(STAGES) if spoken else list(STAGES)[:2]
    seconds: dict[str, float] = {}
    init = first
    for stage in stages if first is None else stages[-1:]:
        last = stage == stages[-1]
        more = [f"data.train={train if last else real}", *([f"training.init={init}"] if init else []), *(set_ or [])]
        settings = asr.load_config(Path(__file__).with_name(STAGES[stage]), [*overrides, *more])
        folder = output if last else output / stage
        training, _ = recipe.train_and_evaluate(
            settings, folder, {}, device=device, overwrite=overwrite, console=console
        )
        seconds[stage] = training.train_seconds
        init = str(folder)
    settings = asr.load_config(output / CONFIG)  # with the architecture of the first
    model = asr.load_model(output, device=device, decoding={"method": "greedy", "lm": None, "lexicon": None})
    scores = {"greedy": asr.evaluate(model, found[dev])}
    console.print(f"tuning the weight of a {order}-gram of {lm.ngrams} n-grams on {DEV_UTTERANCES} utterances ...")
    tuned = tune(model, chosen, lm, beam=TUNED_BEAM, lexicon=Lexicon.load(lexicon, model.tokenizer), threads=threads)
    best = tuned.best._replace(beam=beam)
    once(lambda: write_tuned(output, model, lm, replace(tuned, best=best), closed=False, lexicon=lexicon))
    try:
        calibration = fit_calibration(asr.load_model(output, device=device, threads=threads), chosen)
        once(lambda: calibration.save(output))
    except ManifestError as error:  # the model is as good without
        console.print(f"there are no calibrated confidences: {error}")
    for width in sorted({TUNED_BEAM, beam}):
        decoder = asr.load_model(output, device=device, decoding={"beam": width}, threads=threads)
        scores[f"beam {width}, {order}-gram"] = asr.evaluate(decoder, found[dev])
    extra = {
        "decoders": {name: score.to_dict() for name, score in scores.items()},
        "tuned": best._asdict(),
        "lm": {"ngrams": list(lm.ngrams), "text": list(map(str, texts))},
        "stages": {"first": first, "train_seconds": seconds},
    }
    results = recipe.results(scores[f"beam {beam}, {order}-gram"], training, settings, **extra)
    recipe.write_results(output, results)
    once(lambda: write_text(output / CARD, card(train, real, parts, dev, training, scores, results)))
    console.print(recipe.score_table(f"en-small on {dev}, seed {seed}", scores))
    if package is not None:
        size = once(lambda: pack(output, package))
        console.print(f"{package}: {size / 1e6:.1f} MB")


def card(
    train: Path,
    real: Path,
    parts: list[str],
    dev: str,
    training: TrainingResult,
    scores: Mapping[str, Evaluation],
    results: Mapping[str, Any],
) -> str:
    """The model card: data and their licences, error rates with intervals, weaknesses, and how to make it again."""
    model, tuned, ngrams = results["config"]["model"], results["tuned"], results["lm"]["ngrams"]
    heard = list(read_manifest(real))
    hours, speakers = sum(one.duration for one in heard) / 3600, len({one.speaker for one in heard})
    made = sum(one.duration for one in read_manifest(train)) / 3600 - hours
    synthetic = f"{made:.1f} h of synthetic speech besides" if train != real else "No synthetic speech"
    rows = []
    for name, score in scores.items():
        low, high = score.wer_interval
        speed = score.audio_seconds / score.decoding_seconds
        rows.append(f"| {dev}, {name} | {score.wer:.2%} | [{100 * low:.2f}, {100 * high:.2f}] | {speed:.0f} |")
    table = "\n".join(rows)
    kind = f"{model['layers']} x {model['hidden']} bidirectional {model['cell'].upper()}"
    stages = results["stages"]
    steps = [f"that of {stages['first']}"] if stages["first"] else []
    steps += [f"{name} {took:.0f} s" for name, took in stages["train_seconds"].items()]
    trained = f"{', then '.join(steps)}, on {results['hardware']}, seed {results['seed']}"
    lm = " + ".join(f"{count:,}" for count in ngrams)
    texts = ", ".join(Path(path).name for path in results["lm"]["text"])
    return f"""# en-small

Read English: {kind}, CTC over phones, a word n-gram.

| | |
|---|---|
| parameters | {training.parameters / 1e6:.2f} M |
| training | {trained}, commit `{results["commit"]}` |
| epoch | {training.best_epoch}, chosen by {DEV_UTTERANCES} utterances of {dev} |
| language model | {lm} n-grams |
| fitted to those utterances | its weight {tuned["lm_weight"]:g}, word bonus {tuned["word_bonus"]:g}, \
weight of the priors {tuned["prior_weight"]:g} |

| word error rate | | 95 % interval | times real time |
|---|---|---|---|
{table}

{dev} chose the epoch and the weights, so these flatter a little; its speakers are in no training set. Speed is that of
these scorings, with whatever else the machine had to do.

**Data.** LibriSpeech (Panayotov et al. 2015), {", ".join(parts)}: {hours:.1f} h of {speakers} people reading
public-domain books for LibriVox, CC BY 4.0, https://www.openslr.org/12. {synthetic}. Pronunciations: CMUdict
(BSD, Copyright 1993-2015 Carnegie Mellon University), or guessed by letter-to-sound. Language model: {texts};
recipes/english_small says what is in them.

**Weak at** conversation, accents other than American, names, numbers and spelled letters. It has heard (made) noise,
rooms and telephone lines; recipes/english_small says how well it understands there. It
writes the {ngrams[0] - len(SPECIAL):,} words of its language model and no other, without punctuation and capitals. For
a domain of your own, fine-tune it: `asr train CONFIG --init en-small`.

Made by `python recipes/english_small/run.py`; see recipes/english_small/README.md. The weights are licensed as the
project is (Apache 2.0); keep the attribution of LibriSpeech.
"""


if __name__ == "__main__":
    run_script(main)
