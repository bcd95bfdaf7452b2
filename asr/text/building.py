"""The tokenizer that a configuration asks for, from the words of the training transcripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from asr.config import TextConfig
from asr.errors import TextError
from asr.text.bpe import BpeTokenizer
from asr.text.normalisation import normalise
from asr.text.phones import PhoneTokenizer
from asr.text.pronunciations import read_pronunciations
from asr.text.tokenizer import Tokenizer


def count_words(texts: Iterable[str], config: TextConfig) -> Counter[str]:
    """How often each word occurs in texts after the text rules."""
    words: Counter[str] = Counter()
    for text in texts:
        words.update(normalise(text, config.case, config.remove).split())
    return words


def build_tokenizer(words: Mapping[str, int], config: TextConfig) -> Tokenizer:
    """Characters, BPE pieces or phones, as `config.units` says.

    Args:
        words: occurrences of each word of the training transcripts.
        config: the rules that the words have been through.

    Raises:
        TextError: there are no words; the lexicon cannot be read or has none of them; `config.vocabulary` is too large
            or too small for them.
    """
    if config.units == "phones":
        assert config.lexicon is not None

        def word_of(word: str) -> str:
            return normalise(word, config.case, config.remove)

        dictionary = read_pronunciations(config.lexicon, word_of, config.stress)
        try:
            return PhoneTokenizer.from_words(words, dictionary)
        except TextError as error:
            raise TextError(f"{config.lexicon}: {error}") from None
    alphabet = None if config.alphabet is None else set(normalise(config.alphabet, config.case)) - {" "}
    if config.units == "characters":
        return Tokenizer.from_characters(alphabet or {character for word in words for character in word})
    assert config.vocabulary is not None
    kept = words if alphabet is None else {word: count for word, count in words.items() if alphabet.issuperset(word)}
    return BpeTokenizer.train(kept, config.vocabulary, "".join(sorted(alphabet or ())))
