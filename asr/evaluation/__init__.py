"""Decode a manifest and score it."""

from asr.evaluation.evaluate import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]
