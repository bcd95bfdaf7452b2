"""What every section of the configuration is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator


class Section(BaseModel):
    """Base of every section: unknown keys are errors, values are checked on assignment too."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, validate_assignment=True)

    @field_validator("*", mode="before")
    @classmethod
    def _path_as_text(cls, value: Any) -> Any:
        """Files are named by strings, as in YAML; Python has paths too."""
        return str(value) if isinstance(value, Path) else value

    def refuse_changed(self, names: Iterable[str], owner: str) -> None:
        """Raise `ValueError` for a key that means something to `owner` alone, and was set to more than its default."""
        for name in names:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is an option of {owner}")
