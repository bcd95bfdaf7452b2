from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from asr.config import AugmentationConfig, SpeedConfig
from asr.data.augment import Augmenter
from asr.data.batches import BatchSampler
from asr.data.examples import Example
from asr.data.loading import Loaded, SpeechDataset, collate
from asr.data.reading import load_utterance
from asr.data.utterance import Utterance
from asr.errors import AudioError

RATE = 16000


def sine(hertz: float, samples: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(samples) / RATE)).astype(np.float32)


def example(folder: Path, name: str, samples: np.ndarray, tokens: list[int] | None = None, **more: float) -> Example:
    path = folder / f"{name}.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    return Example(Utterance(name, path, len(samples) / RATE, RATE, "x"), tokens or [1, 2], **more)


def faster(seed: int = 0) -> Augmenter:
    """Speed alone, between 0.9 and 1.1."""
    return Augmenter(AugmentationConfig(speed=SpeedConfig(range=(0.9, 1.1))), RATE, seed=seed)


def frequency(waveform: np.ndarray) -> float:
    """Hz of the strongest component, to a fraction of a bin."""
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)), 2**19))
    return float(spectrum.argmax() * RATE / 2**19)


def test_without_an_augmenter_the_recording_comes_unchanged(tmp_path: Path) -> None:
    samples = sine(300.0)
    loaded = SpeechDataset([example(tmp_path, "a", samples, [3, 1])], RATE)[0, 0]
    assert (loaded.id, loaded.tokens, loaded.problem) == ("a", [3, 1], "")
    np.testing.assert_array_equal(loaded.waveform, samples)


