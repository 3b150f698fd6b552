"""The SQL store's book of quarantines that are to be lifted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Row, delete, insert, select

from monitor.audit import DAEMON, AuditEntry
from monitor.quarantine import Lift
from monitor.stores.audit_book import put_down
from monitor.stores.database import Database
from monitor.stores.rows import iso, time_of
from monitor.stores.schema import LIFTS

__all__ = ["SqlLiftBook"]


class SqlLiftBook:
    """One lift of a target at a time."""

    _db: Database

    def place_lift(self, lift: Lift) -> Lift:
        """Put a lift on the book, or return the one that is there."""
        row = {"incident": lift.incident, "by": lift.by, "at": iso(lift.at), "why": lift.why}
        with self._db.writing() as db:
            if there := db.execute(select(LIFTS).where(LIFTS.c.target == lift.target)).first():
                return _lift(there)
            db.execute(insert(LIFTS).values(target=lift.target, **row))
            put_down(db, AuditEntry(at=lift.at, actor=lift.by, action="lift_placed", subject=lift.target,
                                    details={"incident": lift.incident, "why": lift.why}))  # fmt: skip
        return lift

    def lifts(self) -> Mapping[str, Lift]:
        """Return what is still to be done."""
        with self._db.reading() as db:
            return {row.target: _lift(row) for row in db.execute(select(LIFTS))}

    def end_lift(self, lift: Lift, *, at: datetime, done: bool) -> None:
        """Take a lift off the book."""
        with self._db.writing() as db:
            this = (LIFTS.c.target == lift.target) & (LIFTS.c.at == iso(lift.at))
            if db.execute(delete(LIFTS).where(this)).rowcount:
                action, details = "lift_done" if done else "lift_dropped", {"incident": lift.incident, "by": lift.by}
                put_down(db, AuditEntry(at=at, actor=DAEMON, action=action, subject=lift.target, details=details))


def _lift(row: Row[tuple[str, ...]]) -> Lift:
    return Lift(target=row.target, incident=row.incident, by=row.by, at=time_of(row.at), why=row.why)
