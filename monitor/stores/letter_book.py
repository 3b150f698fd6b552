"""The SQL store's outbox: letters to channels, and the conditions that were told of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from monitor.letter import Condition, Letter, LetterState, Standing
from monitor.notifier import Kind, Notification
from monitor.stores.database import Database
from monitor.stores.rows import iso, time_of
from monitor.stores.schema import CONDITIONS, LETTERS

__all__ = ["SqlLetterBook", "put_letters"]

_L = LETTERS.c


class SqlLetterBook:
    """What is to be told, and what was."""

    _db: Database

    def post(
        self, letters: Sequence[Letter], *, began: Sequence[Condition] = (), ended: Sequence[Condition] = ()
    ) -> None:
        """Put letters down, with the conditions that they tell of, in one transaction."""
        with self._db.writing() as db:
            put_letters(db, letters)
            for condition in (*began, *ended):
                c = CONDITIONS.c
                db.execute(
                    delete(CONDITIONS).where(
                        c.target == condition.target, c.kind == condition.kind.value, c.subject == condition.subject
                    )
                )
            for condition in began:
                row = {"target": condition.target, "kind": condition.kind.value, "subject": condition.subject}
                db.execute(insert(CONDITIONS).values(row))

    def letters(
        self, channel: str, *, state: LetterState = LetterState.PENDING, limit: int = 1000
    ) -> tuple[Letter, ...]:
        """List a channel's letters, the oldest first."""
        query = select(LETTERS).where(_L.channel == channel, _L.state == state.value)
        with self._db.reading() as db:
            return tuple(map(_letter, db.execute(query.order_by(_L.id).limit(limit))))

    def settle(self, letters: Sequence[Letter], *, digest: Letter | None = None) -> None:
        """Write what has become of letters, with the digest that they went into, in one transaction."""
        with self._db.writing() as db:
            for letter in letters:
                db.execute(
                    update(LETTERS).where(_L.id == letter.id).values(
                        state=letter.state.value, failures=letter.failures, not_before=iso(letter.not_before),
                        why=letter.why,
                    )
                )  # fmt: skip
            put_letters(db, [digest] if digest else [])

    def standings(self) -> Mapping[str, Standing]:
        """Say how the letters of each channel stand."""
        counted = select(_L.channel, _L.state, func.count().label("n"), func.min(_L.at).label("oldest"))
        last = select(_L.channel, func.max(_L.id).label("id")).where(_L.why != "").group_by(_L.channel).subquery()
        with self._db.reading() as db:
            rows = db.execute(counted.group_by(_L.channel, _L.state)).all()
            failed = db.execute(select(_L.channel, _L.why).join(last, last.c.id == _L.id)).all()
        whys = {row.channel: row.why for row in failed}
        return {channel: _standing([r for r in rows if r.channel == channel], whys.get(channel, ""))
                for channel in sorted({r.channel for r in rows})}  # fmt: skip

    def conditions(self) -> frozenset[Condition]:
        """Return the conditions that were told of and are not over."""
        with self._db.reading() as db:
            rows = db.execute(select(CONDITIONS)).all()
        return frozenset(Condition(target=r.target, kind=Kind(r.kind), subject=r.subject) for r in rows)

    def forget_letters(self, before: datetime) -> None:
        """Remove the letters that were put down earlier."""
        with self._db.writing() as db:
            db.execute(delete(LETTERS).where(_L.at < iso(before)))


def put_letters(db: Connection, letters: Sequence[Letter]) -> None:
    """Put letters down in a transaction of the caller's; one that is there already stays as it is."""
    for letter in letters:
        said = letter.notification
        there = select(_L.id).where(_L.channel == letter.channel, _L.notification == said.id)
        if db.scalar(there) is None:
            row: dict[str, Any] = {
                "channel": letter.channel, "notification": said.id, "at": iso(said.at), "state": letter.state.value,
                "failures": letter.failures, "not_before": iso(letter.not_before), "why": letter.why,
                "body": json.dumps(said.to_json()),
            }  # fmt: skip
            db.execute(insert(LETTERS).values(row))


def _letter(row: Row[Any]) -> Letter:
    return Letter(
        id=row.id, channel=row.channel, notification=Notification.from_json(json.loads(row.body)),
        not_before=time_of(row.not_before), state=LetterState(row.state), failures=row.failures, why=row.why,
    )  # fmt: skip


def _standing(rows: Sequence[Row[Any]], why: str) -> Standing:
    oldest = next((r.oldest for r in rows if r.state == LetterState.PENDING.value), None)
    return Standing(
        counts={LetterState(r.state): r.n for r in rows}, oldest_at=time_of(oldest) if oldest else None, why=why
    )
