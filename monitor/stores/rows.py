"""How the tables' rows are read and written, in whichever kind of database."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import sqlite

__all__ = ["iso", "put", "time_of"]


def iso(at: datetime) -> str:
    """Write a time so that texts sort as times do."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def time_of(value: str) -> datetime:
    """Read what ``iso`` wrote."""
    return datetime.fromisoformat(value)


def put(db: Connection, table: Table, row: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    """Add a row, or make these changes where its key is there already."""
    key = [column.name for column in table.primary_key]
    if db.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # a megabyte that SQLite's users need not have

        db.execute(postgresql.insert(table).values(row).on_conflict_do_update(index_elements=key, set_=changes))
    else:
        db.execute(sqlite.insert(table).values(row).on_conflict_do_update(index_elements=key, set_=changes))
