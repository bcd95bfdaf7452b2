"""Audio files of any length to transcripts.

Names are imported when first used: the command line looks at what it was given before it waits for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asr.transcription.transcriber import Transcriber, load_model
    from asr.transcription.transcript import Segment, Transcript

__all__ = ["Segment", "Transcriber", "Transcript", "load_model"]

_HOMES = {
    "Segment": "asr.transcription.transcript",
    "Transcriber": "asr.transcription.transcriber",
    "Transcript": "asr.transcription.transcript",
    "load_model": "asr.transcription.transcriber",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'asr.transcription' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
