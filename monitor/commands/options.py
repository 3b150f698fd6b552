"""Options that are JSON, or a person's reason."""

from __future__ import annotations

import json
import re
from typing import Any

from monitor.errors import ConfigError
from monitor.plain_text import ONE_LINE, REASON_MAX

__all__ = ["json_object", "options_by_name", "reason"]


def reason(why: str, *, needed: bool = True) -> str:
    """Return a ``--why`` that the API would take, too.

    Raises:
        ConfigError: It is empty where it is needed, too long, or more than one line.
    """
    if needed and not why:
        raise ConfigError("--why: say what was found; it is kept for the audit")
    if len(why) > REASON_MAX or not re.fullmatch(ONE_LINE, why):
        raise ConfigError(f"--why: write one line of at most {REASON_MAX} characters, none of them a control character")
    return why


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


def options_by_name(text: str, option: str) -> dict[str, dict[str, Any]]:
    """Read an option's JSON object of JSON objects: the options of each plugin by its name.

    Raises:
        ConfigError: It is none; the message names the option and the plugin.
    """
    found = json_object(text, option)
    for name, own in found.items():
        if not isinstance(own, dict):
            raise ConfigError(f"{option} {name}: must be a JSON object of its options, not {json.dumps(own)}")
    return found
