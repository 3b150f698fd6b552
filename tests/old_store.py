"""A store as it was written before versions had numbers, with rows in every table."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

__all__ = ["rows_of", "write_old_store"]

_DUMP = Path(__file__).parent / "golden" / "store_0000.sql"


def write_old_store(file: Path) -> None:
    """Write one, in WAL mode as the daemon left it."""
    with closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript(_DUMP.read_text(encoding="utf-8"))


def rows_of(file: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return all rows by table, the version's own left out."""
    with closing(sqlite3.connect(file)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {t: list(db.execute(f"SELECT * FROM {t}")) for t in tables if t != "alembic_version"}
