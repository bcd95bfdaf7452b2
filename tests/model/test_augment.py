from __future__ import annotations

import math

import librosa
import pytest
import torch
from torch import Tensor

from asr.config import FeaturesConfig, SpecAugmentConfig
from asr.model.augment import hz_to_mel, mel_to_hz, spec_augment, warp_frequencies
from asr.model.features import LogMel

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


def test_masks_of_features_that_are_not_normalised_hold_the_mean_of_each_utterance() -> None:
    inside = torch.arange(700)[None, :, None] < LENGTHS[:, None, None]
    features = (torch.randn(6, 700, MELS) - torch.arange(6.0)[:, None, None] - 9) * inside
    source = FeaturesConfig(normalisation="none")
    torch.manual_seed(5)
    output = spec_augment(features, LENGTHS, SpecAugmentConfig(), source)
    mask = masked(SpecAugmentConfig(), 5)
    for row, length in enumerate(LENGTHS.tolist()):
        mean = features[row, :length].mean()
        torch.testing.assert_close(output[row, :length], features[row, :length].masked_fill(mask[row, :length], mean))
    assert torch.equal(output[~mask], features[~mask])


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


def test_the_mel_scale_is_librosas() -> None:
    hz = torch.tensor([0.0, 40.0, 999.0, 1000.0, 1500.0, 4000.0, 8000.0])
    torch.testing.assert_close(hz_to_mel(hz), torch.from_numpy(librosa.hz_to_mel(hz.numpy())).float())
    torch.testing.assert_close(mel_to_hz(hz_to_mel(hz)), hz)


@pytest.mark.parametrize("factor", [0.85, 1.0, 1.15])
def test_a_tone_comes_to_where_a_tone_of_another_pitch_is(factor: float) -> None:
    times = torch.arange(8000) / 16000
    tones = torch.stack([torch.sin(2 * math.pi * hertz * times) for hertz in (2000.0, 2000.0 / factor)])
    features = LogMel(FeaturesConfig(normalisation="none")).log_mel(tones, torch.tensor([8000, 8000]))[:, 20]
    warped = warp_frequencies(features[:1, None], torch.tensor([factor]), FeaturesConfig())[0, 0]
    assert abs(int(warped.argmax()) - int(features[1].argmax())) <= 1
    if factor == 1:
        torch.testing.assert_close(warped, features[0], atol=1e-4, rtol=1e-4)
    else:
        assert abs(int(features[0].argmax()) - int(features[1].argmax())) > 2


@pytest.mark.parametrize("factor", [0.7, 1.5])
def test_the_whole_band_stays_in_use_and_keeps_its_order(factor: float) -> None:
    ramp = torch.arange(MELS).float().expand(1, 1, MELS)
    warped = warp_frequencies(ramp, torch.tensor([factor]), SOURCE)[0, 0]
    assert (warped.diff() > 0).all()
    assert warped[0] < 1
    assert warped[-1] > MELS - 1.5


def test_each_utterance_is_warped_by_its_own_factor_within_the_limit() -> None:
    config = SpecAugmentConfig(frequency_masks=0, time_masks_per_second=0, frequency_warp=0.1)
    ramp = hz_to_mel(torch.tensor(8000.0)) / (MELS + 1) * torch.arange(1, MELS + 1)
    hz = mel_to_hz(ramp)
    torch.manual_seed(0)
    read = spec_augment(hz.expand(200, 3, MELS), torch.full((200,), 3), config, SOURCE)
    assert torch.equal(read[:, 0], read[:, 2])
    low = (hz > 500) & (hz < 4000)
    factors = (read[:, 0] / hz)[:, low].mean(1)
    assert 1 / 1.1 - 0.01 < factors.min() < 0.93
    assert 1.07 < factors.max() < 1.11
