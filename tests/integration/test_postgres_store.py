"""The store on a real PostgreSQL: the port, the schema, who holds it, and what happens while it is away."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import Connection, inspect, text

from monitor.audit import AuditEntry, verify
from monitor.errors import StoreBusy, StoreError, StoreLost, StoreUnavailable, StoreVersion, UnknownIncident
from monitor.incident import Incident, IncidentId, Outcome, Wait, advance, noted, open_incident
from monitor.stores.database import Database
from monitor.stores.sql import SqlStore
from monitor.stores.versions import _migrate, known_versions
from monitor.testing import check_store
from tests.old_store import WAITED, write_waiting_store
from tests.postgres_host import PostgresHost

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ENTRY = AuditEntry(at=NOW, actor="ann", action="wrote", subject="t")


@pytest.fixture
def url(postgres: PostgresHost) -> str:
    return postgres.new_database()


def plain(url: str) -> str:
    return url.replace("postgresql+psycopg", "postgresql")


def incident() -> Incident:
    return open_incident(incident=IncidentId("i"), target="t", release="r", recipes=("a",), now=NOW, note="a\0")


def schema_of(db: Connection) -> dict[str, object]:
    found = inspect(db)
    triggers = db.execute(text(
        "SELECT relname, pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid ORDER BY 1, 2"
    ))  # fmt: skip
    indices = db.execute(text("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"))
    return {
        **{
            table: (sorted((c["name"], str(c["type"]), c["nullable"], c["default"]) for c in found.get_columns(table)),
                    found.get_pk_constraint(table))
            for table in found.get_table_names()
        },
        "triggers": [tuple(row) for row in triggers], "indices": [tuple(row) for row in indices],
    }  # fmt: skip


def test_what_no_text_may_hold_is_asked_for_as_it_is_kept(url: str) -> None:
    with closing(SqlStore(url)) as store:
        store.append_audit(AuditEntry(at=NOW, actor="ann", action="wrote", subject="a\0b"))
        assert [e.subject for e in store.audit_log(subject="a\0b")] == ["a\ufffdb"]
        assert store.incidents(target="\0") == ()
        with pytest.raises(UnknownIncident):
            store.load("\0")


def test_it_keeps_the_port(url: str) -> None:
    check_store(lambda: SqlStore(url))


def test_a_try_at_writing_leaves_one_row_however_often(url: str) -> None:
    with closing(SqlStore(url)) as store:
        for _ in range(3):
            store.try_writing()
        assert store._db.look().rows["filler"] == 1


def test_a_new_store_and_one_led_through_all_steps_are_the_same(postgres: PostgresHost, url: str) -> None:
    SqlStore(url).close()
    with closing(Database(postgres.new_database())) as led, led.writing() as db:
        _migrate(db, led.name)
        stepwise = schema_of(db)
    with closing(Database(url)) as made, made.reading() as db:
        assert schema_of(db) == stepwise
        assert made.version() == known_versions()[-1]


def test_a_step_that_fails_leaves_the_old_version(url: str) -> None:
    SqlStore(url).close()
    with psycopg.connect(plain(url)) as db:
        db.execute("DROP TABLE holders")
        db.execute("UPDATE alembic_version SET version_num = '0002'")
    with pytest.raises(StoreVersion, match="version 0002"):
        SqlStore(url)
    with pytest.raises(StoreError, match='"audit" already exists'):
        SqlStore(url, hold=True)
    with closing(Database(url)) as looked:
        assert looked.version() == "0002"


def test_what_events_waited_for_is_told_from_their_old_notes(url: str) -> None:
    write_waiting_store(url)
    with closing(SqlStore(url, hold=True)) as store:
        loaded = store.load("i")
        assert {e.note: e.waits_for for e in loaded.events} == WAITED
        assert verify(store.audit_chain()).intact
        store.save(noted(loaded, now=NOW, note="more", waits_for=Wait.RAILS))
        assert verify(store.audit_chain()).intact
    with psycopg.connect(plain(url)) as db:
        kept = db.execute("SELECT waits_for FROM events ORDER BY id").fetchall()
    assert kept == [*[(None,)] * len(WAITED), ("rails",)]


def test_half_written_texts_come_back_in_one_form(url: str) -> None:
    with closing(SqlStore(url)) as store:
        store.append_audit(AuditEntry(at=NOW, actor="a\0b", action="x", subject="\ud800", details={"\0": "\ud800"}))
        store.create(incident())
        assert store.load("i").events[0].note == "a\0"
        assert verify(store.audit_chain()).intact


def test_who_lost_the_lock_writes_no_more(url: str) -> None:
    first, second = SqlStore(url, hold=True), SqlStore(url)
    with pytest.raises(StoreBusy, match="another daemon runs on postgresql"):
        second.hold()
    first.append_audit(ENTRY)
    first.create(incident())
    loaded = first.load("i")
    with psycopg.connect(plain(url), autocommit=True) as db:
        db.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> "
                   "pg_backend_pid()")  # fmt: skip
    second.hold()
    with pytest.raises(StoreBusy):
        first.append_audit(ENTRY)
    second.close()
    with pytest.raises(StoreLost, match=r"the daemon of process \d+ on .* took over"):
        first.save(advance(loaded, Outcome.SUCCESS, now=NOW, note=""))
    assert first.load("i") == loaded
    first.close()


def test_a_lock_that_nobody_took_meanwhile_is_taken_again(url: str) -> None:
    with closing(SqlStore(url, hold=True)) as store:
        with psycopg.connect(plain(url), autocommit=True) as db:
            db.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
        store.append_audit(ENTRY)
        with closing(SqlStore(url)) as other, pytest.raises(StoreBusy):
            other.hold()


def test_stores_of_two_schemas_do_not_meet(url: str) -> None:
    with psycopg.connect(plain(url)) as db:
        db.execute("CREATE SCHEMA one")
        db.execute("CREATE SCHEMA two")
    opened = [SqlStore(f"{url}?options=-csearch_path%3D{name}", hold=True) for name in ("one", "two")]
    opened[0].append_audit(ENTRY)
    assert [len(list(store.audit_chain())) for store in opened] == [1, 0]
    for store in opened:
        store.close()


def test_a_lock_that_is_kept_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.stores.postgresql._WAIT_SECONDS", 1)
    with closing(SqlStore(url)) as store, psycopg.connect(plain(url)) as db:
        db.execute("LOCK TABLE audit")
        with pytest.raises(StoreUnavailable, match="kept it locked"):
            store.append_audit(ENTRY)
        db.rollback()
        store.append_audit(ENTRY)


def test_while_the_server_is_away_it_is_said_quickly_and_afterwards_all_goes_on(
    postgres: PostgresHost, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.stores.database._LEAVE_SECONDS", 0.3)
    said = r"store postgresql\+psycopg://alignd:\*\*\*@.* can't be used now"
    with closing(SqlStore(url, hold=True)) as store:
        store.append_audit(ENTRY)
        postgres.stop()
        try:
            begun = time.monotonic()
            for _ in range(3):
                with pytest.raises(StoreUnavailable, match=said):
                    store.append_audit(ENTRY)
                with pytest.raises(StoreUnavailable) as caught:
                    store.incidents()
                assert "secret-word" not in str(caught.value)
            assert time.monotonic() - begun < 3
        finally:
            postgres.start()
        time.sleep(0.4)
        store.append_audit(ENTRY)
        assert [e.seq for e in store.audit_chain()] == [1, 2]


@contextmanager
def silent_server() -> Iterator[int]:
    """Take connections and say nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_server_that_says_nothing_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with silent_server() as port:
        begun = time.monotonic()
        database = Database(f"postgresql+psycopg://u:secret-word@127.0.0.1:{port}/d")
        for _ in range(5):
            with pytest.raises(StoreUnavailable, match="timeout") as caught:
                database.version()
            assert "secret-word" not in str(caught.value)
        assert time.monotonic() - begun < 2 * timedelta(seconds=3).total_seconds()
        database.close()


@pytest.mark.parametrize(("change", "words"), [("alignd:", "nobody:"), ("/t", "/none")])
def test_what_the_server_refuses_is_said_without_the_password(url: str, change: str, words: str) -> None:
    with pytest.raises(StoreError, match="does not exist") as caught:
        SqlStore(url.replace(change, words))
    assert "secret-word" not in str(caught.value)
