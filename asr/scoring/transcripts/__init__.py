"""Transcripts that people and recognisers wrote, in whatever format, read and put side by side for scoring."""

from asr.scoring.transcripts.model import Side, Transcripts
from asr.scoring.transcripts.pairing import Paired, pair
from asr.scoring.transcripts.reading import FORMATS, files_read, read_speakers, read_transcripts

__all__ = ["FORMATS", "Paired", "Side", "Transcripts", "files_read", "pair", "read_speakers", "read_transcripts"]
