"""Audio files of any length to transcripts."""

from asr.transcription.transcriber import Transcriber, load_model
from asr.transcription.transcript import Segment, Transcript

__all__ = ["Segment", "Transcriber", "Transcript", "load_model"]
