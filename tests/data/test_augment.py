from __future__ import annotations

import hashlib
import math
import multiprocessing
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.config import AugmentationConfig, parse_config
from asr.data import perturbations
from asr.data.augment import KINDS, Augmenter
from asr.errors import AudioError, ConfigError

RATE = 16000
IDS = [f"utterance-{number}" for number in range(1000)]
ALL: dict[str, Any] = {
    "speed": {},
    "tempo": {},
    "pitch": {},
    "silence": {},
    "reverberation": {},
    "noise": {"kinds": ["white", "pink", "babble"]},
    "equaliser": {},
    "gain": {},
    "clipping": {},
    "telephone": {},
    "codec": {"formats": ["opus", "vorbis", "mp3", "gsm"]},
}


def configured(**kinds: Any) -> AugmentationConfig:
    """Only what is named is on."""
    return parse_config({"augmentation": {**dict.fromkeys(KINDS), **kinds}}).augmentation


def talkers() -> list[np.ndarray]:
    return [speech(seed) for seed in range(10, 18)]


def augmenter(seed: int = 0, babble: Callable[[], Sequence[np.ndarray]] | None = talkers, **kinds: Any) -> Augmenter:
    return Augmenter(configured(**kinds), RATE, seed=seed, babble=babble)


def speech(seed: int = 0, samples: int = RATE) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (0.1 * random.standard_normal(samples) * np.abs(np.sin(np.arange(samples) / 2000))).astype(np.float32)


def strengths(augment: Augmenter, kind: str, epoch: int = 0) -> dict[str, tuple[float, ...]]:
    drawn = {id: [step.strengths for step in augment.draw(epoch, id) if step.kind == kind] for id in IDS}
    return {id: values[0] for id, values in drawn.items() if values}


def digests(jobs: Sequence[tuple[int, str]]) -> list[str]:
    augment = augmenter(seed=3, **ALL)
    return [hashlib.sha256(augment(speech(), epoch=epoch, id=id).tobytes()).hexdigest() for epoch, id in jobs]


def test_nothing_configured_leaves_the_waveform() -> None:
    waveform = speech()
    assert augmenter()(waveform, epoch=0, id="a") is waveform


def test_same_bytes_in_any_order_and_any_process() -> None:
    jobs = [(epoch, id) for epoch in range(2) for id in ("a", "b", "ü", "d")]
    here = digests(jobs)
    assert len(set(here)) == len(jobs)
    assert digests(jobs[::-1]) == here[::-1]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(digests, [jobs[4:], jobs[:4]]) == [here[4:], here[:4]]


def test_argument_is_not_changed_and_result_is_finite_float32() -> None:
    augment = augmenter(**ALL)
    for samples in (RATE, 4000, 800):
        for number in range(6):
            waveform = speech(samples=samples)
            changed = augment(waveform, epoch=number, id="a")
            np.testing.assert_array_equal(waveform, speech(samples=samples))
            assert changed.dtype == np.float32
            assert changed.ndim == 1
            assert np.isfinite(changed).all()
    assert np.isfinite(augment(np.zeros(RATE, np.float32), epoch=0, id="silence")).all()


def test_order_is_that_of_the_configuration() -> None:
    fields = [name for name in AugmentationConfig.model_fields if name not in ("no_speech", "spec_augment")]
    assert list(KINDS) == fields
    assert [step.kind for step in augmenter(**ALL).draw(0, "a")] == fields


def test_seed_epoch_and_id_each_change_what_is_drawn() -> None:
    steps = [str(augmenter(seed, speed={}).draw(epoch, id)) for seed in (0, 1) for epoch in (0, 1) for id in "ab"]
    assert len(set(steps)) == 8


@pytest.mark.parametrize("kind", KINDS)
def test_other_augmentations_do_not_change_the_draws_of_one(kind: str) -> None:
    alone = augmenter(**{kind: ALL[kind]})
    among = augmenter(**ALL)
    for id in IDS[:50]:
        (step,) = alone.draw(0, id)
        assert step in among.draw(0, id)
    if kind in ("reverberation", "noise"):  # what is drawn while it is applied too
        others = {other: {**ALL[other], "probability": 0.0} for other in KINDS if other != kind}
        mixed = augmenter(**{kind: ALL[kind], **others})
        for id in IDS[:5]:
            np.testing.assert_array_equal(alone(speech(), epoch=0, id=id), mixed(speech(), epoch=0, id=id))


def test_probability_is_the_share_of_utterances_and_leaves_their_strengths() -> None:
    always = strengths(augmenter(gain={}), "gain")
    assert len(always) == len(IDS)
    for probability in (0.0, 0.1, 0.5, 0.9):
        drawn = strengths(augmenter(gain={"probability": probability}), "gain")
        spread = math.sqrt(len(IDS) * probability * (1 - probability))
        assert abs(len(drawn) - len(IDS) * probability) <= 4 * spread
        assert drawn.items() <= always.items()


