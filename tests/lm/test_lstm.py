from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from torch import Tensor
from typer.testing import CliRunner

from asr.cli.lm import generate
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.rescoring import rescore
from asr.errors import LanguageModelError, OutputError, TextError
from asr.lm import lstm
from asr.lm.lstm import END, LstmConfig, LstmLanguageModel, Network
from asr.lm.lstm_training import Epoch, LstmTraining, chunk_loss, chunks, shuffled, train_lstm
from asr.text import Tokenizer

WORDS = ["<unk>", "</s>", "a", "b", "c", "d"]


def untrained(tied: bool = True, layers: int = 2, seed: int = 0, adaptive: bool = False) -> LstmLanguageModel:
    torch.manual_seed(seed)
    return LstmLanguageModel(LstmConfig(size=8, layers=layers, tied=tied, adaptive=adaptive), WORDS)


def step_by_step(network: Network, inputs: Tensor, targets: Tensor, cuts: tuple[int, ...]) -> list[Tensor]:
    """The LSTM's equations (Hochreiter and Schmidhuber 1997 with forget gates) one step at a time, without nn.LSTM.

    Returns the mean loss of each chunk; the state's gradient is cut before the steps in `cuts`.
    """
    lstm_, batch = network.lstm, inputs.shape[0]
    hidden = [torch.zeros(batch, lstm_.hidden_size) for _ in range(lstm_.num_layers)]
    cell = [torch.zeros(batch, lstm_.hidden_size) for _ in range(lstm_.num_layers)]
    weight = network.embedding.weight if network.output_weight is None else network.output_weight
    losses: list[list[Tensor]] = [[]]
    for step in range(inputs.shape[1]):
        if step in cuts:
            hidden, cell = [h.detach() for h in hidden], [c.detach() for c in cell]
            losses.append([])
        x = network.embedding.weight[inputs[:, step]]
        for layer in range(lstm_.num_layers):
            w, u, bw, bu = lstm_.all_weights[layer]
            i, f, g, o = (x @ w.T + bw + hidden[layer] @ u.T + bu).chunk(4, 1)
            cell[layer] = f.sigmoid() * cell[layer] + i.sigmoid() * g.tanh()
            x = hidden[layer] = o.sigmoid() * cell[layer].tanh()
        assert network.output_bias is not None
        log_probs = (x @ weight.T + network.output_bias).log_softmax(-1)
        losses[-1].append(-log_probs[torch.arange(batch), targets[:, step]])
    return [torch.stack(chunk).mean() for chunk in losses]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("steps", [9, 4])
def test_gradients_are_those_of_the_equations_cut_at_the_chunks(tied: bool, steps: int) -> None:
    network = untrained(tied).network
    labels = np.random.default_rng(1).integers(1, 6, 27, dtype=np.int32)
    state = None
    for inputs, targets in chunks(labels, streams=3, steps=steps):
        loss, state = chunk_loss(network, inputs, targets, state)
        loss.backward()
    got = {name: parameter.grad for name, parameter in network.named_parameters()}
    network.zero_grad(set_to_none=True)
    whole_targets = torch.tensor(labels.reshape(3, 9), dtype=torch.int64)
    whole_inputs = torch.tensor(np.concatenate([[END], labels[:-1]]).reshape(3, 9), dtype=torch.int64)
    torch.stack(step_by_step(network, whole_inputs, whole_targets, tuple(range(steps, 9, steps)))).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(got[name], parameter.grad, atol=1e-6, rtol=1e-5, msg=name)


def test_chunks_read_every_stream_in_order_and_the_state_is_carried() -> None:
    network = untrained().network
    labels = np.random.default_rng(2).integers(1, 6, 41, dtype=np.int32)
    whole = next(iter(chunks(labels, 2, 20)))
    parts = list(chunks(labels, 2, 7))
    assert [part.shape[1] for part, _ in parts] == [7, 7, 6]
    torch.testing.assert_close(torch.cat([part for part, _ in parts], 1), whole[0])
    torch.testing.assert_close(whole[1].flatten(), torch.tensor(labels[:40], dtype=torch.int64))
    state, total = None, 0.0
    for inputs, targets in parts:
        loss, state = chunk_loss(network, inputs, targets, state)
        total += float(loss.detach()) * targets.numel()
    assert total / 40 == pytest.approx(float(chunk_loss(network, *whole, None)[0].detach()), rel=1e-6)


