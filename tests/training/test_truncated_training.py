"""Training with `training.bptt_frames`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from asr.config import Config
from asr.data.loading import Loaded, collate
from asr.data.reading import load_utterance
from asr.data.utterance import Utterance
from asr.model.acoustic import AcousticModel
from asr.training.loss import ctc_loss


def test_training_cuts_the_gradient_as_it_is_told(good: list[Utterance], small_config: Callable[..., Config]) -> None:
    def first_step(every: int | None) -> dict[str, Tensor]:
        one_way = {"hidden": 8, "bidirectional": False, "dropout": 0.0}
        config = small_config(model=one_way, training={"bptt_frames": every})
        torch.manual_seed(0)
        model = AcousticModel(config, tokens=10).train()
        loaded = collate([Loaded(u.id, load_utterance(u, 8000), [1, 2]) for u in good[:2]])
        log_probs, frames = model(loaded.waveforms, loaded.lengths)
        ctc_loss(log_probs, frames, loaded.tokens, loaded.token_lengths).sum().backward()
        return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}

    full, whole, cut = first_step(None), first_step(10_000), first_step(5)
    for name, gradient in full.items():
        rounding = 1e-4 * max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(whole[name], gradient, atol=rounding, rtol=1e-4, msg=name)
    name = "classifier.encoder.layers.0.forwards.weight_hh_l0"
    assert (cut[name] - full[name]).norm() > 1e-3 * full[name].norm()
