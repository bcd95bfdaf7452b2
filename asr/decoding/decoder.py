"""The decoder that a configuration asks for: greedy, or beam search with its language model, hot words and grammar."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asr.config import Config, DecodingConfig
from asr.config.tree import RULES
from asr.decoding.arrays import as_array
from asr.decoding.greedy import greedy
from asr.decoding.hypothesis import Hypothesis, Word
from asr.decoding.priors import divided, load_priors
from asr.decoding.rescoring import rescore
from asr.decoding.times import word_tokens
from asr.errors import ConfigError
from asr.model.folders import file_of
from asr.text import PhoneTokenizer, Tokenizer

if TYPE_CHECKING:
    from torch import Tensor

    from asr.decoding.beam import BeamOptions, BeamSearch
    from asr.decoding.lexicon import Lexicon
    from asr.lm.ngram import NgramModel

IN_GRAMMAR, OF_FEW_WORDS = (60.0, -30.0), (25.0, -15.0)
"""`prune` and `token_min_log_prob` where rules may allow only what the model finds unlikely: usual pruning would lose
every path that can end well."""
OF_MANY_WORDS, MANY = (14.0, -9.0), 10_000
"""The same where lexicon and language model have so many words, of which one is always near: en-small finds the same
words, and four times the beam takes as long as the one before."""
RESCORED = 50
"""Texts that a second pass reorders."""


class Decoder:
    """Log-probs to n-best lists.

    Args:
        tokenizer: the model's tokens.
        config: `decoding` says what to do; hot words and grammars go through the rules of `text`.
        folder: the model's, where a relative path of a language model, hot words or a grammar is looked for first.
        threads: utterances decoded at the same time by beam search; None takes every core.

    Attributes:
        notes: what of a lexicon that is not the model's own cannot come out, a sentence each.

    Raises:
        CheckpointError, ConfigError, LanguageModelError, TextError: a file is missing or broken, or does not fit the
            model's tokens.
    """

    def __init__(self, tokenizer: Tokenizer, config: Config, folder: Path | None = None, threads: int | None = None):
        self.tokenizer, self.settings, self.folder = tokenizer, config.decoding, folder
        self.notes: list[str] = []
        self._said: dict[tuple[int, ...], str] = {}
        self._search = None if self.settings.method == "greedy" else self._beam_search(config, threads)
        self._priors = None
        if self._search is not None and self.settings.prior_weight:
            self._priors = load_priors(folder, tokenizer.tokens)
        self._second = None
        if self.settings.rescore is not None:
            from asr.lm.lstm import LstmLanguageModel

            self._second = LstmLanguageModel.load(self._file(self.settings.rescore), tokenizer=tokenizer)
            if self._second.units == "tokens" and tokenizer.units == "phones":
                raise ConfigError("rescoring the words of a model of phones needs a language model of words")

    def __call__(self, log_probs: np.ndarray | Tensor, lengths: np.ndarray | Tensor) -> list[list[Hypothesis]]:
        """N-best lists, best first, of `log_probs` `[batch, frames, tokens]` with `lengths` `[batch]`."""
        if self._search is None:
            return [[hypothesis] for hypothesis in greedy(log_probs, lengths, self.tokenizer)]
        values = as_array(log_probs)
        if self._priors is not None:
            values = divided(values, self._priors, self.settings.prior_weight)
        found = self._search.decode(values, as_array(lengths))
        if self._said:
            found = [list(map(self._as_said, hypotheses)) for hypotheses in found]
        if self._second is not None:
            weight = self.settings.rescore_weight
            found = [rescore(hypotheses, self._second.score, weight)[: self.settings.nbest] for hypotheses in found]
        return found

    def _as_said(self, hypothesis: Hypothesis) -> Hypothesis:
        """The same with what the grammar has, and not what sounds like it."""
        if self.settings.grammar_of == "sentences":
            text = self._said.get(tuple(hypothesis.tokens), hypothesis.text)
        else:
            words = word_tokens(hypothesis.tokens, self.tokenizer)
            text = " ".join(self._said[tuple(hypothesis.tokens[place] for place in word)] for word in words)
        return replace(hypothesis, text=text, words=list(map(Word, text.split())))

    def _beam_search(self, config: Config, threads: int | None) -> BeamSearch:
        from asr.decoding.beam import BeamOptions, BeamSearch  # numba, which greedy decoding does without
        from asr.decoding.grammar import grammar
        from asr.decoding.hotwords import favoured_words, hotwords
        from asr.decoding.lexicon import Lexicon
        from asr.lm.ngram import NgramModel

        settings, rules, favoured = config.decoding, None, None
        lexicon = Lexicon.load(self._file(settings.lexicon), self.tokenizer) if settings.lexicon is not None else None
        if settings.grammar is not None:
            path = self._file(settings.grammar)
            rules, self._said = grammar(path, self._spelling(lexicon), settings.grammar_of, config.text)
        elif settings.hotwords is not None:
            path = self._file(settings.hotwords)
            rules = hotwords(path, self._spelling(lexicon), config.text)
            favoured = favoured_words(path, config.text)
        options = BeamOptions(
            beam=settings.beam,
            blank_skip=settings.blank_skip,
            lm_weight=settings.lm_weight,
            word_bonus=settings.word_bonus,
            unknown_penalty=settings.unknown_penalty,
            nbest=max(settings.nbest, RESCORED) if settings.rescore is not None else settings.nbest,
        )
        lm = NgramModel.load(self._file(settings.lm)) if settings.lm is not None else None
        if lexicon is not None and settings.lexicon is not None and self._file(settings.lexicon).parent != self.folder:
            self._note_unusable(lexicon, lm)
        # A model of phones writes the words of a language model by the lexicon that it has itself.
        own = self.tokenizer.units == "phones" and lm is not None and lm.units == "words"
        if settings.grammar is not None:
            prune, token_min = IN_GRAMMAR
            options = replace(options, prune=prune, token_min_log_prob=token_min)
        elif lexicon is not None or own:
            options = of_lexicon(options, lm, lexicon)
        return BeamSearch(
            self.tokenizer,
            options,
            lm=lm,
            token_automaton=rules,
            closed=settings.closed,
            lexicon=lexicon,
            favoured=favoured,
            threads=threads,
        )

    def _note_unusable(self, lexicon: Lexicon, lm: NgramModel | None) -> None:
        """What the user wrote in vain: lines that the tokens cannot spell, and words that the language model lacks."""
        if lexicon.problems:
            first = f"{lexicon.problems[0].id}: {lexicon.problems[0].message}"
            self.notes.append(f"{len(lexicon.problems):,} entries of the lexicon are left out; {first}")
        if lm is None or lm.units != "words" or len(lexicon.words) >= MANY:  # not one that was written for this
            return
        known = set(lm.words)
        if unknown := [word for word in lexicon.words if word not in known]:
            self.notes.append(
                f"{len(unknown):,} of {len(lexicon.words):,} words of the lexicon are not in the language model, and "
                f"so cannot come out ({', '.join(unknown[:5])}); `asr lm train` or `asr lm mix` makes one that has them"
            )

    def _spelling(self, lexicon: Lexicon | None) -> Tokenizer:
        """What spells hot words and a grammar: with a lexicon of phones its pronunciations, not those of training."""
        if lexicon is None or not isinstance(self.tokenizer, PhoneTokenizer):
            return self.tokenizer
        return PhoneTokenizer(self.tokenizer.tokens, lexicon.pronunciations(self.tokenizer))

    def _file(self, name: str) -> Path:
        """The file of that name in the model folder, or else as the path stands."""
        return Path(name) if self.folder is None else file_of(self.folder, name)


def of_lexicon(options: BeamOptions, lm: NgramModel | None, lexicon: Lexicon | None) -> BeamOptions:
    """`options` with the pruning that a search over the words of a lexicon needs; None: the one of the model itself.

    A few words of a lexicon beside a large language model are still few: only what both have comes out.
    """
    large = lm is not None and lm.units == "words" and len(lm.words) >= MANY
    many = large and lexicon is not None and len(lexicon.words) >= MANY
    prune, token_min = OF_MANY_WORDS if many else OF_FEW_WORDS
    return replace(options, prune=prune, token_min_log_prob=token_min)


def beam_settings(settings: DecodingConfig, **changes: object) -> DecodingConfig:
    """`settings` with changes; what only beam search can do switches it on.

    Hot words, a grammar or a lexicon that is given stands in for what the settings have and it excludes.

    Raises:
        ConfigError: a value is impossible.
    """
    from asr.config import parse_config

    beam_alone = ("beam", "lm", "word_bonus", "prior_weight", "hotwords", "grammar", "lexicon", "rescore", "nbest")
    if any(changes.get(key) is not None for key in beam_alone):
        changes.setdefault("method", "beam")
    given = {name for name in RULES if changes.get(name) is not None}
    if given:
        room = changes.get("lm", settings.lm) is not None  # for a lexicon beside hot words or a grammar
        kept = given | (({"lexicon"} if given != {"lexicon"} else set(RULES)) if room else set())
        changes = {name: None for name in RULES if name not in kept} | changes
    chosen = parse_config({"decoding": settings.model_dump() | changes}, "decoding options").decoding
    if changes.get("lm_weight") is not None and chosen.lm is None:
        raise ConfigError("decoding options: lm_weight means nothing without a language model; give lm too")
    return chosen
