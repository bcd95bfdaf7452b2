"""Train, run and score bidirectional-LSTM CTC speech recognisers.

    import asr
    model = asr.load_model("exp/an4")
    transcript = model.transcribe("call.wav")
    result = asr.evaluate(model, "data/an4/test")

Names are imported when first used: `import asr` alone is cheap, `asr --help` never waits for torch.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from asr.caches import find_numba_cache
from asr.version import __version__

if TYPE_CHECKING:
    from asr.config import Config, load_config
    from asr.data.corpora import prepare
    from asr.errors import AsrError
    from asr.evaluation import Evaluation, evaluate
    from asr.scoring import Score, score
    from asr.training import TrainingResult, train
    from asr.transcription import Transcriber, Transcript, load_model

# OpenMP reads it when torch is loaded. Its threads wait for each other at the end of every operation, and spin for some
# 300,000 rounds before they sleep: beside another program they take the core from the one that is waited for.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
find_numba_cache()  # numba reads it when it is imported

_HOMES = {
    "AsrError": "asr.errors",
    "Config": "asr.config",
    "Evaluation": "asr.evaluation",
    "Score": "asr.scoring",
    "Transcriber": "asr.transcription",
    "Transcript": "asr.transcription",
    "TrainingResult": "asr.training",
    "evaluate": "asr.evaluation",
    "load_config": "asr.config",
    "load_model": "asr.transcription",
    "prepare": "asr.data.corpora",
    "score": "asr.scoring",
    "train": "asr.training",
}

__all__ = [
    "AsrError",
    "Config",
    "Evaluation",
    "Score",
    "TrainingResult",
    "Transcriber",
    "Transcript",
    "__version__",
    "evaluate",
    "load_config",
    "load_model",
    "prepare",
    "score",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'asr' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
