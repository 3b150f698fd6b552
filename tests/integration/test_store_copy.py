"""A store that moves from a file to a PostgreSQL and back."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.audit import AuditEntry, verify
from monitor.errors import StoreError
from monitor.incident import IncidentId, noted, open_incident
from monitor.stores.copying import copy_store
from monitor.stores.database import Database
from monitor.stores.sql import SqlStore
from monitor.stores.versions import EMPTY
from monitor.testing import check_store
from tests.old_store import rows_of
from tests.postgres_host import PostgresHost

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ENTRY = AuditEntry(at=NOW, actor="ann", action="store_copied", subject="there")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a store that holds something of everything."""
    file = tmp_path / "s.db"
    check_store(lambda: SqlStore(f"sqlite:///{file}"))
    return file


def copied(source: str, target: str) -> None:
    with closing(Database(source)) as one, closing(Database(target)) as other:
        copy_store(one, other, entry=ENTRY)


def test_it_goes_to_a_server_and_back_and_goes_on_there(file: Path, tmp_path: Path, postgres: PostgresHost) -> None:
    url, back = postgres.new_database(), tmp_path / "back.db"
    copied(f"sqlite:///{file}", url)
    with closing(SqlStore(url, hold=True)) as there, closing(SqlStore(f"sqlite:///{file}")) as here:
        assert there.incidents() == here.incidents()
        assert verify(there.audit_chain()).intact
        fresh = open_incident(incident=IncidentId("new"), target="n", release="r", recipes=("a",), now=NOW, note="")
        there.create(fresh)
        there.save(noted(fresh, note="seen there", now=NOW))
        there.append_audit(replace(ENTRY, action="wrote"))
        assert verify(there.audit_chain()).intact
    copied(url, f"sqlite:///{back}")
    old, new = rows_of(file), rows_of(back)
    for table in old.keys() - {"holders", "audit", "incidents", "events", "filler"}:
        assert sorted(new[table], key=repr) == sorted(old[table], key=repr), table
    assert {row[0] for row in new["incidents"]} == {"new"} | {row[0] for row in old["incidents"]}
    assert [row[3] for row in new["audit"][len(old["audit"]) :]][-2:] == ["wrote", "store_copied"]


def test_what_fails_half_way_leaves_the_server_empty(
    file: Path, postgres: PostgresHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.new_database()
    monkeypatch.setattr("monitor.stores.copying.put_down", _refuses)
    with pytest.raises(StoreError, match="the disk is full"):
        copied(f"sqlite:///{file}", url)
    with closing(Database(url)) as there:
        assert there.version() == EMPTY
    monkeypatch.undo()
    copied(f"sqlite:///{file}", url)


def _refuses(*_: object) -> None:
    raise StoreError("the disk is full")
