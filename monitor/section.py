"""What every part of the settings has in common."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict

__all__ = ["Section", "masked_url"]


class Section(BaseModel):
    """A part of the settings: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


def masked_url(url: str) -> str:
    """Return a URL without the password that it may hold."""
    return re.sub(r"(://[^:/@]*:).*@", r"\1***@", url)
