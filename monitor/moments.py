"""Moments that people give: bounded, so that each can be told in every time zone, and a day be added."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["bounded"]

_FIRST, _LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


def bounded(at: datetime) -> datetime:
    """Return a moment in UTC.

    Raises:
        ValueError: It lies too far away.
    """
    if not _FIRST <= at < _LAST:
        raise ValueError("must lie in the years 1900 to 9998")
    return at.astimezone(UTC)
