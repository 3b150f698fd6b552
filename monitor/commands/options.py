"""Options that are given as JSON."""

from __future__ import annotations

import json
from typing import Any

from monitor.errors import ConfigError

__all__ = ["json_object"]


def json_object(text: str, option: str) -> dict[str, Any]:
    """Read an option's JSON object.

    Raises:
        ConfigError: It is none; the message names the option.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{option}: no valid JSON ({error})") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{option}: must be a JSON object")
    return found
