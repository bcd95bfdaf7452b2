"""The contract of every layer: an utterance gives the same alone and in a padded batch, whatever the padding holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from asr.config import Config
from asr.frames import samples_for
from asr.model.acoustic import AcousticModel, TokenClassifier
from asr.model.features import LogMel
from asr.model.rnn import Encoder, RecurrentLayer
from asr.model.subsampling import subsampling

CELLS = ["rnn_tanh", "rnn_relu", "gru", "lstm"]
SUBSAMPLINGS = [("conv", 2), ("conv", 4), ("conv", 8), *(("stack", factor) for factor in (1, 2, 3, 4, 6, 8))]
FRAMES = [[1], [1, 2], [3, 1, 17], [8, 9, 7, 40], [23, 64, 5, 1, 31]]
SAMPLES = [[1], [1, 2], [1, 159, 161], [1, 640, 4001], [16000, 1, 399, 8000], [8000, 1600, 12345]]
GARBAGE = 1e4


def configuration(**model: Any) -> Config:
    return Config.model_validate(
        {"features": {"mels": 16}, "model": {"layers": 2, "hidden": 12, "subsampling": {"channels": 4}, **model}}
    )


def check(layer: Callable[..., Any], width: int | None, lengths: list[int], scale: float = 1.0) -> None:
    """Compare each utterance alone with itself in a batch whose padding is garbage.

    `width` values a frame, None for waveforms. A layer that gives no lengths keeps those it was given.
    """
    torch.manual_seed(sum(lengths))
    size = () if width is None else (width,)
    utterances = [torch.randn(length, *size) * scale for length in lengths]
    longest = max(lengths) + 3  # a batch may be padded beyond its longest utterance
    batch = GARBAGE * torch.randn(len(lengths), longest, *size)
    for row, utterance in zip(batch, utterances, strict=True):
        row[: len(utterance)] = utterance
    with torch.no_grad():
        together, together_lengths = run(layer, batch, torch.tensor(lengths))
        for row, length, utterance in zip(together, together_lengths, utterances, strict=True):
            alone, alone_length = run(layer, utterance[None], torch.tensor([len(utterance)]))
            assert alone_length.tolist() == [length] == [alone.shape[1]]
            assert torch.isfinite(alone).all()
            torch.testing.assert_close(row[:length], alone[0], atol=1e-5, rtol=1e-5)


def run(layer: Callable[..., Any], x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    output = layer(x, lengths)
    return output if isinstance(output, tuple) else (output, lengths)


@pytest.mark.parametrize("lengths", SAMPLES, ids=str)
@pytest.mark.parametrize(
    "settings",
    [{"normalisation": "utterance"}, {"normalisation": "global"}, {"normalisation": "none"}, {"prior_seconds": 0.5}],
    ids=str,
)
@pytest.mark.parametrize("rate", [8000, 16000])
def test_features(rate: int, settings: dict[str, object], lengths: list[int]) -> None:
    config = Config.model_validate({"features": {"sample_rate": rate, **settings}})
    check(LogMel(config.features).eval(), None, lengths, scale=0.1)


def test_features_of_two_or_three_nearly_equal_frames() -> None:
    lengths = torch.randint(160, 480, (200,), generator=torch.Generator().manual_seed(0)).tolist()
    check(LogMel(Config().features), None, lengths, scale=0.1)


@pytest.mark.parametrize("lengths", FRAMES, ids=str)
@pytest.mark.parametrize(("kind", "factor"), SUBSAMPLINGS)
def test_subsampling(kind: str, factor: int, lengths: list[int]) -> None:
    for depth in (0, 3) if kind == "conv" else (0,):
        config = configuration(subsampling={"kind": kind, "factor": factor, "channels": 4, "depth": depth})
        check(subsampling(config.model.subsampling, 16, 12).eval(), 16, lengths)


@pytest.mark.parametrize("lengths", FRAMES, ids=str)
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forwards", "both directions"])
@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_layer(cell: str, bidirectional: bool, lengths: list[int]) -> None:
    check(RecurrentLayer(cell, 16, 12, bidirectional).eval(), 16, lengths)


@pytest.mark.parametrize("lengths", FRAMES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_encoder(cell: str, lengths: list[int]) -> None:
    check(Encoder(configuration(cell=cell).model, 16).eval(), 16, lengths)


@pytest.mark.parametrize("lengths", FRAMES, ids=str)
@pytest.mark.parametrize("kind", ["conv", "stack"])
@pytest.mark.parametrize("cell", CELLS)
def test_classifier(cell: str, kind: str, lengths: list[int]) -> None:
    config = configuration(cell=cell, subsampling={"kind": kind, "channels": 4})
    check(TokenClassifier(config, 7).eval(), 16, lengths)


@pytest.mark.parametrize("lengths", SAMPLES, ids=str)
@pytest.mark.parametrize("kind", ["conv", "stack"])
@pytest.mark.parametrize("cell", CELLS)
def test_whole_model(cell: str, kind: str, lengths: list[int]) -> None:
    config = configuration(cell=cell, subsampling={"kind": kind, "channels": 4})
    check(AcousticModel(config, 7).eval(), None, lengths, scale=0.1)


def models() -> list[nn.Module]:
    torch.manual_seed(0)
    choices = [("lstm", "conv", 4, True), ("gru", "stack", 3, True), ("rnn_tanh", "conv", 8, False)]
    return [
        AcousticModel(
            configuration(cell=cell, bidirectional=both, subsampling={"kind": kind, "factor": factor, "channels": 4}),
            7,
        ).eval()
        for cell, kind, factor, both in choices
    ]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.sampled_from(models()), st.lists(st.integers(1, 6000), min_size=1, max_size=5))
def test_whole_model_for_any_lengths(model: nn.Module, lengths: list[int]) -> None:
    check(model, None, lengths, scale=0.1)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_do_not_depend_on_the_rest_of_the_batch(cell: str) -> None:
    """Weights learn the same from a padded batch as from its utterances one by one."""
    torch.manual_seed(0)
    model = AcousticModel(configuration(cell=cell, dropout=0.0), 7)
    lengths = [1, 8000, 2400]
    waveforms = [0.1 * torch.randn(length) for length in lengths]
    batch = torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True)

    def gradients(calls: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
        model.zero_grad()
        for x, sizes in calls:
            log_probs, frames = model(x, sizes)
            for row, length in zip(log_probs, frames, strict=True):
                row[:length, 1].sum().backward(retain_graph=True)
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

    together = gradients([(batch, torch.tensor(lengths))])
    one_by_one = gradients([(waveform[None], torch.tensor([len(waveform)])) for waveform in waveforms])
    assert len(together) == len(list(model.parameters()))
    for one, other in zip(together, one_by_one, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("kind", "factor"), SUBSAMPLINGS)
def test_output_frames_are_what_the_model_gives_and_samples_for_is_their_least(kind: str, factor: int) -> None:
    model = AcousticModel(
        configuration(cell="rnn_tanh", layers=1, subsampling={"kind": kind, "factor": factor, "channels": 2}), 3
    ).eval()
    step = factor * model.features.hop
    counts = sorted({1, 2, 159, 160, 161, *(k * step + d for k in (1, 2, 5) for d in (-161, -1, 0, 1, 160)), 9999})
    counts = [count for count in counts if count > 0]
    with torch.no_grad():
        _, lengths = model(torch.zeros(len(counts), max(counts)), torch.tensor(counts))
        for count in (counts[0], counts[-1]):
            log_probs, _ = model(torch.zeros(1, count), torch.tensor([count]))
            assert log_probs.shape[1] == model.output_frames(count)
    assert lengths.tolist() == [model.output_frames(count) for count in counts]
    assert model.output_frames(0) == samples_for(0, model.config) == 0
    for frames in range(1, 12):
        least = samples_for(frames, model.config)
        assert model.output_frames(least) >= frames > model.output_frames(least - 1)
    assert model.frame_seconds == pytest.approx(factor * 0.01)


def test_log_probs_are_normalised_float32_even_under_autocast() -> None:
    model = AcousticModel(configuration(), 7).eval()
    waveforms, lengths = 0.1 * torch.randn(2, 8000), torch.tensor([8000, 100])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        log_probs, _ = model(waveforms, lengths)
    assert log_probs.dtype == torch.float32
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(log_probs.shape[:2]))


def test_parameters_are_counted() -> None:
    config = configuration(cell="lstm", bidirectional=True, layers=1, subsampling={"kind": "stack", "factor": 2})
    project, norm, lstm = 32 * 12 + 12, 2 * 12, 2 * 4 * 12 * (12 + 12 + 2)
    head = 24 * 7 + 7
    assert AcousticModel(config, 7).parameter_count == project + norm + lstm + 2 * 24 + head


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("kind", ["conv", "stack"])
@pytest.mark.parametrize("cell", CELLS)
def test_gpu_gives_the_log_probs_of_the_cpu(cell: str, kind: str) -> None:
    torch.manual_seed(0)
    model = AcousticModel(configuration(cell=cell, subsampling={"kind": kind, "channels": 4}), 7).eval()
    waveforms, lengths = 0.1 * torch.randn(3, 16000), torch.tensor([16000, 4001, 1])
    with torch.no_grad():
        expected, frames = model(waveforms, lengths)
        log_probs, gpu_frames = model.cuda()(waveforms.cuda(), lengths.cuda())
    assert gpu_frames.tolist() == frames.tolist()
    for row, other, length in zip(log_probs.cpu(), expected, frames, strict=True):
        torch.testing.assert_close(row[:length], other[:length], atol=1e-2, rtol=0)  # cuDNN may use TF32
