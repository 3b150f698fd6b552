"""The SQL store's series of judge checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, func, insert, select
from sqlalchemy.exc import IntegrityError

from monitor.audit import AuditEntry
from monitor.errors import StaleSeries
from monitor.judge_series import JudgeRow, RowKind, SeriesKey
from monitor.stores.audit_book import put_down
from monitor.stores.database import Database
from monitor.stores.rows import iso, time_of
from monitor.stores.schema import JUDGED

__all__ = ["SqlJudgeBook"]


class SqlJudgeBook:
    """What judges said of labelled replies, append-only."""

    _db: Database

    def append_judged(self, rows: Sequence[JudgeRow]) -> None:
        """Add rows of one series, all of them or none."""
        if not rows:
            return
        try:
            with self._db.writing() as db:
                db.execute(insert(JUDGED), [_values(row) for row in rows])
                for row in rows:
                    if row.kind is RowKind.ACCEPTED:
                        put_down(db, AuditEntry(at=row.at, actor=row.by, action="judge_accepted", subject=row.target,
                                                details={"judge": row.key.judge, "series": row.series}))  # fmt: skip
        except IntegrityError as error:
            raise StaleSeries(
                f"judge checks of target {rows[0].target}, series {rows[0].series}: another check wrote position "
                f"{rows[0].position} in between; check again"
            ) from error

    def judged(self, target: str) -> tuple[JudgeRow, ...]:
        """Read the target's newest series, in order."""
        newest = select(func.max(JUDGED.c.series)).where(JUDGED.c.target == target).scalar_subquery()
        query = select(JUDGED).where(JUDGED.c.target == target, JUDGED.c.series == newest)
        with self._db.reading() as db:
            return tuple(_row(row) for row in db.execute(query.order_by(JUDGED.c.position)))


def _values(row: JudgeRow) -> dict[str, Any]:
    plain = asdict(row)
    return {**plain, **plain.pop("key"), "kind": row.kind.value, "at": iso(row.at)}


def _row(row: Row[Any]) -> JudgeRow:
    return JudgeRow(
        target=row.target, series=row.series, position=row.position, kind=RowKind(row.kind),
        key=SeriesKey(judge=row.judge, template_sha256=row.template_sha256, data_sha256=row.data_sha256),
        row=row.row, label=row.label, called=row.called, missing=row.missing, at=time_of(row.at), by=row.by,
    )  # fmt: skip
