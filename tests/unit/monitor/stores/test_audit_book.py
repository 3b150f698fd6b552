"""The audit log in SQLite: what is told and what is done stand or fall together; one chain grows from many hands."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from monitor.audit import AuditEntry, verify
from monitor.errors import OpenIncident, StaleIncident
from monitor.incident import Outcome, Wait, advance, noted
from monitor.policy import Order
from monitor.stores.sql import SqlStore
from tests.unit.monitor.test_store import incident

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/s.db"


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    opened = SqlStore(url)
    yield opened
    opened.close()


def told(store: SqlStore) -> list[tuple[str, str, str]]:
    return [(e.actor, e.action, e.to_json()["details"].get("state", "")) for e in store.audit_chain()]


def test_an_incident_is_told_step_by_step_with_who_led_to_it(store: SqlStore) -> None:
    store.create(incident())
    moved = store.save(advance(store.load("i1"), Outcome.SUCCESS, now=NOW, note=""))
    store.save(noted(moved, now=NOW, note="look at the judge", waits_for=Wait.PERSON))
    store.place("i1", Order.ABORT, by="ann", at=NOW)
    order = store.order_for("i1")
    store.save(advance(store.load("i1"), Outcome.FAILURE, now=NOW, note="ann ordered: abort"), done=order)
    assert told(store) == [
        ("alignd", "incident_opened", "DETECTED"), ("alignd", "incident_moved", "OPEN"),
        ("alignd", "incident_noted", "OPEN"), ("ann", "order_placed", ""), ("alignd", "order_obeyed", ""),
        ("ann", "incident_moved", "ESCALATED"),
    ]  # fmt: skip
    noting = next(e for e in store.audit_chain() if e.action == "incident_noted").to_json()["details"]
    assert (noting["note"], noting["waits_for"]) == ("look at the judge", "person")


def test_what_is_refused_is_not_told(store: SqlStore) -> None:
    store.create(incident())
    loaded = store.load("i1")
    store.save(advance(loaded, Outcome.SUCCESS, now=NOW, note=""))
    before = list(store.audit_chain())
    with pytest.raises(StaleIncident):
        store.save(advance(loaded, Outcome.CLEARED, now=NOW, note=""))
    with pytest.raises(OpenIncident):
        store.create(incident("i2"))
    store.resume("t", by="ann", at=NOW)
    assert list(store.audit_chain()) == before


def test_one_chain_grows_from_many_hands(url: str, store: SqlStore) -> None:
    def write(name: str) -> None:
        with closing(SqlStore(url)) as mine:
            for i in range(25):
                mine.append_audit(AuditEntry(at=NOW, actor=name, action="wrote", subject=str(i)))

    hands = [threading.Thread(target=write, args=(f"hand {i}",)) for i in range(4)]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join()
    log = list(store.audit_chain())
    assert verify(log).intact
    assert sorted((e.actor, int(e.subject)) for e in log) == [(f"hand {h}", i) for h in range(4) for i in range(25)]


@pytest.mark.parametrize("change", ["actor = X'00ff'", "details = 'no JSON'", "hash = 7", "at = ''"])
def test_a_row_that_was_changed_by_hand_is_found(url: str, store: SqlStore, change: str) -> None:
    for i in range(3):
        store.append_audit(AuditEntry(at=NOW, actor="ann", action="wrote", subject=str(i)))
    engine = create_engine(url)
    with engine.begin() as db:
        db.execute(text("DROP TRIGGER audit_no_update"))
        db.execute(text(f"UPDATE audit SET {change} WHERE seq = 2"))
    engine.dispose()
    assert verify(store.audit_chain()).why.startswith("entry 2 ")
