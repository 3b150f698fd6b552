"""Killed between any two steps: stores and the record are as before or as after, and the next one tidies up.

Each case runs in a forked process that kills itself (SIGKILL) at its n-th step, for every n. A step is a line of the
code that writes, a call on files, or a statement to the database.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from sqlalchemy import Engine, event

from deploy.checkpoint import find_release, import_checkpoint, release_names, verify_release
from deploy.durable import clear_scratch
from deploy.record import PromotionRecord, read_record, write_record
from deploy.retention import remove_releases
from monitor.audit import verify
from monitor.incident import IncidentId, noted, open_incident
from monitor.policy import Order
from monitor.stores.sql import SqlStore
from tests.old_store import rows_of, write_old_store
from tests.unit.deploy.test_checkpoint import write_checkpoint

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STEPS = {
    "open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.listdir", "os.scandir", "fcntl.flock",
    "shutil.copyfile", "shutil.rmtree",
}  # fmt: skip
"""Audit events of the interpreter that come before a call is made."""
OURS = ("deploy/durable.py", "deploy/retention.py")
"""Where each line is a step."""
AND_PATHLIB = (*OURS, "/pathlib.py", "pathlib/__init__.py")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks")


def killed(work: Callable[[], object], step: int, lines_of: tuple[str, ...]) -> bool:
    """Do the work in a process that dies before its step of this number; say whether it died."""
    pid = os.fork()
    if pid == 0:
        seen = 0

        def count() -> None:
            nonlocal seen
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)

        def line(frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
            if not frame.f_code.co_filename.endswith(lines_of):
                return None
            if event == "line":
                count()
            return line

        try:
            sys.addaudithook(lambda event, _: count() if event in STEPS else None)
            sys.settrace(line)
            work()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the work itself failed"
    return os.WIFSIGNALED(status)


def kill_at_each_step(
    work: Callable[[], object], look: Callable[[bool], object], lines_of: tuple[str, ...] = OURS
) -> int:
    """Kill a piece of work at its every step; return how many there were."""
    step = 1
    while killed(work, step, lines_of):
        look(True)
        step += 1
    look(False)
    return step - 1


def test_an_import_is_whole_or_not_there(tmp_path: Path) -> None:
    source, number = write_checkpoint(tmp_path / "source"), 0

    def store() -> Path:
        return tmp_path / f"store{number}"

    def look(died: bool) -> None:
        nonlocal number
        for name in release_names(store()):
            verify_release(find_release(store(), name))
        clear_scratch(store())
        again = import_checkpoint(source, store(), name="m", created_at=NOW)
        assert [p.name for p in store().iterdir()] == [again.id]
        number += 1

    kills = kill_at_each_step(lambda: import_checkpoint(source, store(), name="m", created_at=NOW), look)
    assert kills > 50


def test_a_removal_takes_a_release_whole_or_leaves_it(tmp_path: Path) -> None:
    source, store = write_checkpoint(tmp_path / "source"), tmp_path / "store"
    release = import_checkpoint(source, store, name="m", created_at=NOW)
    stays = import_checkpoint(write_checkpoint(tmp_path / "o", data=b"1" * 8), store, name="o", created_at=NOW)
    ends = set()

    def look(died: bool) -> None:
        names = release_names(store)
        ends.add(release.id in names)
        for name in names:
            verify_release(find_release(store, name))
        remove_releases(store, [r for r in names if r == release.id])
        assert [p.name for p in store.iterdir()] == [stays.id]
        import_checkpoint(source, store, name="m", created_at=NOW)

    assert kill_at_each_step(lambda: remove_releases(store, [release.id]), look) > 30
    assert ends == {True, False}


def test_a_record_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    file = tmp_path / "desired.json"
    old = PromotionRecord().promoted("a", at=NOW).claimed("x", at=NOW)
    new, ends = old.promoted("b", at=NOW), set()

    def look(died: bool) -> None:
        found = read_record(file)
        assert found in {old, new}
        ends.add(found.desired)
        clear_scratch(tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == [file.name]
        write_record(file, old)

    write_record(file, old)
    assert kill_at_each_step(lambda: write_record(file, new), look, AND_PATHLIB) > 50
    assert ends == {"a", "b"}


def sent(work: Callable[[], object]) -> Callable[[], object]:
    """Make each statement that writes to the database a step, and what is asked once all is written."""

    def hear(_: object, __: object, statement: str, *___: object) -> None:
        if not statement.startswith(("PRAGMA", "SELECT")):
            sys.audit("os.listdir")

    def done() -> None:
        event.listen(Engine, "before_cursor_execute", hear)
        event.listen(Engine, "commit", lambda _: sys.audit("os.listdir"))
        work()
        sys.audit("os.listdir")

    return done


def state_of(file: Path) -> tuple[list[tuple[object, ...]], dict[str, list[tuple[object, ...]]]]:
    """Return a database's schema and rows, as whoever opens it next finds them."""
    with closing(sqlite3.connect(file)) as db:
        schema = sorted(db.execute("SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"))
        version = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE name = 'alembic_version'")]
        numbers = [list(db.execute(f"SELECT * FROM {name}")) for name in version]
    return [*schema, *numbers], {table: rows for table, rows in rows_of(file).items() if table != "holders"}


@pytest.mark.parametrize("old", [False, True])
def test_a_store_is_of_the_old_version_or_the_new_one(tmp_path: Path, *, old: bool) -> None:
    importlib.import_module("alembic.command")
    number = 0

    def file() -> Path:
        return tmp_path / f"{number}.db"

    def begin() -> None:
        if old:
            write_old_store(file())
        else:
            sqlite3.connect(file()).close()

    def upgrade() -> None:
        SqlStore(f"sqlite:///{file()}", hold=True)

    begin()
    before = state_of(file())
    SqlStore(f"sqlite:///{file()}", hold=True).close()
    after = state_of(file())
    number += 1
    begin()
    ends = set()

    def look(died: bool) -> None:
        nonlocal number
        found = state_of(file())
        assert found in (before, after)
        ends.add(found == after)
        SqlStore(f"sqlite:///{file()}", hold=True).close()
        assert state_of(file()) == after
        number += 1
        begin()

    assert kill_at_each_step(sent(upgrade), look, ()) > 20
    assert ends == {True, False}


def test_what_is_done_and_what_is_told_of_it_stand_or_fall_together(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    ends = set()
    opened = open_incident(incident=IncidentId("i"), target="t", release="r", recipes=("a",), now=NOW, note="n")
    with closing(SqlStore(url)) as store:
        store.create(opened)
        store.place("i", Order.ABORT, by="ann", at=NOW)

    def step() -> None:
        store = SqlStore(url)
        if order := store.order_for("i"):
            store.save(noted(store.load("i"), now=NOW, note="obeyed"), done=order)

    def look(died: bool) -> None:
        with closing(SqlStore(url)) as store:
            log = list(store.audit_chain())
            assert verify(log).intact
            told = [json.loads(e.details)["note"] for e in log if e.action.startswith("incident")]
            assert told == [e.note for e in store.load("i").events]
            obeyed = [e for e in log if e.action == "order_obeyed"]
            assert (len(told) - 1, store.order_for("i") is None) == (len(obeyed), bool(obeyed))
            ends.add(bool(obeyed))

    assert kill_at_each_step(sent(step), look, ()) > 10
    assert ends == {True, False}
