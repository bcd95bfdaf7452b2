"""The attention decoder against a float64 loop written from its equations, and the contract about padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from asr.config import Config, parse_config
from asr.model.acoustic import AcousticModel
from asr.model.attention import AHEAD_FRAMES, END, LOCATION_FRAMES, STEP_FRAMES, AttentionDecoder
from asr.model.masking import valid
from tests.model.test_padding import FRAMES, SAMPLES, check
from tests.model.test_rnn import linear, randomised, sigmoid, weights

TOKENS = 7
LENGTHS = [60, 1, 5, 12]
LABELS = torch.tensor([[1, 5, 3, 3], [2, 0, 0, 0], [0, 0, 0, 0], [6, 6, 6, 0]])
SIZES = torch.tensor([4, 1, 0, 3])


def configuration(**model: Any) -> Config:
    sizes = {"head": "attention", "layers": 1, "hidden": 6, "subsampling": {"channels": 4}}
    return parse_config({"features": {"mels": 16}, "model": sizes | model})


def decoder() -> AttentionDecoder:
    return randomised(AttentionDecoder(configuration().model, 5, TOKENS))


def textbook(head: AttentionDecoder, memory: np.ndarray, tokens: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities `[labels + 1, tokens]` and alignments `[labels + 1, frames]` of one utterance `[frames, size]`."""
    w = weights(head)
    s, c = np.zeros((2, head.cell.hidden_size))
    looked, a = np.zeros(memory.shape[1]), np.eye(len(memory))[0]
    prior = np.exp(-np.arange(AHEAD_FRAMES + 1) / STEP_FRAMES)
    prior /= prior.sum()
    probabilities, alignments = [], []
    for token in [END, *tokens]:
        x = np.concatenate([w["embedding.weight"][token], looked])
        i, f, g, o = np.split(
            w["cell.weight_ih"] @ x + w["cell.bias_ih"] + w["cell.weight_hh"] @ s + w["cell.bias_hh"], 4
        )
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        s = sigmoid(o) * np.tanh(c)
        around = np.pad(a, LOCATION_FRAMES // 2)
        energies = []
        for t, h in enumerate(memory):
            place = w["location.weight"][:, 0] @ around[t : t + LOCATION_FRAMES]
            query = w["query.weight"] @ s + w["query.bias"]
            ahead = sum(prior[k] * a[t - k] for k in range(min(t, AHEAD_FRAMES) + 1))
            content = w["energy.weight"][0] @ np.tanh(query + w["key.weight"] @ h + w["place.weight"] @ place)
            energies.append(content + np.log(1e-6 + ahead))
        a = np.exp(energies) / np.exp(energies).sum()
        looked = a @ memory
        y = linear(head.output, np.concatenate([s, looked])[None])[0]
        probabilities.append(np.exp(y) / np.exp(y).sum())
        alignments.append(a)
    return np.array(probabilities), np.array(alignments)


def test_each_token_is_given_the_true_ones_before_it_by_the_textbook_equations() -> None:
    head = decoder()
    memory, lengths = torch.randn(4, max(LENGTHS), 5), torch.tensor(LENGTHS)
    log_probs = head(memory, lengths, LABELS)
    assert log_probs.shape == (4, 5, TOKENS)
    for row, (length, size) in enumerate(zip(LENGTHS, SIZES.tolist(), strict=True)):
        expected, _ = textbook(head, memory[row, :length].double().numpy(), LABELS[row, :size].tolist())
        np.testing.assert_allclose(log_probs[row, : size + 1].exp().detach().numpy(), expected, atol=1e-5)


def test_steps_give_what_teacher_forcing_gives_and_tell_where_they_looked() -> None:
    head = decoder()
    memory, lengths = torch.randn(4, max(LENGTHS), 5), torch.tensor(LENGTHS)
    together = head(memory, lengths, LABELS)
    state, alignments = head.start(memory, lengths), []
    for step, before in enumerate(torch.nn.functional.pad(LABELS, (1, 0)).unbind(1)):
        log_probs, state = head.step(state, before)
        torch.testing.assert_close(log_probs, together[:, step])
        alignments.append(state.alignment)
    for row, (length, size) in enumerate(zip(LENGTHS, SIZES.tolist(), strict=True)):
        _, expected = textbook(head, memory[row, :length].double().numpy(), LABELS[row, :size].tolist())
        found = torch.stack(alignments)[: size + 1, row].detach()
        np.testing.assert_allclose(found[:, :length].numpy(), expected, atol=1e-5)
        assert not found[:, length:].any()


def test_rows_of_a_state_can_be_repeated_and_reordered() -> None:
    head = decoder()
    memory, lengths = torch.randn(2, 9, 5), torch.tensor([9, 4])
    first, state = head.step(head.start(memory, lengths).repeat(2), torch.tensor([END] * 4))
    torch.testing.assert_close(first[0], first[1])
    _, state = head.step(state, torch.tensor([1, 2, 3, 4]))
    swapped, _ = head.step(state.follow(torch.tensor([1, 0, 3, 3])), torch.tensor([5, 5, 5, 5]))
    straight, _ = head.step(state, torch.tensor([5, 5, 5, 5]))
    torch.testing.assert_close(swapped, straight[[1, 0, 3, 3]])


@pytest.mark.parametrize("lengths", FRAMES, ids=str)
def test_padding_cannot_change_what_is_written(lengths: list[int]) -> None:
    head = AttentionDecoder(configuration().model, 5, TOKENS).eval()
    tokens = torch.randint(1, TOKENS, (1, 4))

    def written(memory: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        log_probs = head(memory, lengths, tokens.expand(len(memory), -1))
        return log_probs, torch.full_like(lengths, 5)

    check(written, 5, lengths)


@pytest.mark.parametrize("lengths", SAMPLES, ids=str)
def test_without_tokens_the_whole_model_gives_encoder_states_free_of_padding(lengths: list[int]) -> None:
    check(AcousticModel(configuration(), TOKENS).eval(), None, lengths, scale=0.1)


def test_every_weight_is_trained_and_an_empty_row_does_no_harm() -> None:
    model = AcousticModel(configuration(), TOKENS).train()
    waveforms, lengths = 0.1 * torch.randn(4, 8000), torch.tensor([8000, 4000, 1, 0])
    log_probs, frames = model(waveforms, lengths, tokens=LABELS)
    assert log_probs.dtype == torch.float32
    assert frames.tolist() == [13, 7, 1, 0]
    (log_probs * valid(SIZES + 1, 5)[..., None]).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_half_precision_stays_close() -> None:
    model = AcousticModel(configuration(), TOKENS).eval()
    waveforms, lengths = 0.1 * torch.randn(4, 8000), torch.tensor([8000, 4000, 800, 8000])
    with torch.no_grad():
        expected, _ = model(waveforms, lengths, tokens=LABELS)
        with torch.autocast("cpu", torch.bfloat16):
            log_probs, _ = model(waveforms, lengths, tokens=LABELS)
    assert log_probs.dtype == torch.float32
    torch.testing.assert_close(log_probs, expected, atol=0.1, rtol=0)


def test_token_tables_are_those_of_ctc() -> None:
    """One output for each token: the end is where CTC has its blank."""
    shapes = {name: list(tensor.shape) for name, tensor in decoder().state_dict().items()}
    assert shapes["embedding.weight"][0] == shapes["output.weight"][0] == TOKENS
