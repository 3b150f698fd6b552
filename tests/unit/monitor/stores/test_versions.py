"""Versions of the schema: made anew and led there step by step are the same, and nothing is lost on the way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, inspect, text

from monitor.audit import Verdict, verify
from monitor.errors import StoreBusy, StoreVersion
from monitor.incident import Wait, noted
from monitor.stores.database import Database
from monitor.stores.sql import SqlStore
from monitor.stores.versions import _migrate, known_versions
from tests.old_store import WAITED, rows_of, write_old_store, write_waiting_store

NEWEST = known_versions()[-1]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "s.db"


@pytest.fixture
def url(file: Path) -> str:
    return f"sqlite:///{file}"


def schema_of(db: Connection) -> dict[str, object]:
    """Return what a database's tables are, in plain words that do not depend on how they were written."""
    found = inspect(db)
    triggers = db.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name"))
    return {
        **{
            table: (
                sorted((c["name"], str(c["type"]), c["nullable"], c["default"]) for c in found.get_columns(table)),
                found.get_pk_constraint(table),
                [(i["name"], i["column_names"], i["unique"], {k: str(v) for k, v in i["dialect_options"].items()})
                 for i in sorted(found.get_indexes(table), key=lambda i: str(i["name"]))],
            )
            for table in found.get_table_names()
        },
        "triggers": [(name, sql.replace("IF NOT EXISTS ", "")) for name, sql in triggers],
    }  # fmt: skip


@pytest.fixture
def opened(url: str) -> Iterator[Database]:
    database = Database(url)
    yield database
    database.close()


def test_a_new_store_and_one_led_through_all_steps_are_the_same(opened: Database, tmp_path: Path) -> None:
    SqlStore(f"sqlite:///{tmp_path}/new.db").close()
    write_old_store(tmp_path / "old.db")
    SqlStore(f"sqlite:///{tmp_path}/old.db", hold=True).close()
    with opened.writing() as db:
        _migrate(db, opened.name)
        led = schema_of(db)
    for name in ("new", "old"):
        with closing(Database(f"sqlite:///{tmp_path}/{name}.db")) as other, other.reading() as db:
            assert schema_of(db) == led, name
            assert db.scalar(text("SELECT version_num FROM alembic_version")) == NEWEST


def test_a_new_sqlite_store_loads_neither_alembic_nor_what_postgresql_needs(url: str) -> None:
    unwanted = "{'alembic', 'psycopg', 'sqlalchemy.dialects.postgresql'}"
    code = (
        f"import sys; from monitor.stores.sql import SqlStore; SqlStore({url!r}, hold=True).close(); "
        f"SqlStore({url!r}).close(); print(sorted({unwanted} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ended.stdout == "[]\n"


def test_an_old_store_is_upgraded_by_who_holds_it_and_loses_nothing(
    file: Path, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_old_store(file)
    before = rows_of(file)
    assert all(before.values()), "the old store has rows in every table"
    with pytest.raises(StoreVersion, match=rf"version 0000 and this alignd reads {NEWEST}.*alignd store upgrade"):
        SqlStore(url)
    assert rows_of(file) == before, "a reader changes nothing"
    with closing(SqlStore(url, hold=True)) as store:
        assert "store_upgraded" in [record.getMessage() for record in caplog.records]
        assert [i.id for i in store.incidents()] == ["i2", "i1"]
        assert len(store.entries(store.epoch("t", "r", "k", store.load("i1").opened_at))) == 3
    after = rows_of(file)
    assert {t: [row[: len(rows[0])] for row in after[t]] for t, rows in before.items()} == before, "columns came behind"
    SqlStore(url).close()


def test_what_events_waited_for_is_told_from_their_old_notes_and_records_stay(file: Path, url: str) -> None:
    write_waiting_store(url)
    before = rows_of(file)
    head = before["audit"][-1][-1]
    with closing(SqlStore(url, hold=True)) as store:
        events = store.load("i").events
        assert {e.note: e.waits_for for e in events} == WAITED
        assert store.load("i").version == 7
        assert verify(store.audit_chain()) == Verdict(entries=7, head=str(head), why="")
        store.save(noted(store.load("i"), now=events[-1].at, note="more", waits_for=Wait.RAILS))
        assert verify(store.audit_chain(), head=str(head)).intact, "the chain goes on"
    after = rows_of(file)
    assert [(*row, None) for row in before["events"]] == after["events"][:7]
    assert after["events"][7][-1] == "rails"
    assert after["audit"][:7] == before["audit"]


def test_an_incident_that_waits_for_nothing_keeps_its_row(file: Path, url: str) -> None:
    write_old_store(file)
    before = rows_of(file)["incidents"]
    SqlStore(url, hold=True).close()
    assert [row[: len(before[0])] for row in rows_of(file)["incidents"]] == before


def test_an_old_store_is_not_upgraded_under_a_daemon(file: Path, url: str) -> None:
    SqlStore(f"sqlite:///{file.parent}/none.db").close()
    write_old_store(file)
    with closing(Database(url)) as held:
        held.hold()
        with pytest.raises(StoreBusy, match="another daemon"):
            SqlStore(url, hold=True)


def changed(url: str, *statements: str) -> None:
    engine = create_engine(url)
    with engine.begin() as db:
        for statement in statements:
            db.execute(text(statement))
    engine.dispose()


@pytest.mark.parametrize("hold", [False, True])
def test_a_newer_store_is_named_with_the_way_out(url: str, *, hold: bool) -> None:
    SqlStore(url).close()
    changed(url, "UPDATE alembic_version SET version_num = '9000'")
    with pytest.raises(StoreVersion, match=rf"newer alignd \(version 9000; this one knows {NEWEST}.*put back a copy"):
        SqlStore(url, hold=hold)


def test_a_store_too_old_to_upgrade_is_named_with_what_it_lacks(url: str, file: Path) -> None:
    changed(url, "CREATE TABLE epochs (id INTEGER PRIMARY KEY, target VARCHAR, release VARCHAR, key VARCHAR, "
                 "started_at VARCHAR)")  # fmt: skip
    before = rows_of(file)
    with pytest.raises(StoreVersion, match=r"s\.db .*too old.*\(it lacks epochs\.baseline\); move it away"):
        SqlStore(url, hold=True)
    assert rows_of(file) == before


def test_a_database_of_another_program_is_left_alone(url: str, file: Path) -> None:
    changed(url, "CREATE TABLE films (id INTEGER PRIMARY KEY)")
    with pytest.raises(StoreVersion, match=r"tables of another program \(films\)"):
        SqlStore(url, hold=True)
    assert list(rows_of(file)) == ["films"]


def test_versions_have_numbers_without_gaps() -> None:
    assert list(known_versions()) == [f"{n:04}" for n in range(1, len(known_versions()) + 1)]
