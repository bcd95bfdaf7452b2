"""The training loop: epochs of CTC steps with dev WER, checkpoints and logs."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from rich.console import Console

from asr.config import Config, DecodingConfig, TrainingConfig
from asr.data.examples import Examples
from asr.data.loading import Batch, silence
from asr.data.problems import summarise
from asr.data.shard_cache import ShardCache
from asr.data.utterance import Utterance
from asr.decoding.recogniser import Recogniser
from asr.errors import Interrupted, TrainingError
from asr.evaluation import evaluate
from asr.model.acoustic import AcousticModel
from asr.model.checkpoint import WEIGHTS, load_tensors, load_weights, save_tensors
from asr.text import Tokenizer
from asr.training.card import write_card
from asr.training.feed import Feed
from asr.training.interrupt import StopRequest
from asr.training.log import TrainingLog
from asr.training.loss import ctc_loss
from asr.training.schedule import learning_rate
from asr.training.state import LAST, Progress, load_state, save_state

LONG_WAIT = 0.1
"""Share of an epoch spent waiting for data that is worth a line on the terminal."""
LOG_EVERY = 10
"""Steps between rows of the log; the loss stays on the device in between."""
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
        self.progress = Progress()
        self.bare = model.to(accelerator.device)
        self.feed = Feed(
            config,
            examples,
            cache,
            accelerator.process_index,
            accelerator.num_processes,
            pin_memory=accelerator.device.type == "cuda",
        )
        self.optimiser = _optimiser(self.bare, config.training, accelerator.device)
        self.model = accelerator.prepare_model(self.bare)
        self.wrapped_optimiser = accelerator.prepare_optimizer(self.optimiser)
        self.interrupted = StopRequest()
        self.unreported: list[tuple[str, str]] = []
        self.warned = False

    def run(self, resuming: bool) -> TrainingResult:
        """Train from where `progress` stands to the last epoch."""
        if resuming:
            self.progress = load_state(self.output / LAST, self.bare, self.optimiser, self.accelerator.scaler)
        else:
            if self.config.features.normalisation == "global":
                self._measure_features()
            self._save_last()  # from here on the folder is a training that can be continued
        self.log = TrainingLog(self.output, self.progress.step, self.console) if self.main else None
        try:
            self._introduce(resuming)
            with self.interrupted.listening():
                self._epochs()
        finally:
            if self.log:
                self.log.close()
        return self._finish()

    def _introduce(self, resuming: bool) -> None:
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
        if resuming:
            self.log.say(f"continuing after epoch {self.progress.epoch}, step {self.progress.step}")

    def _epochs(self) -> None:
        training = self.config.training
        if self.log:
            self.log.start(training.epochs, self.progress.epoch)
        for epoch in range(self.progress.epoch, training.epochs):
            with self.feed.batches(epoch, self.progress.batch) as batches:
                waited = self._epoch(epoch, batches)
            self._end_epoch(epoch, waited)

    def _epoch(self, epoch: int, loaded: Iterable[Batch]) -> float:
        """One pass; returns the share of its wall time that was spent waiting for data."""
        progress, training = self.progress, self.config.training
        batches = self.feed.count(epoch)
        self.model.train()
        started = saved = time.monotonic()
        seconds_before = progress.train_seconds
        pending = torch.tensor(progress.pending_loss, device=self.accelerator.device)
        asked, waited = started, 0.0
        for batch in loaded:
            waited += time.monotonic() - asked
            rate = learning_rate(training, (epoch + progress.batch / batches) / training.epochs)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            self._report(batch.failures)
            loss = self._step(batch)
            progress.batch += 1
            progress.step += 1
            progress.audio_seconds += float(batch.lengths.sum()) / self.config.features.sample_rate
            if loss is None:
                self._skipped(batch)
            else:
                progress.skipped_in_a_row = 0
                pending += loss
                progress.pending_labels += int(batch.token_lengths.sum())
            asked = now = time.monotonic()
            progress.train_seconds = seconds_before + now - started
            last = progress.batch == batches
            if progress.step % LOG_EVERY == 0 or last:
                self._log_steps(pending, rate, epoch + progress.batch / batches)
                pending = torch.zeros_like(pending)
            stop = self._stop_asked()
            if stop or (now - saved > 60 * training.checkpoint_minutes and not last):
                progress.pending_loss = float(pending)
                self._save_last()
                saved = now
            if stop:
                raise Interrupted(f"interrupted at step {progress.step}; saved. Add --resume to go on from there")
        return waited / (time.monotonic() - started)

    def _stop_asked(self) -> bool:
        """Whether to stop after this step; ranks ask each other now and then, as all must stop after the same one."""
        if self.accelerator.num_processes == 1:
            return bool(self.interrupted)
        if self.progress.step % LOG_EVERY:
            return False
        asked = torch.tensor(float(bool(self.interrupted)), device=self.accelerator.device)
        return bool(self.accelerator.reduce(asked) > 0)

    def _step(self, batch: Batch) -> torch.Tensor | None:
        """One optimiser step; the sum of the losses, or None when it was skipped because something was not finite."""
        if not batch.ids:  # no recording of this batch could be read
            if self.accelerator.num_processes == 1:
                return torch.zeros((), device=self.accelerator.device)
            batch = silence(self.config.features.sample_rate)  # the other ranks wait for this one's gradients
        batch = batch.to(self.accelerator.device)
        with self.accelerator.autocast():
            log_probs, frames = self.model(batch.waveforms, batch.lengths, self.config.augmentation.spec_augment)
        losses = ctc_loss(log_probs, frames, batch.tokens, batch.token_lengths)
        loss = losses.sum() * bool(batch.ids)
        self.accelerator.backward(loss / batch.token_lengths.sum().clamp(min=1))
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.training.clip)
        finite = bool(torch.isfinite(norm)) and bool(torch.isfinite(loss))
        if finite or self.accelerator.scaler is not None:  # the fp16 scaler skips by itself, and must be told
            self.wrapped_optimiser.step()
        self.wrapped_optimiser.zero_grad()
        return loss.detach() if finite else None

    def _skipped(self, batch: Batch) -> None:
        self.progress.skipped += 1
        self.progress.skipped_in_a_row += 1
        if self.log:
            self.log.row(self.progress.step, {"skipped": batch.ids}, "skip")
            self.log.say(f"step {self.progress.step}: loss or gradient not finite, skipped: {', '.join(batch.ids[:5])}")
        if self.progress.skipped_in_a_row >= MOST_SKIPPED:
            raise TrainingError(
                f"loss or gradient not finite {MOST_SKIPPED} times in a row at step {self.progress.step}; "
                "lower training.learning_rate, or raise training.warmup"
            )

    def _report(self, failures: list[tuple[str, str]]) -> None:
        if self.log:
            self.log.failures(self.progress.step, failures)
        else:
            self.unreported += failures  # until the end of the epoch

    def _report_of_all_ranks(self, epoch: int) -> None:
        if self.accelerator.num_processes > 1:
            unreported = gather_object(self.unreported)
            if self.log:
                self.log.failures(self.progress.step, unreported)
            self.unreported = []
        if self.log:
            self.log.end_failures(epoch)

    def _log_steps(self, pending: torch.Tensor, rate: float, epochs: float) -> None:
        progress = self.progress
        total, labels = float(pending), progress.pending_labels
        progress.pending_loss, progress.pending_labels = 0.0, 0
        progress.epoch_loss += total
        progress.epoch_labels += labels
        if not self.log or not labels:
            return
        loss = total / labels
        speed = progress.audio_seconds / max(progress.train_seconds, 1e-9)
        values = {"loss": loss, "learning_rate": rate, "audio_seconds_per_second": speed}
        self.log.row(progress.step, values, "train")
        wer = f" dev WER {progress.history[-1]['dev_wer']:.1%}" if progress.history and self.dev_set else ""
        self.log.show(epochs, f"epoch {progress.epoch + 1} loss {loss:.3f}{wer}", f"{speed:.0f} s/s")

    def _end_epoch(self, epoch: int, waited: float) -> None:
        progress = self.progress
        self._report_of_all_ranks(epoch)
        heard = torch.tensor(progress.audio_seconds, device=self.accelerator.device)
        if not float(self.accelerator.reduce(heard)):  # on all ranks: one alone may have lost all of its shards
            raise TrainingError(f"{self.config.data.train}: no recording could be read; the lines above say why")
        started = time.monotonic()
        row: dict[str, Any] = {
            "epoch": epoch + 1,
            "loss": progress.epoch_loss / progress.epoch_labels if progress.epoch_labels else math.nan,
        }
        better = True
        if self.dev_set:
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
        if better:
            progress.best_epoch = epoch + 1
        progress.train_seconds += time.monotonic() - started
        if progress.skipped:
            row["skipped_steps"] = progress.skipped  # since the start
        row["seconds"] = progress.train_seconds
        progress.history.append(row)
        progress.epoch, progress.batch, progress.epoch_loss, progress.epoch_labels = epoch + 1, 0, 0.0, 0
        if self.log:
            self.log.row(progress.step, row | {"waited": round(waited, 4)}, "epoch")
            if waited > LONG_WAIT and not self.warned:
                self.warned = True  # once is enough; log.jsonl has every epoch's
                self.log.say(f"{waited:.0%} of epoch {epoch + 1} was spent waiting for data; raise data.workers")
            dev = f"  dev WER {row['dev_wer']:6.2%}  CER {row['dev_cer']:6.2%}" if self.dev_set else ""
            best_mark = "  best" if better and self.dev_set else ""
            self.log.say(f"epoch {epoch + 1:3d}  loss {row['loss']:.4f}{dev}  {row['seconds']:.0f} s{best_mark}")
        if better and self.main:
            save_tensors(self.output / WEIGHTS, self.bare.state_dict())
            write_card(self.output, self.config, self.progress, self.bare, self.examples)
        self._save_last()
        self.accelerator.wait_for_everyone()

    def _save_last(self) -> None:
        if self.main:  # no rank waits here: their clocks ask for checkpoints after different steps
            save_state(self.output / LAST, self.bare, self.optimiser, self.accelerator.scaler, self.progress)

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
            history=progress.history,
        )


def _optimiser(model: torch.nn.Module, config: TrainingConfig, device: torch.device) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]  # biases and norms are not decayed
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)