def test_strengths_are_even_over_the_range_and_independent() -> None:
    augment = augmenter(gain={"range": (-6, 3)}, noise={"range": (5, 25)}, silence={"range": (0, 0.5)})
    gains = np.array([value for (value,) in strengths(augment, "gain").values()])
    noises = np.array([value for (value,) in strengths(augment, "noise").values()])
    ends = np.array(list(strengths(augment, "silence").values()))
    for values, low, high in ((gains, -6, 3), (noises, 5, 25), (ends[:, 0], 0, 0.5), (ends[:, 1], 0, 0.5)):
        share = np.sort((values - low) / (high - low))
        assert share[0] >= 0
        assert share[-1] <= 1
        # Kolmogorov-Smirnov at 0.1 %.
        assert np.abs(share - (np.arange(len(share)) + 0.5) / len(share)).max() < 1.95 / math.sqrt(len(share))
    following = np.array([value for (value,) in strengths(augment, "gain", epoch=1).values()])
    for other in (noises, ends[:, 0], following):
        assert abs(np.corrcoef(gains, other)[0, 1]) < 0.13  # 4 standard deviations
    assert abs(np.corrcoef(ends.T)[0, 1]) < 0.13


def test_sources_are_chosen_evenly() -> None:
    augment = augmenter(**ALL)
    for kind, choices in (("noise", 3), ("codec", 4)):
        counts = Counter(step.source for id in IDS for step in augment.draw(0, id) if step.kind == kind)
        assert len(counts) == choices
        assert all(abs(count - 1000 / choices) < 60 for count in counts.values())


@settings(max_examples=60, deadline=None)
@given(samples=st.integers(2000, 20000), needed=st.integers(1000, 20000), id=st.text(min_size=1, max_size=5))
def test_speed_and_tempo_together_never_exceed_the_fastest(samples: int, needed: int, id: str) -> None:
    fastest = samples / min(samples, needed)
    augment = augmenter(speed={"range": (0.8, 1.3)}, tempo={"range": (0.8, 1.3)})
    product = math.prod(step.strengths[0] for step in augment.draw(0, id, fastest))
    assert product <= fastest * (1 + 1e-12)
    assert len(augment(speech(samples=samples), epoch=0, id=id, fastest=fastest)) >= min(samples, needed)


def test_limit_holds_back_only_what_would_exceed_it() -> None:
    augment = augmenter(speed={"range": (0.9, 1.1)}, tempo={"range": (0.9, 1.1)})
    for id in IDS[:100]:
        speed, tempo = (step.strengths[0] for step in augment.draw(0, id))
        limited_speed, limited_tempo = (step.strengths[0] for step in augment.draw(0, id, fastest=1.02))
        assert limited_speed == min(speed, 1.02)
        assert limited_tempo == pytest.approx(min(tempo, 1.02 / limited_speed))


