from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from asr.config import FeaturesConfig, SpecAugmentConfig
from asr.model.augment import spec_augment

SOURCE = FeaturesConfig()
LENGTHS = torch.tensor([1, 4, 40, 99, 250, 700])
MELS = 80


def masked(config: SpecAugmentConfig, seed: int = 0, lengths: Tensor = LENGTHS) -> Tensor:
    """Where `[batch, frames, mels]` the masks are, padding counted too."""
    torch.manual_seed(seed)
    return spec_augment(torch.ones(len(lengths), int(lengths.max()), MELS), lengths, config, SOURCE) == 0


def runs(line: Tensor) -> list[int]:
    """Lengths of the stretches of true values in a `[size]` mask."""
    text = "".join("1" if value else " " for value in line.tolist())
    return [len(run) for run in text.split()]


@pytest.mark.parametrize("seed", range(20))
def test_bands_are_few_narrow_and_the_same_in_every_frame(seed: int) -> None:
    config = SpecAugmentConfig(frequency_masks=2, frequency_width=0.25, time_masks_per_second=0)
    for row in masked(config, seed):
        assert (row == row[:1]).all()
        assert row[0].sum() <= 2 * MELS * 0.25
        assert len(runs(row[0])) <= 2


@pytest.mark.parametrize("seed", range(20))
def test_time_masks_lie_inside_the_utterance_and_follow_its_length(seed: int) -> None:
    config = SpecAugmentConfig(frequency_masks=0, time_masks_per_second=0.5, time_width_ms=250)
    for row, length in zip(masked(config, seed), LENGTHS.tolist(), strict=True):
        assert (row == row[:, :1]).all()
        frames = row[:, 0]
        assert not frames[length:].any()
        most = math.ceil(length / 100 * 0.5)
        assert len(runs(frames)) <= most
        assert frames.sum() <= most * min(25, 0.2 * length)
        assert max(runs(frames), default=0) <= most * min(25, 0.2 * length)


def band_and_time_masks() -> list[Tensor]:
    """Masked bins and masked frames of 400 utterances, one mask each."""
    lengths = torch.full((400,), 100)
    bands = SpecAugmentConfig(frequency_masks=1, frequency_width=0.25, time_masks_per_second=0)
    times = SpecAugmentConfig(frequency_masks=0, time_masks_per_second=1, time_width_ms=100)
    return [masked(bands, 0, lengths)[:, 0], masked(times, 0, lengths)[:, :, 0]]


def test_masks_come_close_to_their_limit_and_reach_from_the_first_place_on() -> None:
    for mask, widest in zip(band_and_time_masks(), (20, 10), strict=True):
        assert widest - 1 <= mask.sum(1).max() <= widest
        assert mask.any(0)[:-1].all()


def test_masks_reach_the_last_bin_and_the_last_frame() -> None:
    for mask in band_and_time_masks():
        assert mask.any(0)[-1]


def test_utterances_and_masks_are_drawn_apart() -> None:
    rows = masked(SpecAugmentConfig(), 0, torch.full((8,), 300))
    assert len({tuple(row.flatten().tolist()) for row in rows}) == 8


def test_share_masked_stays_small_with_the_defaults() -> None:
    mask = masked(SpecAugmentConfig(), 0, torch.full((300,), 1000)).double()
    assert 0.1 < mask.mean() < 0.4
    assert mask.mean((1, 2)).max() < 0.7


def test_rest_of_the_features_is_untouched() -> None:
    features = torch.randn(6, 700, MELS)
    torch.manual_seed(5)
    output = spec_augment(features, LENGTHS, SpecAugmentConfig(), SOURCE)
    mask = masked(SpecAugmentConfig(), 5)
    assert torch.equal(output, features.masked_fill(mask, 0))
    assert mask.any()


def test_masks_follow_torchs_seed() -> None:
    config = SpecAugmentConfig()
    assert torch.equal(masked(config, 1), masked(config, 1))
    assert not torch.equal(masked(config, 1), masked(config, 2))


@pytest.mark.parametrize(
    "off",
    [
        {"frequency_masks": 0, "time_masks_per_second": 0},
        {"frequency_width": 0, "time_width_ms": 0},
        {"frequency_masks": 0, "time_width_ms": 0},
        {"frequency_width": 0, "time_masks_per_second": 0},
    ],
)
def test_zero_turns_it_off(off: dict[str, float]) -> None:
    assert not masked(SpecAugmentConfig.model_validate(off)).any()


@pytest.mark.parametrize("hop", [5.0, 20.0])
def test_widths_and_counts_are_in_seconds_whatever_the_hop(hop: float) -> None:
    config = SpecAugmentConfig(frequency_masks=0, time_masks_per_second=1, time_width_ms=200)
    frames = round(3000 / hop)
    torch.manual_seed(0)
    output = spec_augment(torch.ones(50, frames, 8), torch.full((50,), frames), config, FeaturesConfig(hop_ms=hop))
    found = [runs(row[:, 0] == 0) for row in output]
    assert max(map(len, found)) == 3
    assert 0.75 * 200 / hop < max(run for row in found for run in row if len(row) == 3) <= 200 / hop


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_masks_on_a_gpu_keep_within_the_utterance() -> None:
    features = torch.ones(6, 700, MELS, device="cuda")
    config = SpecAugmentConfig(frequency_masks=0)
    mask = spec_augment(features, LENGTHS.cuda(), config, SOURCE).cpu() == 0
    assert mask.any()
    for row, length in zip(mask, LENGTHS.tolist(), strict=True):
        assert not row[length:].any()
