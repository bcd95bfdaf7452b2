from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from asr.config import AugmentationConfig, Config, SpeedConfig
from asr.data.augment import Augmenter
from asr.data.examples import Examples
from asr.data.loading import SpeechDataset, collate
from asr.data.perturbations import change_speed
from asr.data.problems import Problem, summarise
from asr.data.utterance import Utterance
from asr.errors import TrainingError
from asr.model.acoustic import AcousticModel
from asr.text import BLANK, SPACE, Tokenizer, ctc_frames
from asr.training.loss import ctc_loss
from asr.training.preparation import build_tokenizer, prepare_examples

RATE = 16000


def configuration(**sections: Any) -> Config:
    model = {"layers": 1, "hidden": 4, "cell": "rnn_tanh", "subsampling": {"channels": 1}}
    return Config.model_validate({"features": {"mels": 8}, "model": model, **sections})


def spoken(folder: Path, name: str, text: str | None, samples: int = RATE, rate: int = RATE) -> Utterance:
    """An utterance with a recording of noise."""
    path = folder / f"{name}.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(samples).standard_normal(samples), rate, subtype="FLOAT")
    return Utterance(name, path, samples / rate, rate, text)


def prepared(
    utterances: list[Utterance], config: Config | None = None, alphabet: str = "abcdefgh'"
) -> tuple[Examples, list[Problem], AcousticModel]:
    config = config or configuration()
    tokenizer = Tokenizer.from_characters(alphabet)
    model = AcousticModel(config, len(tokenizer)).eval()
    return *prepare_examples(utterances, tokenizer, config), model


def test_tokenizer_has_the_characters_of_the_transcripts() -> None:
    texts = ["Bad  Cab", "d’éa", None, ""]
    utterances = [Utterance(str(i), Path("x.wav"), 1.0, RATE, text) for i, text in enumerate(texts)]
    assert build_tokenizer(utterances, configuration()).tokens == [BLANK, SPACE, "'", "a", "b", "c", "d", "é"]
    upper = build_tokenizer(utterances, configuration(text={"case": "upper"}))
    assert upper.tokens == [BLANK, SPACE, "'", "A", "B", "C", "D", "É"]


def test_alphabet_of_the_configuration_comes_first() -> None:
    utterances = [Utterance("a", Path("x.wav"), 1.0, RATE, "xyz")]
    tokenizer = build_tokenizer(utterances, configuration(text={"alphabet": "CBA b"}))
    assert tokenizer.tokens == [BLANK, SPACE, "a", "b", "c"]


@pytest.mark.parametrize("texts", [[], [None], ["", "  "]])
def test_no_transcripts_no_tokenizer(texts: list[str | None]) -> None:
    with pytest.raises(TrainingError, match="no training transcript has a character in it"):
        build_tokenizer([Utterance(str(i), Path("x.wav"), 1.0, RATE, t) for i, t in enumerate(texts)], configuration())


def test_good_utterances_become_examples_in_order(tmp_path: Path) -> None:
    utterances = [spoken(tmp_path, "one", "Bad  cab"), spoken(tmp_path, "two", "a", rate=8000)]
    examples, problems, _ = prepared(utterances)
    assert problems == []
    assert [example.utterance for example in examples] == utterances
    tokenizer = Tokenizer.from_characters("abcdefgh'")
    assert [tokenizer.decode(example.tokens) for example in examples] == ["bad cab", "a"]


@pytest.mark.parametrize("text", [None, "", "  \n"])
def test_empty_transcript(tmp_path: Path, text: str | None) -> None:
    examples, (problem,), _ = prepared([spoken(tmp_path, "one", text)])
    assert len(examples) == 0
    assert (problem.id, problem.kind) == ("one", "no transcript")
    assert "empty" in problem.message


def test_character_outside_the_alphabet_is_named(tmp_path: Path) -> None:
    _, (problem,), _ = prepared([spoken(tmp_path, "one", "ab 3 é")])
    assert (problem.id, problem.kind) == ("one", "outside the alphabet")
    assert "'3' (U+0033), 'é' (U+00E9)" in problem.message


def test_too_long(tmp_path: Path) -> None:
    config = configuration(data={"max_seconds": 0.9})
    _, (problem,), _ = prepared([spoken(tmp_path, "one", "ab")], config)
    assert (problem.id, problem.kind) == ("one", "too long")
    assert "1.0 s" in problem.message
    assert "data.max_seconds = 0.9" in problem.message


