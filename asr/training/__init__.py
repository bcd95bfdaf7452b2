"""Training: one loop, its loss, schedule, checkpoints and logs."""

from asr.training.run import train
from asr.training.trainer import TrainingResult

__all__ = ["TrainingResult", "train"]
