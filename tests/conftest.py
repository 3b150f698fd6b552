"""Fixtures that all tests share."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.postgres_host import PostgresHost, postgres_host, programs_of_postgres

ROOT = Path(__file__).resolve().parents[1]
PUBLIC_DATA = ROOT.parent / "shared" / "data"
_PROGRAMS = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin"


@pytest.fixture(autouse=True)
def _level_of_logs() -> Iterator[None]:
    """Give back the level that a command run inside a test has set for its own process."""
    level = logging.getLogger("alignd").level
    yield
    logging.getLogger("alignd").setLevel(level)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def public_data() -> Callable[[str], Path]:
    """Find a public data set that is not part of the project; skip the test where it isn't there."""

    def find(name: str) -> Path:
        path = PUBLIC_DATA / name
        if not path.exists():
            pytest.skip(f"public data set {name} is not in {PUBLIC_DATA}")
        return path

    return find


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """Find a server or browser that tests start; CI may skip none for want of it."""

    def find(name: str) -> str:
        path = shutil.which(name, path=_PROGRAMS)
        if path is None:
            reason = f"{name} is not installed; `make test` as root on Debian installs it"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)
        return path

    return find


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresHost]:
    """A PostgreSQL that runs while the tests do; CI may skip none for want of it."""
    programs = programs_of_postgres()
    if programs is None:
        reason = "PostgreSQL is not installed; `make test` as root on Debian installs it"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with postgres_host(programs) as host:
        yield host
