"""A whole store copied into another database, all or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Table, func, insert, select, text

from monitor.audit import AuditEntry, verify
from monitor.errors import StoreError
from monitor.stores.audit_book import chain_of, put_down
from monitor.stores.database import Database
from monitor.stores.schema import HOLDERS, META, VERSION
from monitor.stores.versions import EMPTY, bring_up, version_of

__all__ = ["copy_store"]

_ROWS = 1000


def copy_store(source: Database, target: Database, *, entry: AuditEntry) -> Mapping[str, int]:
    """Copy every record; the source is held meanwhile, so that no daemon writes to it; its records stay.

    Args:
        source: Brought to the newest version first.
        target: Holds nothing yet.
        entry: Put at the end of the target's audit log.

    Returns:
        Rows by table.

    Raises:
        StoreBusy: A daemon runs on the source.
        StoreError: The source is not there or damaged; the target holds something, can't be used, or can't keep a text
            of the audit log as it is.
    """
    if faults := source.look().faults:
        raise StoreError(f"store {source.name} is damaged ({faults[0]}); `alignd store check` says more")
    source.hold()
    with target.filling() as into, source.reading() as db:
        if version_of(into, target.name) != EMPTY:
            raise StoreError(f"store {target.name} holds records already; give an empty database")
        bring_up(into, target.name)
        rows = {table.name: _copy(table, db, into) for table in META.sorted_tables if table not in (VERSION, HOLDERS)}
        found, kept = verify(chain_of(db)), verify(chain_of(into))
        if found != kept:
            raise StoreError(
                f"store {target.name} can't keep the audit log as it is: {kept.why}; a character that it does not "
                "know? Nothing was copied"
            )
        put_down(into, entry)
    return rows


def _copy(table: Table, source: Connection, target: Connection) -> int:
    """Copy a table's rows, in the order in which they were written."""
    key = table.primary_key.columns
    query = select(table).order_by(*key).execution_options(yield_per=_ROWS)
    count = 0
    for rows in source.execute(query).mappings().partitions():
        target.execute(insert(table), [dict(row) for row in rows])
        count += len(rows)
    _count_on(table, target)
    return count


def _count_on(table: Table, db: Connection) -> None:
    """Let a server's own numbering go on after the rows that brought their numbers along; a file's does by itself."""
    column = table.autoincrement_column
    if db.dialect.name == "postgresql" and column is not None:
        sequence: Any = func.pg_get_serial_sequence(table.name, column.name)
        db.execute(select(func.setval(sequence, func.coalesce(func.max(column), 0) + 1, text("false"))))
