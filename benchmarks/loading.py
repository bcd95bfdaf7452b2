"""How fast audio is read, perturbed and batched, beside Lhotse, and how long training waits for it.

python benchmarks/loading.py --manifest data/librispeech/train-clean-5 --json
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # CPU-seconds of one thread: before numpy and torch are imported

import json
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import soundfile
import torch
import typer
from measure import alternate, print_json, print_table, ratio

from asr.cli.common import run_script
from asr.config import AugmentationConfig, parse_config
from asr.data.augment import Augmenter
from asr.data.batches import make_batches
from asr.data.examples import Example
from asr.data.loading import SpeechDataset, babble_pool, collate
from asr.data.manifest import read_manifest, write_manifest
from asr.data.utterance import Utterance

RATE = 16000
FORMATS = {"flac": ("FLAC", "PCM_16"), "wav": ("WAV", "PCM_16"), "opus": ("OGG", "OPUS")}
ALWAYS: dict[str, dict[str, object]] = {
    "speed": {},
    "tempo": {},
    "pitch": {},
    "silence": {},
    "reverberation": {},
    "noise": {},
    "noise, babble": {"kinds": ["babble"]},
    "gain": {},
    "clipping": {},
    "telephone": {},
    "codec": {},
}
"""Every augmentation at its default range with probability 1."""


def made_speech(folder: Path, count: int) -> Path:
    """Manifest of `count` recordings of 4 to 16 s of noise with the spectrum and rhythm of speech, 16 kHz FLAC."""
    random = np.random.default_rng(0)
    utterances = []
    for number in range(count):
        samples = int(random.uniform(4, 16) * RATE)
        spectrum = np.fft.rfft(random.standard_normal(samples))
        hertz = np.fft.rfftfreq(samples, 1 / RATE)
        coloured = np.fft.irfft(spectrum / (1 + (hertz / 500) ** 2), samples)
        syllables = np.repeat(random.uniform(0, 1, samples // 2000 + 1), 2000)[:samples]
        waveform = 0.3 * coloured * syllables / np.abs(coloured).max()
        path = folder / f"{number:04d}.flac"
        soundfile.write(path, waveform, RATE)
        utterances.append(Utterance(path.stem, path, samples / RATE, RATE, "made"))
    write_manifest(folder / "cuts.jsonl", utterances)
    return folder


def converted(utterances: list[Utterance], folder: Path, name: str) -> Path:
    """The same recordings in another format; returns a manifest."""
    container, subtype = FORMATS[name]
    folder.mkdir()
    copies = []
    for number, utterance in enumerate(utterances):
        samples, rate = soundfile.read(utterance.audio, dtype="int16")
        path = folder / f"{number:04d}.{name}"
        soundfile.write(path, samples, rate, format=container, subtype=subtype)
        copies.append(Utterance(utterance.id, path, utterance.duration, rate, utterance.text))
    write_manifest(folder / "cuts.jsonl", copies)
    return folder


def ours(manifest: Path, augmentation: AugmentationConfig | None = None) -> Callable[[], object]:
    """Read, perturb and collate all of a manifest in batches of 60 s."""
    examples = [Example(utterance, [1]) for utterance in read_manifest(manifest)]
    augmenter = None
    if augmentation is not None:
        augmenter = Augmenter(augmentation, RATE, babble=lambda: babble_pool(examples, RATE, 0))
    dataset = SpeechDataset(examples, RATE, augmenter)
    batches = make_batches([example.utterance.duration for example in examples], 60.0)

    def job() -> None:
        for batch in batches:
            collated = collate([dataset[0, index] for index in batch])
            assert not collated.failures, collated.failures

    return job


def lhotse(manifest: Path, change: Callable[..., object] = lambda cut: cut) -> Callable[[], object]:
    """The same with Lhotse."""
    from lhotse import CutSet
    from lhotse.dataset.collation import collate_audio

    cuts = list(CutSet.from_file(manifest / "cuts.jsonl"))
    batches = make_batches([cut.duration for cut in cuts], 60.0)

    def job() -> None:
        for batch in batches:
            collate_audio(CutSet.from_cuts(change(cuts[index]) for index in batch))

    return job


LHOTSE: dict[str, Callable[..., object]] = {
    "speed": lambda cut: cut.perturb_speed(1.07),
    "reverberation": lambda cut: cut.reverb_rir(),
    "gain": lambda cut: cut.perturb_volume(1.5),
    "clipping": lambda cut: cut.clip_amplitude(gain_db=6),
    "telephone": lambda cut: cut.narrowband("mulaw"),
    "codec": lambda cut: cut.compress("opus", 0.9),
}
"""What Lhotse offers of the same kind. Its speed factor is fixed: each new one costs it a new filter."""


def waiting(manifest: Path, seconds: float, threads: int) -> dict[str, float]:
    """Share of training time of a 3x320 model spent waiting for one loading process, by augmentation."""
    from asr.training import train

    shares = {}
    cases = {
        "none": {"speed": None, "spec_augment": None},
        "default": {},
        "speed, noise, reverberation": {"noise": {}, "reverberation": {}},
    }
    for name, augmentation in cases.items():
        utterances, total = [], 0.0
        for utterance in read_manifest(manifest):
            utterances.append(utterance)
            total += utterance.duration
            if total > seconds:
                break
        with tempfile.TemporaryDirectory() as folder:
            write_manifest(Path(folder) / "cuts.jsonl", utterances)
            tree = {"data": {"train": folder, "workers": 1}, "augmentation": augmentation, "training": {"epochs": 2}}
            torch.set_num_threads(threads)
            train(parse_config(tree), Path(folder) / "model")
            rows = [json.loads(line) for line in (Path(folder) / "model/log.jsonl").read_text().splitlines()]
            # The first epoch also starts the process and fills the disk's cache.
            shares[name] = [row["waited"] for row in rows if row["kind"] == "epoch"][-1]
    return shares


def main(
    manifest: Annotated[
        Path | None, typer.Option(help="Folder with a manifest of 16 kHz recordings; made speech by default.")
    ] = None,
    utterances: Annotated[int, typer.Option(help="Recordings of it to use.")] = 60,
    rounds: Annotated[int, typer.Option(help="Turns of each job; medians are shown.")] = 5,
    training_seconds: Annotated[
        float, typer.Option(help="Seconds of audio an epoch of the training has that is watched; 0 leaves it out.")
    ] = 600.0,
    threads: Annotated[int, typer.Option(help="Of that training.")] = 2,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object as the last line.")] = False,
) -> None:
    """Measure reading and augmentation in audio seconds per CPU-second of one thread."""
    torch.set_num_threads(1)
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if manifest is None:
            (folder / "made").mkdir()
            manifest = made_speech(folder / "made", utterances)
        chosen = list(islice(read_manifest(manifest), utterances))
        total = sum(utterance.duration for utterance in chosen)
        sources = {kind: converted(chosen, folder / kind, kind) for kind in FORMATS}
        jobs: dict[str, tuple[Callable[[], object], Callable[[], object] | None]] = {
            f"{kind}, as it is": (ours(source), lhotse(source)) for kind, source in sources.items()
        }
        for label, options in ALWAYS.items():
            kind = label.split(",")[0]
            config = AugmentationConfig.model_validate({"speed": None, kind: options})
            peer = lhotse(sources["flac"], LHOTSE[label]) if label in LHOTSE else None
            jobs[f"flac, {label}"] = (ours(sources["flac"], config), peer)
        for label, (mine, peer) in jobs.items():
            pair = {"ours": mine} if peer is None else {"ours": mine, "lhotse": peer}
            seconds = alternate(pair, rounds)
            results[label] = {"audio_seconds_per_cpu_second": total / median(seconds["ours"])}
            if peer is not None:
                results[label]["lhotse"] = total / median(seconds["lhotse"])
                results[label]["ratio"] = ratio(seconds["ours"], seconds["lhotse"])
        shares = waiting(manifest, training_seconds, threads) if training_seconds else {}
    print_table(
        f"Reading, perturbing and batching {len(chosen)} recordings, {total / 60:.1f} min, one thread",
        ["", "audio s per CPU-s", "Lhotse", "ratio"],
        [
            [label, f"{row['audio_seconds_per_cpu_second']:.0f}"]
            + ([f"{row['lhotse']:.0f}", f"{row['ratio']:.2f}"] if "ratio" in row else ["", ""])
            for label, row in results.items()
        ],
    )
    if shares:
        print_table(
            f"Training a 3x320 model with one loading process, {threads} threads",
            ["augmentation", "time spent waiting for data"],
            [[label, f"{share:.1%}"] for label, share in shares.items()],
        )
    if json_:
        print_json(
            {"benchmark": "loading", "ratio": results["flac, as it is"]["ratio"], "rows": results, "waiting": shares}
        )


if __name__ == "__main__":
    run_script(main)
