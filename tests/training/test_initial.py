"""Fine-tuning: weights, tokens and frozen layers of the model that a training starts from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from rich.console import Console

from asr.config import Config, DecodingConfig, load_config, parse_config, save_config
from asr.errors import CheckpointError, ConfigError, TrainingError
from asr.model.acoustic import AcousticModel
from asr.model.checkpoint import create_folder, load_folder, load_tensors, save_tensors
from asr.text import BpeTokenizer, PhoneTokenizer, Tokenizer
from asr.training import train
from asr.training.initial import Initial, adopted, freeze

if TYPE_CHECKING:
    from tests.conftest import Ran, Speech, Trained


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, speech: Speech) -> Path:
    """Eight sentences with other words than those of the model."""
    return speech.corpus(tmp_path_factory.mktemp("other"), ["bead", "ebb egg", "add face", "hedge", "bag"] * 2, "other")


@pytest.fixture
def tuning(small_config: Callable[..., Config], trained: Trained, other: Path) -> Callable[..., Config]:
    """`tuning(epochs=2)`: on the other sentences, from the trained model."""

    def make(**training: Any) -> Config:
        plain = {"epochs": 1, "learning_rate": 1e-3, "init": str(trained.folder)}
        return small_config(data={"train": str(other), "batch_seconds": 2.0}, training=plain | training)

    return make


def saved(folder: Path, config: Config, tokenizer: Tokenizer) -> Path:
    """A model with initial weights."""
    torch.manual_seed(1)
    create_folder(folder, config, tokenizer)
    save_tensors(folder / "model.safetensors", AcousticModel(config, len(tokenizer)).state_dict())
    return folder


def test_a_model_starts_with_the_results_of_the_one_before(trained: Trained, tuning: Callable[..., Config]) -> None:
    initial = Initial(trained.folder)
    model = AcousticModel(tuning(), len(initial.tokenizer)).eval()
    assert initial.load_into(model, initial.tokenizer) == []
    before, _ = load_folder(trained.folder)
    waveforms, lengths = 0.1 * torch.randn(2, 8000), torch.tensor([8000, 5000])
    with torch.no_grad():
        torch.testing.assert_close(model(waveforms, lengths), before(waveforms, lengths), rtol=0, atol=0)


def test_tokens_keep_their_weights_wherever_they_stand(tmp_path: Path) -> None:
    config = parse_config({"model": {"hidden": 8, "layers": 2, "intermediate": [1], "self_conditioning": True}})
    initial = Initial(saved(tmp_path / "m", config, Tokenizer.from_characters("bcx")))
    tokenizer = Tokenizer.from_characters("abcd")
    model = AcousticModel(config, len(tokenizer))
    assert initial.load_into(model, tokenizer) == ["a", "d"]
    # <blank> ▁ b c x, and now <blank> ▁ a b c d: where each was, None for the mean of all but the blank
    sources = [0, 1, None, 2, 3, None]
    after = model.state_dict()
    for name, axis in (("head.weight", 0), ("head.bias", 0), ("conditioning.weight", 1)):
        old, new = initial.tensors[f"classifier.{name}"].movedim(axis, 0), after[f"classifier.{name}"].movedim(axis, 0)
        for row, source in zip(new, sources, strict=True):
            torch.testing.assert_close(row, old[1:].mean(0) if source is None else old[source], rtol=0, atol=0)
    for name, tensor in initial.tensors.items():
        if "head" not in name and name != "classifier.conditioning.weight":
            assert torch.equal(after[name], tensor), name


def test_what_the_model_could_write_it_still_can(tmp_path: Path) -> None:
    config = parse_config({})
    initial = Initial(saved(tmp_path / "m", config, Tokenizer.from_characters("abX'")))
    plain, french = config.text, Tokenizer.from_characters("bé")
    assert initial.extended(french, plain).tokens == ["<blank>", "▁", "'", "a", "b", "é"]  # X: the text is lower case
    keep = plain.model_copy(update={"case": "keep", "remove": "'"})
    assert initial.extended(french, keep).tokens == ["<blank>", "▁", "X", "a", "b", "é"]
    asked = plain.model_copy(update={"alphabet": "bé"})
    assert initial.extended(french, asked) is french


def test_phones_are_joined_too_and_pronunciations_are_those_of_the_text(tmp_path: Path) -> None:
    config = parse_config({"text": {"units": "phones", "lexicon": "unread"}})
    before = PhoneTokenizer(["<blank>", "▁", "AE", "K", "T"], {"cat": [("K", "AE", "T")]})
    initial = Initial(saved(tmp_path / "m", config, before))
    joined = initial.extended(PhoneTokenizer(["<blank>", "▁", "AE", "B"], {"bab": [("B", "AE", "B")]}), config.text)
    assert isinstance(joined, PhoneTokenizer)
    assert joined.tokens == ["<blank>", "▁", "AE", "B", "K", "T"]
    assert (joined.encode("bab"), joined.missing("cat")) == ([3, 2, 3], ["cat"])


def test_pieces_of_words_are_the_models_own_where_they_can_write_the_text(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece")
    config = parse_config({"text": {"units": "bpe", "vocabulary": 8}})
    before = BpeTokenizer.train({"abab": 5, "abba": 3, "cab": 2}, 8)
    initial = Initial(saved(tmp_path / "m", config, before))
    text = config.text
    assert initial.extended(BpeTokenizer.train({"bac": 5, "baba": 3}, 7), text).tokens == before.tokens
    other = BpeTokenizer.train({"bad": 5, "dab": 3}, 7)
    assert initial.extended(other, text) is other
    characters = Tokenizer.from_characters("ab")
    assert initial.extended(characters, text) is characters


def test_architecture_and_features_are_the_models_and_what_was_asked_for_is_named(
    trained: Trained, small_config: Callable[..., Config]
) -> None:
    asked = small_config(
        features={"mels": 64},
        model={"layers": 3, "dropout": 0.4, "subsampling": {"channels": 16}},
        training={"init": str(trained.folder), "learning_rate": 1e-4},
    )
    config, gave_way = adopted(asked)
    before, _ = load_folder(trained.folder)
    assert config.features == before.config.features
    assert config.model == before.config.model.model_copy(update={"dropout": 0.4})
    assert config.training == asked.training
    assert sorted(gave_way) == [
        "features.mels: 40 instead of 64",
        "model.layers: 1 instead of 3",
        "model.subsampling.channels: 8 instead of 16",
    ]
    assert adopted(config) == (config, [])
    assert adopted(small_config()) == (small_config(), [])


def test_fine_tuning_keeps_the_frozen_layers_and_the_old_tokens(
    tuning: Callable[..., Config], trained: Trained, tmp_path: Path
) -> None:
    console = Console(record=True, width=200)
    train(tuning(frozen=1), tmp_path / "tuned", device="cpu", console=console)
    before, _ = load_tensors(trained.folder / "model.safetensors")
    after, _ = load_tensors(tmp_path / "tuned" / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"classifier.head.weight", "classifier.head.bias"}
    assert (
        Tokenizer.load(tmp_path / "tuned" / "tokens.txt").tokens == Tokenizer.load(trained.folder / "tokens.txt").tokens
    )
    tokens = len(Tokenizer.load(trained.folder / "tokens.txt"))
    assert f"starting from {trained.folder}, {tokens} of {tokens} tokens known" in console.export_text()
    assert f"from those of `{trained.folder}`" in (tmp_path / "tuned" / "README.md").read_text()


def test_a_model_of_phones_is_not_made_one_of_characters_without_a_word(
    tuning: Callable[..., Config], small_config: Callable[..., Config], tmp_path: Path
) -> None:
    phones = small_config(text={"units": "phones", "lexicon": "unread"})
    tokenizer = PhoneTokenizer(["<blank>", "▁", "AE", "K", "T"], {"cat": [("K", "AE", "T")]})
    folder = saved(tmp_path / "phones", phones, tokenizer)
    console = Console(record=True, width=200)
    train(tuning(init=str(folder)), tmp_path / "tuned", device="cpu", console=console)
    assert "its head knows phones, and text.units is characters" in console.export_text()


def test_only_the_subsampling_frozen_and_nothing_frozen(
    tuning: Callable[..., Config], trained: Trained, tmp_path: Path
) -> None:
    before, _ = load_tensors(trained.folder / "model.safetensors")
    for frozen, kept in ((0, ("classifier.subsampling", "classifier.norm")), (None, ("none",))):
        train(tuning(frozen=frozen), tmp_path / str(frozen), device="cpu")
        after, _ = load_tensors(tmp_path / str(frozen) / "model.safetensors")
        same = {name for name in before if torch.equal(before[name], after[name])}
        assert same == {name for name in before if name.startswith(kept)}


def test_a_few_sentences_suffice_where_a_training_from_nothing_has_learnt_nothing(
    tuning: Callable[..., Config], tmp_path: Path
) -> None:
    losses = {}
    for name, changes in (("tuned", {}), ("scratch", {"init": None})):
        losses[name] = train(tuning(**changes), tmp_path / name, device="cpu").history[-1]["loss"]
    assert losses["tuned"] < 0.5 * losses["scratch"]


def test_it_goes_on_bit_for_bit_after_a_break(tuning: Callable[..., Config], tmp_path: Path) -> None:
    config = tuning(frozen=0, epochs=2, ema=0.9)
    train(config, tmp_path / "whole", device="cpu")
    broken = tmp_path / "broken"
    train(config, broken, device="cpu")
    steps = sorted(broken.glob("checkpoints/step-*.safetensors"), key=lambda path: int(path.stem.split("-")[1]))
    steps[-1].unlink()  # back to the end of the first epoch
    train(config, broken, device="cpu", resume=True)
    whole, _ = load_tensors(tmp_path / "whole" / "model.safetensors")
    again, _ = load_tensors(broken / "model.safetensors")
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_global_normalisation_is_the_models(small_config: Callable[..., Config], other: Path, tmp_path: Path) -> None:
    config = small_config(features={"normalisation": "global"}, training={"epochs": 1}, data={"train": str(other)})
    folder = saved(tmp_path / "m", config, Tokenizer.from_characters("abcdefgh"))
    tuned = config.model_copy(deep=True)
    tuned.training.init = str(folder)
    train(tuned, tmp_path / "tuned", device="cpu")
    after, _ = load_tensors(tmp_path / "tuned" / "model.safetensors")
    assert not after["features.mean"].any()  # that of a model that never saw data
    train(config, tmp_path / "scratch", device="cpu")
    scratch, _ = load_tensors(tmp_path / "scratch" / "model.safetensors")
    assert scratch["features.mean"].all()


def test_another_normalisation_is_taken_where_it_is_said(
    tuning: Callable[..., Config], small_config: Callable[..., Config], trained: Trained, other: Path, tmp_path: Path
) -> None:
    asked = small_config(
        features={"normalisation": "global"},
        training={"init": str(trained.folder), "epochs": 1},
        data={"train": str(other)},
    )
    config, gave_way = adopted(asked)
    assert (config.features.normalisation, gave_way) == ("global", [])
    train(asked, tmp_path / "global", device="cpu")
    after, _ = load_tensors(tmp_path / "global" / "model.safetensors")
    assert after["features.mean"].all()  # measured, as the model has none
    prior, _ = adopted(small_config(features={"prior_seconds": 0.5}, training={"init": str(trained.folder)}))
    assert (prior.features.normalisation, prior.features.prior_seconds) == ("utterance", 0.5)
    folder = saved(tmp_path / "prior", prior, Tokenizer.from_characters("abcdefgh"))
    for said, seconds in (({}, 0.5), ({"normalisation": "global"}, 0.0), ({"normalisation": "utterance"}, 0.5)):
        config, _ = adopted(small_config(features=said, training={"init": str(folder)}))
        assert config.features.prior_seconds == seconds
    back = small_config(
        features={"normalisation": "utterance"},
        training={"init": str(tmp_path / "global"), "epochs": 1},
        data={"train": str(other)},
    )
    train(back, tmp_path / "back", device="cpu")
    assert "features.mean" not in load_tensors(tmp_path / "back" / "model.safetensors")[0]


def test_frames_may_come_more_often_than_the_model_is_used_to(
    small_config: Callable[..., Config], trained: Trained, other: Path, tmp_path: Path
) -> None:
    theirs = load_config(trained.folder / "config.yaml").features.hop_ms
    asked = small_config(
        features={"hop_ms": theirs / 2},
        training={"init": str(trained.folder), "epochs": 1},
        data={"train": str(other)},
    )
    train(asked, tmp_path / "out", device="cpu")
    (dense, _), (sparse, _) = load_folder(tmp_path / "out"), load_folder(trained.folder)
    assert dense.frame_seconds == pytest.approx(sparse.frame_seconds / 2)
    assert adopted(small_config(training={"init": str(trained.folder)}))[0].features.hop_ms == theirs


def test_what_cannot_be_started_from_is_named(
    tuning: Callable[..., Config], small_config: Callable[..., Config], tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"training\.init: .*nowhere: no such model folder"):
        train(tuning(init=str(tmp_path / "nowhere")), tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()
    with pytest.raises(TrainingError, match=r"training\.frozen is 2 and the model has 1 layers"):
        train(tuning(frozen=2), tmp_path / "out", device="cpu")
    with pytest.raises(ConfigError, match="frozen is an option of trainings with init"):
        small_config(training={"frozen": 1})
    attention = small_config(model={"head": "attention"})
    folder = saved(tmp_path / "attention", attention, Tokenizer.from_characters("abc"))
    with pytest.raises(TrainingError, match="has an attention head and other tokens"):
        train(tuning(init=str(folder)), tmp_path / "out", device="cpu")
    damaged = saved(tmp_path / "damaged", small_config(), Tokenizer.from_characters("abc"))
    save_config(small_config(model={"hidden": 16}), damaged / "config.yaml")
    with pytest.raises(CheckpointError, match="weights of another model"):
        train(tuning(init=str(damaged)), tmp_path / "out", device="cpu")


def test_projections_and_norms_of_frozen_layers_are_frozen_with_them() -> None:
    model = AcousticModel(parse_config({"model": {"hidden": 8, "layers": 2, "projection": 8}}), 4)
    freeze(model, 1)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert not any(".0." in name or "subsampling" in name or "classifier.norm" in name for name in trained)
    assert {"classifier.encoder.norms.1.weight", "classifier.encoder.projections.1.weight"} <= trained


def test_the_command_line_has_it_as_an_option(
    asr_command: Callable[..., Ran], tuning: Callable[..., Config], trained: Trained, tmp_path: Path
) -> None:
    save_config(tuning(init=None), tmp_path / "config.yaml")
    arguments = ("train", tmp_path / "config.yaml", "--output", tmp_path / "tuned", "--device", "cpu")
    ran = asr_command(*arguments, "--init", trained.folder, "--set", "training.frozen=0")
    assert ran.status == 0, ran.err
    assert f"starting from {trained.folder}" in ran.err
    tuned = load_config(tmp_path / "tuned" / "config.yaml").training
    assert (tuned.init, tuned.frozen) == (str(trained.folder), 0)
    before = shutil.copytree(trained.folder, tmp_path / "before")
    with_lm = load_config(before / "config.yaml").model_copy(
        update={"decoding": DecodingConfig(method="beam", lm="words.lm")}
    )
    save_config(with_lm, before / "config.yaml")
    ran = asr_command(*arguments, "--init", before, "--overwrite")
    assert ran.status == 0, ran.err
    assert f"tuned decodes greedily, without the language model of {before}" in ran.err.splitlines()[-2]
    assert "asr lm tune DEV" in ran.err.splitlines()[-1]
    ran = asr_command(*arguments, "--init", tmp_path / "nowhere", "--overwrite")
    assert ran.status == 1, ran.err
    assert "nowhere: no such model folder" in ran.err
