"""Stores as they were written before: without a number, with rows in every table; and of any number."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, text

from monitor.audit import BEFORE_ALL, AuditEntry, SealedEntry, sealed
from monitor.incident import Wait
from monitor.stores.database import Database

__all__ = ["WAITED", "rows_of", "write_old_store", "write_waiting_store"]

WAITED = {
    "9 of 9 harmful": None,
    "action needed: `alignd approve i` lets the repair begin": Wait.APPROVAL,
    "ann approved the repair": None,
    "held by window: no maintenance window is open (until 2026-01-01 02:00 UTC)": Wait.RAILS,
    "action needed: held by window: no maintenance window is open; disk: less than 2 GB are free": Wait.PERSON,
    "ann ordered: abort; no action needed": None,
    "action needed: the judge has drifted": Wait.PERSON,
}
"""Notes of an incident's events as stores before 0006 hold them, and what each waits for."""
_SCRIPTS = Path(__file__).parent.parent / "monitor" / "stores" / "migrations"
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


def write_waiting_store(url: str) -> None:
    """Write one of version 0005, as alignd did then: an open incident with the notes of ``WAITED``, and its audit."""
    from alembic import command
    from alembic.config import Config

    with closing(Database(url)) as store, store.writing() as db:
        config = Config(attributes={"connection": db, "name": store.name})
        config.set_main_option("script_location", str(_SCRIPTS))
        command.upgrade(config, "0005")
        _write_incident(db)


def _write_incident(db: Connection) -> None:
    first = datetime(2026, 1, 1, tzinfo=UTC)
    events = [
        {"at": (first + timedelta(hours=i)).isoformat(), "state": "OPEN", "note": note} for i, note in enumerate(WAITED)
    ]
    body = {
        "id": "i", "target": "t", "release": "r", "state": "OPEN", "opened_at": first.isoformat(), "recipes": ["a"],
        "recipe": 0, "attempt": 0, "attempts_max": 3, "candidate": "", "accepted": False, "last_good": "",
        "trials": [], "facts": {}, "events": events, "version": 7,
    }  # fmt: skip
    db.execute(
        text("INSERT INTO incidents (id, target, opened_at, state, closed, version, body) "
             "VALUES ('i', 't', :at, 'OPEN', :closed, 7, :body)"),
        {"at": first.isoformat(), "closed": False, "body": json.dumps(body)},
    )  # fmt: skip
    previous, into = BEFORE_ALL, "INSERT INTO events (incident, version, at, state, note)"
    for place, event in enumerate(events, start=1):
        db.execute(text(f"{into} VALUES ('i', 0, :at, :state, :note)"), event)
        entry = sealed(
            AuditEntry(at=first, actor="alignd", action="incident_noted", subject="i",
                       details={"target": "t", "release": "r", "state": event["state"], "note": event["note"]}),
            seq=place, previous=previous,
        )  # fmt: skip
        previous, row = entry.hash, {name: getattr(entry, name) for name in SealedEntry.__slots__}
        db.execute(text(f"INSERT INTO audit ({', '.join(row)}) VALUES ({', '.join(f':{name}' for name in row)})"), row)
