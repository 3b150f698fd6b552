"""What PostgreSQL needs: who holds the store holds a lock of its session, one writer at a time, faults in our words.

A daemon writes over the one connection that has the lock. If that is lost, so is the lock, and the next connection must
take it again before anything is written; whether another daemon wrote in between, the number of the last holder tells.
"""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg.types.string import StrDumper
from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from monitor.errors import StoreBusy, StoreError, StoreUnavailable
from monitor.stores.schema import IN_AN_EPOCH, INCIDENTS, PROBES

__all__ = ["PostgresqlBackend"]

_CONNECT_SECONDS, _WAIT_SECONDS = 3, 10
_REACHING: Final = {
    "connect_timeout": _CONNECT_SECONDS, "keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3,
    "tcp_user_timeout": 1000 * _WAIT_SECONDS, "application_name": "alignd",
}  # fmt: skip
_HOLD, _WRITE = 0x616C69, 0x616C6A
"""First halves of the locks' numbers; the second is the schema's, so that two stores in one database don't meet."""
_LOCK = "(({}::bigint << 32) | current_schema()::regnamespace::oid::bigint)"
_PASSING = ("08", "40", "53", "57")
"""Classes of faults that may pass: connection, conflict, resources, the server's end."""
_LOCKED = "55P03"

# Said here and not in the schema: SQLAlchemy would load eight megabytes of PostgreSQL for every user of SQLite.
for _index in INCIDENTS.indexes | PROBES.indexes:
    if _index.name in {"one_open_incident", "one_record"}:
        _index.dialect_kwargs["postgresql_where"] = IN_AN_EPOCH if _index.name == "one_record" else text("NOT closed")


class PostgresqlBackend:
    """A database on a server, in the first schema of the search path."""

    def __init__(self, url: URL) -> None:
        """Take a URL; nothing is opened yet."""
        self.name = url.set(query={}).render_as_string()
        self._password = url.password or ""
        self._held = False
        given = {k: v for k, v in _REACHING.items() if k not in url.query}
        self.engine: Engine = create_engine(
            url, connect_args=given, pool_pre_ping=True, isolation_level="REPEATABLE READ"
        ).execution_options(postgresql_readonly=True)
        self.writer = create_engine(url, connect_args=given, pool_pre_ping=True, pool_size=1, max_overflow=0)
        for engine in (self.engine, self.writer):
            event.listen(engine, "connect", _take_texts)
        event.listen(self.writer, "connect", self._connected)
        event.listen(self.writer, "begin", _begun)

    def prepare(self) -> None:
        """Make nothing: the database is there, or a person makes it."""

    expect = prepare

    def hold(self) -> None:
        """Take the session's lock; the server lets go when the connection ends, however it ends.

        Raises:
            StoreBusy: Another daemon has it.
        """
        self._held = True
        self.writer.dispose()
        try:
            with self.writer.connect():
                pass
        except StoreBusy:
            self._held = False
            raise

    def close(self) -> None:
        """End all connections, and the lock with them."""
        self.engine.dispose()
        self.writer.dispose()
        self._held = False

    def faults_within(self, db: Connection) -> list[str]:
        """Name indices that the server calls invalid; pages are the server's own business (`pg_amcheck`)."""
        found = db.exec_driver_sql("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid")
        return [f"index {name} is not valid; REINDEX it" for (name,) in found]

    def unreachable(self, error: DBAPIError) -> bool:
        """Tell whether the server did not answer: what it answers has a code."""
        return isinstance(error.orig, psycopg.OperationalError) and error.orig.sqlstate is None

    def fault(self, error: DBAPIError) -> StoreError:
        """Say what went wrong and what to do."""
        said = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
        if self._password:
            said = said.replace(self._password, "***")
        state: str | None = getattr(error.orig, "sqlstate", None)
        if state == _LOCKED:
            return StoreUnavailable(f"store {self.name}: another process kept it locked for {_WAIT_SECONDS} s ({said})")
        if isinstance(error.orig, psycopg.OperationalError) and (state is None or state.startswith(_PASSING)):
            return StoreUnavailable(f"store {self.name} can't be used now ({said}); what was saved is kept there")
        return StoreError(f"store {self.name}: {said}")

    def _connected(self, connection: Any, _: ConnectionPoolEntry) -> None:  # noqa: ANN401  (SQLAlchemy's wrapper)
        """Prepare what writes, and take the lock first where this process is to have it."""
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = '{_WAIT_SECONDS}s'")
            if self._held:
                cursor.execute(f"SELECT pg_try_advisory_lock({_LOCK.format(_HOLD)})")
                if cursor.fetchone() != (True,):
                    connection.close()
                    raise StoreBusy(
                        f"another daemon runs on {self.name}; stop it first, or give this one a store.url of its own"
                    )
        connection.commit()


def _take_texts(connection: Any, _: ConnectionPoolEntry) -> None:  # noqa: ANN401  (SQLAlchemy's wrapper)
    connection.adapters.register_dumper(str, _Text)


class _Text(StrDumper):
    """Texts of servers and of callers may hold NUL, which PostgreSQL keeps in no text; asked for as it is kept."""

    def dump(self, obj: str) -> bytes:
        return obj.replace("\0", "\ufffd").encode("utf-8", "replace")


def _begun(db: Connection) -> None:
    """Let one transaction write at a time, as in SQLite: what it decides by stays so until it ends."""
    db.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK.format(_WRITE)})")
