"""How the tables' rows are read and written."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["iso", "time_of"]


def iso(at: datetime) -> str:
    """Write a time so that texts sort as times do."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def time_of(value: str) -> datetime:
    """Read what ``iso`` wrote."""
    return datetime.fromisoformat(value)