def test_shuffling_moves_whole_sentences() -> None:
    labels = np.array([2, END, 3, 4, END, 5, 5, 5, END], np.int32)
    seen = set()
    for seed in range(20):
        mixed = shuffled(labels, np.random.default_rng(seed)).tolist()
        sentences = " ".join(map(str, mixed)).split(f" {END}")[:-1]
        assert sorted(sentence.strip() for sentence in sentences) == ["2", "3 4", "5 5 5"]
        seen.add(tuple(mixed))
    assert len(seen) == 6, "every order comes up"


def test_score_is_the_sum_over_the_equations_and_padding_never_changes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = untrained()
    rng = random.Random(3)
    sentences = [" ".join(rng.choices("abcdx", k=rng.randint(0, 30))) for _ in range(50)]
    together = model.score(sentences)
    for sentence, score in zip(sentences[:20], together, strict=False):
        labels = [*model.encode(sentence), END]
        (loss,) = step_by_step(model.network, torch.tensor([[END, *labels[:-1]]]), torch.tensor([labels]), ())
        assert score == pytest.approx(-float(loss.detach()) * len(labels), rel=1e-5)
        assert model.score([sentence])[0] == pytest.approx(score, rel=1e-6)
    monkeypatch.setattr(lstm, "MOST_ROWS", 7)
    monkeypatch.setattr(lstm, "MOST_LOGITS", 200)
    assert model.score(sentences) == pytest.approx(together, rel=1e-6), "a few steps at a time"
    units = sum(len(sentence.split()) + 1 for sentence in sentences)
    assert model.perplexity(sentences) == pytest.approx(math.exp(-sum(together) / units), rel=1e-6)
    assert model.score([]) == []
    assert model.score([sentence.split() for sentence in sentences]) == pytest.approx(together, rel=1e-6), (
        "units instead of text"
    )
    found = model.measure(sentences)
    assert (found.sentences, found.words) == (50, units - 50)
    assert found.perplexity == pytest.approx(model.perplexity(sentences), rel=1e-9)
    scores = model.unit_scores(sentences)
    unknown = [s[i] for s, text in zip(scores, sentences, strict=True) for i, w in enumerate(text.split()) if w == "x"]
    assert found.unknown == len(unknown) > 0
    assert found.log_prob_unknown == pytest.approx(sum(unknown))


@pytest.mark.parametrize("adaptive", [False, True])
def test_probabilities_of_all_units_sum_to_one(adaptive: bool) -> None:
    model = untrained(adaptive=adaptive)
    following = [model.unit_scores([f"a b {word}"])[0][2] for word in "abcdx"] + [model.unit_scores(["a b"])[0][2]]
    assert np.exp(following).sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("cutoffs", [(2_000, 10_000), (2, 4)])
def test_an_adaptive_output_is_a_head_and_tails(monkeypatch: pytest.MonkeyPatch, cutoffs: tuple[int, ...]) -> None:
    """Grave et al. 2017 in so many words: a frequent word by itself, a rare one as its tail times itself within."""
    monkeypatch.setattr(lstm, "CUTOFFS", cutoffs)
    network = LstmLanguageModel(LstmConfig(size=16, adaptive=True), WORDS).network
    parts = network.adaptive
    assert parts is not None
    bounds = [*([2, 4] if cutoffs == (2, 4) else [3]), len(WORDS)]
    hidden = torch.randn(5, 16)
    head = (hidden @ parts.head.weight.T + parts.head.bias).softmax(-1)
    columns = [head[:, : bounds[0]]]
    for number in range(len(parts.tail)):
        narrow, wide = (parts.get_parameter(f"tail.{number}.{layer}.weight") for layer in (0, 1))
        within = (hidden @ narrow.T @ wide.T).softmax(-1)
        assert within.shape[1] == bounds[number + 1] - bounds[number]
        columns.append(head[:, bounds[0] + number, None] * within)
    expected = torch.cat(columns, 1).log()
    torch.testing.assert_close(network.log_probs(hidden), expected, atol=1e-5, rtol=1e-5)
    targets = torch.tensor([[0, 5, 3, 2, 1]])
    torch.testing.assert_close(network.losses(hidden[None], targets), -expected[range(5), targets[0]][None])


# training


