"""What a server that changes releases answers."""

from __future__ import annotations

from typing import Any

import httpx

__all__ = ["object_of"]


def object_of(answer: httpx.Response) -> dict[str, Any]:
    """Read an answer's JSON object; an empty one where it holds none, as from a proxy in between."""
    try:
        said = answer.json()
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