def test_speed_alone_is_soxr_alone() -> None:
    augment = augmenter(speed={"range": (1.07, 1.07)})
    expected = soxr.resample(speech(), 1.07, 1.0, quality="LQ")
    np.testing.assert_array_equal(augment(speech(), epoch=0, id="a"), expected)
    code = (
        "import sys, numpy as np; from asr.config import AugmentationConfig; from asr.data.augment import Augmenter\n"
        "Augmenter(AugmentationConfig(), 16000)(np.ones(16000, np.float32), epoch=0, id='a')\n"
        "print([name for name in ('torch', 'librosa', 'scipy.signal', 'lhotse', 'numba') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_each_step_does_what_its_name_says() -> None:
    waveform = speech()

    def alone(**kinds: Any) -> np.ndarray:
        return augmenter(**kinds)(waveform, epoch=0, id="a")

    np.testing.assert_array_equal(alone(tempo={"range": (1.2, 1.2)}), perturbations.change_tempo(waveform, RATE, 1.2))
    np.testing.assert_array_equal(alone(pitch={"range": (2, 2)}), perturbations.change_pitch(waveform, RATE, 2.0))
    np.testing.assert_array_equal(
        alone(silence={"range": (0.5, 0.5)}), perturbations.add_silence(waveform, RATE, 0.5, 0.5)
    )
    np.testing.assert_array_equal(alone(equaliser={"range": (5, 5)}), perturbations.equalise(waveform, RATE, [5.0] * 7))
    np.testing.assert_array_equal(alone(gain={"range": (3, 3)}), perturbations.change_gain(waveform, 3.0))
    np.testing.assert_array_equal(alone(clipping={"range": (9, 9)}), perturbations.clip(waveform, 9.0))
    np.testing.assert_array_equal(
        alone(telephone={"range": (3100, 3100)}), perturbations.telephone(waveform, RATE, 3100.0)
    )
    np.testing.assert_array_equal(
        alone(codec={"range": (0.7, 0.7), "formats": ["gsm"]}), perturbations.codec(waveform, RATE, 0.7, "gsm")
    )
    for kind in ("white", "pink", "babble"):
        added = alone(noise={"range": (12, 12), "kinds": [kind]}) - waveform
        assert 10 * np.log10(np.mean(waveform**2) / np.mean(added**2)) == pytest.approx(12, abs=0.01)
    assert len(alone(reverberation={})) == len(waveform)


def test_folders_are_drawn_from(tmp_path: Path) -> None:
    for name, hertz in (("low", 500), ("high", 3000)):
        tone = 0.5 * np.sin(2 * np.pi * hertz * np.arange(3 * RATE) / RATE)
        soundfile.write(tmp_path / f"{name}.wav", tone, RATE)
    augment = augmenter(noise={"folder": str(tmp_path)})
    heard = set()
    for id in IDS[:10]:
        (step,) = augment.draw(0, id)
        added = augment(speech(), epoch=0, id=id) - speech()
        assert int(np.abs(np.fft.rfft(added)).argmax()) == {"low.wav": 500, "high.wav": 3000}[step.source]
        heard.add(step.source)
    assert heard == {"low.wav", "high.wav"}

    rooms = tmp_path / "rooms"
    rooms.mkdir()
    soundfile.write(rooms / "echo.wav", np.eye(1, 4000)[0] + 0.5 * np.eye(1, 4000, 2000)[0], RATE, subtype="FLOAT")
    wet = augmenter(reverberation={"folder": str(rooms)})(speech(), epoch=0, id="a")
    echo = speech() + 0.5 * np.concatenate([np.zeros(2000), speech()[:-2000]])
    np.testing.assert_allclose(wet, echo * np.std(speech()) / np.std(echo), atol=2e-4)


def test_unusable_folders_are_errors_and_unusable_files_are_named(tmp_path: Path) -> None:
    for kind in ("noise", "reverberation"):
        with pytest.raises(ConfigError, match=rf"augmentation\.{kind}\.folder: .*nowhere: no such folder"):
            Augmenter(configured(**{kind: {"folder": str(tmp_path / "nowhere")}}), RATE)
    soundfile.write(tmp_path / "good.wav", np.ones(100), RATE)
    (tmp_path / "bad.wav").write_bytes(b"nonsense")
    problems = augmenter(noise={"folder": str(tmp_path)}).problems
    assert [Path(problem.id).name for problem in problems] == ["bad.wav"]
    assert augmenter(speed={}).problems == []


def test_babble_is_asked_for_once_and_only_when_it_is_drawn() -> None:
    calls = []

    def pool() -> list[np.ndarray]:
        calls.append(1)
        return talkers()

    augment = augmenter(babble=pool, noise={"kinds": ["babble"], "probability": 0.5})
    drawn = [id for id in IDS[:20] if augment.draw(0, id)]
    quiet = next(id for id in IDS[:20] if id not in drawn)
    augment(speech(), epoch=0, id=quiet)
    assert calls == []
    for id in drawn:
        augment(speech(), epoch=0, id=id)
    assert calls == [1]


def test_babble_without_other_utterances_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"augmentation\.noise\.kinds: babble"):
        augmenter(babble=None, noise={"kinds": ["pink", "babble"]})
    with pytest.raises(AudioError, match="babble needs other utterances"):
        augmenter(babble=list, noise={"kinds": ["babble"]})(speech(), epoch=0, id="a")


def test_steps_read_as_what_was_done(tmp_path: Path) -> None:
    (tmp_path / "halls").mkdir()
    soundfile.write(tmp_path / "halls" / "big.wav", np.ones(10), RATE)
    augment = augmenter(
        speed={"range": (1.067, 1.067)},
        tempo={"range": (0.9, 0.9)},
        pitch={"range": (-1.23, -1.23)},
        silence={"range": (0.2, 0.2)},
        reverberation={"range": (0.3, 0.3)},
        noise={"range": (12.34, 12.34), "kinds": ["pink"]},
        equaliser={"range": (-4, -4)},
        gain={"range": (2, 2)},
        clipping={"range": (6, 6)},
        telephone={"range": (3400, 3400)},
        codec={"range": (0.75, 0.75), "formats": ["opus"]},
    )
    assert ", ".join(map(str, augment.draw(0, "a"))) == (
        "speed 1.07, tempo 0.90, pitch -1.2 semitones, silence 0.20 s before, 0.20 s after, reverberation 0.30 s, "
        "noise pink 12.3 dB, equaliser of octaves -4.0 to -4.0 dB, gain +2.0 dB, clipping 6.0 dB, "
        "telephone up to 3400 Hz, codec opus 0.75"
    )
    augment = augmenter(reverberation={"folder": str(tmp_path)}, codec={"formats": ["gsm"]})
    assert [str(step) for step in augment.draw(0, "a")] == ["reverberation halls/big.wav", "codec gsm"]
