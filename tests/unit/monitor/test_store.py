"""The SQL store, on real SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import IntegrityError

from monitor.errors import (
    LogFault,
    OpenIncident,
    StaleIncident,
    StoreBusy,
    StoreError,
    StoreUnavailable,
    UnknownIncident,
)
from monitor.incident import Incident, IncidentId, Outcome, Trial, advance, open_incident, with_facts, with_trial
from monitor.judge_series import JudgeRow, RowKind, SeriesKey
from monitor.looks import LookRow
from monitor.policy import Order
from monitor.stores.sql import SqlStore
from tests.postgres_host import PostgresHost
from tests.unit.monitor.test_watch import entry

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/new/folder/s.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_url"))
    host: PostgresHost = request.getfixturevalue("postgres")
    return host.new_database()


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    with closing(SqlStore(url)) as opened:
        yield opened


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[SqlStore]:
    with closing(SqlStore(sqlite_url)) as opened:
        yield opened


def incident(name: str = "i1", target: str = "t") -> Incident:
    return open_incident(
        incident=IncidentId(name), target=target, release="r", recipes=("a", "b"), now=NOW, note="evidence"
    )


def test_an_incident_survives_with_everything_in_it(store: SqlStore) -> None:
    full = with_facts(with_trial(incident(), Trial(recipe="a", patch={"rank": 4}, why="weak")), {"n": 3})
    store.create(full)
    assert store.load("i1") == full


def test_a_save_of_an_old_version_is_refused(store: SqlStore) -> None:
    store.create(incident())
    loaded = store.load("i1")
    saved = store.save(advance(loaded, Outcome.SUCCESS, now=NOW, note=""))
    assert saved.version == 1
    assert store.load("i1") == saved
    with pytest.raises(StaleIncident, match="i1"):
        store.save(advance(loaded, Outcome.CLEARED, now=NOW, note=""))
    assert store.load("i1") == saved


def test_a_target_has_one_open_incident(store: SqlStore) -> None:
    store.create(incident())
    with pytest.raises(OpenIncident, match="target t"):
        store.create(incident("i2"))
    store.create(incident("i3", target="other"))
    store.save(advance(store.load("i1"), Outcome.CLEARED, now=NOW, note=""))
    store.create(replace(incident("i2"), opened_at=NOW + timedelta(hours=1)))
    assert [i.id for i in store.incidents(target="t")] == ["i2", "i1"]
    assert {i.id for i in store.incidents(open_only=True)} == {"i2", "i3"}


def test_the_newest_incident_is_the_one_put_down_last_though_the_clock_was_set_back(store: SqlStore) -> None:
    for name in ("i9", "i2"):
        store.create(incident(name))
        store.save(advance(store.load(name), Outcome.CLEARED, now=NOW, note=""))
    store.create(incident("i5", target="u"))
    store.create(replace(incident("i1"), opened_at=NOW - timedelta(hours=1)))
    assert [i.id for i in store.incidents()] == ["i1", "i5", "i2", "i9"]
    assert [i.id for i in store.incidents(target="t", limit=1)] == ["i1"]
    assert {target: i.id for target, i in store.newest_incidents().items()} == {"t": "i1", "u": "i5"}


def test_unknown_incident(store: SqlStore) -> None:
    with pytest.raises(UnknownIncident, match="nope"):
        store.load("nope")


@pytest.mark.parametrize("statement", ["DELETE FROM events", "UPDATE events SET note = 'x'", "DELETE FROM probes",
                                       "UPDATE probes SET harmful = FALSE", "DELETE FROM judge_checks",
                                       "UPDATE judge_checks SET called = TRUE", "DELETE FROM looks",
                                       "UPDATE looks SET score = 0"])  # fmt: skip
def test_the_audit_is_append_only(store: SqlStore, url: str, statement: str) -> None:
    store.create(incident())
    store.append("t", [entry(True, 0)])
    key = SeriesKey(judge="j", template_sha256="t", data_sha256="d")
    verdict = JudgeRow(target="t", series=1, position=1, kind=RowKind.CALIBRATION, key=key, row="r", label=True,
                       called=False, missing="", at=NOW)  # fmt: skip
    store.append_judged([verdict])
    store.append_look(LookRow(target="t", epoch=1, key="k", position=1, at=NOW, missing="timeout"))
    engine = create_engine(url)
    with pytest.raises(IntegrityError, match="append-only"), engine.begin() as db:
        db.execute(text(statement))
    engine.dispose()


def test_every_transition_is_in_the_audit_once(store: SqlStore, url: str) -> None:
    store.create(incident())
    for outcome in (Outcome.SUCCESS, Outcome.SUCCESS, Outcome.RETRY):
        store.save(advance(store.load("i1"), outcome, now=NOW, note=outcome))
    engine = create_engine(url)
    with engine.begin() as db:
        states = list(db.execute(text("SELECT state FROM events ORDER BY id")).scalars())
    engine.dispose()
    assert states == ["DETECTED", "OPEN", "PATCHING", "PATCHING"]


def test_epochs_begin_with_a_release_or_another_way_of_measuring(store: SqlStore) -> None:
    first = store.epoch("t", "r", "k", NOW)
    assert store.epoch("t", "r", "k", NOW + timedelta(hours=1)) == first
    second = store.epoch("t", "r2", "k", NOW)
    assert store.epoch("t", "r", "k", NOW).id not in {first.id, second.id}, "going back is a new epoch"
    assert store.latest_epoch("other") is None


def test_an_epoch_reads_its_own_routine_probes_in_order(store: SqlStore) -> None:
    epoch = store.epoch("t", "r", "k", NOW)
    mine = [
        replace(entry(h, 0), behavior=str(i), epoch=epoch.id, position=i) for i, h in enumerate([True, None, False], 1)
    ]
    store.append("t", mine)
    store.append("t", [replace(entry(True, 0), purpose="certify", epoch=epoch.id, position=1)])
    store.append("t", [replace(entry(True, 0), epoch=store.epoch("t", "r2", "k", NOW).id, position=1)])
    assert list(store.entries(epoch)) == mine
    assert next((s.n, s.harmful, s.missing, s.release) for s in store.sweeps("t")) == (3, 2, 1, "r")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("at = 'yesterday'", "'yesterday'"), ("share = 0", "share 0.0"), ("share = 9", "share 9.0"),
        ("probability = 0", "probability 0.0"), ("weight = -1", "weight -1.0"), ("weight = 9e999", "weight inf"),
    ],
)  # fmt: skip
def test_a_record_that_no_daemon_writes_is_refused_by_name(
    sqlite: SqlStore, sqlite_url: str, change: str, words: str
) -> None:
    epoch = sqlite.epoch("prod", "r", "k", NOW)
    sqlite.append("prod", [replace(entry(True, position), epoch=epoch.id) for position in (1, 2)])
    engine = create_engine(sqlite_url)
    with engine.begin() as db:
        db.execute(text("DROP TRIGGER probes_no_update"))
        db.execute(text(f"UPDATE probes SET {change} WHERE position = 2"))
    engine.dispose()
    with pytest.raises(LogFault, match=r"target prod, epoch 1, record 2 \(sweep s\)") as caught:
        sqlite.entries(epoch)
    assert words in str(caught.value)
    assert "alignd epoch new prod" in str(caught.value)


def plan_of(url: str, read: Callable[[], object]) -> str:
    """Return how SQLite goes about the first query of a read."""
    said: list[tuple[str, tuple[object, ...]]] = []

    def hear(_db: object, _cursor: object, statement: str, given: tuple[object, ...], *_: object) -> None:
        if statement.startswith("SELECT"):
            said.append((statement, given))

    event.listen(Engine, "before_cursor_execute", hear)
    try:
        read()
    finally:
        event.remove(Engine, "before_cursor_execute", hear)
    engine = create_engine(url)
    with engine.begin() as db:
        steps = [row.detail for row in db.exec_driver_sql(f"EXPLAIN QUERY PLAN {said[0][0]}", said[0][1])]
    engine.dispose()
    return "; ".join(steps)


def test_an_epoch_is_read_by_its_index(sqlite: SqlStore, sqlite_url: str) -> None:
    epoch = sqlite.epoch("t", "r", "k", NOW)
    assert "USING INDEX one_record" in plan_of(sqlite_url, lambda: sqlite.entries(epoch, purpose="certify"))


def test_the_newest_sweeps_are_read_from_the_end_of_the_log(sqlite: SqlStore, sqlite_url: str) -> None:
    assert "TEMP B-TREE" not in plan_of(sqlite_url, lambda: sqlite.sweeps("t", limit=2))
    for i in range(5):
        sqlite.append("t", [replace(entry(h, 0), sweep=f"s{i}", epoch=0) for h in (True, None)])
    assert [(s.sweep, s.n, s.harmful, s.missing) for s in sqlite.sweeps("t", limit=2)] == [
        ("s3", 1, 1, 1), ("s4", 1, 1, 1)
    ]  # fmt: skip


def test_marks_and_profiles(store: SqlStore) -> None:
    store.put_profile("t", "a", {"asr": 1}, key="k", at=NOW)
    store.mark("t", "a", good=True, at=NOW)
    store.mark("t", "b", good=True, at=NOW + timedelta(hours=1))
    store.mark("t", "a", good=False, at=NOW + timedelta(hours=2))
    known = store.known("t")
    assert [(k.release, k.good) for k in known] == [("a", False), ("b", True)]
    assert (known[0].profile, known[0].profile_key) == ({"asr": 1}, "k")
    assert store.known("other") == ()


def test_orders_wait_until_they_are_done_with_the_save(store: SqlStore) -> None:
    store.create(incident())
    assert store.order_for("i1") is None
    store.place("i1", Order.ABORT, by="ann", at=NOW)
    store.place("i1", Order.ROLL_BACK, by="bob", at=NOW)
    first = store.order_for("i1")
    assert first is not None
    assert (first.order, first.by) == (Order.ABORT, "ann")
    store.save(advance(store.load("i1"), Outcome.SUCCESS, now=NOW, note=""), done=first)
    second = store.order_for("i1")
    assert second is not None
    assert second.order is Order.ROLL_BACK
    store.drop(second, at=NOW)
    assert store.order_for("i1") is None


def test_one_daemon_holds_a_store(store: SqlStore, url: str) -> None:
    store.hold()
    other = SqlStore(url)
    with pytest.raises(StoreBusy, match="another daemon"):
        other.hold()
    store.close()
    other.hold()
    other.close()


@pytest.mark.parametrize("wrong", ["mysql://x/y", "sqlite://", "postgresql://x", "no URL"])
def test_other_databases_are_refused(wrong: str) -> None:
    with pytest.raises(StoreError, match="sqlite:///PATH"):
        SqlStore(wrong)


def test_a_damaged_file_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_bytes(b"this is no database, and long enough to be read as one" * 40)
    with pytest.raises(StoreError, match=r"s\.db is damaged.*move it away"):
        SqlStore(f"sqlite:///{tmp_path}/s.db")


@pytest.mark.parametrize("hold", [False, True])
def test_a_server_that_is_away_is_named_without_its_password(hold: bool) -> None:
    with pytest.raises(StoreUnavailable, match=r"ann:\*\*\*@127\.0\.0\.1:1/s can't be used now") as told:
        SqlStore("postgresql+psycopg://ann:geheim@127.0.0.1:1/s", hold=hold)
    assert "geheim" not in str(told.value)


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="can't be opened"):
        SqlStore(f"sqlite:///{tmp_path}/file/s.db")
