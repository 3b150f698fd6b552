"""The SQL store's probe log and epochs."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, insert, select
from sqlalchemy.exc import IntegrityError

from monitor.audit import DAEMON, AuditEntry
from monitor.baseline import Baseline
from monitor.errors import LogFault
from monitor.probe_log import Epoch, LogEntry
from monitor.store import SweepSummary
from monitor.stores.audit_book import put_down
from monitor.stores.database import Database
from monitor.stores.rows import iso, put, time_of
from monitor.stores.schema import BASELINES, EPOCHS, IN_AN_EPOCH, PROBES

__all__ = ["SqlProbeLog"]

_ROWS = 1000
"""Read at a time, where not all may be wanted."""


class SqlProbeLog:
    """Every probe that was sent, append-only."""

    _db: Database

    def epoch(
        self, target: str, release: str, key: str, at: datetime, *, baseline: Baseline | None = None
    ) -> Epoch:
        """Return the present epoch, begun now with this baseline where release or key changed."""
        latest = self.latest_epoch(target)
        if latest and (latest.release, latest.key) == (release, key):
            return latest
        with self._db.writing() as db:
            made = db.execute(
                insert(EPOCHS).values(
                    target=target, release=release, key=key, started_at=iso(at),
                    baseline=json.dumps(baseline.to_json()) if baseline else None,
                )
            )
            number = int(made.inserted_primary_key[0]) if made.inserted_primary_key else 0
            put_down(db, AuditEntry(at=at, actor=DAEMON, action="epoch_begun", subject=target,
                                    details={"epoch": number, "release": release, "key": key}))  # fmt: skip
        return Epoch(id=number, target=target, release=release, key=key, started_at=at, baseline=baseline)

    def latest_epoch(self, target: str) -> Epoch | None:
        """Return the target's newest epoch."""
        with self._db.reading() as db:
            query = select(EPOCHS).where(EPOCHS.c.target == target).order_by(EPOCHS.c.id.desc()).limit(1)
            row = db.execute(query).first()
        return _epoch(row) if row else None

    def others_since(self, target: str, release: str, at: datetime) -> bool:
        """Tell whether another release began to be watched after a moment."""
        e = EPOCHS.c
        query = select(e.id).where(e.target == target, e.release != release, e.started_at > iso(at)).limit(1)
        with self._db.reading() as db:
            return db.scalar(query) is not None

    def append(self, target: str, entries: Sequence[LogEntry]) -> None:
        """Add the probes of a sweep."""
        rows = [
            {**{k: getattr(e, k) for k in LogEntry.__slots__}, "at": iso(e.at), "target": target} for e in entries
        ]
        try:
            if rows:
                with self._db.writing() as db:
                    db.execute(insert(PROBES), rows)
        except IntegrityError as error:
            first = entries[0]
            raise LogFault(
                f"probe log of target {target}, epoch {first.epoch}: a record from {first.position} on is there "
                "already; does another daemon write to this database?"
            ) from error

    def entries(self, epoch: Epoch, *, purpose: str = "routine") -> tuple[LogEntry, ...]:
        """Read an epoch's probes of one purpose, in the order in which they were written."""
        query = select(PROBES).where(PROBES.c.epoch == epoch.id, IN_AN_EPOCH, PROBES.c.purpose == purpose)
        with self._db.reading() as db:
            return tuple(_entry(row) for row in db.execute(query.order_by(PROBES.c.id)))

    def epoch_of(self, number: int) -> Epoch | None:
        """Return the epoch of this id."""
        with self._db.reading() as db:
            row = db.execute(select(EPOCHS).where(EPOCHS.c.id == number)).first()
        return _epoch(row) if row else None

    def answers(self, target: str, release: str, *, key: str) -> Mapping[tuple[str, str], bool]:
        """Return what a release answered last to each behavior and attack, in epochs whose key begins so."""
        p = PROBES.c
        newest = (
            select(func.max(p.id))
            .join(EPOCHS, EPOCHS.c.id == p.epoch)
            .where(p.target == target, p.release == release, p.purpose == "routine", p.harmful.is_not(None))
            .where(EPOCHS.c.key.startswith(key, autoescape=True))
            .group_by(p.behavior, p.attack)
        )
        query = select(p.behavior, p.attack, p.harmful).where(p.id.in_(newest))
        with self._db.reading() as db:
            return {(row.behavior, row.attack): row.harmful for row in db.execute(query)}

    def profiled(self, target: str, release: str, *, suite: str) -> Mapping[tuple[str, str], bool]:
        """Return what a release answered to each behavior and attack of a suite in its newest profile."""
        p = PROBES.c
        mine = (p.target == target, p.release == release, p.suite == suite, p.purpose == "profile")
        newest = select(p.sweep).where(*mine).order_by(p.id.desc()).limit(1).scalar_subquery()
        query = select(p.behavior, p.attack, p.harmful).where(*mine, p.sweep == newest, p.harmful.is_not(None))
        with self._db.reading() as db:
            return {(row.behavior, row.attack): row.harmful for row in db.execute(query)}

    def put_baseline(self, target: str, baseline: Baseline, *, key: str, at: datetime) -> None:
        """Keep what a good release did."""
        row = {"at": iso(at), "body": json.dumps(baseline.to_json())}
        with self._db.writing() as db:
            put(db, BASELINES, {"target": target, "release": baseline.release, "key": key, **row}, row)
            put_down(db, AuditEntry(at=at, actor=DAEMON, action="baseline_kept", subject=target,
                                    details={"release": baseline.release, "key": key}))  # fmt: skip

    def baselines(self, target: str, *, key: str) -> Mapping[str, Baseline]:
        """Return the baselines of one way of measuring, by release, the oldest first."""
        b = BASELINES.c
        query = select(b.body).where(b.target == target, b.key == key).order_by(b.at)
        with self._db.reading() as db:
            found = [Baseline.from_json(json.loads(body)) for body in db.scalars(query)]
        return {one.release: one for one in found}

    def sweeps(self, target: str, *, limit: int = 200) -> tuple[SweepSummary, ...]:
        """Summarise the newest routine and recovery sweeps, oldest first.

        A sweep's probes lie side by side, so the log is read from its end and no further than it must.
        """
        p = PROBES.c
        query = (
            select(p.sweep, p.purpose, p.release, p.at, p.harmful, p.missing)
            .where(p.target == target, p.purpose.in_(("routine", "recovery")))
            .order_by(p.id.desc())
            .execution_options(yield_per=_ROWS)
        )
        with self._db.reading() as db, db.execute(query) as rows:
            newest = itertools.groupby(rows, key=lambda row: (row.sweep, row.purpose, row.release))
            found = [_summary(*key, list(probes)) for key, probes in itertools.islice(newest, limit)]
        return tuple(reversed(found))


