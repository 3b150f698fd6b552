"""What SQLite needs: WAL mode, transactions that hold schema changes too, a lock file, and its faults in our words."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import IO

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from monitor.errors import StoreBusy, StoreError, StoreUnavailable

__all__ = ["SqliteBackend", "will_be_made"]

_WAIT_SECONDS = 10
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
_NO_RIGHT = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}


def will_be_made(url: str) -> bool:
    """Whether a URL names a file that is not there yet.

    Raises:
        StoreError: It could not be made.
    """
    if not url.startswith("sqlite:///") or os.access(file := Path(url.removeprefix("sqlite:///")), os.F_OK):
        return False
    above = next(folder for folder in file.absolute().parents if os.access(folder, os.F_OK))
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise StoreError(f"store {file} can't be opened; check the folder and its rights")
    return True


class SqliteBackend:
    """A database in one file."""

    def __init__(self, url: URL) -> None:
        """Take a URL that names a file; nothing is opened yet.

        Raises:
            StoreError: It names none.
        """
        if not url.database or url.database == ":memory:":
            raise StoreError(f"store.url {url.render_as_string()}: give a file, sqlite:///PATH")
        self._file = Path(url.database)
        self._lock: IO[str] | None = None
        self.name = str(self._file)
        self.engine = create_engine(url)
        self.writer: Engine = self.engine.execution_options(writes=True)
        event.listen(self.engine, "connect", _connected)
        event.listen(self.engine, "begin", _begun)

    def prepare(self) -> None:
        """Make the folder.

        Raises:
            StoreError: It can't be made.
        """
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"store {self.name} can't be opened; check the folder and its rights") from error

    def expect(self) -> None:
        """Refuse to make what is only to be looked at.

        Raises:
            StoreError: It is not there.
        """
        if not self._file.exists():
            raise StoreError(f"store {self.name}: no such file; the daemon makes it when it first starts")

    def hold(self) -> None:
        """Take the file for this process; the kernel lets go when the process ends, however it ends.

        Raises:
            StoreBusy: Another daemon has it.
            StoreError: The lock file can't be made.
        """
        try:
            lock = self._file.with_name(f"{self._file.name}.lock").open("a")
        except OSError as error:
            raise StoreError(f"store {self.name} can't be held: {error.strerror}; check its folder's rights") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise StoreBusy(
                f"another daemon runs on {self.name}; stop it first, or give this one a store.url of its own"
            ) from error
        self._lock = lock

    def close(self) -> None:
        """Close the file and let go of it."""
        self.engine.dispose()
        if self._lock:
            self._lock.close()
            self._lock = None

    def faults_within(self, db: Connection) -> list[str]:
        """Read the whole file and name what is damaged."""
        found = [str(row[0]) for row in db.exec_driver_sql("PRAGMA integrity_check")]
        return [] if found == ["ok"] else found

    def unreachable(self, _: DBAPIError) -> bool:
        """Say no: a file is there or not, at once."""
        return False

    def fault(self, error: DBAPIError) -> StoreError:
        """Say what went wrong and what to do."""
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
        if code in _DAMAGED:
            return StoreError(
                f"store {self.name} is damaged or no alignd database; put a copy back or move it away"
            )
        if code in _LOCKED:
            return StoreUnavailable(
                f"store {self.name}: another process kept it locked for {_WAIT_SECONDS} s; end it (`fuser {self.name}` "
                "names it) and try again"
            )
        if code in _NO_ROOM:
            return StoreUnavailable(
                f"store {self.name} can't be written ({error.orig}): is the disk full? Nothing that was saved is lost; "
                "free some space"
            )
        if code in _NO_RIGHT:
            return StoreError(f"store {self.name} can't be opened; check the folder and its rights")
        return StoreError(f"store {self.name}: {error.orig}")


def _connected(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # this module begins transactions: the driver would leave schema changes out
    for line in (f"busy_timeout={_WAIT_SECONDS * 1000}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {line}").close()


def _begun(db: Connection) -> None:
    """Take the write lock before the first read of a transaction that writes: later it could only be refused."""
    db.exec_driver_sql("BEGIN IMMEDIATE" if db.get_execution_options().get("writes") else "BEGIN")
