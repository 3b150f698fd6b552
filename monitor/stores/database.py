"""The database under the SQL store: its version, its transactions, and its faults in our words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, func, inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError

from monitor.errors import StoreError
from monitor.stores.schema import META
from monitor.stores.sqlite import SqliteBackend
from monitor.stores.versions import EMPTY, bring_up, check_version, known_versions, version_of

__all__ = ["Contents", "Database"]


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
            self.prepare()
            if hold:
                self.hold()
            if (found := self.version()) == EMPTY or hold:
                self.upgrade()
            else:
                check_version(found, self.name)
        except StoreError:
            self.close()
            raise

    def prepare(self) -> None:
        """Make the place where it is to lie.

        Raises:
            StoreError: It can't be made.
        """
        self._backend.prepare()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Begin a transaction that only reads: it sees one state, whoever writes meanwhile."""
        with self._faults(), self._backend.engine.begin() as db:
            yield db

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Begin a transaction that writes; it waits for its turn before it reads what it decides by."""
        with self._faults(), self._backend.writer.begin() as db:
            yield db

    def version(self) -> str:
        """Return the version that it is of.

        Raises:
            StoreVersion: It belongs to another program.
        """
        with self.reading() as db:
            return version_of(db, self.name)

    def upgrade(self) -> tuple[str, str]:
        """Bring it to the newest version, all or nothing; only who holds it may.

        Returns:
            The versions before and after.

        Raises:
            StoreVersion: It is of a newer version, or older than any that is known.
        """
        newest = known_versions()[-1]
        if self.version() == newest:
            return newest, newest
        with self.writing() as db:
            return bring_up(db, self.name), newest

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

    def hold(self) -> None:
        """Take it for this process until it ends, however it ends.

        Raises:
            StoreBusy: Another daemon has it.
        """
        self._backend.hold()

    def close(self) -> None:
        """Let go of it and close it."""
        self._backend.close()

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise
        except DBAPIError as error:
            raise self._backend.fault(error) from error


def _backend(url: str) -> SqliteBackend:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreError("store.url is no URL; give sqlite:///PATH") from error
    if parsed.drivername != "sqlite":
        raise StoreError(f"store.url {parsed.render_as_string()}: give sqlite:///PATH")
    return SqliteBackend(parsed)
