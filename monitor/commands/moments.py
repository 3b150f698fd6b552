"""Options that name a day or a time."""

from __future__ import annotations

from datetime import UTC, datetime

from monitor.errors import ConfigError
from monitor.moments import bounded

__all__ = ["moment_of"]


def moment_of(text: str, option: str) -> datetime:
    """Read a day, which is its first moment, or a time; in UTC where it names no offset.

    Raises:
        ConfigError: It is neither, or too far away; the message names the option.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{option} {text}: give a day or a time, e.g. 2026-01-31 or 2026-01-31T12:00Z") from error
    try:
        return bounded(found if found.tzinfo else found.replace(tzinfo=UTC))
    except ValueError as error:
        raise ConfigError(f"{option} {text}: {error}") from error
