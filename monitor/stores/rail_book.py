"""The SQL store's book of what rails ask: remediations in few values, and resets of breakers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import insert, or_, select

from monitor.audit import AuditEntry
from monitor.incident import State
from monitor.rails import Remediation
from monitor.store import BreakerReset
from monitor.stores.audit_book import put_down
from monitor.stores.database import Database
from monitor.stores.rows import iso, time_of
from monitor.stores.schema import BREAKER_RESETS, INCIDENTS, PLACE

__all__ = ["SqlRailBook"]


class SqlRailBook:
    """Reads no incident's body: rails are asked every second."""

    _db: Database

    def history(self, since: datetime) -> tuple[Remediation, ...]:
        """List what was done about incidents since then, what was put down last first."""
        i = INCIDENTS.c
        query = (
            select(i.id, i.target, i.state, i.opened_at, i.base, i.began_at, i.ended_at)
            .where(or_(i.opened_at >= iso(since), i.closed.is_(False)))
            .order_by(PLACE.desc())
        )
        with self._db.reading() as db:
            rows = list(db.execute(query))
        return tuple(
            Remediation(
                incident=r.id, target=r.target, state=State(r.state), opened_at=time_of(r.opened_at), base=r.base or "",
                began_at=time_of(r.began_at) if r.began_at else None,
                ended_at=time_of(r.ended_at) if r.ended_at else None,
            )
            for r in rows
        )  # fmt: skip

    def reset_breaker(self, reset: BreakerReset) -> None:
        """Put down that a target's breaker was closed."""
        row = {"target": reset.target, "at": iso(reset.at), "by": reset.by, "why": reset.why}
        with self._db.writing() as db:
            db.execute(insert(BREAKER_RESETS).values(**row))
            put_down(db, AuditEntry(at=reset.at, actor=reset.by, action="breaker_reset", subject=reset.target,
                                    details={"why": reset.why}))  # fmt: skip

    def breaker_resets(self) -> Mapping[str, BreakerReset]:
        """Return each target's newest reset."""
        with self._db.reading() as db:
            rows = list(db.execute(select(BREAKER_RESETS).order_by(BREAKER_RESETS.c.id)))
        return {r.target: BreakerReset(target=r.target, at=time_of(r.at), by=r.by, why=r.why) for r in rows}
