"""One optimiser step, in which the host does not wait for the device (but where torch's CTC kernel copies lengths)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from asr.config import Config, TrainingConfig
from asr.data.loading import Batch, silence
from asr.model.acoustic import AcousticModel
from asr.training.average import Average
from asr.training.objective import objective, views

LOSS, LABELS, EMITTED, SECONDS, UTTERANCES, ASKED, BAD = range(WIDTH := 7)
"""What a step counts, as one vector on the device: sums over its utterances, and over the ranks."""


@dataclass(frozen=True)
class Counts:
    """What the steps since the last reading came to, over all ranks."""

    loss: float = 0.0
    """Sum over the utterances, natural log."""
    labels: int = 0
    emitted: int = 0
    """Frames whose likeliest token is not the blank."""
    seconds: float = 0.0
    """Of audio."""
    asked: bool = False
    """Whether a rank was asked to stop."""
    skipped: tuple[bool, ...] = ()
    """For each step whether it was left out because its loss or its gradient was not finite."""


class Step:
    """The model, its optimiser, and the step.

    Batches of several ranks make one step: the loss is divided by the labels of all, so that two ranks with batches B
    take the step of one rank with the batch 2B (but for `training.label_prior`, whose priors are those of a rank's own
    batch). A step whose loss or gradient is not finite changes no weight; that is
    decided on the device, and `read` tells later. Every random number of a step (dropout, SpecAugment) is a function of
    seed, step and rank, so a training that goes on needs no state of a generator.

    Attributes:
        bare: the model itself, on the device.
        average: the moving average of its weights, where there is one.
    """

    def __init__(self, config: Config, accelerator: Accelerator, model: AcousticModel):
        self.config, self.accelerator = config, accelerator
        self.device, self.ranks = accelerator.device, accelerator.num_processes
        self.bare = model.to(self.device)
        self.optimiser = _optimiser(self.bare, config.training)
        self.average = Average(self.bare, config.training.ema) if config.training.ema is not None else None
        self.model = accelerator.prepare_model(self.bare)
        # What accelerate puts over `forward` casts automatically, always: `_forward` does so in training, and the dev
        # set is scored in float32, as anybody who evaluates the model later does.
        self.bare.__dict__.pop("forward", None)
        self._wrapped = accelerator.prepare_optimizer(self.optimiser)
        self._sums = torch.zeros(WIDTH, dtype=torch.float64, device=self.device)
        self._skipped: list[Tensor] = []

    def __call__(self, batch: Batch, number: int, rate: float, *, asked: bool = False) -> None:
        """Train on `batch`, which is still on the host.

        Args:
            batch: of this rank; without utterances where none of its recordings could be read.
            number: of the step, from 0.
            rate: the learning rate.
            asked: whether this process was asked to stop, for all ranks to know.
        """
        training = self.config.training
        seed = (training.seed * 1_000_003 + number) * 65_537 + self.accelerator.process_index
        torch.manual_seed(seed % 2**63)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        real = bool(batch.ids)
        if not real:  # the other ranks wait for this one's gradients
            batch = silence(self.config.features.sample_rate)
        counts, loss = self._forward(batch, real)
        counts[ASKED] = float(asked)
        if self.ranks > 1:
            counts = self.accelerator.reduce(counts)
        # Ranks average their gradients; this makes the sum over all utterances, by their labels, of it.
        self.accelerator.backward(loss * (self.ranks / counts[LABELS].clamp(min=1)).float())
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), training.clip)
        bad = (counts[BAD] > 0) | ~torch.isfinite(norm)
        if self.accelerator.scaler is not None:  # fp16: the scaler looks for gradients that are not finite by itself
            self._wrapped.step()
        else:
            left_out = bad | (counts[UTTERANCES] == 0)
            self.optimiser.found_inf = left_out.float()  # type: ignore[attr-defined]  # the fused kernels heed it
            self.optimiser.step()
        self.optimiser.zero_grad()
        if self.average is not None:
            self.average.update(number)
        self._sums[:SECONDS] += torch.where(bad, 0.0, counts[:SECONDS])
        self._sums[SECONDS:] += counts[SECONDS:]
        self._skipped.append(bad)

    def _forward(self, batch: Batch, real: bool) -> tuple[Tensor, Tensor]:
        """What the batch counts, `[7]`, and the sum of its losses."""
        # The CTC kernel wants lengths on the host; taken from the device they would make it wait for all before.
        frames = torch.tensor([self.bare.output_frames(samples) for samples in batch.lengths.tolist()])
        here = batch.to(self.device)
        augment, copies = self.config.augmentation.spec_augment, views(self.config)
        with self.accelerator.autocast():
            outputs = self.model(here.waveforms, here.lengths, augment, copies, here.tokens)
        loss = objective(outputs, here, self.config, frames, batch.token_lengths).sum() * real
        with torch.no_grad():
            log_probs, lengths = (part[: len(frames)] for part in outputs)  # the last layer's, of the first view
            inside = torch.arange(log_probs.shape[1], device=self.device) < lengths[:, None]
            emitted = ((log_probs.argmax(-1) != 0) & inside).sum()
        seconds = float(batch.lengths.sum()) / self.config.features.sample_rate
        on_host = torch.tensor(
            [0, int(batch.token_lengths.sum()), 0, seconds, len(batch.ids), 0, 0],
            dtype=torch.float64,
        )
        counts = on_host.to(self.device, non_blocking=True) * real
        counts[LOSS], counts[EMITTED] = loss.detach(), emitted * real
        counts[BAD] = ~torch.isfinite(loss.detach())
        return counts, loss

    def read(self) -> Counts:
        """The counts since the last call: here the host waits for the device."""
        sums = self._sums.tolist()
        skipped = tuple(torch.stack(self._skipped).tolist()) if self._skipped else ()
        self._sums.zero_()
        self._skipped.clear()
        return Counts(
            loss=sums[LOSS],
            labels=round(sums[LABELS]),
            emitted=round(sums[EMITTED]),
            seconds=sums[SECONDS],
            asked=sums[ASKED] > 0,
            skipped=skipped,
        )


def _optimiser(model: torch.nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]  # biases and norms are not decayed
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)
