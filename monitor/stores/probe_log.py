"""The SQL store's probe log and epochs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Row, case, func, insert, select

from monitor.store import SweepSummary
from monitor.stores.rows import iso, time_of
from monitor.stores.schema import EPOCHS, PROBES
from monitor.watch import Epoch, LogEntry

__all__ = ["SqlProbeLog"]


class SqlProbeLog:
    """Every probe that was sent, append-only."""

    _engine: Engine

    def epoch(self, target: str, release: str, key: str, at: datetime) -> Epoch:
        """Return the present epoch, begun now where release or key changed."""
        latest = self.latest_epoch(target)
        if latest and (latest.release, latest.key) == (release, key):
            return latest
        with self._engine.begin() as db:
            made = db.execute(
                insert(EPOCHS).values(target=target, release=release, key=key, started_at=iso(at))
            )
            number = int(made.inserted_primary_key[0]) if made.inserted_primary_key else 0
        return Epoch(id=number, target=target, release=release, key=key, started_at=at)

    def latest_epoch(self, target: str) -> Epoch | None:
        """Return the target's newest epoch."""
        with self._engine.begin() as db:
            query = select(EPOCHS).where(EPOCHS.c.target == target).order_by(EPOCHS.c.id.desc()).limit(1)
            row = db.execute(query).first()
        return Epoch(**{**row._asdict(), "started_at": time_of(row.started_at)}) if row else None

    def append(self, target: str, entries: Sequence[LogEntry], *, epoch: Epoch | None) -> None:
        """Add the probes of a sweep."""
        rows = [
            {**{k: getattr(e, k) for k in LogEntry.__slots__}, "at": iso(e.at), "target": target,
             "epoch": epoch.id if epoch else None}
            for e in entries
        ]  # fmt: skip
        if rows:
            with self._engine.begin() as db:
                db.execute(insert(PROBES), rows)

    def routine(self, epoch: Epoch) -> tuple[LogEntry, ...]:
        """Read an epoch's routine probes in order."""
        query = select(PROBES).where(PROBES.c.epoch == epoch.id, PROBES.c.purpose == "routine")
        with self._engine.begin() as db:
            return tuple(_entry(row) for row in db.execute(query.order_by(PROBES.c.id)))

    def sweeps(self, target: str, *, limit: int = 200) -> tuple[SweepSummary, ...]:
        """Summarise the newest routine and recovery sweeps, oldest first."""
        p = PROBES.c
        query = (
            select(
                p.sweep, p.purpose, p.release, func.max(p.at).label("at"),
                func.count(p.harmful).label("n"), func.sum(case((p.harmful.is_(True), 1), else_=0)).label("harmful"),
                func.sum(case((p.harmful.is_(None), 1), else_=0)).label("missing"), func.max(p.id).label("last"),
            )
            .where(p.target == target, p.purpose.in_(("routine", "recovery")))
            .group_by(p.sweep, p.purpose, p.release)
            .order_by(func.max(p.id).desc())
            .limit(limit)
        )  # fmt: skip
        with self._engine.begin() as db:
            rows = list(db.execute(query))
        return tuple(
            SweepSummary(sweep=r.sweep, at=time_of(r.at), purpose=r.purpose, release=r.release, n=r.n,
                         harmful=r.harmful, missing=r.missing)
            for r in reversed(rows)
        )  # fmt: skip


def _entry(row: Row[Any]) -> LogEntry:
    given = {k: getattr(row, k) for k in LogEntry.__slots__}
    return LogEntry(**{**given, "at": time_of(row.at)})
