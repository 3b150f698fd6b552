"""Text files of prompts, as sites write them: one prompt after the other, separated by lines of ``---``."""

from __future__ import annotations

import re

__all__ = ["split_prompts"]

_SEPARATOR = re.compile(r"^---[^\S\n]*$", re.MULTILINE)


def split_prompts(text: str) -> list[str]:
    """Split a file's text; a separator may open and end it, and have spaces after it. Empty prompts are left out."""
    return [p.strip() for p in _SEPARATOR.split(text) if p.strip()]
