"""The head of a sequence-to-sequence model: an LSTM that writes token after token, looking at the frames it needs.

For each token i, from the last one y, the LSTM's state s and what was looked at last, c (Bahdanau et al. 2015; Chan et
al. 2016, Listen, Attend and Spell):

    s_i = LSTM([embedding of y_{i-1}, c_{i-1}], s_{i-1})
    e_t = w . tanh(W s_i + V h_t + U f_t + b) + log(10^-6 + sum over k >= 0 of P_k a_{i-1, t-k})        frames t
    a_i = softmax(e),    c_i = sum over t of a_t h_t
    p(y_i) = softmax(O dropout([s_i, c_i]) + o)

f, a convolution over the last alignment a_{i-1}, tells where the last token was found (location-aware attention,
Chorowski et al. 2015). P, which falls with the distance k, says before anything is learnt that the next one comes a
little later (the prior filter of Battenberg et al. 2020). Without it half an hour of speech is too little to find that
out: after nine epochs of AN4 nothing is aligned, and with it half of the words are right.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asr.config import ModelConfig
from asr.model.layers import Dropout, Linear
from asr.model.masking import valid

END = 0
"""Begin and end of a text. It is the blank of CTC, which no transcript holds: token tables are the same for both."""
ATTENTION_SIZE = 128
LOCATION_CHANNELS, LOCATION_FRAMES = 10, 51
"""Filters over the last alignment, and their width: a second to each side at 40 ms a frame."""
STEP_FRAMES, AHEAD_FRAMES = 4.0, 50
"""By how much the prior goes ahead, about, and at most: a letter, and a pause of two seconds at 40 ms a frame."""
FLOOR = 1e-6
"""Of the prior everywhere else: 12 nats less than where the last token was, which content can still outweigh."""


class State(NamedTuple):
    """Between two tokens of each text of a batch.

    Attributes:
        memory: what the encoder gave, `[batch, frames, size]`.
        keys: V h_t, `[batch, frames, ATTENTION_SIZE]`.
        inside: which frames are no padding, `[batch, frames]`.
        hidden: s, `[batch, hidden]`.
        cell: of the LSTM, `[batch, hidden]`.
        context: c, `[batch, size]`.
        alignment: a, `[batch, frames]`.
    """

    memory: Tensor
    keys: Tensor
    inside: Tensor
    hidden: Tensor
    cell: Tensor
    context: Tensor
    alignment: Tensor

    def repeat(self, times: int) -> State:
        """Each text that often, one beside the other."""
        return State(*(values.repeat_interleave(times, 0) for values in self))

    def follow(self, rows: Tensor) -> State:
        """Row i goes on from what row `rows[i]` was, of the same utterance."""
        return self._replace(**{name: getattr(self, name)[rows] for name in ("hidden", "cell", "context", "alignment")})


class AttentionDecoder(nn.Module):
    """Encoder states `[batch, frames, size]` and the tokens before to log-probs of the next, `[batch, tokens]`."""

    ahead: Tensor

    def __init__(self, config: ModelConfig, size: int, tokens: int):
        super().__init__()
        hidden = config.hidden
        self.embedding = nn.Embedding(tokens, hidden)
        self.cell = nn.LSTMCell(hidden + size, hidden)
        self.query = nn.Linear(hidden, ATTENTION_SIZE)
        self.key = Linear(size, ATTENTION_SIZE, bias=False)
        self.location = nn.Conv1d(1, LOCATION_CHANNELS, LOCATION_FRAMES, padding=LOCATION_FRAMES // 2, bias=False)
        self.place = nn.Linear(LOCATION_CHANNELS, ATTENTION_SIZE, bias=False)
        prior = (-torch.arange(AHEAD_FRAMES, -1, -1) / STEP_FRAMES).softmax(0)  # the last weighs the frame itself
        self.register_buffer("ahead", prior[None, None], persistent=False)
        self.energy = nn.Linear(ATTENTION_SIZE, 1, bias=False)
        self.output = Linear(hidden + size, tokens)
        self.dropout = Dropout(config.dropout)

    def forward(self, memory: Tensor, lengths: Tensor, tokens: Tensor) -> Tensor:
        """Log-probs `[batch, labels + 1, tokens]`, in float32, of each token and of the end given those before it.

        `tokens` `[batch, labels]` are padded with END. Each is told the true ones before (teacher forcing).
        """
        state, found = self.start(memory, lengths), []
        for before in F.pad(tokens, (1, 0), value=END).unbind(1):
            state = self._advance(state, before)
            found.append(torch.cat([state.hidden, state.context], dim=-1))
        return self._log_probs(torch.stack(found, dim=1))

    def start(self, memory: Tensor, lengths: Tensor) -> State:
        """Nothing is written, and the first frame looked at."""
        batch, frames, size = memory.shape
        nothing = memory.new_zeros(batch, self.cell.hidden_size)
        first = torch.zeros(batch, frames, device=memory.device)
        first[:, 0] = 1
        inside = valid(lengths, frames)
        # The weights of frames of the padding are 0, and 0 times whatever stands there must be 0.
        memory = memory * inside[..., None]
        return State(memory, self.key(memory), inside, nothing, nothing, memory.new_zeros(batch, size), first)

    def step(self, state: State, before: Tensor) -> tuple[Tensor, State]:
        """Log-probs `[batch, tokens]` of the tokens that may follow `before` `[batch]`, and the state then."""
        state = self._advance(state, before)
        return self._log_probs(torch.cat([state.hidden, state.context], dim=-1)), state

    def _advance(self, state: State, before: Tensor) -> State:
        read = torch.cat([self.dropout(self.embedding(before)), state.context], dim=-1)
        hidden, cell = self.cell(read, (state.hidden, state.cell))
        last = state.alignment[:, None]
        place = self.place(self.location(last).transpose(1, 2))
        energy = self.energy(torch.tanh(self.query(hidden)[:, None] + state.keys + place))[..., 0].float()
        ahead = F.conv1d(F.pad(last, (AHEAD_FRAMES, 0)), self.ahead)[:, 0]
        energy = energy + (ahead.float() + FLOOR).log()
        alignment = energy.masked_fill(~state.inside, torch.finfo(energy.dtype).min).softmax(-1)
        context = (alignment[:, None] @ state.memory)[:, 0]
        return state._replace(hidden=hidden, cell=cell, context=context, alignment=alignment)

    def _log_probs(self, x: Tensor) -> Tensor:
        return self.output(self.dropout(x)).float().log_softmax(-1)
