"""Transcripts as tokens: how text is written, and characters, BPE pieces or phones with blank = 0."""

from asr.text.bpe import BpeTokenizer
from asr.text.building import build_tokenizer, count_words
from asr.text.normalisation import APOSTROPHES, marks_around, normalise
from asr.text.phones import PhoneTokenizer
from asr.text.tokenizer import BLANK, COMPANIONS, SPACE, Tokenizer, ctc_frames

__all__ = [
    "APOSTROPHES",
    "BLANK",
    "COMPANIONS",
    "SPACE",
    "BpeTokenizer",
    "PhoneTokenizer",
    "Tokenizer",
    "build_tokenizer",
    "count_words",
    "ctc_frames",
    "marks_around",
    "normalise",
]
