"""The SQL store's books: spending, pauses, releases."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, delete, select

from monitor.audit import DAEMON, AuditEntry
from monitor.store import KnownRelease, Pause
from monitor.stores.audit_book import put_down
from monitor.stores.database import Database
from monitor.stores.rows import iso, put, time_of
from monitor.stores.schema import PAUSES, RELEASES, SPENDING

__all__ = ["SqlBooks"]


class SqlBooks:
    """What probing cost, who paused it, what is known of releases."""

    _db: Database

    def spent(self, target: str, day: date) -> int:
        """Return the tokens of a day."""
        s = SPENDING.c
        with self._db.reading() as db:
            return db.scalar(select(s.tokens).where(s.target == target, s.day == day.isoformat())) or 0

    def spend(self, target: str, day: date, tokens: int) -> None:
        """Add tokens to a day's."""
        row = {"target": target, "day": day.isoformat(), "tokens": tokens}
        with self._db.writing() as db:
            put(db, SPENDING, row, {"tokens": SPENDING.c.tokens + tokens})

    def pause(self, pause: Pause) -> None:
        """Pause a target."""
        row = {"until": iso(pause.until) if pause.until else None, "by": pause.by, "at": iso(pause.at),
               "why": pause.why}  # fmt: skip
        with self._db.writing() as db:
            put(db, PAUSES, {"target": pause.target, **row}, row)
            put_down(db, AuditEntry(at=pause.at, actor=pause.by, action="paused", subject=pause.target,
                                    details={"until": row["until"], "why": pause.why}))  # fmt: skip

    def resume(self, target: str, *, by: str, at: datetime) -> None:
        """End a target's pause."""
        with self._db.writing() as db:
            if db.execute(delete(PAUSES).where(PAUSES.c.target == target)).rowcount:
                put_down(db, AuditEntry(at=at, actor=by, action="resumed", subject=target))

    def pause_of(self, target: str) -> Pause | None:
        """Return a target's pause."""
        with self._db.reading() as db:
            row = db.execute(select(PAUSES).where(PAUSES.c.target == target)).first()
        return _pause(row) if row else None

    def pauses(self) -> Mapping[str, Pause]:
        """Return every target's pause."""
        with self._db.reading() as db:
            return {row.target: _pause(row) for row in db.execute(select(PAUSES))}

    def mark(
        self, target: str, release: str, *, good: bool, at: datetime, by: str = DAEMON, since: datetime | None = None
    ) -> None:
        """Mark a release good, or take the mark away; one that is known as not good stays as it is."""
        mark = {"good": good, "marked_at": iso(since or at)}
        r = RELEASES.c
        with self._db.writing() as db:
            if not good and db.scalar(select(r.good).where(r.target == target, r.release == release)) is False:
                return
            put(db, RELEASES, {"target": target, "release": release, "profile": None, "profile_key": "", **mark}, mark)
            put_down(db, AuditEntry(at=at, actor=by, action="marked_good" if good else "mark_removed", subject=release,
                                    details={"target": target}))  # fmt: skip

    def put_profile(self, target: str, release: str, profile: Mapping[str, Any], *, key: str, at: datetime) -> None:
        """Keep a release's profile."""
        found = {"profile": json.dumps(profile), "profile_key": key}
        with self._db.writing() as db:
            row = {"target": target, "release": release, "good": False, "marked_at": iso(at)}
            put(db, RELEASES, {**row, **found}, found)

    def known(self, target: str) -> tuple[KnownRelease, ...]:
        """List what is known, newest mark first."""
        query = select(RELEASES).where(RELEASES.c.target == target).order_by(RELEASES.c.marked_at.desc())
        with self._db.reading() as db:
            return tuple(_known(row) for row in db.execute(query))

    def all_known(self) -> Mapping[str, Sequence[KnownRelease]]:
        """List what is known of every target's releases, newest mark first."""
        found = defaultdict[str, list[KnownRelease]](list)
        with self._db.reading() as db:
            for row in db.execute(select(RELEASES).order_by(RELEASES.c.marked_at.desc())):
                found[row.target].append(_known(row))
        return found


def _pause(row: Row[Any]) -> Pause:
    until = time_of(row.until) if row.until else None
    return Pause(target=row.target, until=until, by=row.by, at=time_of(row.at), why=row.why)


def _known(row: Row[Any]) -> KnownRelease:
    return KnownRelease(
        target=row.target, release=row.release, good=row.good, marked_at=time_of(row.marked_at),
        profile=json.loads(row.profile) if row.profile else None, profile_key=row.profile_key,
    )  # fmt: skip
