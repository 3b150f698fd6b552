"""Store in one SQL database: SQLite in WAL mode. What is a record is append-only, by triggers."""

from __future__ import annotations

import fcntl
import json
import sqlite3
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, Engine, create_engine, event, func, insert, inspect, select, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError

from monitor.errors import OpenIncident, StaleIncident, StoreBusy, StoreError, UnknownIncident
from monitor.incident import Incident
from monitor.policy import Order
from monitor.store import PlacedOrder
from monitor.stores.books import SqlBooks
from monitor.stores.judge_book import SqlJudgeBook
from monitor.stores.look_book import SqlLookBook
from monitor.stores.probe_log import SqlProbeLog
from monitor.stores.rows import iso, time_of
from monitor.stores.schema import EVENTS, INCIDENTS, META, ORDERS

__all__ = ["SqlStore"]


class SqlStore(SqlProbeLog, SqlBooks, SqlJudgeBook, SqlLookBook):
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
            lacking = _lacking(self._engine)
        except (OSError, OperationalError) as error:
            raise StoreError(f"store {self._file} can't be opened; check the folder and its rights") from error
        except DatabaseError as error:
            raise StoreError(
                f"store {self._file} is damaged or no alignd database; put a copy back or move it away"
            ) from error

        if lacking:
            self._engine.dispose()
            raise StoreError(
                f"store {self._file} was written by an older version (it lacks {', '.join(lacking)}); move it away, "
                "and the daemon begins a new one"
            )

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

    def place(self, incident: str, order: Order, *, by: str, at: datetime) -> None:
        """Put an order on the book."""
        with self._engine.begin() as db:
            db.execute(insert(ORDERS).values(incident=incident, word=order.value, by=by, at=iso(at), done=False))

    def order_for(self, incident: str) -> PlacedOrder | None:
        """Return the oldest order that is not done."""
        query = select(ORDERS).where(ORDERS.c.incident == incident, ORDERS.c.done.is_(False))
        with self._engine.begin() as db:
            row = db.execute(query.order_by(ORDERS.c.id).limit(1)).first()
        if row is None:
            return None
        return PlacedOrder(id=row.id, incident=row.incident, order=Order(row.word), by=row.by, at=time_of(row.at))

    def drop(self, order: PlacedOrder) -> None:
        """Take an order off the book."""
        with self._engine.begin() as db:
            db.execute(update(ORDERS).where(ORDERS.c.id == order.id).values(done=True))


def _lacking(engine: Engine) -> list[str]:
    """Name the columns that the tables on disk don't have."""
    found = inspect(engine)
    return [
        f"{table.name}.{column.name}"
        for table in META.sorted_tables
        for column in table.columns
        if column.name not in {c["name"] for c in found.get_columns(table.name)}
    ]


def _engine(url: str) -> Engine:
    engine = create_engine(url)

    def pragmas(connection: sqlite3.Connection, _: object) -> None:
        for line in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {line}").close()

    event.listen(engine, "connect", pragmas)
    return engine


def _columns(incident: Incident) -> dict[str, Any]:
    return {
        "target": incident.target, "opened_at": iso(incident.opened_at), "state": incident.state.value,
        "closed": incident.closed, "version": incident.version, "body": json.dumps(incident.to_json()),
    }  # fmt: skip


def _add_events(db: Connection, incident: Incident, *, known: int) -> None:
    rows = [
        {"incident": incident.id, "version": incident.version, "at": iso(e.at), "state": e.state.value,
         "note": e.note}
        for e in incident.events[known:]
    ]  # fmt: skip
    if rows:
        db.execute(insert(EVENTS), rows)
