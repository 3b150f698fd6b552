"""Empty stores for daemons that are killed: files of SQLite, and databases of a PostgreSQL that runs for them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.postgres_host import postgres_host, programs_of_postgres

__all__ = ["Databases", "sqlite_url", "stores"]


def sqlite_url(folder: Path) -> str:
    """Return the URL of a file in the folder."""
    return f"sqlite:///{folder}/s.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Databases:
    """Empty databases of a PostgreSQL that runs; made in whatever process asks for one."""

    server: str
    """Its URL without a database."""

    def __call__(self, folder: Path) -> str:
        """Make a database named like the folder and return its URL."""
        import psycopg

        name = folder.name.replace("-", "_").lower() + f"_{os.getpid()}"
        with psycopg.connect(f"{self.server}/postgres".replace("+psycopg", ""), autocommit=True) as db:
            db.execute(f'CREATE DATABASE "{name}"'.encode())
        return f"{self.server}/{name}"


@contextmanager
def stores(names: Sequence[str]) -> Iterator[Mapping[str, Callable[[Path], str]]]:
    """Say how each kind of store is made; PostgreSQL is left out, with a word, where it is not installed."""
    found: dict[str, Callable[[Path], str]] = {"sqlite": sqlite_url} if "sqlite" in names else {}
    programs = programs_of_postgres()
    if "postgresql" in names and programs is None:
        sys.stderr.write("postgresql is not installed: its kills are not measured\n")
    if "postgresql" not in names or programs is None:
        yield found
        return
    with postgres_host(programs) as host:
        found["postgresql"] = Databases(server=host.new_database().rpartition("/")[0])
        yield found
