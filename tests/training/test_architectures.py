"""Every architecture through the same chain: training, a folder, transcribing, evaluating."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from asr.config import Config
from asr.data.manifest import Utterance
from asr.evaluation import evaluate
from asr.training import train
from asr.training.log import read_log
from asr.transcription import Transcript, load_model
from tests.conftest import RATE, Speech

if TYPE_CHECKING:
    from tests.conftest import Ran

TRANSFORMER = {"encoder": "transformer", "heads": 2, "feedforward": 16}
CHOICES: dict[str, dict[str, Any]] = {
    "Transformer": {"model": TRANSFORMER},
    "attention": {"model": {"head": "attention"}},
    "Transformer and attention": {"model": TRANSFORMER | {"head": "attention"}},
    "weight drop, projection, residual": {
        "model": {"layers": 2, "weight_drop": 0.3, "projection": 8, "residual": True}
    },
    "intermediate losses": {"model": {"layers": 3, "intermediate": [1, 2], "self_conditioning": True}},
    "Transformer with an intermediate loss": {"model": TRANSFORMER | {"layers": 2, "intermediate": [1]}},
    "consistency": {"model": {"layers": 2, "intermediate": [1]}, "training": {"consistency": 0.2}},
    "label prior": {"training": {"label_prior": 0.3}},
}


def trained_on(config: Config, changes: dict[str, Any], folder: Path) -> Path:
    """A folder of one epoch of `config` with `changes`."""
    tree = config.model_dump()
    for section, values in changes.items():
        tree[section] |= values
    train(Config.model_validate(tree), folder, device="cpu")
    return folder


@pytest.mark.parametrize("changes", CHOICES.values(), ids=list(CHOICES))
def test_a_training_is_finite_repeatable_and_gives_a_model_that_reads_batches_as_single_files(
    brief: Callable[..., Config], good: list[Utterance], tmp_path: Path, changes: dict[str, Any]
) -> None:
    folders = [trained_on(brief(good), changes, tmp_path / name) for name in ("one", "again")]
    rows = [[row["loss"] for row in read_log(folder) if row["kind"] == "train"] for folder in folders]
    assert rows[0]
    assert np.isfinite(rows[0]).all()
    assert rows[0] == rows[1]
    model = load_model(folders[0], device="cpu")
    together = [t.text for t in model.transcribe_many([u.audio for u in good[:4]]) if isinstance(t, Transcript)]
    assert together == [model.transcribe(utterance.audio).text for utterance in good[:4]]
    result = evaluate(model, good[:4])
    assert [hypothesis.text for hypothesis in result.hypotheses.values()] == together


def spoken(speech: Speech, text: str, seed: int) -> list[tuple[float, float]]:
    """Begin and end of each word of `speech.say(text, seed)` in seconds."""
    rng = np.random.default_rng(seed)
    times, reached = [], len(speech._pause(rng))
    for word in text.split():
        begin = reached
        reached += sum(len(speech._letter(letter, rng)) for letter in word)
        times.append((begin / speech.rate, reached / speech.rate))
        reached += len(speech._pause(rng))
    return times


@pytest.mark.slow
def test_attention_learns_to_read_from_left_to_right(
    small_config: Callable[..., Config],
    speech: Speech,
    asr_command: Callable[..., Ran],
    tmp_path: Path,
) -> None:
    """What it writes is right, greedily and by beam; words stand where they were said; there are subtitles."""
    sentences = speech.sentences(330, seed=1)
    train_set = speech.corpus(tmp_path / "train", sentences[:300], "train")
    test_set = speech.corpus(tmp_path / "test", sentences[300:], "test")
    config = small_config(
        data={"train": str(train_set), "shortest_first": True},
        model={"head": "attention", "hidden": 64},
        training={"epochs": 2, "learning_rate": 4e-3},
    )
    train(config, tmp_path / "model", device="cpu")
    wers = {}
    for method in ("greedy", "beam"):
        decoding = {"method": method, "beam": 4}
        wers[method] = evaluate(load_model(tmp_path / "model", device="cpu", decoding=decoding), test_set).wer
    assert max(wers.values()) < 0.05, wers

    transcript = load_model(tmp_path / "model", device="cpu").transcribe(speech.say("bad cafe", 7), sample_rate=RATE)
    words = [word for segment in transcript.segments for word in segment.words]
    assert [word.text for word in words] == ["bad", "cafe"]
    for word, (begin, end) in zip(words, spoken(speech, "bad cafe", 7), strict=True):
        assert word.start is not None
        assert word.end is not None
        assert begin - 0.1 < word.start < word.end < end + 0.1

    audio, text = tmp_path / "test" / "test-000.wav", tmp_path / "text.txt"
    text.write_text(sentences[300])
    ran = asr_command("transcribe", audio, "--model", tmp_path / "model", "--format", "srt")
    assert ran.status == 0, ran.err
    assert "-->" in ran.out
    ran = asr_command("align", audio, text, "--model", tmp_path / "model")
    assert ran.status != 0
    assert "needs a model with `head: ctc`" in ran.err
    ran = asr_command("info", tmp_path / "model")
    assert ran.status == 0
    assert "attention over 10 tokens" in ran.out
