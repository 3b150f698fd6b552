"""The SQL store's books: spending, pauses, releases."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert as upsert

from monitor.store import KnownRelease, Pause
from monitor.stores.database import Database
from monitor.stores.rows import iso, time_of
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
        row = upsert(SPENDING).values(target=target, day=day.isoformat(), tokens=tokens)
        with self._db.writing() as db:
            db.execute(row.on_conflict_do_update(set_={"tokens": SPENDING.c.tokens + tokens}))

    def pause(self, pause: Pause) -> None:
        """Pause a target."""
        row = {"until": iso(pause.until) if pause.until else None, "by": pause.by, "at": iso(pause.at)}
        paused = upsert(PAUSES).values(target=pause.target, **row)
        with self._db.writing() as db:
            db.execute(paused.on_conflict_do_update(set_=row))

    def resume(self, target: str) -> None:
        """End a target's pause."""
        with self._db.writing() as db:
            db.execute(delete(PAUSES).where(PAUSES.c.target == target))

    def pause_of(self, target: str) -> Pause | None:
        """Return a target's pause."""
        with self._db.reading() as db:
            row = db.execute(select(PAUSES).where(PAUSES.c.target == target)).first()
        if row is None:
            return None
        return Pause(
            target=target, until=time_of(row.until) if row.until else None, by=row.by, at=time_of(row.at)
        )

    def mark(self, target: str, release: str, *, good: bool, at: datetime) -> None:
        """Mark a release good, or take the mark away."""
        row = upsert(RELEASES).values(
            target=target, release=release, good=good, marked_at=iso(at), profile=None, profile_key=""
        )
        again = row.on_conflict_do_update(set_={"good": good, "marked_at": iso(at)})
        with self._db.writing() as db:
            db.execute(again)

    def put_profile(self, target: str, release: str, profile: Mapping[str, Any], *, key: str, at: datetime) -> None:
        """Keep a release's profile."""
        body = json.dumps(profile)
        row = upsert(RELEASES).values(
            target=target, release=release, good=False, marked_at=iso(at), profile=body, profile_key=key
        )
        with self._db.writing() as db:
            db.execute(row.on_conflict_do_update(set_={"profile": body, "profile_key": key}))

    def known(self, target: str) -> tuple[KnownRelease, ...]:
        """List what is known, newest mark first."""
        query = select(RELEASES).where(RELEASES.c.target == target).order_by(RELEASES.c.marked_at.desc())
        with self._db.reading() as db:
            rows = list(db.execute(query))
        return tuple(
            KnownRelease(target=r.target, release=r.release, good=r.good, marked_at=time_of(r.marked_at),
                         profile=json.loads(r.profile) if r.profile else None, profile_key=r.profile_key)
            for r in rows
        )  # fmt: skip
