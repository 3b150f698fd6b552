"""The SQL store's audit log."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from monitor.audit import BEFORE_ALL, AuditEntry, SealedEntry, sealed
from monitor.stores.database import Database
from monitor.stores.rows import iso
from monitor.stores.schema import AUDIT

__all__ = ["SqlAuditBook", "chain_of", "put_down"]

_ROWS = 2000
"""Read at a time from the whole log."""


class SqlAuditBook:
    """Who did what, append-only, in a chain of hashes."""

    _db: Database

    def append_audit(self, entry: AuditEntry) -> SealedEntry:
        """Put an entry at the end."""
        with self._db.writing() as db:
            return put_down(db, entry)

    def audit_log(
        self, *, actor: str = "", action: str = "", subject: str = "", since: datetime | None = None, limit: int = 100
    ) -> tuple[SealedEntry, ...]:
        """Return the newest entries of an actor, an action or a subject, oldest first."""
        query = select(AUDIT).order_by(AUDIT.c.seq.desc()).limit(limit)
        for column, wanted in ((AUDIT.c.actor, actor), (AUDIT.c.action, action), (AUDIT.c.subject, subject)):
            if wanted:
                query = query.where(column == wanted)
        if since:
            query = query.where(AUDIT.c.at >= iso(since))
        with self._db.reading() as db:
            return tuple(_entry(row) for row in db.execute(query))[::-1]

    def audit_chain(self) -> Iterator[SealedEntry]:
        """Read the whole log as it is at this moment, in order."""
        with self._db.reading() as db:
            yield from chain_of(db)


def chain_of(db: Connection) -> Iterator[SealedEntry]:
    """Read the whole log within a transaction, in order."""
    query = select(AUDIT).order_by(AUDIT.c.seq).execution_options(yield_per=_ROWS)
    with db.execute(query) as rows:
        for row in rows:
            yield _entry(row)


def put_down(db: Connection, *entries: AuditEntry) -> SealedEntry:
    """Put entries at the log's end, within the transaction that does what they tell of.

    Args:
        entries: At least one.

    Returns:
        The last of them.
    """
    last = db.execute(select(AUDIT.c.seq, AUDIT.c.hash).order_by(AUDIT.c.seq.desc()).limit(1)).first()
    seq, previous = (last.seq, last.hash) if last else (0, BEFORE_ALL)
    rows = []
    for entry in entries:
        rows.append(sealed(entry, seq=seq + 1, previous=previous))
        seq, previous = rows[-1].seq, rows[-1].hash
    db.execute(insert(AUDIT), [{k: getattr(row, k) for k in SealedEntry.__slots__} for row in rows])
    return rows[-1]


def _entry(row: Row[Any]) -> SealedEntry:
    """Take a row as it is: what somebody made of it by hand must be found by its hash, not end in an error."""
    texts = {k: str(getattr(row, k)) for k in SealedEntry.__slots__ if k != "seq"}
    return SealedEntry(seq=row.seq, **texts)
