"""What noise, rooms, telephone lines and a low level do to a model: word errors of a dev set as it is and spoilt.

python benchmarks/robustness.py --model en-small --manifest data/english_small/dev --json

Noise is added at a signal-to-noise ratio over the whole utterance; babble is five other utterances of the manifest at
once. What is added to an utterance depends on its id alone, so that models meet the same noise.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from measure import print_json, print_table

import asr
from asr.cli.common import run_script
from asr.config import AugmentationConfig
from asr.data.augment import Augmenter
from asr.data.manifest import read_manifest
from asr.data.reading import load_utterance
from asr.errors import AudioError
from asr.scoring import Score
from asr.text import normalise

RATIOS = (20.0, 10.0, 5.0)
"""dB."""
SOFTER = -30.0
"""dB, of a recording by someone who stood far from the microphone or left its gain at the least."""
ROOM_SECONDS = 0.5
"""Reverberation time of the room in which the noise of "room" stands."""


def conditions() -> dict[str, dict[str, Any]]:
    """What is done in each condition, as sections of `augmentation`."""
    found: dict[str, dict[str, Any]] = {"as it is": {}}
    for kind in ("white", "babble"):
        for ratio in RATIOS:
            noise = {"probability": 1.0, "range": (ratio, ratio), "kinds": [kind]}
            found[f"{kind} {ratio:g} dB"] = {"noise": noise}
    for ratio in RATIOS:  # the room first, then the noise: the order of augmentation
        room = {"probability": 1.0, "range": (ROOM_SECONDS, ROOM_SECONDS)}
        noise = {"probability": 1.0, "range": (ratio, ratio), "kinds": ["pink"]}
        found[f"room, {ratio:g} dB"] = {"reverberation": room, "noise": noise}
    found["8 kHz telephone"] = {"telephone": {"probability": 1.0, "range": (3400.0, 3400.0)}}
    found[f"{-SOFTER:g} dB softer"] = {"gain": {"probability": 1.0, "range": (SOFTER, SOFTER)}}
    return found


def text_of(result: asr.Transcript | AudioError) -> str:
    """The words; nothing is left out in silence."""
    if isinstance(result, AudioError):
        raise result
    return result.text


def main(
    manifest: Annotated[Path, typer.Option(help="What is decoded.")],
    model: Annotated[str, typer.Option(help="Model folder or name.")] = "en-small",
    threads: Annotated[int, typer.Option(min=1, help="Of the beam search.")] = 1,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object as the last line.")] = False,
) -> None:
    """A row for each condition; `ratio` is the mean of the spoilt ones' WER over that of the speech as it is."""
    recogniser = asr.load_model(model, device="numpy", threads=threads)
    rules, rate = recogniser.config.text, recogniser.sample_rate
    utterances = [utterance for utterance in read_manifest(manifest) if utterance.text]
    clean = [load_utterance(utterance, rate) for utterance in utterances]
    references = {u.id: normalise(u.text or "", rules.case, rules.remove) for u in utterances}
    scores: dict[str, Score] = {}
    for name, sections in conditions().items():
        plain: dict[str, Any] = {"speed": None, "spec_augment": None}
        augmenter = Augmenter(AugmentationConfig(**plain, **sections), rate, babble=lambda: clean)
        spoilt = [augmenter(w, epoch=0, id=u.id) for w, u in zip(clean, utterances, strict=True)]
        texts = [text_of(result) for result in recogniser.transcribe_many(spoilt, sample_rate=rate)]
        scores[name] = asr.score(references, dict(zip(references, texts, strict=True)))
    rows = []
    for name, score in scores.items():
        low, high = score.wer_interval
        counts = f"{score.substitutions} / {score.deletions} / {score.insertions}"
        rows.append([name, f"{score.wer:.2%}", f"[{100 * low:.2f}, {100 * high:.2f}]", counts])
    title = f"{model} on {manifest}, {len(utterances)} utterances, {scores['as it is'].words} words"
    print_table(title, ["", "WER", "95 % interval", "S / D / I"], rows)
    if json_:
        spoilt_rates = [score.wer for name, score in scores.items() if name != "as it is"]
        values = {name: {"wer": score.wer, "interval": score.wer_interval} for name, score in scores.items()}
        print_json({"ratio": float(np.mean(spoilt_rates)) / scores["as it is"].wer, "conditions": values})


if __name__ == "__main__":
    run_script(main)
