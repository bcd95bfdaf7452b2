"""BPE pieces (Sennrich et al. 2016) by sentencepiece, learnt from the words of the training transcripts."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from asr.errors import TextError
from asr.text.tokenizer import BLANK, COMPANIONS, SPACE, Tokenizer, Units

LARGEST = re.compile(r"set it to a value <= (\d+)")
SMALLEST = re.compile(r"smaller than required_chars\. \d+ vs (\d+)")


class BpeTokenizer(Tokenizer):
    """Pieces of words to ids and back; those that begin a word begin with `▁`, id 0 is the CTC blank.

    The blank has the place of sentencepiece's unknown piece, which is never written: a text with an unknown character
    is an error, as with characters.

    Args:
        model: a serialised sentencepiece model whose piece 0 is the blank.

    Raises:
        TextError: it is none.
    """

    units: ClassVar[Units] = "bpe"

    def __init__(self, model: bytes):
        from sentencepiece import SentencePieceProcessor

        self.model = model
        try:
            self._processor: Any = SentencePieceProcessor(model_proto=model)
        except RuntimeError:
            raise TextError(f"{COMPANIONS['bpe']} is no sentencepiece model; copy it again or train again") from None
        super().__init__([self._processor.id_to_piece(index) for index in range(len(self._processor))])
        # Single characters, the space among them, and those that come at the beginning of words alone.
        self._characters = {" ", *(character for piece in self.tokens[1:] for character in piece)} - {SPACE}

    @classmethod
    def train(cls, words: Mapping[str, int], size: int, alphabet: str = "") -> BpeTokenizer:
        """Learn `size` tokens, the blank counted, from how often each word occurs; the same from the same counts.

        Args:
            words: occurrences of each normalised word. Pieces never reach over spaces, so that this is all there is to
                know, however long the text.
            size: of the table.
            alphabet: characters to have beside those of the words.

        Raises:
            TextError: the words are too few for so many tokens, or have more characters.
        """
        from sentencepiece import SentencePieceTrainer

        if not words:
            raise TextError("there are no words to learn BPE tokens from")
        written = io.BytesIO()
        try:
            SentencePieceTrainer.train(
                sentence_iterator=(f"{word}\t{count}" for word, count in sorted(words.items())),
                input_format="tsv",
                model_writer=written,
                model_type="bpe",
                vocab_size=size,
                character_coverage=1.0,
                required_chars=alphabet,
                normalization_rule_name="identity",  # asr.text.normalise has been there
                unk_id=0,
                unk_piece=BLANK,
                bos_id=-1,
                eos_id=-1,
                pad_id=-1,
                num_threads=1,
                minloglevel=3,
            )
        except RuntimeError as error:
            raise TextError(_explained(str(error), size)) from None
        return cls(written.getvalue())

    @classmethod
    def read(cls, tokens: Sequence[str], path: Path) -> BpeTokenizer:
        """The tokenizer of a model's file, which must belong to the table `tokens`.

        Raises:
            TextError: the file is missing, broken, or of another table.
        """
        try:
            found = cls(path.read_bytes())
        except OSError as error:
            raise TextError(f"BPE tokens need {path.name} beside them, and it cannot be read ({error})") from None
        if found.tokens != list(tokens):
            raise TextError(f"{path.name} beside it is of another table; copy both again")
        return found

    def missing(self, text: str) -> list[str]:
        """The characters of a normalised text that no piece has, each once, in order."""
        return [character for character in dict.fromkeys(text) if character not in self._characters]

    def encode(self, text: str) -> list[int]:
        """Token ids of a normalised text, the pieces joined as they were learnt.

        Raises:
            TextError: a character is in no piece; the message shows it and its code point.
        """
        ids: list[int] = self._processor.encode(text)
        if 0 in ids or SPACE in text:
            raise self._unspelled(text)
        return ids

    def _companion(self) -> bytes:
        return self.model

    def __reduce__(self) -> tuple[type[BpeTokenizer], tuple[bytes]]:
        return BpeTokenizer, (self.model,)  # for processes that read data


def _explained(error: str, size: int) -> str:
    largest, smallest = LARGEST.search(error), SMALLEST.search(error)
    if largest:
        return (
            f"text.vocabulary = {size} is too much for these transcripts: the largest possible is {largest[1]}; "
            "choose less, or more text"
        )
    if smallest:
        return (
            f"text.vocabulary = {size} is too little: characters, space and blank alone are {smallest[1]} tokens; "
            "choose more"
        )
    return f"BPE tokens cannot be learnt from these transcripts ({' '.join(error.split())[:300]})"
