"""Search with an attention decoder, against a walk through every text there can be."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from asr.config import Config, DecodingConfig, parse_config
from asr.decoding.attention import AttentionSearch
from asr.decoding.hypothesis import Hypothesis
from asr.decoding.recogniser import Recogniser
from asr.errors import ConfigError
from asr.model.acoustic import AcousticModel
from asr.model.attention import END, AttentionDecoder
from asr.text import BLANK, SPACE, Tokenizer
from tests.conftest import Speech

TOKENIZER = Tokenizer([BLANK, SPACE, "a", "b"])
LENGTHS = [3, 1, 2]
STEP = 0.04


def decoder(seed: int = 0) -> AttentionDecoder:
    torch.manual_seed(seed)
    config = parse_config({"model": {"hidden": 6}})
    head = AttentionDecoder(config.model, 5, len(TOKENIZER)).eval()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.mul_(4)  # decided ones
    return head


def search(head: AttentionDecoder, memory: Tensor, lengths: list[int], **settings: Any) -> list[list[Hypothesis]]:
    return AttentionSearch(head, TOKENIZER, DecodingConfig(**settings), STEP)(memory, torch.tensor(lengths))


@torch.no_grad()
def every_text(head: AttentionDecoder, memory: Tensor) -> dict[tuple[int, ...], float]:
    """Log-probability per token, the end counted, of each text of no more tokens than frames `[frames, size]`."""
    scores = {}
    for length in range(len(memory) + 1):
        for text in itertools.product((1, 2, 3), repeat=length):
            log_probs = head(memory[None], torch.tensor([len(memory)]), torch.tensor([text], dtype=torch.long))[0]
            scores[text] = float(log_probs[torch.arange(length + 1), torch.tensor([*text, END])].mean())
    return scores


@pytest.mark.parametrize("seed", range(5))
def test_a_beam_wide_enough_finds_the_likeliest_texts_of_all(seed: int) -> None:
    head, memory = decoder(seed), torch.randn(3, 3, 5, generator=torch.Generator().manual_seed(seed))
    found = search(head, memory, LENGTHS, method="beam", beam=64, nbest=6)
    for hypotheses, frames, length in zip(found, memory, LENGTHS, strict=True):
        by_text: dict[str, float] = {}
        for tokens, score in sorted(every_text(head, frames[:length]).items(), key=lambda item: -item[1]):
            by_text.setdefault(TOKENIZER.decode(tokens), score)
        best = list(by_text.items())[:6]
        assert [hypothesis.text for hypothesis in hypotheses] == [text for text, _ in best]
        assert [hypothesis.score for hypothesis in hypotheses] == pytest.approx([s for _, s in best], abs=1e-4)


@torch.no_grad()
def greedy_by_hand(head: AttentionDecoder, memory: Tensor) -> tuple[list[int], list[int], float]:
    """Tokens, the frames they looked at, and the score with the end behind them."""
    state, tokens, score = head.start(memory[None], torch.tensor([len(memory)])), [END], 0.0
    frames: list[int] = []
    while True:
        log_probs, state = head.step(state, torch.tensor([tokens[-1]]))
        token = END if len(tokens) > len(memory) else int(log_probs[0].argmax())
        score += float(log_probs[0, token])
        if token == END:
            return tokens[1:], frames, score
        tokens.append(token)
        frames.append(int(state.alignment[0].argmax()))


@pytest.mark.parametrize("seed", range(5))
def test_greedy_search_takes_the_likeliest_token_each_time(seed: int) -> None:
    head, memory = decoder(seed), torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(seed))
    for (hypothesis,), frames, length in zip(search(head, memory, [9, 4]), memory, [9, 4], strict=True):
        tokens, looked, score = greedy_by_hand(head, frames[:length])
        assert hypothesis.tokens == tokens
        assert hypothesis.score == pytest.approx(score / (len(tokens) + 1), abs=1e-4)
        assert hypothesis.frames == list(itertools.accumulate(looked, max))
        assert hypothesis.text == TOKENIZER.decode(tokens)


def test_an_utterance_gives_the_same_alone_and_in_a_batch() -> None:
    head, memory = decoder(), torch.randn(3, 12, 5)
    lengths = [12, 5, 0]
    together = search(head, memory, lengths, method="beam", beam=4, nbest=3)
    for found, frames, length in zip(together, memory, lengths, strict=True):
        (alone,) = search(head, frames[None, : max(length, 1)], [length], method="beam", beam=4, nbest=3)
        assert [h.tokens for h in found] == [h.tokens for h in alone]
        assert [h.score for h in found] == pytest.approx([h.score for h in alone], abs=1e-4)
    assert together[2][0].text == ""
    assert search(head, memory[:0], []) == []


def test_dropout_of_a_training_under_way_stays_out_of_it_and_goes_on_after_it() -> None:
    head, memory = decoder(1), torch.randn(2, 12, 5, generator=torch.Generator().manual_seed(1))
    expected = search(head, memory, [12, 12])
    head.train()
    assert [search(head, memory, [12, 12]) for _ in range(5)] == [expected] * 5
    assert head.training
    assert head.dropout.training


def test_words_stand_where_their_tokens_looked() -> None:
    head, memory = decoder(2), torch.randn(1, 6, 5, generator=torch.Generator().manual_seed(2))
    (nbest,) = search(head, memory, [6], method="beam", beam=1000, nbest=1000)
    spoken = [hypothesis for hypothesis in nbest if len(hypothesis.words) > 1]
    assert len(spoken) > 10
    for hypothesis in spoken:
        assert " ".join(word.text for word in hypothesis.words) == hypothesis.text
        times = [(word.start, word.end) for word in hypothesis.words]
        assert all(start < end for start, end in times)  # type: ignore[operator]
        assert times == sorted(times)
        first = next(frame for frame, token in zip(hypothesis.frames, hypothesis.tokens, strict=True) if token > 1)
        assert hypothesis.words[0].start == max(0, (first - 0.5) * STEP)


@pytest.mark.parametrize("option", ["lm", "hotwords", "grammar", "lexicon", "rescore"])
def test_what_it_does_not_have_is_an_error(option: str) -> None:
    with pytest.raises(ConfigError, match=f"decoding.{option} needs a model with `head: ctc`"):
        search(decoder(), torch.zeros(1, 1, 5), [1], method="beam", **{option: "a-file"})


@pytest.fixture
def recogniser(small_config: Callable[..., Config]) -> Recogniser:
    torch.manual_seed(0)
    config = small_config(model={"head": "attention"}, decoding={"word_times": True})
    return Recogniser(AcousticModel(config, len(TOKENIZER)), TOKENIZER, torch.device("cpu"))


def test_a_recogniser_of_such_a_model_decodes_waveforms(recogniser: Recogniser, speech: Speech) -> None:
    waveforms = [speech.say("bad cafe"), speech.say("ab")]
    together = recogniser.decode(waveforms)
    assert [hypothesis.tokens for hypothesis in together] == [recogniser.decode([w])[0].tokens for w in waveforms]
    assert not recogniser.aligns
    with pytest.raises(ConfigError, match="needs a model with `head: ctc`"):
        recogniser.log_probs(torch.zeros(1, 8000), torch.tensor([8000]))