def toy(count: int, seed: int) -> list[str]:
    """A subject, and a verb that agrees with it over a distance: no trigram model knows which."""
    rng = random.Random(seed)
    sentences = []
    for _ in range(count):
        number = rng.random() < 0.5
        middle = " ".join(["very"] * rng.randint(1, 2))
        sentences.append(f"the {'cat' if number else 'cats'} {middle} far {'runs' if number else 'run'}")
    return sentences


LEAST = math.exp((math.log(2) + math.log(2)) / (np.mean([len(s.split()) for s in toy(4000, 9)]) + 1))
"""Perplexity of the model that made the sentences."""


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> tuple[LstmLanguageModel, list[Epoch], Path]:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    folder = tmp_path_factory.mktemp("lstm") / "model"
    epochs: list[Epoch] = []
    model = train_lstm(
        toy(1000, 1),
        LstmConfig(size=32, dropout=0.0, tied=False),
        LstmTraining(epochs=12, streams=8, chunk=16, learning_rate=0.02),
        validation=toy(200, 2),
        output=folder,
        report=epochs.append,
    )
    assert torch.equal(torch.random.get_rng_state(), before), "others' random numbers are left alone"
    return model, epochs, folder


def test_grammar_with_a_long_dependency_is_learnt(learnt: tuple[LstmLanguageModel, list[Epoch], Path]) -> None:
    model, epochs, _ = learnt
    assert [epoch.number for epoch in epochs] == list(range(1, 13))
    assert epochs[-1].perplexity is not None
    assert model.perplexity(toy(500, 3)) < LEAST * 1.03
    right, wrong = model.score(["the cats very very far run", "the cats very very far runs"])
    assert right > wrong + 3


def test_best_epoch_is_kept_and_loads_from_its_folder(learnt: tuple[LstmLanguageModel, list[Epoch], Path]) -> None:
    model, epochs, folder = learnt
    lowest = min(epoch.perplexity or math.inf for epoch in epochs)
    assert model.perplexity(toy(200, 2)) == pytest.approx(lowest, rel=1e-6)
    loaded = LstmLanguageModel.load(folder)
    assert loaded.score(toy(20, 4)) == model.score(toy(20, 4))
    assert loaded.words == model.words
    assert {path.name for path in folder.iterdir()} == {"lstm.yaml", "vocabulary.txt", "model.safetensors"}


def test_text_drawn_follows_the_grammar_and_the_seed(learnt: tuple[LstmLanguageModel, list[Epoch], Path]) -> None:
    model = learnt[0]
    text = model.generate(words=300, seed=1)
    assert text == model.generate(words=300, seed=1) != model.generate(words=300, seed=2)
    assert len(text.split()) == 300
    sentences = text.splitlines()[:-1]
    right = sum(("cats" in s) == s.endswith("run") and s.startswith("the cat") for s in sentences)
    assert right > 0.9 * len(sentences)
    assert model.generate("the cats", words=5, temperature=0).startswith("the cats very")


def test_same_seed_trains_the_same_model() -> None:
    def train(seed: int) -> LstmLanguageModel:
        config, training = LstmConfig(size=8), LstmTraining(epochs=1, streams=4, chunk=9, seed=seed)
        return train_lstm(iter(toy(50, 1)), config, training)

    assert train(1).score(toy(5, 2)) == train(1).score(toy(5, 2)) != train(2).score(toy(5, 2))


def test_vocabulary_is_the_commonest_words_and_the_rest_unknown() -> None:
    text = ["b b b a a c", "", "d d zoo </s>"]
    short = LstmTraining(epochs=1, most_words=3)
    assert train_lstm(text, LstmConfig(size=4), short).words == ["<unk>", "</s>", "b", "a", "d"]
    assert train_lstm(text, LstmConfig(size=4), short, words=["zoo", "<s>"]).words == ["<unk>", "</s>", "zoo", "<s>"]
    letters = train_lstm(["ab b", "c"], LstmConfig(size=4, units="characters"), LstmTraining(epochs=1))
    assert sorted(letters.words) == ["</s>", "<unk>", "a", "b", "c", "▁"]
    tokenizer = Tokenizer.from_characters("abx")
    tokens = train_lstm(["ab b"], LstmConfig(size=4, units="tokens"), LstmTraining(epochs=1), tokenizer=tokenizer)
    assert tokens.words == ["<unk>", "</s>", "▁", "a", "b", "x"]
    assert tokens.encode("x a") == [5, 2, 3]
    with pytest.raises(TextError, match="'z'"):
        train_lstm(["az"], LstmConfig(units="tokens"), tokenizer=tokenizer)


