"""Scores divided by how common tokens are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from asr.config import parse_config
from asr.decoding.decoder import Decoder
from asr.decoding.priors import LEAST, divided, load_priors, save_priors, summed
from asr.errors import CheckpointError, OutputError
from asr.text import Tokenizer

TOKENS = ["<blank>", "▁", "a", "b"]
PRIORS = [0.7, 0.1, 0.15, 0.05]


def scores(batch: int = 2, frames: int = 5, seed: int = 0) -> np.ndarray:
    logits = torch.randn(batch, frames, len(TOKENS), generator=torch.Generator().manual_seed(seed))
    return np.asarray(logits.log_softmax(-1).numpy())


def test_it_is_bayes_rule_to_a_power() -> None:
    found = divided(scores(), PRIORS, 0.5).astype(np.float64)
    wanted = np.exp(scores().astype(np.float64)) / np.array(PRIORS) ** 0.5
    np.testing.assert_allclose(np.exp(found), wanted / wanted.sum(-1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(divided(scores(), PRIORS, 0.0), scores(), rtol=1e-5)


def test_a_token_that_never_came_is_not_favoured_without_bound() -> None:
    rare, least = (divided(scores(), [0.9, 0.1, share, 0.0], 1.0) for share in (0.0, LEAST))
    np.testing.assert_array_equal(rare, least)


def test_means_leave_padding_out() -> None:
    log_probs, lengths = scores(), np.array([5, 2])
    found = summed(log_probs, lengths)
    wanted = sum(np.exp(log_probs[row, :count].astype(np.float64)).sum(0) for row, count in enumerate((5, 2)))
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    assert found.sum() == pytest.approx(7)


def test_the_decoder_divides_for_beam_search_alone(tmp_path: Path) -> None:
    tokenizer = Tokenizer(TOKENS)
    save_priors(tmp_path, TOKENS, PRIORS)
    blank = torch.tensor([[[0.6, 0.05, 0.3, 0.05]] * 3]).log()  # 3 frames in which the blank is likeliest
    texts = {}
    for weight in (0.0, 1.0):
        config = parse_config({"decoding": {"method": "beam", "beam": 8, "prior_weight": weight}})
        texts[weight] = Decoder(tokenizer, config, tmp_path, threads=1)(blank, torch.tensor([3]))[0][0].text
    assert set(divided(blank.numpy(), PRIORS, 1.0).argmax(-1).ravel()) == {2}
    assert texts[1.0] == "a"
    greedy = parse_config({"decoding": {"prior_weight": 1.0}})
    assert Decoder(tokenizer, greedy)(blank, torch.tensor([3]))[0][0].text == ""


def test_what_is_written_is_read(tmp_path: Path) -> None:
    save_priors(tmp_path, TOKENS, PRIORS)
    np.testing.assert_array_equal(load_priors(tmp_path, TOKENS), PRIORS)
    with pytest.raises(OutputError):
        save_priors(Path("/proc/nowhere"), TOKENS, PRIORS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1, 2]",
        json.dumps({"<blank>": 0.5, "a": 0.5}),
        json.dumps(dict(zip([*TOKENS, "c"], [*PRIORS, 0.1], strict=True))),
        json.dumps(dict.fromkeys(TOKENS, "x")),
        json.dumps(dict.fromkeys(TOKENS, -1.0)),
        json.dumps(dict.fromkeys(TOKENS, 0.0)),
        json.dumps(dict.fromkeys(TOKENS, float("nan"))),
    ],
)
def test_a_broken_file_is_an_error_with_its_remedy(text: str, tmp_path: Path) -> None:
    (tmp_path / "priors.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"priors\.json: not the priors of .*`asr lm tune` writes it"):
        load_priors(tmp_path, TOKENS)
