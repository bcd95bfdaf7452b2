"""Your own recordings to a manifest: tables, NeMo and Kaldi data, folders with transcripts."""

from __future__ import annotations

from asr.data.importing.detection import FORMATS, detect
from asr.data.importing.importer import ImportResult, import_data

__all__ = ["FORMATS", "ImportResult", "detect", "import_data"]