def test_recording_is_resampled_to_the_rate_of_the_model(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "slow.wav", sine(440.0, 4 * RATE)[::2], RATE // 2, subtype="FLOAT")
    waveform = load_utterance(Utterance("slow", tmp_path / "slow.wav", 4.0, RATE // 2), RATE)
    assert len(waveform) == 4 * RATE
    assert frequency(waveform) == pytest.approx(440.0, rel=1e-3)


def test_segment_and_channel_are_cut_out(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (RATE, 2)).astype(np.float32)
    soundfile.write(tmp_path / "st.wav", samples, RATE, subtype="FLOAT")
    utterance = Utterance("seg", tmp_path / "st.wav", 0.25, RATE, start=0.5, channel=1, recording_samples=RATE)
    np.testing.assert_array_equal(load_utterance(utterance, RATE), samples[RATE // 2 : 3 * RATE // 4, 1])
    with pytest.raises(AudioError, match=r"gone\.wav: no such file"):
        load_utterance(Utterance("gone", tmp_path / "gone.wav", 1.0, RATE), RATE)


def lengths(dataset: SpeechDataset, epoch: int) -> list[int]:
    waveforms = [dataset[epoch, index].waveform for index in range(len(dataset))]
    return [len(waveform) for waveform in waveforms if waveform is not None]


def test_factor_depends_on_seed_epoch_and_id_alone(tmp_path: Path) -> None:
    examples = [example(tmp_path, name, sine(200.0)) for name in "abcdefgh"]
    dataset = SpeechDataset(examples, RATE, faster(seed=1))
    first = lengths(dataset, 0)
    assert len(set(first)) == len(first)  # every utterance has its own
    assert lengths(dataset, 0) == first
    assert lengths(SpeechDataset(examples, RATE, faster(seed=1)), 0) == first
    assert lengths(SpeechDataset(examples[::-1], RATE, faster(seed=1)), 0) == first[::-1]
    assert lengths(dataset, 1) != first
    assert lengths(SpeechDataset(examples, RATE, faster(seed=2)), 0) != first


def test_factors_fill_the_range(tmp_path: Path) -> None:
    dataset = SpeechDataset([example(tmp_path, "a", sine(200.0))], RATE, faster())
    factors = np.array([RATE / lengths(dataset, epoch)[0] for epoch in range(60)])
    assert factors.min() >= 0.9 - 1e-3
    assert factors.max() <= 1.1 + 1e-3
    assert factors.min() < 0.92
    assert factors.max() > 1.08


def test_no_utterance_is_played_faster_than_its_limit(tmp_path: Path) -> None:
    needed = 15601
    limited = example(tmp_path, "a", sine(200.0), fastest=RATE / needed)
    found = [lengths(SpeechDataset([limited], RATE, faster()), epoch)[0] for epoch in range(40)]
    assert min(found) == needed  # reached, and never passed
    assert max(found) > RATE


def test_bad_files_become_failures_and_the_rest_goes_on(tmp_path: Path) -> None:
    good = [example(tmp_path, "a", sine(200.0, 800), [4]), example(tmp_path, "b", sine(200.0, 1600), [5, 6, 7])]
    (tmp_path / "text.wav").write_text("not audio")
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan], np.float32), RATE, subtype="FLOAT")
    bad = [Example(Utterance(n, tmp_path / f"{n}.wav", 1.0, RATE, "x"), [1]) for n in ("text", "gone", "nan")]
    dataset = SpeechDataset([bad[0], good[0], bad[1], good[1], bad[2]], RATE, faster())
    batch = collate([dataset[0, index] for index in range(5)])
    assert batch.ids == ["a", "b"]
    assert [name for name, _ in batch.failures] == ["text", "gone", "nan"]
    for name, reason in batch.failures:
        assert str(tmp_path / f"{name}.wav") in reason
    assert "not audio" in batch.failures[0][1]
    assert "no such file" in batch.failures[1][1]
    assert "NaN" in batch.failures[2][1]


def test_collate_pads_with_zeros() -> None:
    one, two = np.ones(3, np.float32), np.full(5, 2.0, np.float32)
    batch = collate([Loaded("a", one, [7, 8]), Loaded("b", two, [9])])
    assert batch.ids == ["a", "b"]
    assert batch.waveforms.dtype == torch.float32
    assert batch.waveforms.tolist() == [[1, 1, 1, 0, 0], [2, 2, 2, 2, 2]]
    assert batch.lengths.tolist() == [3, 5]
    assert batch.tokens.tolist() == [[7, 8], [9, 0]]
    assert batch.token_lengths.tolist() == [2, 1]
    assert batch.failures == []


def test_collate_of_nothing_readable_is_an_empty_batch() -> None:
    batch = collate([Loaded("a", None, [1], "broken")])
    assert (batch.ids, batch.failures) == ([], [("a", "broken")])
    assert batch.waveforms.shape == (0, 0)
    assert len(batch.lengths) == len(batch.token_lengths) == 0


def test_batch_moves_whole() -> None:
    batch = collate([Loaded("a", np.ones(3, np.float32), [7]), Loaded("b", None, [1], "broken")])
    moved = batch.to(torch.device("meta"))
    for tensor in (moved.waveforms, moved.lengths, moved.tokens, moved.token_lengths):
        assert tensor.device.type == "meta"
    assert (moved.ids, moved.failures) == (["a"], [("b", "broken")])


def test_workers_change_nothing(tmp_path: Path) -> None:
    examples = [example(tmp_path, name, sine(200.0, 1000 + 300 * i), [i + 1]) for i, name in enumerate("abcdef")]
    dataset = SpeechDataset(examples, RATE, faster(seed=5))

    def batches(workers: int) -> list[tuple[list[str], torch.Tensor, torch.Tensor]]:
        sampler = BatchSampler([e.utterance.duration for e in examples], 0.4, seed=5)
        sampler.start(3)
        loader: DataLoader = DataLoader(dataset, batch_sampler=sampler, collate_fn=collate, num_workers=workers)
        return [(batch.ids, batch.waveforms, batch.tokens) for batch in loader]

    alone, with_workers = batches(0), batches(2)
    assert len(alone) > 1
    for (ids, waveforms, tokens), (other_ids, other_waveforms, other_tokens) in zip(alone, with_workers, strict=True):
        assert ids == other_ids
        assert torch.equal(waveforms, other_waveforms)
        assert torch.equal(tokens, other_tokens)