def test_transcript_that_ctc_cannot_fit_is_named_with_both_numbers(tmp_path: Path) -> None:
    """1600 samples are 11 feature frames and 3 frames of log-probs; `abb` needs 4, `abc` 3."""
    utterances = [spoken(tmp_path, "repeats", "abb", 1600), spoken(tmp_path, "fits", "abc", 1600)]
    examples, (problem,), model = prepared(utterances)
    assert [example.utterance.id for example in examples] == ["fits"]
    assert (problem.id, problem.kind) == ("repeats", "too short for its transcript")
    assert "0.10 s give 3 frames, 'abb' needs 4" in problem.message
    assert model.output_frames(1600) == 3


def test_unreadable_audio(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("not audio")
    utterances = [Utterance(name, tmp_path / f"{name}.wav", 1.0, RATE, "ab") for name in ("text", "gone")]
    examples, problems, _ = prepared([utterances[0], spoken(tmp_path, "good", "ab"), utterances[1]])
    assert [example.utterance.id for example in examples] == ["good"]
    assert [(problem.id, problem.kind) for problem in problems] == [
        ("text", "unreadable audio"),
        ("gone", "unreadable audio"),
    ]
    assert "not audio" in problems[0].message
    assert str(tmp_path / "gone.wav") in problems[1].message


def test_recording_shorter_than_the_manifest_says(tmp_path: Path) -> None:
    whole = spoken(tmp_path, "one", "ab")
    late = replace(whole, id="late", start=0.75, duration=0.5, recording_samples=2 * RATE)
    inside = replace(whole, id="inside", start=0.5, duration=0.5, recording_samples=RATE)
    examples, problems, _ = prepared([replace(whole, duration=2.0), late, inside])
    assert [example.utterance.id for example in examples] == ["inside"]
    assert [problem.kind for problem in problems] == ["duration mismatch"] * 2
    assert "1.00 s long, the manifest says speech until 2.00 s" in problems[0].message
    assert "until 1.25 s" in problems[1].message


def test_recording_longer_than_the_manifest_says(tmp_path: Path) -> None:
    whole = replace(spoken(tmp_path, "one", "ab", 5 * RATE), duration=1.0)
    _, problems, _ = prepared([whole], configuration(data={"max_seconds": 2}))
    assert [problem.id for problem in problems] == ["one"]


def losses(examples: Examples, model: AcousticModel, speed: tuple[float, float] | None = None) -> torch.Tensor:
    augmenter = Augmenter(AugmentationConfig(speed=None if speed is None else SpeedConfig(range=speed)), RATE)
    batch = collate([SpeechDataset(examples, RATE, augmenter)[0, index] for index in range(len(examples))])
    assert batch.failures == []
    with torch.no_grad():
        log_probs, lengths = model(batch.waveforms, batch.lengths)
    return ctc_loss(log_probs, lengths, batch.tokens, batch.token_lengths)


@pytest.mark.parametrize("speed", [None, (1.9, 2.0)])
def test_every_example_has_a_finite_loss_however_fast_it_is_played(
    tmp_path: Path, speed: tuple[float, float] | None
) -> None:
    sizes = [1600, 1921, 2560, 5119, 5120, 9999]
    utterances = [
        spoken(tmp_path, f"{size}-{text}", text, size)
        for size in sizes
        for text in ("a", "ab", "aa", "abc", "abcd", "abcdefgh", "aabbccdd")
    ]
    examples, problems, model = prepared(utterances)
    assert examples
    assert problems
    assert torch.isfinite(losses(examples, model, speed=speed)).all()


def test_fastest_leaves_exactly_the_frames_that_are_needed(tmp_path: Path) -> None:
    (example,), _, model = prepared([spoken(tmp_path, "one", "aab", 7000)])
    waveform = np.zeros(7000, np.float32)
    needed = ctc_frames(example.tokens)
    assert model.output_frames(len(change_speed(waveform, example.fastest))) == needed == 4
    assert model.output_frames(len(change_speed(waveform, example.fastest * 1.001))) == needed - 1


def test_file_a_few_samples_shorter_than_the_manifest_says_still_has_a_finite_loss(tmp_path: Path) -> None:
    """1920 samples would be 4 frames of log-probs, 1900 are 3."""
    utterance = replace(spoken(tmp_path, "one", "abcd", 1900), duration=1920 / RATE)
    examples, problems, model = prepared([utterance])
    assert problems or torch.isfinite(losses(examples, model)).all()


def test_summary_counts_each_kind_and_names_the_first_few() -> None:
    problems = [Problem(f"a{i}", "too long", f"{i} s") for i in range(5)] + [Problem("b", "no transcript", "empty")]
    assert summarise(problems, "train", shown=2) == [
        "train: 5 utterances left out, too long:",
        "  a0: 0 s",
        "  a1: 1 s",
        "  and 3 more",
        "train: 1 utterances left out, no transcript:",
        "  b: empty",
    ]
    assert summarise([], "train") == []