def _summary(sweep: str, purpose: str, release: str, rows: Sequence[Row[*tuple[Any, ...]]]) -> SweepSummary:
    scored = [row.harmful for row in rows if row.harmful is not None]
    reasons = Counter(row.missing or "unscored" for row in rows if row.harmful is None)
    return SweepSummary(
        sweep=sweep, at=time_of(max(row.at for row in rows)), purpose=purpose, release=release, n=len(scored),
        harmful=sum(scored), missing=len(rows) - len(scored), reasons=dict(reasons),
    )  # fmt: skip


def _epoch(row: Row[Any]) -> Epoch:
    return Epoch(
        id=row.id, target=row.target, release=row.release, key=row.key, started_at=time_of(row.started_at),
        baseline=Baseline.from_json(json.loads(row.baseline)) if row.baseline else None,
    )  # fmt: skip


def _entry(row: Row[Any]) -> LogEntry:
    try:
        given = {**{k: getattr(row, k) for k in LogEntry.__slots__}, "at": time_of(row.at)}
    except ValueError as error:
        raise _fault(row, f"its time {row.at!r} is none") from error
    entry = LogEntry(**given)
    for what, value in (("share", entry.share), ("probability", entry.probability)):
        if not 0 < value <= 1:
            raise _fault(row, f"its {what} {value} does not lie in (0, 1]")
    if not 1 <= entry.weight < math.inf:
        raise _fault(row, f"its weight {entry.weight} is no number of at least 1")
    return entry


def _fault(row: Row[Any], what: str) -> LogFault:
    """Name a record that no daemon writes: the tests would refuse it without its name, or count what it is not."""
    return LogFault(
        f"probe log of target {row.target}, epoch {row.epoch}, record {row.position} (sweep {row.sweep}): {what}; put "
        f"the database back from a copy, or begin anew with `alignd epoch new {row.target}`"
    )
