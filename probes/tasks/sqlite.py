"""Queries that nobody vouches for, on SQLite databases in memory: read-only, with bounds on work, rows and bytes.

A plain query (one SELECT) runs in this process: SQLite's progress handler stops it. Nested ones run in a process of
their own, which the kernel ends when it takes too long: copies of common table expressions and of columns of nested
queries grow exponentially while a query is compiled, where no handler is asked. Run as a script, this module is that
process; it imports little, so that it starts in some 30 ms.
"""

from __future__ import annotations

import json
import re
import sqlite3
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["Database", "Rows", "columns_of", "fetch"]

Rows = list[tuple[Any, ...]]

_STEPS_MAX = 200_000
_ROWS_MAX = 10_000
_BYTES_MAX = 10_000
"""Of a query, a value or a row: tables of a task are small, and time for a step grows with it."""
_SECONDS_MAX = 2
_MEMORY_BYTES_MAX = 512 * 2**20
_WAIT_SECONDS = 20.0
"""For a process, on a busy machine; its own limit counts only what it computes."""

_FUNCTIONS = frozenset(
    re.findall(
        r"\w+",
        """
        abs avg ceil ceiling coalesce concat concat_ws count cume_dist current_date current_time current_timestamp date
        datetime dense_rank exp first_value floor glob group_concat ifnull iif instr julianday lag last_value lead
        length like ln log log10 log2 lower ltrim max median min mod nth_value ntile nullif percent_rank pow power rank
        replace round row_number rtrim sign sqrt strftime string_agg substr substring sum time timediff total trim
        typeof unicode unixepoch upper
        """,
    )
)
"""What queries may call: nothing that reaches outside, and nothing whose one call takes long (``printf`` pads for
seconds without asking the handler)."""


class Database(NamedTuple):
    """Tables to ask.

    Attributes:
        schema: Statements that create the tables.
        rows: By table; a row has a value for each column that is stored.
    """

    schema: str
    rows: Mapping[str, Sequence[Sequence[Any]]]


def fetch(databases: Sequence[Database], reference: str, query: str) -> list[tuple[Rows | None, Rows | None]]:
    """Run a reference query and another one on each database.

    Returns:
        For each database the rows of both, ``None`` for one that fails, is not read-only or goes over a bound. Of
        ``query`` at most one row more than the reference has: enough to tell that they differ.
    """
    if _is_plain(reference) and _is_plain(query):
        return [_both(d, reference, query) for d in databases]
    return _in_a_process(databases, reference, query)


def _in_a_process(databases: Sequence[Database], reference: str, query: str) -> list[tuple[Rows | None, Rows | None]]:
    import subprocess

    job = json.dumps([databases, reference, query]).encode()
    command = [sys.executable, "-I", "-S", __file__]
    try:
        done = subprocess.run(command, input=job, capture_output=True, check=False, timeout=_WAIT_SECONDS)
        found = json.loads(done.stdout) if done.returncode == 0 else []
    except (subprocess.TimeoutExpired, ValueError):
        found = []
    if not found:
        return [(None, None)] * len(databases)
    return [(_unpacked(first), _unpacked(second)) for first, second in found]


def _is_plain(query: str) -> bool:
    """Tell whether a query has one SELECT at most; words inside texts count too, which does no harm."""
    return len(query) <= _BYTES_MAX and len(re.findall("select|with|values", query, re.IGNORECASE)) <= 1


def _both(database: Database, reference: str, query: str) -> tuple[Rows | None, Rows | None]:
    try:
        opened = _opened(database)
    except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError):
        return None, None
    try:
        first = _rows(opened, reference, _ROWS_MAX)
        second = _rows(opened, query, _ROWS_MAX if first is None else len(first) + 1)
    finally:
        opened.close()
    return first, second


