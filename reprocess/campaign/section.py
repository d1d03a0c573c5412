"""Base of every section of a campaign."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator
from pydantic_core import PydanticCustomError

BETWEEN_KEYS = "between_keys"


def contradiction(key: str, found: Any, expected: str) -> PydanticCustomError:
    """What a check of several keys of a section raises, to name the one to change.

    A `ValueError` there would name the whole section.
    """
    text = {"key": key, "found": found, "expected": expected}
    return PydanticCustomError(BETWEEN_KEYS, "{key}: found {found}, expected {expected}", text)


class Settings(BaseModel):
    """Base of every section: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _utf8(cls, value: Any) -> Any:
        # Every run keeps its campaign, and every store its names, as UTF-8.
        if isinstance(value, str) and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise ValueError("a name in UTF-8: rename it") from error
        return value