def test_characters_spell_words_and_generation_ends() -> None:
    config = LstmConfig(size=32, units="characters", dropout=0.0)
    model = train_lstm(["abc abd"] * 200, config, LstmTraining(epochs=4, streams=4, learning_rate=0.02))
    assert model.generate("ab", words=4, temperature=0) == "abc abd\nabc abd"
    assert model.generate("abc a", words=1, temperature=0) == "abc abd"
    LstmLanguageModel(LstmConfig(size=4, units="characters"), ["<unk>", "</s>"]).generate(words=3)


def test_generate_on_the_command_line_prints_what_the_model_draws(
    learnt: tuple[LstmLanguageModel, list[Epoch], Path],
) -> None:
    app = typer.Typer()
    app.command()(generate.command)
    ran = CliRunner().invoke(app, [str(learnt[2]), "--prompt", "the cats", "--words", "12", "--seed", "4"])
    assert ran.exit_code == 0
    assert ran.stdout == learnt[0].generate("the cats", 12, seed=4) + "\n"


# n-best lists


def test_rescoring_orders_by_the_weighted_sum(learnt: tuple[LstmLanguageModel, list[Epoch], Path]) -> None:
    model = learnt[0]
    texts = ["the cats very far runs", "the cats very far run", "the cat"]
    nbest = [Hypothesis([], text, score) for text, score in zip(texts, (-1.0, -2.0, -9.0), strict=True)]
    assert [item.text for item in rescore(nbest, model.score, 0.0)] == texts
    best, *_ = rescore(nbest, model.score, 0.5)
    assert best.text == texts[1]
    assert best.score == pytest.approx(-2 + 0.5 * model.score([texts[1]])[0])
    assert rescore([], model.score, 0.5) == []


# errors


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: untrained().measure([]), "no sentence"),
        (lambda: train_lstm([]), "no text"),
        (lambda: train_lstm(["", " "]), "no text"),
        (lambda: train_lstm(["a"], training=LstmTraining(epochs=0)), "epochs = 0: must be above 0"),
        (lambda: train_lstm(["a"], training=LstmTraining(learning_rate=math.nan)), "learning_rate = nan"),
        (lambda: train_lstm(["a"] * 50, training=LstmTraining(learning_rate=1e30, fewest=1)), "diverged"),
        (lambda: untrained().generate("a zoo"), "'zoo', not in the model's vocabulary"),
        (lambda: untrained().generate(temperature=-1.0), "temperature -1.0"),
        (lambda: LstmLanguageModel.load("nowhere"), "lstm.yaml, vocabulary.txt, model.safetensors missing"),
    ],
)
def test_errors_say_what_is_wrong(act: Callable[[], object], message: str) -> None:
    with pytest.raises(LanguageModelError) as caught:
        act()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("lstm.yaml", "size: 8\nlayer: 2\n", "layer"),
        ("lstm.yaml", "size: 9\n", "weights of another model"),
        ("lstm.yaml", "[", "broken"),
        ("vocabulary.txt", "a\n", "must list <unk>, </s>"),
        ("vocabulary.txt", "<unk>\n</s>\na\na\n", "every unit once"),
        ("vocabulary.txt", "<unk>\n</s>\na\n", "weights of another model"),
        ("model.safetensors", "nothing", "not a safetensors file"),
    ],
)
def test_broken_folder_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    untrained().save(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(LanguageModelError, match=message) as caught:
        LstmLanguageModel.load(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_folder_that_cannot_be_made_shows_before_the_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        train_lstm(iter(lambda: pytest.fail("read the text"), None), output=tmp_path / "file" / "model")


def test_full_disk_is_an_error_that_leaves_the_old_model(tmp_path: Path, disk_full_after: Callable) -> None:
    model = untrained(seed=1)
    model.save(tmp_path)
    with disk_full_after(100), pytest.raises(OutputError, match="cannot be written"):
        untrained(seed=2).save(tmp_path)
    assert LstmLanguageModel.load(tmp_path).score(["a b"]) == model.score(["a b"])
    assert len(list(tmp_path.iterdir())) == 3
