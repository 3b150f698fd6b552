"""Store in one SQL database, SQLite or PostgreSQL. What is a record is append-only, by triggers."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from monitor.audit import DAEMON, AuditEntry
from monitor.errors import OpenIncident, StaleIncident, UnknownIncident
from monitor.incident import Event, Incident
from monitor.letter import Letter
from monitor.policy import Order
from monitor.rails import Beginning
from monitor.store import PlacedOrder
from monitor.stores.audit_book import SqlAuditBook, put_down
from monitor.stores.books import SqlBooks
from monitor.stores.database import Database
from monitor.stores.judge_book import SqlJudgeBook
from monitor.stores.letter_book import SqlLetterBook, put_letters
from monitor.stores.lift_book import SqlLiftBook
from monitor.stores.look_book import SqlLookBook
from monitor.stores.probe_log import SqlProbeLog
from monitor.stores.rail_book import SqlRailBook
from monitor.stores.rows import iso, time_of
from monitor.stores.schema import EVENTS, INCIDENTS, ORDERS, PLACE

__all__ = ["SqlStore"]


class SqlStore(
    SqlAuditBook, SqlProbeLog, SqlBooks, SqlRailBook, SqlJudgeBook, SqlLookBook, SqlLetterBook, SqlLiftBook
):
    """Everything the monitor remembers. Short transactions; safe to open from several processes at once."""

    def __init__(self, url: str, *, hold: bool = False) -> None:
        """Open the database; an empty one is made ready.

        Args:
            hold: Take it for this process first, as a daemon does, and upgrade it where it is of an older version.

        Raises:
            StoreBusy: It is to be held, and another daemon has it.
            StoreVersion: It is of a newer version, or of an older one and not to be held.
            StoreError: It can't be opened.
        """
        self._db = Database(url)
        self._db.open(hold=hold)

    @property
    def writable(self) -> bool:
        """Whether the last change was taken."""
        return self._db.writable

    def try_writing(self) -> None:
        """Write what says nothing, to find out whether changes are taken again where nothing else has any to make."""
        self._db.try_writing()

    def hold(self) -> None:
        """Take the store for this process until it ends, however it ends."""
        self._db.hold()

    def close(self) -> None:
        """Let go of the store and close it."""
        self._db.close()

    def create(self, incident: Incident, *, letters: Sequence[Letter] = ()) -> None:
        """Put down a new incident."""
        try:
            with self._db.writing() as db:
                db.execute(insert(INCIDENTS).values(id=incident.id, **_columns(incident)))
                _add_events(db, incident, known=0)
                put_letters(db, letters)
        except IntegrityError as error:
            raise OpenIncident(f"target {incident.target} has an open incident; `alignd status` shows it") from error

    def load(self, incident: str) -> Incident:
        """Read an incident."""
        with self._db.reading() as db:
            body = db.scalar(select(INCIDENTS.c.body).where(INCIDENTS.c.id == incident))
        if body is None:
            raise UnknownIncident(f"no incident {incident!r}; `alignd status` lists them")
        return Incident.from_json(json.loads(body))

    def save(
        self, incident: Incident, *, done: PlacedOrder | None = None, letters: Sequence[Letter] = ()
    ) -> Incident:
        """Write over the version it was loaded with."""
        data = {**incident.to_json(), "version": incident.version + 1}
        saved = Incident.from_json(data)
        with self._db.writing() as db:
            known = db.scalar(
                select(func.count()).select_from(EVENTS).where(EVENTS.c.incident == incident.id)
            )
            row = update(INCIDENTS).where(
                INCIDENTS.c.id == incident.id, INCIDENTS.c.version == incident.version
            )
            if db.execute(row.values(**_columns(saved))).rowcount != 1:
                raise StaleIncident(f"incident {incident.id} was saved by somebody else; load it again")
            put_letters(db, letters)
            if done:
                _end(db, done, "order_obeyed", at=saved.events[-1].at)
            _add_events(db, saved, known=known or 0, by=done.by if done else DAEMON)
        return saved

    def incidents(
        self, *, target: str = "", open_only: bool = False, limit: int | None = None
    ) -> tuple[Incident, ...]:
        """List incidents, newest first."""
        query = select(INCIDENTS.c.body).order_by(PLACE.desc()).limit(limit)
        if target:
            query = query.where(INCIDENTS.c.target == target)
        if open_only:
            query = query.where(INCIDENTS.c.closed.is_(False))
        with self._db.reading() as db:
            return tuple(Incident.from_json(json.loads(body)) for body in db.scalars(query))

    def newest_incidents(self) -> Mapping[str, Incident]:
        """Return each target's newest incident."""
        placed = select(INCIDENTS.c.target, PLACE.label("place")).subquery()
        newest = select(func.max(placed.c.place)).group_by(placed.c.target)
        query = select(INCIDENTS.c.target, INCIDENTS.c.body).join(EVENTS, EVENTS.c.incident == INCIDENTS.c.id)
        query = query.where(EVENTS.c.id.in_(newest))
        with self._db.reading() as db:
            return {row.target: Incident.from_json(json.loads(row.body)) for row in db.execute(query)}

    def incident_counts(self) -> Mapping[str, Mapping[str, int]]:
        """Count incidents by target and present state."""
        i, found = INCIDENTS.c, defaultdict[str, dict[str, int]](dict)
        with self._db.reading() as db:
            for target, state, n in db.execute(
                select(i.target, i.state, func.count()).group_by(i.target, i.state)
            ):
                found[target][state] = n
        return found

    def place(self, incident: str, order: Order, *, by: str, at: datetime) -> None:
        """Put an order on the book."""
        with self._db.writing() as db:
            db.execute(insert(ORDERS).values(incident=incident, word=order.value, by=by, at=iso(at), done=False))
            put_down(db, AuditEntry(at=at, actor=by, action="order_placed", subject=incident,
                                    details={"order": order.value}))  # fmt: skip

    def order_for(self, incident: str) -> PlacedOrder | None:
        """Return the oldest order that is not done."""
        query = select(ORDERS).where(ORDERS.c.incident == incident, ORDERS.c.done.is_(False))
        with self._db.reading() as db:
            row = db.execute(query.order_by(ORDERS.c.id).limit(1)).first()
        if row is None:
            return None
        return PlacedOrder(id=row.id, incident=row.incident, order=Order(row.word), by=row.by, at=time_of(row.at))

    def drop(self, order: PlacedOrder, *, at: datetime) -> None:
        """Take an order off the book."""
        with self._db.writing() as db:
            _end(db, order, "order_dropped", at=at)


