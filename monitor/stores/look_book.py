"""The SQL store's looks at log-probabilities."""

from __future__ import annotations

import json

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from monitor.errors import StaleSeries
from monitor.looks import LookRow
from monitor.stores.database import Database
from monitor.stores.rows import iso, time_of
from monitor.stores.schema import LOOKS

__all__ = ["SqlLookBook"]


class SqlLookBook:
    """Looks at log-probabilities, append-only."""

    _db: Database

    def append_look(self, row: LookRow) -> None:
        """Add a look."""
        values = {k: getattr(row, k) for k in LookRow.__slots__}
        try:
            with self._db.writing() as db:
                db.execute(insert(LOOKS).values(**{**values, "at": iso(row.at), "readings": json.dumps(row.readings)}))
        except IntegrityError as error:
            raise StaleSeries(
                f"look {row.position} at target {row.target}, epoch {row.epoch}: another process made it; look again"
            ) from error

    def looks(self, target: str, epoch: int, key: str) -> tuple[LookRow, ...]:
        """Read the looks of an epoch that were made in one way, in order."""
        of = LOOKS.c.target == target, LOOKS.c.epoch == epoch, LOOKS.c.key == key
        with self._db.reading() as db:
            rows = list(db.execute(select(LOOKS).where(*of).order_by(LOOKS.c.position)))
        return tuple(
            LookRow(
                target=r.target, epoch=r.epoch, key=r.key, position=r.position, at=time_of(r.at), missing=r.missing,
                readings=tuple(json.loads(r.readings)), score=r.score,
            )
            for r in rows
        )  # fmt: skip
