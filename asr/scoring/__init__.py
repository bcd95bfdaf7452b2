"""Text against text: word and character error rates with error bars, alignments and confusions."""

from asr.scoring.advice import advice
from asr.scoring.breakdown import Group, by_label, by_value, never_recognised
from asr.scoring.error_rates import Rate, Score, UtteranceScore, score
from asr.scoring.report import format_groups, format_summary, write_alignments
from asr.scoring.transcripts import read_transcripts

__all__ = [
    "Group",
    "Rate",
    "Score",
    "UtteranceScore",
    "advice",
    "by_label",
    "by_value",
    "format_groups",
    "format_summary",
    "never_recognised",
    "read_transcripts",
    "score",
    "write_alignments",
]