def columns_of(schema: str) -> dict[str, list[tuple[str, str]]]:
    """Return the stored columns of each table that a schema creates, with their declared types.

    Raises:
        sqlite3.Error: SQLite refuses the schema, or it does something else than create tables.
        ValueError: It holds what no SQL may, e.g. a null byte.
    """
    opened = _created(schema)
    try:
        tables = [t for (t,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid")]
        return {t: [(name, kind) for _, name, kind, *_ in _table_info(opened, t)] for t in tables}
    finally:
        opened.close()


def _created(schema: str) -> sqlite3.Connection:
    opened = sqlite3.connect(":memory:")
    for limit, most in (
        (sqlite3.SQLITE_LIMIT_LENGTH, _BYTES_MAX),
        (sqlite3.SQLITE_LIMIT_SQL_LENGTH, _BYTES_MAX),
        (sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 200),
        (sqlite3.SQLITE_LIMIT_ATTACHED, 0),
    ):
        opened.setlimit(limit, most)
    try:
        opened.set_authorizer(_creates_tables)
        opened.executescript(schema)
        opened.set_authorizer(None)
    except (sqlite3.Error, sqlite3.Warning, ValueError):
        opened.close()
        raise
    return opened


def _opened(database: Database) -> sqlite3.Connection:
    opened = _created(database.schema)
    try:
        for table, rows in database.rows.items():
            stored = [column[1] for column in _table_info(opened, table)]
            columns, marks = ", ".join(map(_quoted, stored)), ", ".join("?" * len(stored))
            opened.executemany(f"INSERT OR IGNORE INTO {_quoted(table)} ({columns}) VALUES ({marks})", rows)
    except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError):
        opened.close()
        raise
    return opened


def _table_info(opened: sqlite3.Connection, table: str) -> list[tuple[Any, ...]]:
    return opened.execute(f"PRAGMA table_info({_quoted(table)})").fetchall()


def _rows(opened: sqlite3.Connection, query: str, most: int) -> Rows | None:
    steps, until = [0], time.thread_time() + _SECONDS_MAX

    def bounded() -> int:
        steps[0] += 200
        return int(steps[0] > _STEPS_MAX or time.thread_time() > until)

    opened.set_authorizer(_reads)
    opened.set_progress_handler(bounded, 200)
    try:
        return opened.execute(query).fetchmany(most)
    except (sqlite3.Error, sqlite3.Warning, ValueError, MemoryError):
        return None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _reads(action: int, _: str | None, function: str | None, *__: object) -> int:
    if action == sqlite3.SQLITE_FUNCTION:
        return sqlite3.SQLITE_OK if (function or "").lower() in _FUNCTIONS else sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK if action in {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ} else sqlite3.SQLITE_DENY


def _creates_tables(action: int, first: str | None, *_: object) -> int:
    if action in {sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE}:
        return sqlite3.SQLITE_OK if first in {"sqlite_master", "sqlite_schema"} else sqlite3.SQLITE_DENY
    allowed = {sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_CREATE_INDEX, sqlite3.SQLITE_REINDEX, sqlite3.SQLITE_READ}
    return sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY


def _packed(rows: Rows | None) -> list[list[Any]] | None:
    if rows is None:
        return None
    return [[{"bytes": v.hex()} if isinstance(v, bytes) else v for v in row] for row in rows]


def _unpacked(rows: list[list[Any]] | None) -> Rows | None:
    if rows is None:
        return None
    return [tuple(bytes.fromhex(v["bytes"]) if isinstance(v, dict) else v for v in row) for row in rows]


def _child() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS_MAX, _SECONDS_MAX))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES_MAX, _MEMORY_BYTES_MAX))
    databases, reference, query = json.loads(sys.stdin.buffer.read())
    found = [_both(Database(schema=schema, rows=rows), reference, query) for schema, rows in databases]
    sys.stdout.write(json.dumps([[_packed(first), _packed(second)] for first, second in found]))


if __name__ == "__main__":
    _child()
