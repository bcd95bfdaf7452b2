"""Greedy and beam search through what an attention decoder may write, for a whole batch at once."""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import Tensor

from asr.config import DecodingConfig
from asr.decoding.hypothesis import Hypothesis, Word
from asr.decoding.times import word_tokens
from asr.errors import ConfigError
from asr.model.attention import END, AttentionDecoder
from asr.text import Tokenizer


class AttentionSearch:
    """Encoder states to n-best lists; greedy search is a beam of one.

    The beam keeps the likeliest texts, which favours short ones. Of those that came to their end the one with the
    highest log-probability per token is best (Wu et al. 2016), which makes up for that as long as the beam is not wide:
    4 to 8 are enough. A text is at most as many tokens long as there are frames.

    Raises:
        ConfigError: `settings` asks for what is there for CTC models alone.
    """

    def __init__(self, head: AttentionDecoder, tokenizer: Tokenizer, settings: DecodingConfig, frame_seconds: float):
        for name in ("lm", "hotwords", "grammar", "lexicon", "rescore"):
            if getattr(settings, name):
                raise ConfigError(f"decoding.{name} needs a model with `head: ctc`; this one has `head: attention`")
        self.head, self.tokenizer, self.frame_seconds = head, tokenizer, frame_seconds
        self.beam = settings.beam if settings.method == "beam" else 1
        self.nbest = min(settings.nbest, self.beam)

    @torch.inference_mode()
    def __call__(self, memory: Tensor, lengths: Tensor) -> list[list[Hypothesis]]:
        """N-best lists, best first, of encoder states `[batch, frames, size]` with `lengths` `[batch]`.

        `frames` of a hypothesis are those that each token looked at most, or one before looked at if that is later;
        words are where their first and last token looked. `score` is per token, the end counted.
        """
        was_training = self.head.training
        self.head.eval()
        try:
            return self._search(memory, lengths)
        finally:
            self.head.train(was_training)

    def _search(self, memory: Tensor, lengths: Tensor) -> list[list[Hypothesis]]:
        batch, device = len(lengths), memory.device
        state = self.head.start(memory, lengths).repeat(self.beam)
        scores = torch.full((batch, self.beam), -torch.inf, device=device)
        scores[:, 0] = 0
        tokens = torch.full((batch, self.beam, 1), END, device=device)  # what was written; the begin in front
        frames = torch.zeros_like(tokens)
        over = torch.zeros_like(scores, dtype=torch.bool)
        for written in range(int(lengths.max()) + 1 if batch else 0):
            log_probs, state = self.head.step(state, tokens[..., -1].flatten())
            log_probs = log_probs.unflatten(0, (batch, self.beam))
            full = (written >= lengths)[:, None] | over
            log_probs[..., 1:] = log_probs[..., 1:].masked_fill(full[..., None], -torch.inf)
            log_probs[..., END] = log_probs[..., END].masked_fill(over, 0)
            scores, best = (scores[..., None] + log_probs).flatten(1).topk(self.beam)
            parents, token = best // log_probs.shape[-1], best % log_probs.shape[-1]
            rows = (parents + self.beam * torch.arange(batch, device=device)[:, None]).flatten()
            state = state.follow(rows)
            looked = state.alignment.argmax(-1).view(batch, self.beam)
            tokens = torch.cat([tokens.flatten(0, 1)[rows].view_as(tokens), token[..., None]], dim=-1)
            frames = torch.cat([frames.flatten(0, 1)[rows].view_as(frames), looked[..., None]], dim=-1)
            over = (token == END) | scores.isinf()
            if over.all():
                break
        return [
            self._texts(*utterance) for utterance in zip(tokens.tolist(), frames.tolist(), scores.tolist(), strict=True)
        ]

    def _texts(self, tokens: list[list[int]], frames: list[list[int]], scores: list[float]) -> list[Hypothesis]:
        ended = []
        for (_, *ids), (_, *looked), score in zip(tokens, frames, scores, strict=True):
            if END in ids and score > -torch.inf:
                length = ids.index(END)
                reached = list(accumulate(looked[:length], max))
                ended.append(self._hypothesis(ids[:length], reached, score / (length + 1)))
        found: dict[str, Hypothesis] = {}  # spaces at the ends or beside each other make no other text
        for hypothesis in sorted(ended, key=lambda hypothesis: -hypothesis.score):
            found.setdefault(hypothesis.text, hypothesis)
        return list(found.values())[: self.nbest]

    def _hypothesis(self, tokens: list[int], frames: list[int], score: float) -> Hypothesis:
        text, step = self.tokenizer.decode(tokens), self.frame_seconds
        spans = [(frames[word[0]], frames[word[-1]]) for word in word_tokens(tokens, self.tokenizer)]
        words = [
            Word(word, max(0.0, (first - 0.5) * step), (last + 0.5) * step)
            for word, (first, last) in zip(text.split(), spans, strict=True)
        ]
        return Hypothesis(tokens, text, score, frames, words)
