"""The database under the SQL store: its version, its transactions, and its faults in our words."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from secrets import token_hex
from socket import gethostname
from typing import Any

from sqlalchemy import Connection, delete, func, insert, inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError

from monitor.errors import StoreError, StoreLost, StoreUnavailable
from monitor.stores.backend import Backend
from monitor.stores.schema import FILLER, HOLDERS, META
from monitor.stores.sqlite import SqliteBackend
from monitor.stores.versions import EMPTY, bring_up, check_version, known_versions, version_of

__all__ = ["STORE_URLS", "Contents", "Database"]

STORE_URLS = "sqlite:///PATH or postgresql+psycopg://USER@HOST/DATABASE"
log = logging.getLogger("alignd")

_LEAVE_SECONDS = 5.0
_TRY_BYTES = 64 * 1024
_NEWEST = select(HOLDERS).order_by(HOLDERS.c.number.desc()).limit(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What is in a store.

    Attributes:
        rows: How many, by table.
        faults: What is damaged.
    """

    version: str
    newest: str
    rows: Mapping[str, int]
    faults: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


class Database:
    """A database behind a URL."""

    def __init__(self, url: str) -> None:
        """Take a URL; nothing is opened yet.

        Raises:
            StoreError: It is of no kind that is known.
        """
        self._backend = _backend(url)
        self.name = self._backend.name
        self._number = 0
        self._away = 0.0, ""
        self._refused = 0.0, ""
        self.writable = True
        """Whether the last change was taken; one that is locked or whose disk is full may be read all the same."""

    def open(self, *, hold: bool = False) -> None:
        """Open it, make what is missing in an empty one, and upgrade an older one where it is held.

        Args:
            hold: Take it for this process first, as a daemon does.

        Raises:
            StoreBusy: It is to be held, and another daemon has it.
            StoreVersion: It is of another version, an older one only where it is not held.
            StoreError: It can't be opened.
        """
        try:
            self._backend.prepare()
            if hold:
                self.hold()
            elif (found := self.version()) == EMPTY:
                self._upgrade()
            else:
                check_version(found, self.name)
        except StoreError:
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Begin a transaction that only reads: it sees one state, whoever writes meanwhile."""
        with self._faults(), self._backend.engine.begin() as db:
            yield db

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Begin a transaction that writes; it waits for its turn before it reads what it decides by.

        Where it waited in vain a daemon is refused at once for a while: its scrapes have to be answered meanwhile.
        """
        until, why = self._refused
        if time.monotonic() < until:
            raise StoreUnavailable(why)
        try:
            with self._faults(), self._backend.writer.begin() as db:
                self._expect_mine(db)
                yield db
        except StoreUnavailable as error:
            self.writable = False
            if self._number:
                self._refused = time.monotonic() + _LEAVE_SECONDS, str(error)
            raise
        self.writable = True

    @contextmanager
    def filling(self) -> Iterator[Connection]:
        """Begin the transaction that makes a store of what is empty yet."""
        self._backend.prepare()
        with self.writing() as db:
            yield db

    def try_writing(self) -> None:
        """Write what says nothing, as much as a large change: a disk that is all but full refuses it, too.

        Raises:
            StoreUnavailable: It is not taken.
        """
        with self.writing() as db:
            db.execute(delete(FILLER))
            db.execute(insert(FILLER).values(text=token_hex(_TRY_BYTES // 2)))

    def _expect_mine(self, db: Connection) -> None:
        if self._number and (newest := db.execute(_NEWEST).first()) and newest.number != self._number:
            raise StoreLost(
                f"store {self.name}: the daemon of process {newest.pid} on {newest.host} took over; this one wrote "
                "nothing more"
            )

    def version(self) -> str:
        """Return the version that it is of.

        Raises:
            StoreVersion: It belongs to another program.
        """
        with self.reading() as db:
            return version_of(db, self.name)

    def look(self) -> Contents:
        """Read all of it, of whatever version it is.

        Raises:
            StoreError: It is not there, can't be read, or belongs to another program.
        """
        self._backend.expect()
        with self.reading() as db:
            faults = tuple(self._backend.faults_within(db))
            tables = sorted(set(inspect(db).get_table_names()) & set(META.tables))
            rows = {name: db.scalar(select(func.count()).select_from(META.tables[name])) or 0 for name in tables}
            version = version_of(db, self.name)
        return Contents(version=version, newest=known_versions()[-1], rows=rows, faults=faults)

    def hold(self) -> tuple[str, str]:
        """Take it for this process until it ends, however it ends, and bring it to the newest version.

        Returns:
            The versions before and after.

        Raises:
            StoreBusy: Another daemon has it.
            StoreVersion: It is of a newer version, or older than any that is known.
        """
        self._backend.prepare()
        with self._faults():
            self._backend.hold()
        versions = self._upgrade()
        with self.writing() as db:
            newest = db.execute(_NEWEST).first()
            number = newest.number + 1 if newest else 1
            db.execute(insert(HOLDERS).values(number=number, host=gethostname(), pid=os.getpid()))
        self._number = number
        return versions

    def close(self) -> None:
        """Let go of it and close it."""
        self._backend.close()

    def _upgrade(self) -> tuple[str, str]:
        newest = known_versions()[-1]
        if self.version() == newest:
            return newest, newest
        with self.writing() as db:
            before = bring_up(db, self.name)
        if before != EMPTY:
            log.warning("store_upgraded", extra={"store": self.name, "before": before, "version": newest})
        return before, newest

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Turn the driver's errors into ours; a database that can't be reached is left alone for a while."""
        until, why = self._away
        if time.monotonic() < until:
            raise StoreUnavailable(why)
        try:
            yield
        except IntegrityError:
            raise
        except DBAPIError as error:
            fault = self._backend.fault(error)
            if self._backend.unreachable(error):
                self._away = time.monotonic() + _LEAVE_SECONDS, str(fault)
            raise fault from error


def _backend(url: str) -> Backend:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreError(f"store.url is no URL; give {STORE_URLS}") from None
    if parsed.drivername == "sqlite":
        return SqliteBackend(parsed)
    if parsed.drivername not in {"postgresql", "postgresql+psycopg"} or not parsed.database:
        raise StoreError(f"store.url {parsed.set(query={}).render_as_string()}: give {STORE_URLS}")
    try:
        from monitor.stores.postgresql import PostgresqlBackend
    except ImportError as error:
        raise StoreError("store.url names a PostgreSQL: install alignd[postgres]") from error
    return PostgresqlBackend(parsed.set(drivername="postgresql+psycopg"))
