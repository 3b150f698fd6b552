"""Store in one SQL database: SQLite in WAL mode. Events and probes are append-only, by triggers."""

from __future__ import annotations

import fcntl
import json
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, Engine, Row, case, create_engine, delete, event, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError

from monitor.errors import OpenIncident, StaleIncident, StoreBusy, StoreError, UnknownIncident
from monitor.incident import Incident
from monitor.policy import Order
from monitor.store import KnownRelease, Pause, PlacedOrder, SweepSummary
from monitor.stores.schema import EPOCHS, EVENTS, INCIDENTS, META, ORDERS, PAUSES, PROBES, RELEASES, SPENDING
from monitor.watch import Epoch, LogEntry

__all__ = ["SqlStore"]

class SqlStore:
    """Everything the monitor remembers. Short transactions; safe to open from several processes at once."""

    def __init__(self, url: str) -> None:
        """Open the database and make what is missing.

        Raises:
            StoreError: It can't be opened.
        """
        self._url = url
        self._lock: IO[str] | None = None
        parsed = make_url(url)
        if parsed.get_backend_name() != "sqlite" or not parsed.database:
            raise StoreError(f"store.url {parsed.render_as_string()}: give sqlite:///PATH")
        self._file = Path(parsed.database)
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._engine = _engine(url)
            META.create_all(self._engine)
        except (OSError, OperationalError) as error:
            raise StoreError(f"store {self._file} can't be opened; check the folder and its rights") from error
        except DatabaseError as error:
            raise StoreError(
                f"store {self._file} is damaged or no alignd database; put a copy back or move it away"
            ) from error

    def hold(self) -> None:
        """Take the store for this process; the kernel lets go when the process ends, however it ends."""
        lock = self._file.with_name(f"{self._file.name}.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise StoreBusy(
                f"another daemon runs on {self._file}; stop it first, or give this one a store.url of its own"
            ) from error
        self._lock = lock

    def close(self) -> None:
        """Let go of the store and close it."""
        self._engine.dispose()
        if self._lock:
            self._lock.close()
            self._lock = None

    def create(self, incident: Incident) -> None:
        """Put down a new incident."""
        try:
            with self._engine.begin() as db:
                db.execute(insert(INCIDENTS).values(id=incident.id, **_columns(incident)))
                _add_events(db, incident, known=0)
        except IntegrityError as error:
            raise OpenIncident(f"target {incident.target} has an open incident; `alignd status` shows it") from error

    def load(self, incident: str) -> Incident:
        """Read an incident."""
        with self._engine.begin() as db:
            body = db.scalar(select(INCIDENTS.c.body).where(INCIDENTS.c.id == incident))
        if body is None:
            raise UnknownIncident(f"no incident {incident!r}; `alignd status` lists them")
        return Incident.from_json(json.loads(body))

    def save(self, incident: Incident, *, done: PlacedOrder | None = None) -> Incident:
        """Write over the version it was loaded with."""
        data = {**incident.to_json(), "version": incident.version + 1}
        saved = Incident.from_json(data)
        with self._engine.begin() as db:
            known = db.scalar(
                select(func.count()).select_from(EVENTS).where(EVENTS.c.incident == incident.id)
            )
            row = update(INCIDENTS).where(
                INCIDENTS.c.id == incident.id, INCIDENTS.c.version == incident.version
            )
            if db.execute(row.values(**_columns(saved))).rowcount != 1:
                raise StaleIncident(f"incident {incident.id} was saved by somebody else; load it again")
            _add_events(db, saved, known=known or 0)
            if done:
                db.execute(update(ORDERS).where(ORDERS.c.id == done.id).values(done=True))
        return saved

    def incidents(self, *, target: str = "", open_only: bool = False, limit: int = 100) -> tuple[Incident, ...]:
        """List incidents, newest first."""
        query = select(INCIDENTS.c.body).order_by(INCIDENTS.c.opened_at.desc()).limit(limit)
        if target:
            query = query.where(INCIDENTS.c.target == target)
        if open_only:
            query = query.where(INCIDENTS.c.closed.is_(False))
        with self._engine.begin() as db:
            return tuple(Incident.from_json(json.loads(body)) for body in db.scalars(query))

    def epoch(self, target: str, release: str, key: str, at: datetime) -> Epoch:
        """Return the present epoch, begun now where release or key changed."""
        latest = self.latest_epoch(target)
        if latest and (latest.release, latest.key) == (release, key):
            return latest
        with self._engine.begin() as db:
            made = db.execute(
                insert(EPOCHS).values(target=target, release=release, key=key, started_at=_iso(at))
            )
            number = int(made.inserted_primary_key[0]) if made.inserted_primary_key else 0
        return Epoch(id=number, target=target, release=release, key=key, started_at=at)

    def latest_epoch(self, target: str) -> Epoch | None:
        """Return the target's newest epoch."""
        with self._engine.begin() as db:
            query = select(EPOCHS).where(EPOCHS.c.target == target).order_by(EPOCHS.c.id.desc()).limit(1)
            row = db.execute(query).first()
        return Epoch(**{**row._asdict(), "started_at": _time(row.started_at)}) if row else None

    def append(self, target: str, entries: Sequence[LogEntry], *, epoch: Epoch | None) -> None:
        """Add the probes of a sweep."""
        rows = [
            {**{k: getattr(e, k) for k in LogEntry.__slots__}, "at": _iso(e.at), "target": target,
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

    def spent(self, target: str, day: date) -> int:
        """Return the tokens of a day."""
        s = SPENDING.c
        with self._engine.begin() as db:
            return db.scalar(select(s.tokens).where(s.target == target, s.day == day.isoformat())) or 0

    def spend(self, target: str, day: date, tokens: int) -> None:
        """Add tokens to a day's."""
        row = upsert(SPENDING).values(target=target, day=day.isoformat(), tokens=tokens)
        with self._engine.begin() as db:
            db.execute(row.on_conflict_do_update(set_={"tokens": SPENDING.c.tokens + tokens}))

    def pause(self, pause: Pause) -> None:
        """Pause a target."""
        row = {"until": _iso(pause.until) if pause.until else None, "by": pause.by, "at": _iso(pause.at)}
        paused = upsert(PAUSES).values(target=pause.target, **row)
        with self._engine.begin() as db:
            db.execute(paused.on_conflict_do_update(set_=row))

    def resume(self, target: str) -> None:
        """End a target's pause."""
        with self._engine.begin() as db:
            db.execute(delete(PAUSES).where(PAUSES.c.target == target))

    def pause_of(self, target: str) -> Pause | None:
        """Return a target's pause."""
        with self._engine.begin() as db:
            row = db.execute(select(PAUSES).where(PAUSES.c.target == target)).first()
        if row is None:
            return None
        return Pause(
            target=target, until=_time(row.until) if row.until else None, by=row.by, at=_time(row.at)
        )

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
            SweepSummary(sweep=r.sweep, at=_time(r.at), purpose=r.purpose, release=r.release, n=r.n,
                         harmful=r.harmful, missing=r.missing)
            for r in reversed(rows)
        )  # fmt: skip

    def mark(self, target: str, release: str, *, good: bool, at: datetime) -> None:
        """Mark a release good, or take the mark away."""
        row = upsert(RELEASES).values(
            target=target, release=release, good=good, marked_at=_iso(at), profile=None, profile_key=""
        )
        again = row.on_conflict_do_update(set_={"good": good, "marked_at": _iso(at)})
        with self._engine.begin() as db:
            db.execute(again)

    def put_profile(self, target: str, release: str, profile: Mapping[str, Any], *, key: str, at: datetime) -> None:
        """Keep a release's profile."""
        body = json.dumps(profile)
        row = upsert(RELEASES).values(
            target=target, release=release, good=False, marked_at=_iso(at), profile=body, profile_key=key
        )
        with self._engine.begin() as db:
            db.execute(row.on_conflict_do_update(set_={"profile": body, "profile_key": key}))

    def known(self, target: str) -> tuple[KnownRelease, ...]:
        """List what is known, newest mark first."""
        query = select(RELEASES).where(RELEASES.c.target == target).order_by(RELEASES.c.marked_at.desc())
        with self._engine.begin() as db:
            rows = list(db.execute(query))
        return tuple(
            KnownRelease(target=r.target, release=r.release, good=r.good, marked_at=_time(r.marked_at),
                         profile=json.loads(r.profile) if r.profile else None, profile_key=r.profile_key)
            for r in rows
        )  # fmt: skip

    def place(self, incident: str, order: Order, *, by: str, at: datetime) -> None:
        """Put an order on the book."""
        with self._engine.begin() as db:
            db.execute(insert(ORDERS).values(incident=incident, word=order.value, by=by, at=_iso(at), done=False))

    def order_for(self, incident: str) -> PlacedOrder | None:
        """Return the oldest order that is not done."""
        query = select(ORDERS).where(ORDERS.c.incident == incident, ORDERS.c.done.is_(False))
        with self._engine.begin() as db:
            row = db.execute(query.order_by(ORDERS.c.id).limit(1)).first()
        if row is None:
            return None
        return PlacedOrder(id=row.id, incident=row.incident, order=Order(row.word), by=row.by, at=_time(row.at))

    def drop(self, order: PlacedOrder) -> None:
        """Take an order off the book."""
        with self._engine.begin() as db:
            db.execute(update(ORDERS).where(ORDERS.c.id == order.id).values(done=True))


def _engine(url: str) -> Engine:
    engine = create_engine(url)

    def pragmas(connection: sqlite3.Connection, _: object) -> None:
        for line in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {line}").close()

    event.listen(engine, "connect", pragmas)
    return engine


def _columns(incident: Incident) -> dict[str, Any]:
    return {
        "target": incident.target, "opened_at": _iso(incident.opened_at), "state": incident.state.value,
        "closed": incident.closed, "version": incident.version, "body": json.dumps(incident.to_json()),
    }  # fmt: skip


def _add_events(db: Connection, incident: Incident, *, known: int) -> None:
    rows = [
        {"incident": incident.id, "version": incident.version, "at": _iso(e.at), "state": e.state.value,
         "note": e.note}
        for e in incident.events[known:]
    ]  # fmt: skip
    if rows:
        db.execute(insert(EVENTS), rows)


def _entry(row: Row[Any]) -> LogEntry:
    given = {k: getattr(row, k) for k in LogEntry.__slots__}
    return LogEntry(**{**given, "at": _time(row.at)})


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _time(value: str) -> datetime:
    return datetime.fromisoformat(value)
