"""Text against text: word and character error rates with error bars, alignments and confusions."""

from asr.scoring.error_rates import Score, UtteranceScore, score
from asr.scoring.report import format_summary, write_alignments
from asr.scoring.transcripts import read_transcripts

__all__ = ["Score", "UtteranceScore", "format_summary", "read_transcripts", "score", "write_alignments"]
