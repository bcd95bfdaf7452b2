"""The training loop: epochs of CTC steps with dev WER, checkpoints and logs."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from rich.console import Console

from asr.config import Config, DecodingConfig
from asr.data.examples import Examples
from asr.data.loading import Batch
from asr.data.problems import summarise
from asr.data.shard_cache import ShardCache
from asr.data.utterance import Utterance
from asr.decoding.recogniser import Recogniser
from asr.errors import Interrupted, TrainingError
from asr.evaluation import evaluate
from asr.model.acoustic import AcousticModel
from asr.model.checkpoint import load_tensors, load_weights, save_tensors
from asr.model.folders import WEIGHTS
from asr.text import Tokenizer
from asr.training.card import write_card
from asr.training.checkpoints import Checkpoints
from asr.training.feed import Feed
from asr.training.interrupt import StopRequest
from asr.training.log import TrainingLog
from asr.training.memory import explain, is_out_of_memory
from asr.training.schedule import learning_rate
from asr.training.state import Progress, restore, state
from asr.training.step import Step

LONG_WAIT = 0.1
"""Share of an epoch spent waiting for data that is worth a line on the terminal."""
MOST_SKIPPED = 10
"""Steps in a row with a loss or gradient that is not finite before training gives up."""


@dataclass(frozen=True)
class TrainingResult:
    """What came out of a training."""

    folder: Path
    best_epoch: int
    best_wer: float | None
    """Dev WER as a fraction; None without a dev set."""
    train_seconds: float
    audio_seconds_per_second: float
    """Seconds of audio trained on per second of wall time, dev evaluations included in the time."""
    parameters: int
    device: str
    """What it ran on, as torch calls it."""
    history: list[dict[str, Any]]


class Trainer:
    """The objects of one training, and the loop over them."""

    def __init__(
        self,
        config: Config,
        output: Path,
        accelerator: Accelerator,
        model: AcousticModel,
        tokenizer: Tokenizer,
        examples: Examples,
        dev_set: list[Utterance],
        console: Console | None,
        cache: ShardCache | None = None,
    ):
        self.config, self.output, self.accelerator, self.console = config, output, accelerator, console
        self.examples, self.dev_set, self.tokenizer = examples, dev_set, tokenizer
        self.main = accelerator.is_main_process
        self.progress = Progress(ranks=accelerator.num_processes)
        self.feed = Feed(
            config,
            examples,
            cache,
            accelerator.process_index,
            accelerator.num_processes,
            pin_memory=accelerator.device.type == "cuda",
        )
        self.step = Step(config, accelerator, model)
        self.bare = self.step.bare
        self.checkpoints = Checkpoints(output, config.training.keep_last, config.training.keep_best)
        self.interrupted = StopRequest()
        self.unsettled: list[list[str]] = []  # ids of the batches whose steps have not been read yet
        self.unreported: list[tuple[str, str]] = []
        self.warned = False

    def run(self, resuming: bool, measured: bool = False) -> TrainingResult:
        """Train from where `progress` stands to the last epoch; `measured`: features have their statistics already."""
        passed_over: list[str] = []
        if resuming:
            found = self.checkpoints.newest()
            if found is None:
                raise TrainingError(f"{self.output}: no checkpoint to continue from; --overwrite starts over")
            self.progress, passed_over = restore(self.step, found), found.skipped
        else:
            if self.config.features.measured and not measured:
                self._measure_features()
            self._save()  # from here on the folder is a training that can be continued
        self.log = TrainingLog(self.output, self.progress.step, self.console) if self.main else None
        try:
            self._introduce(resuming, passed_over)
            with self.interrupted.listening():
                self._epochs()
        finally:
            if self.log:
                self.log.close()
        return self._finish()

    def _introduce(self, resuming: bool, passed_over: list[str]) -> None:
        if not self.log:
            return
        device = self.accelerator.device
        self.log.say(
            f"{self.bare.parameter_count / 1e6:.2f} M parameters, {len(self.tokenizer)} tokens, "
            f"{len(self.examples)} utterances, {self.feed.seconds / 3600:.2f} h of audio, "
            f"{self.feed.padding:.1%} padding, {device} ({torch.get_num_threads()} threads)"
        )
        for line in summarise(self.feed.augmenter.problems, "augmentation", what="recordings"):
            self.log.say(line)
        for line in passed_over:
            self.log.say(line)
        if resuming:
            self.log.say(f"continuing after epoch {self.progress.epoch}, step {self.progress.step}")

    def _epochs(self) -> None:
        training = self.config.training
        if self.log:
            self.log.start(training.epochs, self.progress.epoch)
        for epoch in range(self.progress.epoch, training.epochs):
            self._keep_place(epoch)
            with self.feed.batches(epoch, self.progress.batch) as batches:
                waited = self._epoch(epoch, batches)
            self._end_epoch(epoch, waited)

    def _keep_place(self, epoch: int) -> None:
        """Note how many batches `epoch` has; where processes or data came or went, go on at the same share of it."""
        progress, batches, ranks = self.progress, self.feed.count(epoch), self.accelerator.num_processes
        if progress.batch and (progress.ranks, progress.batches) != (ranks, batches):
            before = progress.batch
            progress.batch = min(batches - 1, round(before * batches / progress.batches))
            why = f"{ranks} processes now, {progress.ranks} before"
            if progress.ranks == ranks:
                why = f"{self.config.data.train} is not what it was when the training stopped"
            if self.log:
                place = f"{progress.batch} of {batches} instead of {before} of {progress.batches}"
                self.log.say(f"{why}: epoch {epoch + 1} goes on at batch {place}")
        progress.batches, progress.ranks = batches, ranks

    def _epoch(self, epoch: int, loaded: Iterable[Batch]) -> float:
        """One pass; returns the share of its wall time that was spent waiting for data."""
        progress, training = self.progress, self.config.training
        self.step.model.train()
        started = saved = time.monotonic()
        seconds_before = progress.train_seconds
        asked, waited = started, 0.0
        for batch in loaded:
            waited += time.monotonic() - asked
            done = (epoch + progress.batch / progress.batches) / training.epochs
            rate = learning_rate(training, done, progress.history)
            self._report(batch.failures)
            self._take(batch, rate)
            asked = now = time.monotonic()
            progress.train_seconds = seconds_before + now - started
            last = progress.batch == progress.batches
            log_due = progress.step % training.log_steps == 0 or last
            save_due = training.checkpoint_steps is not None and progress.step % training.checkpoint_steps == 0
            if not (log_due or save_due or self.accelerator.device.type == "cpu"):
                continue  # a GPU is not made to wait
            stop = self._settle()
            if log_due:
                self._log_steps(rate, epoch + progress.batch / progress.batches)
            if stop or save_due or (now - saved > 60 * training.checkpoint_minutes and not last):
                self._save()
                saved = now
            if stop:
                raise Interrupted(
                    f"interrupted at step {progress.step}; saved. Go on with --resume; a recipe does by itself"
                )
        return waited / (time.monotonic() - started)

    def _take(self, batch: Batch, rate: float) -> None:
        progress = self.progress
        try:
            self.step(batch, progress.step, rate, asked=bool(self.interrupted))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise TrainingError(f"step {progress.step + 1}: {explain(batch, self.config)}") from None
        progress.batch += 1
        progress.step += 1
        self.unsettled.append(batch.ids)

    def _settle(self) -> bool:
        """Take in what the steps since the last time came to; whether to stop, the same on every rank."""
        progress, counts = self.progress, self.step.read()
        progress.pending_loss += counts.loss
        progress.pending_labels += counts.labels
        progress.pending_emitted += counts.emitted
        progress.audio_seconds += counts.seconds
        ids, self.unsettled = self.unsettled, []
        if any(counts.skipped) and self.accelerator.num_processes > 1:
            everybody = gather_object([ids])
            ids = [[key for keys in row for key in keys] for row in zip(*everybody, strict=True)]
        first = progress.step - len(counts.skipped) + 1
        for number, (skipped, keys) in enumerate(zip(counts.skipped, ids, strict=True), start=first):
            progress.skipped_in_a_row = progress.skipped_in_a_row + 1 if skipped else 0
            if skipped:
                self._skipped(number, keys)
        return counts.asked

    def _skipped(self, step: int, ids: list[str]) -> None:
        self.progress.skipped += 1
        if self.log:
            self.log.row(step, {"skipped": ids}, "skip")
            self.log.say(f"step {step}: loss or gradient not finite, skipped: {', '.join(ids[:5])}")
        if self.progress.skipped_in_a_row >= MOST_SKIPPED:
            raise TrainingError(
                f"loss or gradient not finite {MOST_SKIPPED} times in a row at step {step}; "
                "lower training.learning_rate, or raise training.warmup"
            )

    def _report(self, failures: list[tuple[str, str]]) -> None:
        if self.log:
            self.log.failures(self.progress.step, failures)
            self.progress.failed += len(failures)
        else:
            self.unreported += failures  # until the end of the epoch

    def _report_of_all_ranks(self, epoch: int) -> None:
        if self.accelerator.num_processes > 1:
            unreported, self.unreported = gather_object(self.unreported), []
            if self.log:
                self._report(unreported)
        if self.log:
            self.log.end_failures(epoch)

    def _log_steps(self, rate: float, epochs: float) -> None:
        progress = self.progress
        total, labels, emitted = progress.pending_loss, progress.pending_labels, progress.pending_emitted
        progress.pending_loss, progress.pending_labels, progress.pending_emitted = 0.0, 0, 0
        progress.epoch_loss += total
        progress.epoch_labels += labels
        if not labels:
            return
        loss = total / labels
        stuck = progress.plateau.update(progress.step, loss, emitted / labels)
        if not self.log:
            return
        speed = progress.audio_seconds / max(progress.train_seconds, 1e-9)
        values = {"loss": loss, "emitted": emitted / labels, "learning_rate": rate, "audio_seconds_per_second": speed}
        self.log.row(progress.step, values, "train")
        if stuck:
            self.log.say(stuck)
        wer = f" dev WER {progress.history[-1]['dev_wer']:.1%}" if progress.history and self.dev_set else ""
        self.log.show(epochs, f"epoch {progress.epoch + 1} loss {loss:.3f}{wer}", f"{speed:.0f} s/s")

    def _end_epoch(self, epoch: int, waited: float) -> None:
        progress = self.progress
        self._report_of_all_ranks(epoch)
        if not progress.audio_seconds:
            raise TrainingError(f"{self.config.data.train}: no recording could be read; the lines above say why")
        started = time.monotonic()
        row: dict[str, Any] = {
            "epoch": epoch + 1,
            "loss": progress.epoch_loss / progress.epoch_labels if progress.epoch_labels else math.nan,
            "unusable": len(self.examples.source) - len(self.examples),
            "failed": progress.failed,
        }
        with self.step.average.in_place() if self.step.average else nullcontext():
            better = self._measure_dev(row)
            progress.train_seconds += time.monotonic() - started
            row["seconds"] = progress.train_seconds
            if progress.skipped:
                row["skipped_steps"] = progress.skipped  # since the start
            if better:
                progress.best_epoch = epoch + 1
            progress.history.append(row)
            if self.main:
                self._save_weights(row, better)
        progress.epoch, progress.batch, progress.failed = epoch + 1, 0, 0
        progress.epoch_loss, progress.epoch_labels = 0.0, 0
        if self.log:
            self.log.row(progress.step, row | {"waited": round(waited, 4)}, "epoch")
            if waited > LONG_WAIT and not self.warned:
                self.warned = True  # once is enough; log.jsonl has every epoch's
                self.log.say(f"{waited:.0%} of epoch {epoch + 1} was spent waiting for data; raise data.workers")
            dev = f"  dev WER {row['dev_wer']:6.2%}  CER {row['dev_cer']:6.2%}" if self.dev_set else ""
            more = "  best" if better and self.dev_set else ""
            if missing := row["unusable"] + row["failed"]:
                more += f"  without {missing} of {len(self.examples.source)} utterances"
            self.log.say(f"epoch {epoch + 1:3d}  loss {row['loss']:.4f}{dev}  {row['seconds']:.0f} s{more}")
        self._save()
        self.accelerator.wait_for_everyone()

    def _measure_dev(self, row: dict[str, Any]) -> bool:
        """Put the error rates on the dev set into `row`; whether they are the best so far (ties count as better)."""
        progress = self.progress
        if not self.dev_set:
            return True
        greedy = DecodingConfig(batch_seconds=self.config.decoding.batch_seconds)
        recogniser = Recogniser(self.bare, self.tokenizer, self.accelerator.device, decoding=greedy)
        result = evaluate(recogniser, self.dev_set, facts=False, confidence=False)
        row |= {"dev_wer": result.wer, "dev_cer": result.score.cer}
        if result.failures:
            row["dev_failures"] = len(result.failures)
        best = (progress.best_wer, progress.best_cer)
        better = best[0] is None or best[1] is None or (result.wer, result.score.cer) <= (best[0], best[1])
        if better:
            progress.best_wer, progress.best_cer = result.wer, result.score.cer
        return better

    def _save_weights(self, row: dict[str, Any], better: bool) -> None:
        weights = self.bare.state_dict()
        score = (row["dev_wer"], row["dev_cer"]) if self.dev_set else None
        self.checkpoints.save_best(row["epoch"], score, weights)
        if better:
            save_tensors(self.output / WEIGHTS, weights)
            write_card(self.output, self.config, self.progress, self.bare, self.examples)

    def _save(self) -> None:
        if self.main:  # no rank waits here: their clocks ask for checkpoints after different steps
            self.checkpoints.save(self.progress.step, *state(self.step, self.progress))

    def _measure_features(self) -> None:
        try:
            with self.feed.everything() as batches:
                on_device = (batch.to(self.accelerator.device) for batch in batches if batch.ids)
                self.bare.features.fit((batch.waveforms, batch.lengths) for batch in on_device)
        except ValueError as error:
            raise TrainingError(f"{self.config.data.train}: {error}; can its recordings be read?") from None

    def _finish(self) -> TrainingResult:
        progress = self.progress
        assert progress.best_epoch is not None
        tensors, _ = load_tensors(self.output / WEIGHTS)
        load_weights(self.bare, tensors, self.output / WEIGHTS)
        return TrainingResult(
            folder=self.output,
            best_epoch=progress.best_epoch,
            best_wer=progress.best_wer,
            train_seconds=progress.train_seconds,
            audio_seconds_per_second=progress.audio_seconds / progress.train_seconds,
            parameters=self.bare.parameter_count,
            device=str(self.accelerator.device),
            history=progress.history,
        )
