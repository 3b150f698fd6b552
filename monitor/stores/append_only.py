"""Triggers that keep a table's rows as they were written."""

from __future__ import annotations

__all__ = ["append_only"]


def append_only(table: str) -> tuple[str, ...]:
    """Return the statements that make a table refuse changes and removals.

    Args:
        table: Its name, from code and never from outside.
    """
    return tuple(
        f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        for verb in ("UPDATE", "DELETE")
    )