def _columns(incident: Incident) -> dict[str, Any]:
    began = incident.facts.get("began", {}).get(Beginning.REPAIR)
    return {
        "base": incident.facts.get("base"), "began_at": iso(datetime.fromisoformat(began)) if began else None,
        "ended_at": iso(incident.ended_at) if incident.ended_at else None,
        "target": incident.target, "opened_at": iso(incident.opened_at), "state": incident.state.value,
        "closed": incident.closed, "version": incident.version, "body": json.dumps(incident.to_json()),
    }  # fmt: skip


def _add_events(db: Connection, incident: Incident, *, known: int, by: str = DAEMON) -> None:
    """Put down what is new of an incident's events, for the timeline and in the audit log."""
    new, befores = incident.events[known:], (None, *incident.events)[known:]
    if not new:
        return
    said = [{**e.to_json(), "at": iso(e.at)} for e in new]
    about = {"incident": incident.id, "version": incident.version}
    db.execute(insert(EVENTS), [{**about, **s, "waits_for": s["waits_for"] or ""} for s in said])
    put_down(db, *(
        AuditEntry(at=e.at, actor=by, action=_action(e, before), subject=incident.id,
                   details={"target": incident.target, "release": incident.release, "state": e.state.value,
                            "note": e.note, "waits_for": s["waits_for"]})
        for e, before, s in zip(new, befores, said, strict=False)
    ))  # fmt: skip


def _action(event: Event, before: Event | None) -> str:
    if before is None:
        return "incident_opened"
    return "incident_noted" if event.state is before.state else "incident_moved"


def _end(db: Connection, order: PlacedOrder, action: str, *, at: datetime) -> None:
    db.execute(update(ORDERS).where(ORDERS.c.id == order.id).values(done=True))
    put_down(db, AuditEntry(at=at, actor=DAEMON, action=action, subject=order.incident,
                            details={"order": order.order.value, "by": order.by}))  # fmt: skip
