"""How fast a model trains on a CPU, beside the same one packed, SpeechBrain's block and deepspeech.pytorch's module.

python benchmarks/training.py --json
python benchmarks/training.py --profile
python benchmarks/training.py --memory 20
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # CPU-seconds of one thread: before numpy and torch are imported

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import torch
import typer
from accelerate import Accelerator
from crashes import make_corpus
from measure import alternate, print_json, print_table, ratio
from torch import Tensor, nn
from training_peers import DeepSpeech, bare_products, multiply, packed_model, speechbrain_model

from asr.allocation import memory_kept
from asr.cli.common import run_script
from asr.config import Config, parse_config, save_config
from asr.data.loading import Batch
from asr.model.acoustic import AcousticModel
from asr.training.loss import ctc_loss
from asr.training.step import Step

RATE, TOKENS = 16000, 30
PARTS = (
    "features",
    "SpecAugment",
    "subsampling",
    "recurrent layers",
    "head and log-softmax",
    "CTC",
    "clipping and optimiser",
    "the rest",
)
"""Of a step; forwards and backwards together."""
OURS, PACKED, SPEECHBRAIN, DEEPSPEECH = "asr", "the same, packed", "SpeechBrain's block, packed", "deepspeech.pytorch"


def main(
    batch: Annotated[int, typer.Option(min=1, help="Utterances of 5 to 10 s.")] = 16,
    rounds: Annotated[int, typer.Option(min=1, help="Steps of each; medians are shown.")] = 5,
    profile: Annotated[bool, typer.Option("--profile", help="Only where the time of our step goes.")] = False,
    memory: Annotated[int, typer.Option(help="Memory of a real training of so many epochs instead.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object as the last line.")] = False,
) -> None:
    """Seconds of audio trained in a CPU-second of one thread: whole steps of a 3x320 bidirectional LSTM."""
    torch.set_num_threads(1)
    config = parse_config({})
    if memory:
        values: dict[str, object] = {"memory": growth(memory)}
    else:
        with memory_kept():  # as in a training, and for the peers too, which gain as much by it
            batched = made_batch(batch)
            values = {"profile": profiled(config, batched, rounds)} if profile else compare(config, batched, rounds)
    if json_:
        print_json({"benchmark": "training", **values})


def made_batch(utterances: int) -> Batch:
    """Noise of 5 to 10 s an utterance, 12 labels a second."""
    random = torch.Generator().manual_seed(0)
    lengths = (torch.rand(utterances, generator=random) * 5 * RATE + 5 * RATE).long()
    labels = lengths * 12 // RATE
    inside = torch.arange(int(lengths.max())) < lengths[:, None]
    waveforms = 0.1 * torch.randn(inside.shape, generator=random) * inside
    tokens = torch.randint(1, TOKENS, (utterances, int(labels.max())), generator=random)
    return Batch([str(number) for number in range(utterances)], waveforms, lengths, tokens, labels)


def our_step(config: Config, batch: Batch) -> tuple[Callable[[], object], AcousticModel]:
    """The step of a training, with all that belongs to it, and its model."""
    torch.manual_seed(0)
    step = Step(config, Accelerator(cpu=True), AcousticModel(config, TOKENS))
    step.model.train()

    def take() -> None:
        step(batch, 0, 1e-4)
        step.read()

    return take, step.bare


def plain_step(model: nn.Module, batch: Batch, config: Config) -> Callable[[], object]:
    """Forwards, CTC, backwards, clipping and the same optimiser, and nothing else."""
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    more = (config.augmentation.spec_augment,) if isinstance(model, AcousticModel) else ()

    def take() -> None:
        log_probs, frames = model(batch.waveforms, batch.lengths, *more)
        losses = ctc_loss(log_probs, frames, batch.tokens, batch.token_lengths)
        (losses.sum() / batch.token_lengths.sum()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()

    return take


def recurrent_layers(config: Config, batch: Batch) -> Callable[[], object]:
    """Our encoder alone, forwards and backwards."""
    model = AcousticModel(config, TOKENS).train()
    frames = torch.tensor([model.output_frames(samples) for samples in batch.lengths.tolist()])
    x = torch.randn(len(batch.ids), int(frames.max()), config.model.hidden, requires_grad=True)
    encoder = model.classifier.encoder
    gradient = torch.randn(len(batch.ids), int(frames.max()), encoder.size)
    return lambda: encoder(x, frames).backward(gradient)


def products(config: Config, batch: Batch) -> Callable[[], object]:
    """The bare matrix products of the recurrent layers, each by the library that is faster at it."""
    frames = AcousticModel(config, TOKENS).output_frames(int(batch.lengths.max()))
    jobs = []
    for x, w, count in bare_products(config, len(batch.ids), frames):
        trials = {library: partial(multiply, x, w, max(1, count // 10), library) for library in ("BLAS", "oneDNN")}
        times = {library: statistics.median(seconds) for library, seconds in alternate(trials, 5).items()}
        jobs.append(partial(multiply, x, w, count, min(times, key=times.__getitem__)))
    return lambda: [job() for job in jobs]


def compare(config: Config, batch: Batch, rounds: int) -> dict[str, object]:
    """Ours, the peers and the bound."""
    settings = config.model
    jobs = {
        OURS: our_step(config, batch)[0],
        PACKED: plain_step(packed_model(config, TOKENS), batch, config),
        SPEECHBRAIN: plain_step(speechbrain_model(config, TOKENS), batch, config),
        DEEPSPEECH: plain_step(DeepSpeech(settings.hidden, settings.layers, TOKENS), batch, config),
        "recurrent layers alone": recurrent_layers(config, batch),
        "their bare matrix products": products(config, batch),
    }
    times = alternate(jobs, rounds)
    audio = float(batch.lengths.sum()) / RATE
    ratios = {name: ratio(times[OURS], times[name]) for name in (PACKED, SPEECHBRAIN, DEEPSPEECH)}
    rows = [
        [
            name,
            f"{audio / statistics.median(seconds):.1f}",
            f"{min(audio / s for s in seconds):.1f} - {max(audio / s for s in seconds):.1f}",
            f"{ratios[name]:.1f}" if name in ratios else "",
        ]
        for name, seconds in times.items()
    ]
    title = f"3x320 bidirectional LSTM, {len(batch.ids)} utterances of 5 to 10 s, whole steps, one thread"
    print_table(title, ["", "audio s per CPU-s", "lowest - highest", "asr is faster, times"], rows)
    recurrent, bound = list(times.values())[-2:]
    bound_share = statistics.median(b / r for b, r in zip(bound, recurrent, strict=True))
    print(f"The bare matrix products of the recurrent layers take {bound_share:.0%} of the time of these layers.")
    shares = profiled(config, batch, rounds)
    return {
        "audio_seconds_per_cpu_second": {name: audio / statistics.median(s) for name, s in times.items()},
        "ratio": min(ratios[PACKED], ratios[SPEECHBRAIN]),
        "ratios": ratios,
        "recurrent_share_of_bound": bound_share,
        "profile": shares,
        "not_recurrent": 1 - shares["recurrent layers"],
    }


def profiled(config: Config, batch: Batch, rounds: int) -> dict[str, float]:
    """Shares of our step, by CPU time at the borders of its parts: forwards when a module begins or ends, backwards
    when the gradient has come to the same place."""
    take, model = our_step(config, batch)
    classifier = model.classifier
    marks: list[tuple[str, float]] = []

    def mark(part: str) -> None:
        marks.append((part, time.process_time()))

    def backwards(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        mark("recurrent layers")
        output.register_hook(lambda _: mark("head and log-softmax"))
        inputs[0].register_hook(lambda _: mark("recurrent layers"))

    def ended(module: nn.Module, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        mark("head and log-softmax")
        output[0].register_hook(lambda _: mark("CTC"))

    model.register_forward_pre_hook(lambda *_: mark("the rest"))
    model.features.register_forward_hook(lambda *_: mark("features"))
    classifier.subsampling.register_forward_pre_hook(lambda *_: mark("SpecAugment"))
    classifier.encoder.register_forward_pre_hook(lambda *_: mark("subsampling"))
    classifier.encoder.register_forward_hook(backwards)
    model.register_forward_hook(ended)
    for weight in [*classifier.subsampling.parameters(), *classifier.norm.parameters()]:
        weight.register_post_accumulate_grad_hook(lambda _: mark("subsampling"))

    measured: list[dict[str, float]] = []
    for _ in range(rounds + 1):
        marks.clear()
        mark("start")
        take()
        mark("clipping and optimiser")
        parts: dict[str, float] = {}
        for (_, before), (part, now) in pairwise(marks):
            parts[part] = parts.get(part, 0) + now - before
        measured.append(parts)
    milliseconds = {part: 1000 * statistics.median(parts[part] for parts in measured[1:]) for part in PARTS}
    whole = sum(milliseconds.values())
    print_table(
        f"Our step, {whole:.0f} ms of CPU time",
        ["", "ms", "share"],
        [[part, f"{value:.1f}", f"{value / whole:.1%}"] for part, value in milliseconds.items()],
    )
    return {part: value / whole for part, value in milliseconds.items()}


def growth(epochs: int) -> dict[str, object]:
    """Resident memory of `asr train` at the end of each epoch, MB."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = {part: str(make_corpus(folder, part, count)) for part, count in (("train", 200), ("dev", 20))}
        save_config(parse_config({"data": data, "training": {"epochs": epochs}}), folder / "config.yaml")
        command = [sys.executable, "-m", "asr", "train", folder / "config.yaml", "--output", folder / "model"]
        with open(folder / "messages", "w+") as messages:
            process = subprocess.Popen(
                [*map(str, command), "--device", "cpu", "--threads", "1"], stdout=messages, stderr=messages
            )
            resident: dict[int, float] = {}
            peak = 0.0
            while process.poll() is None:
                done = ended(folder / "model/log.jsonl")
                if done not in resident:
                    resident[done] = memory_of(process.pid, "VmRSS")
                peak = max(peak, memory_of(process.pid, "VmHWM"))
                time.sleep(0.02)
            if process.returncode:
                messages.seek(0)
                raise RuntimeError(f"the training ended with status {process.returncode}: {messages.read()[-500:]}")
    values = [mb for epoch, mb in resident.items() if epoch]
    print_table(
        "Memory of a training, 3x320, with a dev set",
        ["after epoch", "MB"],
        [[str(epoch), f"{mb:.0f}"] for epoch, mb in enumerate(values, start=1)],
    )
    grown = statistics.mean(values[-5:]) - statistics.mean(values[4:9]) if len(values) >= 14 else None
    print(
        f"Peak {peak:.0f} MB."
        + (f" Growth from epochs 5-9 to the last five: {grown:.0f} MB." if grown is not None else "")
    )
    return {"resident_mb": values, "peak_mb": peak, "growth_mb": grown}


def ended(log: Path) -> int:
    """Epochs in the log."""
    if not log.exists():
        return 0
    rows = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
    return sum(row["kind"] == "epoch" for row in rows)


def memory_of(process: int, kind: str) -> float:
    """A value of /proc/PID/status in MB; 0 when the process is over."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(kind)), 0.0)


if __name__ == "__main__":
    run_script(main)
