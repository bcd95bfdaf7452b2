"""How far word times are off: digit strings joined from takes of FSDD, whose boundaries are therefore known.

python recipes/digits/run.py --source data/corpora/fsdd --output exp/digits
python benchmarks/word_times.py --model exp/digits --source data/corpora/fsdd --json
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from measure import print_json, print_table

from asr.audio import load_audio
from asr.cli.common import run_script
from asr.data.corpora.fsdd import MAX_GAP_SECONDS, SAMPLE_RATE, SPEAKERS, TEST_TAKES, TRAIN_TAKES, WORDS, plan_strings
from asr.decoding.alignment import Alignment, align
from asr.decoding.recogniser import Recogniser
from asr.decoding.times import Timeline, word_times, word_tokens

LENGTHS = [0, 0, 0.2, 0.2, 0.2, 0.2, 0.2]
"""Shares of strings of 1 to 7 digits."""
WITHIN = (0.05, 0.1, 0.2)
"""Seconds."""
TAKES = {"test": TEST_TAKES, "train": TRAIN_TAKES}
Spans = list[tuple[float, float]]


def string(digits: list[np.ndarray], gap: float, rng: np.random.Generator) -> tuple[np.ndarray, Spans]:
    """Digits with up to `gap` seconds of low noise before, between and after them, and the times of each take in it."""
    level = min(np.std(digit[: len(digit) // 80 * 80].reshape(-1, 80), axis=1).min() for digit in digits)
    offset = float(np.mean([digit.mean() for digit in digits]))
    pieces: list[np.ndarray] = []
    spans: Spans = []
    samples = 0
    for index in range(2 * len(digits) + 1):
        if index % 2:
            piece = digits[index // 2] * 10 ** (rng.uniform(-2, 2) / 20)
            spans.append((samples / SAMPLE_RATE, (samples + len(piece)) / SAMPLE_RATE))
        else:
            piece = offset + level * rng.standard_normal(int(rng.uniform(0, gap) * SAMPLE_RATE))
        pieces.append(piece)
        samples += len(piece)
    waveform = np.concatenate(pieces)
    return (waveform / max(1.0, float(np.abs(waveform).max()))).astype(np.float32), spans


def emissions(alignment: Alignment, words: list[list[int]], timeline: Timeline) -> Spans:
    """Where CTC emits the words, uncorrected."""
    half = timeline.step / 2
    return [
        (timeline.frames[alignment.starts[word[0]]] - half, timeline.frames[alignment.ends[word[-1]] - 1] + half)
        for word in words
    ]


def errors(found: list[Spans], true: list[Spans]) -> dict[str, Any]:
    """Median absolute error of starts and ends in ms, and the shares that are near enough."""
    difference = np.array([span for spans in found for span in spans]) - np.array([s for spans in true for s in spans])
    row: dict[str, Any] = {}
    for name, column in zip(("start", "end"), np.abs(difference).T, strict=True):
        row[name] = {
            "median_ms": round(1000 * float(np.median(column)), 1),
            **{f"within_{round(1000 * limit)}_ms": round(float((column <= limit).mean()), 3) for limit in WITHIN},
        }
    row["median_ms"] = round(1000 * float(np.median(np.abs(difference))), 1)
    return row


def main(
    model: Annotated[Path, typer.Option(help="Model folder of recipes/digits.")],
    source: Annotated[Path, typer.Option(help="The unpacked corpus.")] = Path("data/corpora/fsdd"),
    strings: Annotated[int, typer.Option(help="How many strings of 3 to 7 digits.")] = 600,
    takes: Annotated[
        str, typer.Option(help="test, or train, on which the constants of the times were fitted.")
    ] = "test",
    gap: Annotated[float, typer.Option(help="Longest pause between digits in seconds.")] = MAX_GAP_SECONDS,
    noise_db: Annotated[float | None, typer.Option(help="White noise so many dB below the speech.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object as the last line.")] = False,
) -> None:
    """Measure the errors of word starts and ends against known boundaries."""
    recogniser = Recogniser.load(model, "cpu")
    rng = np.random.default_rng(7)
    true: list[Spans] = []
    found: dict[str, list[Spans]] = {"emissions": [], "halfway": [], "pauses": []}
    for recordings in plan_strings(SPEAKERS, TAKES[takes], strings, LENGTHS, rng):
        paths = [source / "recordings" / f"{digit}_{speaker}_{take}.wav" for speaker, digit, take in recordings]
        waveform, spans = string([load_audio(path, SAMPLE_RATE) for path in paths], gap, rng)
        if noise_db is not None:
            spread = waveform.std() * 10 ** (-noise_db / 20)
            waveform = waveform + (spread * rng.standard_normal(len(waveform))).astype(np.float32)
        log_probs, lengths = recogniser.log_probs(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)]))
        values = log_probs[0, : lengths[0]].numpy()
        tokens = recogniser.tokenizer.encode(" ".join(WORDS[digit] for _, digit, _ in recordings))
        alignment, words = align(values, tokens), word_tokens(tokens, recogniser.tokenizer)
        step = recogniser.model.frame_seconds
        blind = Timeline.of(len(values), step)
        found["emissions"].append(emissions(alignment, words, blind))
        found["halfway"].append(word_times(alignment, words, blind))
        found["pauses"].append(word_times(alignment, words, Timeline.of(len(values), step, waveform, SAMPLE_RATE)))
        true.append(spans)
    rows = {name: errors(spans, true) for name, spans in found.items()}
    names = {
        "emissions": "where CTC emits the word",
        "halfway": "words meet halfway between emissions",
        "pauses": "pauses found by loudness (asr)",
    }
    print_table(
        f"Word times of {sum(map(len, true))} digits in {strings} strings ({takes} takes): median absolute error, "
        f"within {', '.join(f'{1000 * limit:.0f}' for limit in WITHIN)} ms",
        ["", "starts", "ends"],
        [
            [names[name], *("{} ms; {:.1%} {:.1%} {:.1%}".format(*row[side].values()) for side in ("start", "end"))]
            for name, row in rows.items()
        ],
    )
    if json_:
        print_json(
            {
                "benchmark": "word_times",
                "takes": takes,
                "strings": strings,
                "gap": gap,
                "noise_db": noise_db,
                "rows": rows,
            }
        )


if __name__ == "__main__":
    run_script(main)
